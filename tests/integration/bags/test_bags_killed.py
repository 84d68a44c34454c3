"""A conversion killed at any instant: nothing half is ever published, and a rerun gives the very same files."""

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import pytest

from ingestion.bags import convert
from ingestion.lake import Manifest
from ingestion.quality import differences

CONVERT = """
import sys
from pathlib import Path
from ingestion.bags import convert
print("ready", flush=True)
convert(Path(sys.argv[1]), Path(sys.argv[2]))
"""
ROUNDS = 12


@pytest.fixture
def published():
    """The content hash of every file below a folder, but for temporary ones."""

    def look(folder: Path) -> dict[str, str]:
        found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".tmp")
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

    return look


@pytest.mark.proof
def test_a_conversion_killed_at_any_instant_and_run_again_gives_the_same_files(points, tmp_path, published):
    from fleet.objectstore import ObjectStore
    from ingestion.lake import Lake

    source, chosen, cut = tmp_path / "points.mcap", random.Random(7), 0
    source.write_bytes(points(range(20_000)).content(per_chunk=500))
    convert(source, tmp_path / "whole")
    for number in range(ROUNDS):
        out = tmp_path / f"killed-{number}"
        command = [sys.executable, "-c", CONVERT, str(source), str(out)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            try:
                child.wait(chosen.uniform(0.0, 0.4))
            except subprocess.TimeoutExpired:
                child.kill()
                cut += 1
        for manifest in (out / "manifests").glob("*.json"):
            lake = Lake(ObjectStore(f"file://{out}", signing_key=b""), "", "local")
            assert differences(lake, Manifest.model_validate_json(manifest.read_bytes())) == []
        convert(source, out)
        assert published(out) == published(tmp_path / "whole")
    assert cut > 0
