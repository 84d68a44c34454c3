"""Converting sound recordings: values, order, partitions, and that a second or killed run changes nothing."""

import hashlib
import json
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fleet import disk
from fleet.errors import Invalid, Unavailable
from fleet.objectstore import ObjectStore
from ingestion.bags import convert, reading, tables, topics, waiting
from ingestion.bags.reading import Source, read
from ingestion.bags.verification import verify
from ingestion.models import BagStatus

START_NS = 1_772_402_400_000_000_000
POINT = "float64 x\nfloat64 y\nfloat64 z\n"


@pytest.fixture
def files():
    """The content hash of every file below a folder."""

    def look(folder: Path) -> dict[str, str]:
        found = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

    return look


@pytest.fixture
def only_table():
    """The one table of a dataset."""

    def read(manifest, folder: Path) -> pa.Table:
        (file,) = [file for topic in manifest.topics for file in topic.files]
        with pq.ParquetFile(folder / file.path) as parquet:
            return parquet.read()

    return read


@pytest.mark.parametrize("compression", ["none", "bz2", "lz4"])
def test_a_ros_1_bag_of_every_compression_is_converted_whole(ros1_bag, tmp_path, compression):
    source = ros1_bag(compression)
    manifest = convert(source, tmp_path / "out")
    assert (manifest.status, manifest.messages, manifest.format) == (BagStatus.complete, 400, "bag")
    assert verify(source, tmp_path / "out") == []


@pytest.mark.parametrize("compression", [None, "", "lz4", "zstd"])
def test_an_mcap_of_every_compression_and_without_chunks_is_converted_whole(points, tmp_path, compression, only_table):
    source = tmp_path / "points.mcap"
    source.write_bytes(points(range(25)).content(compression=compression))
    manifest = convert(source, tmp_path / "out")
    assert (manifest.status, manifest.messages) == (BagStatus.complete, 25)
    assert only_table(manifest, tmp_path / "out")["x"].to_pylist() == [float(n) for n in range(25)]


def test_a_db3_file_alone_is_enough(db3_bag, tmp_path, only_table):
    manifest = convert(db3_bag, tmp_path / "out", robot="amr-01")
    table = only_table(manifest, tmp_path / "out")
    assert (manifest.status, manifest.messages, manifest.robot) == (BagStatus.complete, 200, "amr-01")
    assert table.column_names[:3] == ["log_time", "publish_time", "header_stamp"]
    assert table["effort"][3].as_py() == [1.5, -1.0]
    assert table["header_stamp"][3].value == START_NS + 3
    assert table["name"][0].as_py() == ["left", "right"]
    assert verify(db3_bag, tmp_path / "out") == []


def test_the_file_lies_in_the_partition_of_the_first_messages_utc_date(points, tmp_path):
    source = tmp_path / "points.mcap"
    source.write_bytes(points([0, 3 * 3600 * 10**9]).content())  # from 22:00 over midnight
    manifest = convert(source, tmp_path / "out", robot="halle 3/amr")
    (file,) = manifest.topics[0].files
    assert manifest.recorded_on == date(2026, 3, 1)
    assert file.path == (
        f"organisation=local/robot=halle%203%2Famr/date=2026-03-01/topic=%2Fpoint/part-{manifest.sha256[:16]}-0.parquet"
    )


def test_the_footer_names_type_definition_bag_and_robot(points, tmp_path, only_table):
    source = tmp_path / "points.mcap"
    source.write_bytes(points([0]).content())
    manifest = convert(source, tmp_path / "out", robot="amr-01")
    footer = only_table(manifest, tmp_path / "out").schema.metadata
    assert footer[b"yardmaster.type"] == b"geometry_msgs/msg/Point"
    assert footer[b"yardmaster.bag_sha256"].decode() == manifest.sha256
    assert footer[b"yardmaster.definition_sha256"].decode() == manifest.topics[0].definition_sha256
    assert footer[b"yardmaster.robot"] == b"amr-01"


def test_messages_out_of_order_come_out_sorted_also_over_batches(points, tmp_path, monkeypatch, only_table):
    monkeypatch.setattr(tables, "ROW_GROUP_ROWS", 7)
    offsets = [(n * 37) % 101 for n in range(101)]
    source = tmp_path / "points.mcap"
    source.write_bytes(points(offsets).content())
    manifest = convert(source, tmp_path / "out")
    table = only_table(manifest, tmp_path / "out")
    assert [time.value - START_NS for time in table["log_time"]] == list(range(101))
    assert [offsets[int(x)] for x in table["x"].to_pylist()] == list(range(101))
    assert verify(source, tmp_path / "out") == []


def test_messages_of_one_instant_keep_the_order_of_the_file(points, tmp_path, monkeypatch, only_table):
    monkeypatch.setattr(tables, "ROW_GROUP_ROWS", 4)
    source = tmp_path / "points.mcap"
    source.write_bytes(points([5, 5, 5, 5, 1, 5, 5, 1]).content())
    table = only_table(convert(source, tmp_path / "out"), tmp_path / "out")
    assert table["x"].to_pylist() == [4.0, 7.0, 0.0, 1.0, 2.0, 3.0, 5.0, 6.0]


