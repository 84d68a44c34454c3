"""An operator at the command line holds robots, leaves out tasks and gives up orders."""

import json

import pytest
from typer.testing import CliRunner

from deployments.cli.app import app
from fleet.errors import Conflict, Invalid


@pytest.fixture
def yardmaster(monkeypatch, settings, yard):
    """`yardmaster …` in the yard's installation; gives what it prints."""
    monkeypatch.setenv("YARDMASTER_VAR_DIR", str(settings.var_dir))
    monkeypatch.setenv("COLUMNS", "300")

    def run(*arguments: str) -> str:
        ran = CliRunner().invoke(app, [*arguments, "-o", "acme"], catch_exceptions=False)
        assert ran.exit_code == 0
        return ran.stdout

    return run


def test_a_robot_is_held_listed_and_released(yardmaster):
    hold_id = yardmaster("holds", "put", "a wheel squeaks", "--robot", "amr-01").split()[0]
    (listed,) = json.loads(yardmaster("holds", "list", "--json"))
    assert (listed["id"], listed["robot"], listed["reason"]) == (hold_id, "amr-01", "a wheel squeaks")
    assert "a wheel squeaks" in yardmaster("holds", "list")
    assert "is released" in yardmaster("holds", "release", hold_id)
    assert json.loads(yardmaster("holds", "list", "--json")) == []
    assert len(json.loads(yardmaster("holds", "list", "--released", "--json"))) == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "given: none"),
        (["--robot", "amr-01", "--fleet"], "given: robot, fleet"),
        (["--fleet", "--meanwhile", "explode"], "meanwhile: Input should be 'finish', 'pause' or 'cancel'"),
    ],
)
def test_a_hold_that_does_not_say_what_is_held_is_refused(yardmaster, options, sentence):
    with pytest.raises(Invalid, match=sentence):
        yardmaster("holds", "put", "because", *options)


def test_missions_are_told_to_skip_approve_retry_and_are_not_abandoned_unless_lost(yardmaster, yard):
    mission = yard.request("m", "press-1", "gate", approval_needed=True)
    assert "is SCHEDULED" in yardmaster("missions", "approve", str(mission.id))
    yardmaster("missions", "skip", str(mission.id), "--task", "1")
    with pytest.raises(Conflict, match="not lost"):
        yardmaster("missions", "abandon", str(mission.id))
    assert "is CANCELED" in yardmaster("missions", "skip", str(mission.id))
    again = yardmaster("missions", "retry", str(mission.id)).split()[0]
    assert again != str(mission.id)


def test_the_robots_are_listed_with_who_holds_them_and_what_was_not_ordered_here(yardmaster, yard):
    yard.hold()
    yard.observe("amr-02", "executing", order_key="by-hand-7")
    listed = yardmaster("robots", "list")
    assert "held by user:ops (a wheel squeaks)" in listed
    assert "not ordered here: by-hand-7" in listed
    remarks = {
        row["name"]: (row["held_by"], row["foreign_order"])
        for row in json.loads(yardmaster("robots", "list", "--json"))
    }
    assert remarks == {"amr-01": ("held by user:ops (a wheel squeaks)", None), "amr-02": (None, "by-hand-7")}
