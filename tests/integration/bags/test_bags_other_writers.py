"""What other writers make: short names of types, schemas that are no text; and the comparison of what they wrote."""

import struct

import pyarrow.parquet as pq
import pytest

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
def test_what_rosbags_cannot_read_is_said_and_not_raised(mcap, written, tmp_path, point, content):
    mcap.has_index = True
    mcap.add(mcap.channel("/p", "geometry_msgs/msg/Point", f"# @@@\n{POINT}"), START_NS, point(4.0))
    mcap.add(mcap.channel("/json", "x", "{}", encoding="json", form="@@"), START_NS, b"{}")
    source = written(mcap.content(compression=None, announced=2).replace(b"@@", content))
    convert(source, tmp_path)
    (told,) = verify(source, tmp_path)
    assert told.startswith("rosbags cannot read recording.mcap")


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
