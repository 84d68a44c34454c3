"""Pictures and clouds of a dataset: published with it, compared with the recording, gone with what replaces it."""

import struct
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rosbags.typesys.store import Typestore

from ingestion.bags import conversion, convert
from ingestion.bags.verification import verify

START_NS = 1_772_402_400_000_000_000


@pytest.fixture
def camera(ros1_pictures, tmp_path):
    """A converted bag of pictures, and where its dataset lies."""
    return ros1_pictures, tmp_path / "out", convert(ros1_pictures, tmp_path / "out", robot="amr-01")


@pytest.fixture
def ros1_pictures(tmp_path: Path, noetic: Typestore) -> Path:
    """A ROS 1 bag of compressed and raw pictures and of clouds with the high byte first."""
    import numpy as np
    from rosbags.rosbag1 import Writer

    types = noetic.types
    header = types["std_msgs/msg/Header"](0, types["builtin_interfaces/msg/Time"](1, 2), "camera")
    field = types["sensor_msgs/msg/PointField"]
    fields = [field("x", 0, 7, 1), field("y", 4, 7, 1), field("ring", 10, 4, 1)]
    with Writer(tmp_path / "pictures.bag") as writer:
        kinds = {"jpeg": "CompressedImage", "raw": "Image", "cloud": "PointCloud2"}
        into = {
            name: writer.add_connection(f"/{name}", f"sensor_msgs/msg/{kind}", typestore=noetic)
            for name, kind in kinds.items()
        }
        for n in range(5):
            jpeg = np.frombuffer(b"\xff\xd8\xff" + bytes([n]) * 50, np.uint8)
            pixels = np.arange(4 * 22, dtype=np.uint8) + n  # rows of 3 pixels of bgr16 and four bytes that mean nothing
            points = np.frombuffer(struct.pack(">ff2xH", 1.5, -n, n) * 3, np.uint8)
            for name, message in (
                ("jpeg", types["sensor_msgs/msg/CompressedImage"](header, "jpeg", jpeg)),
                ("raw", types["sensor_msgs/msg/Image"](header, 4, 3, "bgr16", n % 2, 22, pixels)),
                ("cloud", types["sensor_msgs/msg/PointCloud2"](header, 1, 3, fields, True, 12, 36, points, True)),
            ):
                content = noetic.serialize_ros1(message, f"sensor_msgs/msg/{kinds[name]}")
                writer.write(into[name], START_NS + n, content)
    return tmp_path / "pictures.bag"


def test_every_picture_and_cloud_is_a_file_beside_its_table_that_the_table_names(camera):
    _, out, manifest = camera
    for topic in manifest.topics:
        (file,) = topic.files
        table = pq.ParquetFile(out / file.path).read()
        paths = [(out / file.path).parent / path for path in table["data.path"].to_pylist()]
        assert [path.stat().st_size for path in paths] == table["data.size"].to_pylist()
        assert (topic.media, topic.media_bytes) == (5, sum(table["data.size"].to_pylist()))
        assert {path.suffix for path in paths} == {{"/jpeg": ".jpg", "/raw": ".png", "/cloud": ".pcd"}[topic.name]}


def test_they_are_compared_with_the_recording_byte_by_byte(camera):
    source, out, _ = camera
    assert verify(source, out) == []


@pytest.mark.parametrize("topic", ["jpeg", "raw", "cloud"])
def test_a_changed_or_missing_file_is_found_by_the_comparison(camera, topic):
    source, out, _ = camera
    first, second, *_ = sorted(out.rglob(f"topic=%2F{topic}/media-*/*"))
    first.write_bytes(first.read_bytes()[:-1] + b"\x07")
    second.unlink()
    told = verify(source, out)
    assert len(told) == 2
    assert "is not the one of" in told[0]
    assert "No such file" in told[1]


def test_pictures_of_a_dataset_that_is_replaced_are_gone(camera):
    source, out, manifest = camera
    before = len(list(out.rglob("media-*/*")))
    convert(source, out, robot="amr-02")
    found = [str(path.relative_to(out)) for path in out.rglob("media-*/*") if path.is_file()]
    assert (len(found), before) == (15, 15)
    assert all("robot=amr-02" in path for path in found)
    assert manifest.robot == "amr-01"


def test_a_newer_converter_removes_pictures_that_it_no_longer_makes(camera, monkeypatch):
    source, out, manifest = camera
    (folder,) = out.rglob("topic=%2Fjpeg/media-*")
    (folder / "000000099.jpg").write_bytes(b"of an older converter")
    monkeypatch.setattr(conversion, "CONVERTER", "2000")
    again = convert(source, out, robot="amr-01")
    assert again.converter == "2000"
    assert again.files == manifest.files
    assert len(list(folder.iterdir())) == 5
    assert verify(source, out) == []
