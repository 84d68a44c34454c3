"""What other writers make: short names of types, schemas that are no text; and the comparison of what they wrote."""

import os
import shutil
import sqlite3
import struct
import tempfile

import pyarrow.parquet as pq
import pytest
from structlog.testing import capture_logs

from ingestion.bags import convert
from ingestion.bags.verification import verify
from ingestion.statuses import BagStatus

START_NS = 1_772_402_400_000_000_000
POINT = "float64 x\nfloat64 y\nfloat64 z\n"
SEPARATOR = "=" * 80 + "\n"
STAMPED = {
    "ros1": (
        (
            f"Header header\ngeometry_msgs/Point point\n{SEPARATOR}MSG: std_msgs/Header\nuint32 seq\ntime stamp\nstring frame_id\n"
            f"{SEPARATOR}MSG: geometry_msgs/Point\n{POINT}"
        ),
        struct.pack("<IIII3sddd", 1, 5, 6, 3, b"map", 1.0, 2.0, 3.0),
    ),
    "ros2": (
        (
            f"std_msgs/Header header\ngeometry_msgs/Point point\n{SEPARATOR}MSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\n"
            f"string frame_id\n{SEPARATOR}MSG: geometry_msgs/Point\n{POINT}{SEPARATOR}MSG: builtin_interfaces/Time\n"
            "int32 sec\nuint32 nanosec\n"
        ),
        b"\0\1\0\0" + struct.pack("<iII4sddd", 5, 6, 4, b"map\0", 1.0, 2.0, 3.0),
    ),
}


@pytest.fixture
def written(tmp_path):
    """An MCAP file with these bytes."""

    def write(content):
        path = tmp_path / "recording.mcap"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("ros", STAMPED)
def test_a_type_may_be_named_without_its_middle_as_ros_1_does(mcap, written, tmp_path, ros):
    definition, body = STAMPED[ros]
    encoding = "ros1" if ros == "ros1" else "cdr"
    topic = mcap.channel("/p", "geometry_msgs/PointStamped", definition, encoding=encoding, form=f"{ros}msg")
    mcap.add(topic, START_NS, body)
    manifest = convert(written(mcap.content()), tmp_path)
    (table,) = manifest.topics
    assert (manifest.status, table.type) == (BagStatus.complete, "geometry_msgs/msg/PointStamped")
    (row,) = pq.read_table(tmp_path / table.files[0].path, partitioning=None).to_pylist()
    assert (row["header.frame_id"], row["point.z"], row["header_stamp"].second) == ("map", 3.0, 5)


def test_a_type_named_without_its_middle_is_compared(mcap, written, tmp_path):
    mcap.add(mcap.channel("/p", "geometry_msgs/PointStamped", STAMPED["ros2"][0]), START_NS, STAMPED["ros2"][1])
    source = written(mcap.content())
    convert(source, tmp_path)
    assert verify(source, tmp_path) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("=" * 80, "=" * 40),
        lambda text: text.replace(f"{SEPARATOR}MSG: ", f"==={'=' * 80}\n\n MSG:"),
        lambda text: f"string EMPTY=\nstring FULL = a # b\n{text}",
    ],
    ids=["CRLF", "BOM", "short lines between", "long lines between", "an empty constant"],
)
@pytest.mark.parametrize("ros", STAMPED)
def test_a_definition_may_be_written_as_people_and_their_editors_do(mcap, written, tmp_path, ros, change):
    definition, body = STAMPED[ros]
    encoding = "ros1" if ros == "ros1" else "cdr"
    told = change(definition.replace(POINT, "float64 x  # [mm]\nfloat64 y\nfloat64 z\n"))
    topic = mcap.channel("/p", "geometry_msgs/msg/PointStamped", told, encoding=encoding, form=f"{ros}msg")
    mcap.add(topic, START_NS, body)
    source = written(mcap.content())
    manifest = convert(source, tmp_path)
    assert (manifest.status, verify(source, tmp_path)) == (BagStatus.complete, [])
    table = pq.read_table(tmp_path / manifest.topics[0].files[0].path, partitioning=None)
    (row,) = table.to_pylist()
    assert (row["header.frame_id"], row["point.z"], row["header_stamp"].second) == ("map", 3.0, 5)
    assert b'"point.x": "mm"' in table.schema.metadata[b"yardmaster.units"]