def test_a_row_group_holds_no_more_bytes_than_the_cap(points, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROW_GROUP_BYTES", 5 * (waiting.MESSAGE_COST_BYTES + 28))
    source = tmp_path / "points.mcap"
    source.write_bytes(points(range(23)).content())
    (file,) = convert(source, tmp_path / "out").topics[0].files
    metadata = pq.read_metadata(tmp_path / "out" / file.path)
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [5, 5, 5, 5, 3]


def test_the_same_recording_again_changes_nothing(ros1_bag, tmp_path, files):
    source = ros1_bag()
    first = convert(source, tmp_path / "out")
    before = {path: (tmp_path / "out" / path).stat().st_mtime_ns for path in files(tmp_path / "out")}
    assert convert(source, tmp_path / "out") == first
    assert {path: (tmp_path / "out" / path).stat().st_mtime_ns for path in files(tmp_path / "out")} == before


def test_two_conversions_give_the_same_bytes(ros1_bag, tmp_path, files):
    source = ros1_bag()
    convert(source, tmp_path / "one")
    convert(source, tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.parametrize("stored", [0, 1, 2])
def test_a_run_that_ends_in_the_middle_publishes_nothing_and_the_next_gives_the_same_files(
    ros1_bag, tmp_path, files, monkeypatch, stored
):
    source, left = ros1_bag(), [stored]
    convert(source, tmp_path / "whole")
    move, publish = disk._is_renamed, ObjectStore.publish

    def move_until(source, target):
        if not left[0]:
            raise OSError(28, "No space left on device")
        left[0] -= 1
        return move(source, target)

    def publish_never(self, key, manifest):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "_is_renamed", move_until)
        patch.setattr(ObjectStore, "publish", publish_never)
        with pytest.raises(Unavailable, match="No space left"):
            convert(source, tmp_path / "cut")
    assert not (tmp_path / "cut/manifests").exists()
    convert(source, tmp_path / "cut")
    assert publish is ObjectStore.publish
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_a_file_that_went_missing_is_made_again(ros1_bag, tmp_path, files):
    source = ros1_bag()
    manifest = convert(source, tmp_path / "out")
    before = files(tmp_path / "out")
    (tmp_path / "out" / manifest.files[0].path).unlink()
    convert(source, tmp_path / "out")
    assert files(tmp_path / "out") == before


def test_a_recording_given_to_another_robot_moves_and_leaves_nothing_behind(ros1_bag, tmp_path, files):
    source = ros1_bag()
    convert(source, tmp_path / "out")
    convert(source, tmp_path / "out", robot="amr-02")
    assert {path.split("/")[1] for path in files(tmp_path / "out") if path.endswith(".parquet")} == {"robot=amr-02"}


def test_an_empty_recording_is_complete_and_has_no_files(mcap, tmp_path):
    source = tmp_path / "empty.mcap"
    source.write_bytes(mcap.content())
    manifest = convert(source, tmp_path / "out")
    assert (manifest.status, manifest.messages, manifest.files, manifest.recorded_on) == (
        BagStatus.complete,
        0,
        [],
        None,
    )


def test_a_topic_without_messages_is_told(mcap, tmp_path):
    mcap.channel("/quiet", "std_msgs/msg/Bool", "bool data\n")
    source = tmp_path / "quiet.mcap"
    source.write_bytes(mcap.content())
    (topic,) = convert(source, tmp_path / "out").topics
    assert (topic.name, topic.type, topic.rows, topic.files) == ("/quiet", "std_msgs/msg/Bool", 0, [])


def test_two_topics_may_define_one_type_differently(mcap, tmp_path, point):
    import struct

    long, short = (
        mcap.channel("/long", "my_msgs/msg/Reading", "float64 a\nfloat64 b\nfloat64 c\n"),
        mcap.channel("/short", "my_msgs/msg/Reading", "float32 a\n"),
    )
    mcap.add(long, START_NS, point(2.0))
    mcap.add(short, START_NS, b"\x00\x01\x00\x00" + struct.pack("<f", 0.25))
    source = tmp_path / "two.mcap"
    source.write_bytes(mcap.content())
    manifest = convert(source, tmp_path / "out")
    read = {topic.name: pq.ParquetFile(tmp_path / "out" / topic.files[0].path).read() for topic in manifest.topics}
    assert manifest.status is BagStatus.complete
    assert (read["/long"]["a"].to_pylist(), read["/short"]["a"].to_pylist()) == ([2.0], [0.25])


def test_a_changed_value_is_found_by_the_comparison(points, tmp_path):
    source = tmp_path / "points.mcap"
    source.write_bytes(points(range(5)).content())
    (file,) = convert(source, tmp_path / "out").topics[0].files
    path = tmp_path / "out" / file.path
    table = pq.ParquetFile(path).read()
    changed = table.set_column(3, "y", pa.array([0.5, 0.5, 0.25, 0.5, 0.5]))
    pq.write_table(changed, path)
    _, difference = verify(source, tmp_path / "out")
    assert "'y': 0.25" in difference
    pq.write_table(table.slice(1), path)
    assert len(verify(source, tmp_path / "out")) == 6


def test_a_source_that_is_not_there_is_named(tmp_path):
    with pytest.raises(Invalid, match=r"There is no file .*nothing.bag"):
        convert(tmp_path / "nothing.bag", tmp_path / "out")


def test_a_folder_without_the_dataset_cannot_be_compared(ros1_bag, tmp_path):
    with pytest.raises(Invalid, match="holds no dataset"):
        verify(ros1_bag(), tmp_path)


def test_the_bytes_do_not_depend_on_how_messages_come_in_batches(points, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROW_GROUP_ROWS", 64)
    found, made = set(), points(range(300))
    for per_chunk in (1, 7, 1000):
        source = tmp_path / f"{per_chunk}.mcap"
        source.write_bytes(made.content(per_chunk=per_chunk, compression=""))
        (topic,) = read(Source(source, "points", "same", 0, "amr-01"), tmp_path).topics.values()
        found.add(hashlib.sha256(topic.rows.file.path.read_bytes()).hexdigest())
    assert len(found) == 1


@pytest.mark.parametrize("smallest", [0, 1 << 30])
def test_the_same_rows_come_out_however_little_may_be_held(mcap, tmp_path, point, monkeypatch, smallest, files):
    channels = [mcap.channel(f"/point_{n}", "geometry_msgs/msg/Point", POINT) for n in range(20)]
    for number in range(2_000):
        mcap.add(channels[number % 20], START_NS + number, point(float(number)))
    source = tmp_path / "many.mcap"
    source.write_bytes(mcap.content(per_chunk=100))
    whole = convert(source, tmp_path / "whole")
    monkeypatch.setattr(reading, "HELD_MAX_BYTES", 20_000)
    monkeypatch.setattr(topics, "SMALLEST_ROW_GROUP_BYTES", smallest)
    little = convert(source, tmp_path / "little")
    for one, two in zip(whole.topics, little.topics, strict=True):
        first, second = (
            pq.ParquetFile(tmp_path / name / topic.files[0].path) for name, topic in (("whole", one), ("little", two))
        )
        assert first.read().equals(second.read())
        assert (second.num_row_groups == 1) == bool(smallest)
    if smallest:  # what is put aside until its row group is full leaves no trace
        assert files(tmp_path / "little") == files(tmp_path / "whole")


def test_row_groups_tell_by_which_column_they_are_sorted_and_where_their_pages_begin(points, tmp_path):
    source = tmp_path / "points.mcap"
    source.write_bytes(points(range(50)).content())
    (file,) = convert(source, tmp_path / "out").topics[0].files
    group = pq.read_metadata(tmp_path / "out" / file.path).row_group(0)
    assert [column.column_index for column in group.sorting_columns] == [0]
    assert group.column(0).has_column_index
    assert group.column(0).statistics.min.value == START_NS


def test_the_units_of_the_definition_are_in_the_footer(mcap, tmp_path, only_table):
    channel = mcap.channel(
        "/battery", "my_msgs/msg/Battery", "float32 voltage  # Voltage in Volts (V)\nfloat32 other\n"
    )
    mcap.add(channel, START_NS, b"\0\1\0\0" + bytes(8))
    source = tmp_path / "battery.mcap"
    source.write_bytes(mcap.content())
    footer = only_table(convert(source, tmp_path / "out"), tmp_path / "out").schema.metadata
    assert json.loads(footer[b"yardmaster.units"]) == {"voltage": "V"}


def test_the_manifest_tells_the_quality_of_every_topic_with_rows(points, tmp_path):
    source = tmp_path / "points.mcap"
    source.write_bytes(points([n * 10**7 for n in range(100)]).content())
    quality = convert(source, tmp_path / "out").topics[0].quality
    assert quality is not None
    assert quality.rate_hz == pytest.approx(100, rel=0.02)
    assert (quality.bytes, quality.gaps) == (2800, 0)


def test_rejected_messages_are_compared_too(points, tmp_path, point):
    made = points(range(5))
    made.add(1, START_NS + 7, point(1.0)[:-9])
    source = tmp_path / "short.mcap"
    source.write_bytes(made.content())
    manifest = convert(source, tmp_path / "out")
    path = tmp_path / "out" / str(manifest.rejects and manifest.rejects.path)
    assert verify(source, tmp_path / "out") == []
    table = pq.ParquetFile(path).read()
    pq.write_table(table.set_column(5, "raw", pa.array([b"other"])), path)
    told = verify(source, tmp_path / "out")
    assert "among the rejects" in told[-1]


def test_a_folder_with_metadata_is_a_recording_and_has_a_hash_of_its_own(db3_bag, tmp_path):
    folder = convert(db3_bag.parent, tmp_path / "out")
    file = convert(db3_bag, tmp_path / "out")
    assert (folder.status, folder.messages, folder.format) == (BagStatus.complete, 200, "folder")
    assert folder.sha256 != file.sha256
    assert verify(db3_bag.parent, tmp_path / "out") == []
    assert convert(db3_bag.parent, tmp_path / "out") == folder
