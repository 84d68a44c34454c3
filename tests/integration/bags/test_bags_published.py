"""A dataset that was published stays whole: what went missing is made again, what an older one left is removed."""

import hashlib
import struct

import pytest

from fleet.objectstore import ObjectStore
from ingestion.bags import conversion, convert, published
from ingestion.lake import Lake, Manifest

START_NS = 1_772_402_400_000_000_000
PICTURE = "string format\nuint8[] data\n"


@pytest.fixture
def recording(points, tmp_path):
    """A recording of points, of which one is too short, and of three pictures."""
    made = points(range(20))
    made.add(1, START_NS + 30, b"\0\1\0\0short")
    camera = made.channel("/camera", "sensor_msgs/msg/CompressedImage", PICTURE)
    for n in range(3):
        content = b"\xff\xd8\xff" + bytes([n]) * 50
        made.add(camera, START_NS + n, b"\0\1\0\0" + struct.pack("<I4sI", 4, b"jpg\0", len(content)) + content)
    path = tmp_path / "recording.mcap"
    path.write_bytes(made.content())
    return path


@pytest.fixture
def files(tmp_path):
    """The content hash of every file of a dataset."""

    def look(name="out"):
        found = (path for path in (tmp_path / name).rglob("*") if path.is_file())
        return {str(path.relative_to(tmp_path / name)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

    return look


@pytest.mark.parametrize(
    "pattern", ["*.jpg", "topic=%2Fpoint/*.parquet", "topic=%2Fcamera/*.parquet", "*-rejects.parquet"]
)
@pytest.mark.parametrize("damage", ["removed", "emptied", "added"])
def test_a_file_that_is_gone_or_of_another_size_is_made_again(recording, tmp_path, files, pattern, damage):
    convert(recording, tmp_path / "out")
    whole = files()
    path = next((tmp_path / "out").rglob(pattern))
    if damage == "removed":
        path.unlink()
    elif damage == "emptied":
        path.write_bytes(b"")
    else:
        path.write_bytes(path.read_bytes() + b"\0")
    assert files() != whole
    convert(recording, tmp_path / "out")
    assert files() == whole


def test_a_dataset_that_is_whole_is_left_alone(recording, tmp_path, monkeypatch):
    convert(recording, tmp_path / "out")
    monkeypatch.setattr(conversion, "read", None)  # it would have to
    assert convert(recording, tmp_path / "out").messages == 24


@pytest.mark.parametrize("removed", [0, 1, 2, 4])
def test_what_a_killed_conversion_left_of_an_older_dataset_goes_with_the_next(
    recording, tmp_path, files, monkeypatch, removed
):
    convert(recording, tmp_path / "new", robot="amr-02")
    convert(recording, tmp_path / "out", robot="amr-01")
    left, delete = [removed], ObjectStore.delete

    def delete_until(self, key):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        delete(self, key)

    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "delete", delete_until)
        with pytest.raises(KeyboardInterrupt):
            convert(recording, tmp_path / "out", robot="amr-02")
    lake = Lake(ObjectStore(f"file://{tmp_path / 'out'}", signing_key=b""), "", "local")
    (manifest,) = lake.manifests()
    assert (manifest.robot, published.is_whole(lake, manifest), len(manifest.superseded)) == ("amr-02", True, 2)
    assert any("robot=amr-01" in path for path in files())
    convert(recording, tmp_path / "out", robot="amr-02")
    assert files() == files("new")


def test_killed_before_the_removal_is_noted_the_manifest_still_says_what_to_remove(
    recording, tmp_path, files, monkeypatch
):
    convert(recording, tmp_path / "out", robot="amr-01")
    publish = Lake.publish

    def publish_once(self, manifest: Manifest):
        if not manifest.superseded:
            raise KeyboardInterrupt
        return publish(self, manifest)

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "publish", publish_once)
        with pytest.raises(KeyboardInterrupt):
            convert(recording, tmp_path / "out", robot="amr-02")
    convert(recording, tmp_path / "out", robot="amr-03")
    assert {path.split("/")[1] for path in files() if not path.startswith("manifests")} == {"robot=amr-03"}