def test_a_definition_without_a_letter_is_that_of_a_message_without_fields(mcap, written, tmp_path):
    for n, body in enumerate([b"\0\1\0\0\0", b"\0\1\0\0\0"]):
        mcap.messages = [*mcap.messages, (1, START_NS + n, body)]
    mcap.channel("/begin", "my_msgs/msg/Begin", "")
    source = written(mcap.content())
    manifest = convert(source, tmp_path)
    assert (manifest.status, manifest.topics[0].rows, manifest.topics[0].definition) == ("complete", 2, "recorded")
    assert verify(source, tmp_path) == []


def test_a_schema_of_protobuf_is_no_text_and_no_loss(mcap, written, tmp_path):
    mcap.add(
        mcap.channel("/proto", "foxglove.Log", "@@@@", encoding="protobuf", form="protobuf"), START_NS, b"\x08\x01"
    )
    manifest = convert(written(mcap.content(compression=None).replace(b"@@@@", b"\x0a\xff\x00\xc3")), tmp_path)
    (table,) = manifest.topics
    assert (table.type, table.rows, manifest.lost) == ("foxglove.Log", 1, [])
    assert "'protobuf'" in str(table.reason)
    footer = pq.read_schema(tmp_path / table.files[0].path).metadata
    assert footer[b"yardmaster.definition"] == b"Cv8Aww=="


def test_a_comment_in_another_alphabet_costs_nothing(mcap, written, tmp_path, point):
    mcap.add(mcap.channel("/p", "geometry_msgs/msg/Point", f"# in @\n{POINT}"), START_NS, point(4.0))
    manifest = convert(written(mcap.content(compression=None).replace(b"@", b"\xb0")), tmp_path)
    assert (manifest.status, manifest.topics[0].rows, manifest.topics[0].reason) == (BagStatus.complete, 1, None)


def test_two_definitions_of_one_type_are_each_compared_by_their_own(mcap, written, tmp_path, point):
    for topic, definition in (("/a", POINT), ("/b", POINT.replace("float64", "int64")), ("/b", POINT)):
        mcap.add(mcap.channel(topic, "geometry_msgs/msg/Point", definition), START_NS, point(4.0))
    source = written(mcap.content())
    assert convert(source, tmp_path).status is BagStatus.complete
    assert verify(source, tmp_path) == []


@pytest.mark.parametrize("content", [b"\xff\xfe", b"]["])
def test_where_rosbags_cannot_read_a_recording_its_deserialiser_still_compares_and_that_is_told(
    mcap, written, tmp_path, point, content
):
    mcap.has_index = True
    mcap.add(mcap.channel("/p", "geometry_msgs/msg/Point", f"# @@@\n{POINT}"), START_NS, point(4.0))
    mcap.add(mcap.channel("/json", "x", "{}", encoding="json", form="@@"), START_NS, b"{}")
    source = written(mcap.content(compression=None, announced=2).replace(b"@@", content))
    convert(source, tmp_path)
    with capture_logs() as told:
        assert verify(source, tmp_path) == []
    assert [line["event"] for line in told] == ["rosbags cannot read the recording"]


def test_a_recording_in_which_rosbags_finds_no_message_is_no_difference_of_every_row(points, written, tmp_path):
    recording = points(range(30))
    recording.has_index = True
    source = written(recording.content())  # without statistics
    convert(source, tmp_path)
    with capture_logs() as told:
        assert verify(source, tmp_path) == []
    assert "it finds no message" in told[0]["reason"]


