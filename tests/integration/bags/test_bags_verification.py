"""What can be compared with its recording: archives, compressed files and folders, ROS 1 in MCAP, what rosbags refuses."""

import re
import shutil
import struct
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from structlog.testing import capture_logs

from ingestion.bags import convert
from ingestion.bags.verification import verify
from ingestion.statuses import BagStatus

START_NS = 1_772_402_400_000_000_000
ROS1_STATUS = (
    f"Header header\nduration waited\nuint8[] data\nstring[] names\n{'=' * 80}\n"
    "MSG: std_msgs/Header\nuint32 seq\ntime stamp\nstring frame_id\n"
)


@pytest.fixture
def packed(db3_bag, tmp_path):
    """A recording of 200 joint states, packed in one of the ways that are taken."""

    def pack(way):
        target = tmp_path / f"packed {way}"
        if way == "zip of a folder":
            with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
                for path in db3_bag.parent.iterdir():
                    archive.write(path, f"drive/{path.name}")
        elif way == "zip of a file":
            with zipfile.ZipFile(target, "w") as archive:
                archive.write(db3_bag, db3_bag.name)
        elif way == "zstd":
            target = tmp_path / f"{db3_bag.name}.zstd"
            target.write_bytes(pa.Codec("zstd").compress(db3_bag.read_bytes(), asbytes=True))
        else:
            target.mkdir()
            content = pa.Codec("zstd").compress(db3_bag.read_bytes(), asbytes=True)
            (target / "joints_0.db3.zstd").write_bytes(content)
        return target

    return pack


@pytest.fixture
def differs(tmp_path):
    """Whether a comparison finds one value that was changed in a dataset of joint states."""

    def change(source, manifest):
        path = tmp_path / "out" / manifest.topics[0].files[0].path
        table = pq.ParquetFile(path).read()
        wrong = [*table["header.frame_id"].to_pylist()[:-1], "elsewhere"]
        place = table.column_names.index("header.frame_id")
        pq.write_table(table.set_column(place, "header.frame_id", pa.array(wrong)), path)
        return any("elsewhere" in told for told in verify(source, tmp_path / "out"))

    return change


@pytest.mark.parametrize("way", ["zip of a folder", "zip of a file", "zstd", "folder of compressed files"])
def test_what_is_packed_as_a_whole_is_compared_with_what_rosbags_reads_in_it(packed, differs, tmp_path, way):
    source = packed(way)
    manifest = convert(source, tmp_path / "out")
    with capture_logs() as told:
        assert verify(source, tmp_path / "out") == []
    assert (manifest.messages, told) == (200, [])
    assert differs(source, manifest)


@pytest.mark.parametrize("mode", [CompressionMode.MESSAGE, CompressionMode.FILE])
def test_a_folder_whose_metadata_tells_its_compression_is_compared(humble, tmp_path, mode):
    writer = Writer2(tmp_path / "drive", version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        text = writer.add_connection("/text", "std_msgs/msg/String", typestore=humble)
        for n in range(20):
            said = humble.types[text.msgtype](data=f"{n}")
            writer.write(text, START_NS + n, humble.serialize_cdr(said, text.msgtype))
    assert convert(tmp_path / "drive", tmp_path / "out").messages == 20
    with capture_logs() as told:
        assert verify(tmp_path / "drive", tmp_path / "out") == []
    assert told == []


def test_ros_1_in_mcap_is_compared_with_the_deserialiser_of_rosbags(mcap, tmp_path):
    channel = mcap.channel("/status", "my_msgs/Status", ROS1_STATUS, encoding="ros1", form="ros1msg")
    for n in range(5):
        body = struct.pack("<IIII3siiI2sII1s", n, 5, 6, 3, b"map", 1, 2, 2, b"ab", 1, 1, b"x")
        mcap.add(channel, START_NS + n, body)
    source = tmp_path / "ros1.mcap"
    source.write_bytes(mcap.content())
    manifest = convert(source, tmp_path / "out")
    assert (manifest.status, manifest.messages) == (BagStatus.complete, 5)
    with capture_logs() as told:
        assert verify(source, tmp_path / "out") == []
    assert "our reader" in told[0]["compared"]
    path = tmp_path / "out" / manifest.topics[0].files[0].path
    table = pq.ParquetFile(path).read()
    changed = table.set_column(table.column_names.index("data"), "data", pa.array([b"ab"] * 4 + [b"ac"]))
    pq.write_table(changed, path)
    assert len(verify(source, tmp_path / "out")) == 2  # the file, and the one message


def test_messages_that_cannot_be_decoded_are_compared_byte_by_byte(mcap, tmp_path):
    mcap.add(mcap.channel("/json", "x", "{}", encoding="json", form="jsonschema"), START_NS, b'{"a": 1}')
    source = tmp_path / "json.mcap"
    source.write_bytes(mcap.content())
    manifest = convert(source, tmp_path / "out")
    assert verify(source, tmp_path / "out") == []
    path = tmp_path / "out" / manifest.topics[0].files[0].path
    table = pq.ParquetFile(path).read()
    pq.write_table(table.set_column(table.column_names.index("raw"), "raw", pa.array([b'{"a": 2}'])), path)
    assert any("2" in told and "json" in told for told in verify(source, tmp_path / "out")[1:])


def test_a_damaged_recording_is_compared_as_far_as_it_goes(points, tmp_path):
    source = tmp_path / "cut.mcap"
    source.write_bytes(points(range(30)).content()[:-200])
    manifest = convert(source, tmp_path / "out")
    assert 0 < manifest.messages < 30
    assert verify(source, tmp_path / "out") == []
    shutil.rmtree(tmp_path / "out")
    source.write_bytes(b"\x89MCAP0\r\n")
    assert convert(source, tmp_path / "out").status is BagStatus.refused
    assert verify(source, tmp_path / "out") == []


def test_a_split_that_is_missing_does_not_hinder_the_comparison_of_the_others(db3_bag, tmp_path):
    metadata = db3_bag.parent / "metadata.yaml"
    metadata.write_text(re.sub(r"( *- )joints\.db3\n", r"\1joints.db3\n\1gone_1.db3\n", metadata.read_text(), count=1))
    assert convert(db3_bag.parent, tmp_path / "out").status is BagStatus.partial
    assert verify(db3_bag.parent, tmp_path / "out") == []


def test_chunks_without_a_message_index_which_rosbags_passes_over_are_compared(points, tmp_path):
    made = points(range(30))
    made.has_index, made.has_message_index = True, False
    source = tmp_path / "unindexed.mcap"
    source.write_bytes(made.content(announced=30))
    manifest = convert(source, tmp_path / "out")
    assert (manifest.status, manifest.messages) == (BagStatus.complete, 30)
    with capture_logs() as told:
        assert verify(source, tmp_path / "out") == []
    assert "sees 0 messages of '/point', and the dataset has 30" in told[0]["reason"]
    path = tmp_path / "out" / manifest.topics[0].files[0].path
    table = pq.ParquetFile(path).read()
    pq.write_table(
        table.set_column(table.column_names.index("x"), "x", pa.array([float(n) for n in range(1, 31)])), path
    )
    assert len(verify(source, tmp_path / "out")) > 1
