"""A conversion killed at any instant: nothing half is ever published, and a rerun gives the very same files."""

import hashlib
import json
import random
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fleet.objectstore import ObjectStore
from ingestion.bags import convert
from ingestion.lake import Lake
from ingestion.manifests import checked
from ingestion.quality import differences

ROOT = Path(__file__).parents[3]

CONVERT = """
import sys
from pathlib import Path
from ingestion.bags import convert
print("ready", flush=True)
convert(Path(sys.argv[1]), Path(sys.argv[2]))
"""
ROUNDS = 15
START_NS = 1_772_402_400_000_000_000
PICTURE = "string format\nuint8[] data\n"
NUMBERS = "float64[] values\nstring name\n"


@pytest.fixture
def published():
    """The content hash of every file below a folder, but for temporary ones."""

    def look(folder: Path) -> dict[str, str]:
        found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".tmp")
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

    return look


@pytest.fixture
def recording(points, tmp_path):
    """A recording of points, lists in no order of time, and pictures."""
    made = points(range(20_000))
    numbers = made.channel("/numbers", "my_msgs/msg/Numbers", NUMBERS)
    pictures = made.channel("/camera", "sensor_msgs/msg/CompressedImage", PICTURE)
    chosen = random.Random(3)
    for n in range(300):
        picture = b"\xff\xd8\xff" + chosen.randbytes(2_000)
        said = struct.pack("<I4sI", 4, b"jpg\0", len(picture)) + picture
        made.add(pictures, START_NS + n, b"\0\1\0\0" + said)
        values = struct.pack("<I4x8d", 8, *(chosen.gauss(0, 1) for _ in range(8)))
        at = START_NS + chosen.randrange(10**9)
        made.add(numbers, at, b"\0\1\0\0" + values + struct.pack("<I4s", 4, b"arm\0"))
    path = tmp_path / "recording.mcap"
    path.write_bytes(made.content(per_chunk=500))
    return path


@pytest.fixture
def child(recording):
    """A conversion in a process of its own that is about to begin."""

    def start(out: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", CONVERT, str(recording), str(out)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    return start


@pytest.mark.proof
def test_a_conversion_killed_at_any_instant_and_run_again_gives_the_same_files(recording, child, tmp_path, published):
    began = time.monotonic()
    with child(tmp_path / "whole") as process:
        process.wait(60)
    lasts_s = time.monotonic() - began
    chosen, cut = random.Random(7), 0
    for number in range(ROUNDS):
        out = tmp_path / f"killed-{number}"
        for _ in range(chosen.choice([1, 1, 2])):  # now and then the second run is killed as well
            with child(out) as process:
                try:
                    process.wait(chosen.uniform(0.0, lasts_s))
                except subprocess.TimeoutExpired:
                    process.kill()
                    cut += 1
            for manifest in (out / "manifests").glob("*.json"):
                lake = Lake(ObjectStore(f"file://{out}", signing_key=b""), "", "local")
                assert differences(lake, checked(json.loads(manifest.read_bytes()))) == []
                assert published(out) == published(tmp_path / "whole")
        convert(recording, out)
        assert published(out) == published(tmp_path / "whole")
    assert cut > ROUNDS // 4


def test_a_conversion_killed_once_and_run_again_gives_the_same_files(recording, child, tmp_path, published):
    with child(tmp_path / "killed") as process:
        process.kill()
    convert(recording, tmp_path / "killed")
    convert(recording, tmp_path / "whole")
    assert published(tmp_path / "killed") == published(tmp_path / "whole")
