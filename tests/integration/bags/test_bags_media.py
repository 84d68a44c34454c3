"""Recordings with pictures and clouds, sound and hostile: converted, verified field by field, converted again."""

import hashlib
import io
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rosbags.rosbag2 import StoragePlugin, Writer

from fleet.objectstore import ObjectStore
from ingestion.bags import conversion, convert, tables
from ingestion.bags.verification import verify
from ingestion.lake import Lake
from ingestion.quality import differences

START_NS = 1_772_402_400_000_000_000
RANDOM = np.random.default_rng(3)


@pytest.fixture
def recorded(tmp_path: Path, humble):
    """A recording with these messages of a topic, half a second apart, and the folder to convert it into."""

    def record(kind, *messages):
        with Writer(tmp_path / "run", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            line = writer.add_connection("/seen", kind, typestore=humble)
            for number, message in enumerate(messages):
                writer.write(line, START_NS + number * 5 * 10**8, humble.serialize_cdr(message, kind))
        return tmp_path / "run" / "run.mcap", tmp_path / "out"

    return record


@pytest.fixture
def header(humble):
    """A header of the types of ROS 2 Humble."""
    time = humble.types["builtin_interfaces/msg/Time"](sec=START_NS // 10**9, nanosec=0)
    return humble.types["std_msgs/msg/Header"](stamp=time, frame_id="eye")


@pytest.fixture
def picture(humble, header):
    """A compressed picture of these bytes."""
    kind = humble.types["sensor_msgs/msg/CompressedImage"]
    return lambda content, form="jpeg": kind(header, form, np.frombuffer(content, np.uint8))


@pytest.fixture
def image(humble, header):
    """An uncompressed picture; what is not named is right for 4 x 3 pixels of bgr8."""
    kind = humble.types["sensor_msgs/msg/Image"]
    right = {"height": 3, "width": 4, "encoding": "bgr8", "is_bigendian": 0, "step": 12}
    right["data"] = RANDOM.integers(0, 256, 36, np.uint8)
    return lambda **other: kind(header=header, **(right | other))


@pytest.fixture
def cloud(humble, header):
    """A cloud; what is not named is right for five points of x, y, z."""
    point_field = humble.types["sensor_msgs/msg/PointField"]
    fields = [point_field(name=name, offset=4 * n, datatype=7, count=1) for n, name in enumerate("xyz")]
    right = {"height": 1, "width": 5, "fields": fields, "is_bigendian": False, "point_step": 12, "row_step": 60}
    right |= {"data": RANDOM.integers(0, 256, 60, np.uint8), "is_dense": True}
    kind = humble.types["sensor_msgs/msg/PointCloud2"]
    return lambda **other: kind(header=header, **(right | other))


@pytest.fixture
def jpeg():
    """A JPEG file."""
    packed = io.BytesIO()
    Image.fromarray(RANDOM.integers(0, 256, (16, 16, 3), np.uint8)).save(packed, "JPEG")
    return packed.getvalue()


@pytest.fixture
def rows(tmp_path):
    """The rows of the only table, and its folder."""

    def read():
        file = next((tmp_path / "out").rglob("*.parquet"))
        return pq.ParquetFile(file).read().to_pylist(), file.parent

    return read


def test_pictures_lie_beside_their_table_which_names_each_with_its_hash(recorded, picture, jpeg, rows):
    source, out = recorded("sensor_msgs/msg/CompressedImage", picture(jpeg), picture(jpeg[:-1] + b"x"), picture(b""))
    manifest = convert(source, out)
    found, folder = rows()
    assert [Path(row["data.path"]).name for row in found] == ["000000000.jpg", "000000001.jpg", "000000002.bin"]
    for row in found:
        content = (folder / row["data.path"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (row["data.size"], row["data.sha256"])
    assert (manifest.topics[0].media, manifest.topics[0].media_bytes) == (3, 2 * len(jpeg))
    assert verify(source, out) == []


def test_pixels_come_back_to_the_byte(recorded, image, rows):
    wide = RANDOM.integers(0, 256, 3 * 24, np.uint8)
    sound = (
        image(),
        image(encoding="rgb8"),
        image(encoding="mono16", is_bigendian=1, width=6),
        image(encoding="bgr16", step=24, data=wide),
        image(encoding="rgba8", width=3),
        image(encoding="bayer_rggb8", width=12),
        image(encoding="bgr8", width=3),  # rows with padding
    )
    source, out = recorded("sensor_msgs/msg/Image", *sound)
    convert(source, out)
    found, folder = rows()
    assert {Path(row["data.path"]).suffix for row in found} == {".png"}
    assert np.asarray(Image.open(folder / found[0]["data.path"])).tobytes() == (
        sound[0].data.reshape(3, 4, 3)[:, :, ::-1].tobytes()
    )
    assert verify(source, out) == []


def test_pictures_that_contradict_themselves_are_kept_as_recorded_with_the_reason(recorded, image, rows):
    hostile = (
        image(step=11),
        image(width=2**31, step=2**31 * 3 % 2**32),
        image(height=2**31),
        image(height=2**32 - 1, width=2**32 - 1, step=2**32 - 1),
        image(data=np.zeros(0, np.uint8)),
        image(data=np.zeros(35, np.uint8)),
        image(data=np.zeros(37, np.uint8)),
        image(encoding="32FC1"),
        image(encoding="\U0001f600" * 100),
        image(height=0, width=0, step=0, data=np.zeros(0, np.uint8)),
    )
    source, out = recorded("sensor_msgs/msg/Image", *hostile)
    manifest = convert(source, out)
    found, folder = rows()
    assert (manifest.status.value, len(found)) == ("complete", len(hostile))
    assert all(row["data.note"].startswith("kept as recorded: ") for row in found)
    assert [(folder / row["data.path"]).read_bytes() for row in found] == [one.data.tobytes() for one in hostile]
    assert verify(source, out) == []


def test_clouds_come_back_to_the_byte_also_those_that_no_pcd_can_hold(recorded, cloud, humble, rows):
    field = humble.types["sensor_msgs/msg/PointField"]
    clouds = (
        cloud(),
        cloud(is_bigendian=True),
        cloud(width=4),  # rows with padding
        cloud(fields=[field(name="z", offset=8, datatype=7, count=1)]),
        cloud(width=0, row_step=0, data=np.zeros(0, np.uint8)),
        cloud(fields=[field(name="x", offset=2**32 - 4, datatype=8, count=2**32 - 1)]),
        cloud(fields=[field(name="x\nDATA ascii", offset=0, datatype=7, count=1)]),
        cloud(width=2**32 - 1, height=2**32 - 1),
        cloud(point_step=0),
        cloud(fields=[]),
        cloud(data=np.zeros(61, np.uint8)),
    )
    source, out = recorded("sensor_msgs/msg/PointCloud2", *clouds)
    assert convert(source, out).status == "complete"
    endings = [Path(row["data.path"]).suffix for row in rows()[0]]
    assert endings == [".pcd"] * 5 + [".bin"] * 6
    assert verify(source, out) == []


def test_a_depth_picture_and_its_header_come_back(recorded, picture, rows):
    packed = io.BytesIO()
    Image.fromarray(RANDOM.integers(0, 2**16, (4, 5), np.uint16)).save(packed, "PNG")
    content = struct.pack("<iff", 1, 0.1, 1e-30) + packed.getvalue()
    source, out = recorded("sensor_msgs/msg/CompressedImage", picture(content, "16UC1; compressedDepth png"))
    convert(source, out)
    found, folder = rows()
    assert (folder / found[0]["data.path"]).read_bytes() == packed.getvalue()
    assert verify(source, out) == []


def test_a_picture_that_was_changed_afterwards_does_not_verify(recorded, picture, jpeg, rows):
    source, out = recorded("sensor_msgs/msg/CompressedImage", picture(jpeg))
    convert(source, out)
    found, folder = rows()
    (folder / found[0]["data.path"]).write_bytes(jpeg[:-1] + b"?")
    assert len(verify(source, out)) == 1


def test_a_picture_that_is_gone_is_a_difference_from_the_manifest(recorded, picture, jpeg, rows):
    source, out = recorded("sensor_msgs/msg/CompressedImage", picture(jpeg), picture(jpeg))
    manifest = convert(source, out)
    lake = Lake(ObjectStore(f"file://{out}", signing_key=b""), "", "local")
    assert differences(lake, manifest) == []
    found, folder = rows()
    (folder / found[0]["data.path"]).unlink()
    assert differences(lake, manifest) == ["/seen: 2 media files are told, 1 are there"]


def test_the_same_recording_gives_the_same_files_and_a_newer_converter_removes_those_of_before(
    recorded, picture, image, jpeg, monkeypatch, tmp_path
):
    source, out = recorded("sensor_msgs/msg/CompressedImage", picture(jpeg), picture(b"?"))
    first = convert(source, out)
    again = convert(source, tmp_path / "again")
    names = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert {
        p.relative_to(tmp_path / "again"): p.read_bytes() for p in (tmp_path / "again").rglob("*") if p.is_file()
    } == (names)
    assert first.topics == again.topics

    other = convert(source, out, robot="carrier-9")  # another robot: other folders
    left = {
        path.relative_to(out).parts[1] for path in out.rglob("*.*") if path.is_file() and "manifests" not in path.parts
    }
    assert (other.topics[0].media, left) == (2, {"robot=carrier-9"})

    monkeypatch.setattr(conversion, "CONVERTER", "2000")
    newer = convert(source, out, robot="carrier-9")
    assert newer == replace(other, converter="2000")
    assert len([path for path in out.rglob("media-*/*") if path.is_file()]) == 2


def test_more_pictures_than_are_moved_at_once_are_all_there(recorded, picture, jpeg, monkeypatch):
    monkeypatch.setattr(conversion, "MOVED_AT_ONCE", 2)
    contents = [jpeg + bytes([number]) for number in range(5)]
    source, out = recorded("sensor_msgs/msg/CompressedImage", *map(picture, contents))
    (topic,) = convert(source, out).topics
    files = sorted(path for path in out.rglob("media-*/*") if path.is_file())
    assert (topic.media, [path.read_bytes() for path in files]) == (5, contents)
    assert verify(source, out) == []


def test_index_rows_of_pictures_that_were_read_one_by_one_stay_in_order(recorded, picture, monkeypatch):
    monkeypatch.setattr(tables, "ROW_GROUP_BYTES", 20_000)
    source, out = recorded("sensor_msgs/msg/CompressedImage", *(picture(bytes([n]) * 20_000) for n in range(100)))
    (topic,) = convert(source, out).topics
    rows = pq.read_table(out / topic.files[0].path)
    assert rows["data.sha256"].to_pylist() == [hashlib.sha256(bytes([n]) * 20_000).hexdigest() for n in range(100)]
