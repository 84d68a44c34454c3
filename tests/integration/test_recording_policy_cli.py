"""`yardmaster recording-policy …` as people type it."""

import json

import pytest
from typer.testing import CliRunner

from deployments.cli.app import app
from deployments.schema import migrate
from deployments.seed import seed
from fleet.adapters.simulated.site_map import robots
from fleet.errors import Invalid, NotFound
from fleet.runtime import open_runtime
from fleet.settings import Settings


@pytest.fixture
def yardmaster(tmp_path, monkeypatch):
    """Runs a command on a seeded installation; gives what it printed."""
    runtime = open_runtime(Settings(var_dir=tmp_path / "var"))
    migrate(runtime.engine)
    with runtime.transaction() as session:
        seed(session, now=runtime.clock.now(), site_url="http://127.0.0.1:9", robots=robots(2), known=None)
    runtime.engine.dispose()
    monkeypatch.setenv("YARDMASTER_VAR_DIR", str(tmp_path / "var"))

    def run(*arguments, given=None):
        done = CliRunner().invoke(app, ["recording-policy", *arguments], input=given, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


POLICY = json.dumps({"applies_to": {"sites": ["north-plant"]}, "triggers": [{"on": "error"}]})


def test_a_policy_is_set_from_a_file_or_standard_input_and_shown(yardmaster, tmp_path):
    (tmp_path / "night.json").write_text(POLICY)
    assert "night is at version 1, for site north-plant" in yardmaster(
        "set", "night", str(tmp_path / "night.json"), "--why", "first"
    )
    longer = json.dumps({**json.loads(POLICY), "split_s": 60})
    assert "version 2" in yardmaster("set", "night", "-", "--why", "shorter", given=longer)
    assert json.loads(yardmaster("show", "--robot", "amr-01"))["version"] == 2
    assert json.loads(yardmaster("show", "night"))["policy"]["split_s"] == 60
    assert [one["why"] for one in json.loads(yardmaster("history", "night", "--json"))] == ["shorter", "first"]
    assert "site north-plant" in yardmaster("show")


def test_a_recording_is_requested_once_a_key(yardmaster):
    for _ in range(2):
        told = yardmaster("request", "amr-01", "--why", "it squeaks", "--after", "5", "--topic", "/imu", "--key", "k")
        assert told.strip() == "request/k is asked"


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        (("set", "night", "none.json", "--why", "w"), Invalid, "none.json cannot be read"),
        (("set", "night", "-", "--why", "w"), Invalid, "(it is 'fire')"),
        (("history", "none"), NotFound, "'none'"),
        (("show", "--robot", "amr-01"), NotFound, "No recording policy counts for amr-01"),
        (("request", "amr-09", "--why", "w"), NotFound, "'amr-09'"),
        (("request", "amr-01", "--why", "w", "--before", "4000"), Invalid, "before_s"),
        (("request", "amr-01", "--why", "w", "--topic", "imu"), Invalid, "(it is 'imu')"),
        (("request", "amr-01", "--why", "w", "--before", "0", "--after", "0"), Invalid, "nothing would be recorded"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(yardmaster, arguments, error, told):
    with pytest.raises(error) as refused:
        yardmaster(*arguments, given='{"triggers": [{"on": "fire"}]}')
    assert told in refused.value.message
