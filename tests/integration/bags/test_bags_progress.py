"""How far a conversion is: told in bytes of the recording, for every way in which one is given."""

import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2

from ingestion.bags import convert
from ingestion.bags.progress import Reached, Teller

START_NS = 1_772_402_400_000_000_000
TEXT = "std_msgs/msg/String"
MESSAGES = 400


def _fill(writer, types, *, is_ros1: bool) -> None:
    text = types.types[TEXT](data="x" * 20_000)
    content = types.serialize_ros1(text, TEXT) if is_ros1 else types.serialize_cdr(text, TEXT)
    line = writer.add_connection("/said", TEXT, typestore=types)
    for n in range(MESSAGES):
        writer.write(line, START_NS + n, content)


def _mcap(folder: Path, humble, noetic) -> Path:
    with Writer2(folder / "run", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        _fill(writer, humble, is_ros1=False)
    return folder / "run/run.mcap"


def _db3(folder: Path, humble, noetic) -> Path:
    with Writer2(folder / "run", version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        _fill(writer, humble, is_ros1=False)
    return folder / "run/run.db3"


def _bag(folder: Path, humble, noetic) -> Path:
    with Writer1(folder / "run.bag") as writer:
        _fill(writer, noetic, is_ros1=True)
    return folder / "run.bag"


def _splits(folder: Path, humble, noetic) -> Path:
    content = _mcap(folder, humble, noetic).read_bytes()
    (folder / "two").mkdir()
    for name in ("two_0.mcap", "two_1.mcap"):
        (folder / "two" / name).write_bytes(content)
    return folder / "two"


def _zipped(folder: Path, humble, noetic) -> Path:
    with zipfile.ZipFile(folder / "run.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(_db3(folder, humble, noetic), "run.db3")
    return folder / "run.zip"


def _packed(folder: Path, humble, noetic) -> Path:
    path = folder / "run.mcap.zst"
    path.write_bytes(pa.Codec("zstd").compress(_mcap(folder, humble, noetic).read_bytes(), asbytes=True))
    return path


@pytest.mark.parametrize("made", [_mcap, _db3, _bag, _splits, _zipped, _packed])
def test_reading_is_told_from_its_beginning_to_its_end(made, humble, noetic, tmp_path):
    source, told = made(tmp_path, humble, noetic), list[Reached]()
    manifest = convert(source, tmp_path / "out", listener=told.append)
    parts = [reached.done / reached.of for reached in told]
    assert manifest.messages >= MESSAGES
    assert {(reached.stage, reached.of) for reached in told} == {("read", manifest.size)}
    assert (parts, parts[-1]) == (sorted(set(parts)), 1.0)
    assert any(0.2 < part < 0.8 for part in parts), parts


def test_a_recording_of_very_many_pieces_is_told_a_hundred_times_at_most():
    told = list[Reached]()
    teller = Teller(told.append, "read", 1_000_000)
    for piece in range(100_001):
        teller.reached(piece / 100_000)
    teller.reached(1.0)
    assert len(told) == 101
    assert (told[0].done, told[-1].done) == (0, 1_000_000)