def test_a_file_that_was_replaced_or_removed_is_told(mcap, written, tmp_path, point):
    mcap.add(mcap.channel("/p", "geometry_msgs/msg/Point", POINT), START_NS, point(4.0))
    source = written(mcap.content())
    path = tmp_path / convert(source, tmp_path).files[0].path
    pq.write_table(pq.read_table(path, partitioning=None), path)
    assert verify(source, tmp_path) == [f"{path.relative_to(tmp_path)} is not the file that was published"]
    path.write_bytes(path.read_bytes()[:-20])
    assert "a file of the dataset cannot be read" in verify(source, tmp_path)[-1]
    path.unlink()
    assert verify(source, tmp_path) == [f"{path.relative_to(tmp_path)} is gone"]


def test_what_follows_the_end_of_a_recording_is_told(points, written, tmp_path):
    content = points(range(3)).content()
    manifest = convert(written(content + content), tmp_path)
    assert (manifest.status, manifest.messages) == (BagStatus.partial, 3)
    assert (manifest.lost[0].offset, manifest.lost[0].bytes) == (len(content), len(content))
    assert convert(written(content + bytes(100)), tmp_path).status is BagStatus.repaired


def test_what_looks_like_the_end_in_the_middle_of_a_recording_hides_no_loss(mcap, written, tmp_path, point):
    mcap.has_index = True
    channel = mcap.channel("/", "geometry_msgs/msg/Point", POINT)
    for number in range(4):
        mcap.add(channel, START_NS + number, point(float(number)))
    content = mcap.content(compression="", per_chunk=2)
    described = content.index(b"\x04" + struct.pack("<Q", 20))  # as long as a footer
    manifest = convert(written(content[:described] + b"\x02" + content[described + 1 :]), tmp_path)
    assert (manifest.status, manifest.messages) == (BagStatus.partial, 4)
    assert (manifest.lost[0].offset, manifest.lost[0].bytes) == (described, 29)


def test_messages_that_a_killed_recorder_left_in_the_log_of_its_database_are_read(db3_bag, tmp_path):
    folder = tmp_path / "killed"
    folder.mkdir()
    database = sqlite3.connect(db3_bag)
    database.execute("PRAGMA journal_mode = WAL").fetchall()
    database.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
    database.execute(
        "INSERT INTO messages (topic_id, timestamp, data) SELECT topic_id, timestamp + 1, data FROM messages"
    )
    database.commit()
    for path in db3_bag.parent.glob("*.db3*"):
        if not path.name.endswith("-shm"):
            shutil.copyfile(path, folder / path.name)
    database.close()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    manifest = convert(folder, tmp_path)
    assert (manifest.status, manifest.messages, manifest.lost) == (BagStatus.repaired, 400, [])
    assert any("write-ahead log" in repair for repair in manifest.repairs)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}
    (lost,) = convert(folder / db3_bag.name, tmp_path).lost
    assert "joints.db3-wal" in lost.reason


def test_what_killed_conversions_left_in_the_temporary_folder_goes_when_it_is_old(
    points, written, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    old, recent = (tmp_path / f"yardmaster-bag-{name}" for name in ("old", "recent"))
    for folder, age in ((old, 7 * 3600), (recent, 3600)):
        folder.mkdir()
        (folder / "0.parquet").write_bytes(b"PAR1")
        then = folder.stat().st_mtime - age
        for path in (folder / "0.parquet", folder):
            os.utime(path, (then, then))
    convert(written(points(range(3)).content()), tmp_path / "out")
    assert (old.exists(), recent.exists()) == (False, True)


def test_names_of_files_may_be_any_bytes(points, tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / os.fsdecode(b"r\xe9_0.mcap")).write_bytes(points(range(3)).content()[:-40])
    (folder / os.fsdecode(b"r\xe9_1.mcap")).write_bytes(b"\x89MCAP0\r\n")
    manifest = convert(folder, tmp_path / "out")
    assert (manifest.filename, manifest.messages) == ("caf\ufffd", 3)
    assert manifest.lost[-1].reason.startswith("r\ufffd_1.mcap: ")
    assert convert(folder / os.fsdecode(b"r\xe9_1.mcap"), tmp_path / "out").status is BagStatus.refused
