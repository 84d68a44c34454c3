"""An operator at the command line sees why a mission waits."""

import json

import pytest
from typer.testing import CliRunner

from deployments.cli.app import app

WAITS = "No robot is free: amr-01 is not heard of yet, amr-02 is not heard of yet."


@pytest.fixture
def missions(monkeypatch, settings, yard):
    """`yardmaster missions …` in the yard's installation; gives what it prints."""
    monkeypatch.setenv("YARDMASTER_VAR_DIR", str(settings.var_dir))
    monkeypatch.setenv("COLUMNS", "300")

    def run(*arguments: str) -> str:
        ran = CliRunner().invoke(app, ["missions", *arguments, "-o", "acme"], catch_exceptions=False)
        assert ran.exit_code == 0
        return ran.stdout

    return run


def test_the_list_says_why_a_mission_waits(yard, missions):
    yard.request("look")
    assert WAITS in missions("list")
    assert json.loads(missions("list", "--json"))[0]["waiting_for"] == WAITS


def test_the_mission_itself_says_why_it_waits(yard, missions):
    mission = yard.request("look")
    assert json.loads(missions("show", str(mission.id)))["waiting_for"] == WAITS


def test_what_has_ended_shows_its_reason_again(yard, missions):
    mission = yard.request("look")
    yard.command(mission, "cancel")
    assert "because" in missions("list")
    assert json.loads(missions("show", str(mission.id)))["waiting_for"] == ""
