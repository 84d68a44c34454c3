"""Schedules and blackouts at the command line."""

import json

import pytest
from typer.testing import CliRunner

from deployments.cli.app import app
from fleet.errors import YardmasterError

HERE = ["--organisation", "acme"]
WHERE = [*HERE, "--site", "north"]


@pytest.fixture
def told(runtime, world, settings, monkeypatch):
    """What a command on the small world prints; a refusal is raised as it is."""
    monkeypatch.setenv("YARDMASTER_VAR_DIR", str(settings.var_dir))
    monkeypatch.setenv("COLUMNS", "300")

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def _create(told, *more: str) -> str:
    rule = ["--rule", "FREQ=DAILY", "--begins", "2096-03-01T06:00:00", "--visit", "press-1"]
    return told("schedules", "create", "patrol", *rule, *more, *WHERE)


def test_a_schedule_is_created_listed_shown_and_ended(told):
    created = _create(told)
    assert created.splitlines()[1] == "  2096-03-01T05:00:00Z UTC"
    assert _create(told) == created
    assert "patrol" in told("schedules", "list", *HERE)
    shown = json.loads(told("schedules", "show", "patrol", *HERE))
    assert [task["kind"] for task in shown["missions"][0]["tasks"]] == ["go_to", "reading"]
    for wish, status in [("pause", "paused"), ("resume", "active"), ("end", "ended")]:
        assert told("schedules", wish, "patrol", *HERE).strip().endswith(f"is {status}")


def test_an_occurrence_is_moved_and_cancelled(told):
    _create(told)
    first = "2096-03-01T05:00:00Z"
    told("schedules", "move-occurrence", "patrol", first, "2096-03-01T09:00:00+01:00", *HERE)
    listed = json.loads(told("schedules", "occurrences", "patrol", "--json", *HERE))
    assert listed["next"][0]["due_at"] == "2096-03-01T08:00:00Z"
    told("schedules", "cancel-occurrence", "patrol", first, "--why", "no need", *HERE)
    listed = json.loads(told("schedules", "occurrences", "patrol", "--json", *HERE))
    assert [(one["status"], one["reason"]) for one in listed["past"]] == [("canceled", "no need")]
    assert "no need" in told("schedules", "occurrences", "patrol", *HERE)


def test_blackouts_are_added_imported_listed_and_removed(told, tmp_path):
    told("blackouts", "add", "night", "--begins", "2096-03-01T22:00:00", "--ends", "2096-03-02T06:00:00", *WHERE)
    file = tmp_path / "state.ics"
    file.write_text(
        "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//t//EN\nBEGIN:VEVENT\nUID:x\nSUMMARY:Feast\n"
        "DTSTART;VALUE=DATE:20960302\nEND:VEVENT\nEND:VCALENDAR\n"
    )
    assert told("blackouts", "import", str(file), "--calendar", "state", *WHERE) == "state: 1 windows\n"
    listed = json.loads(told("blackouts", "list", "--json", *HERE))
    assert [(one["name"], one["kind"]) for one in listed] == [("night", "blackout"), ("Feast", "holiday")]
    told("blackouts", "remove", listed[0]["id"], *HERE)
    assert "night" not in told("blackouts", "list", *HERE)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["schedules", "pause", "nobody"], "There is no schedule 'nobody'"),
        (["schedules", "cancel-occurrence", "patrol", "yesterday"], "'yesterday' is no instant"),
        (["schedules", "move-occurrence", "patrol", "2096-03-01T05:00:00Z", "2020-01-01T00:00:00Z"], "has passed"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(told, words, sentence):
    _create(told)
    with pytest.raises(YardmasterError, match=sentence):
        told(*words, *HERE)


def test_a_wrong_policy_is_named(told):
    with pytest.raises(YardmasterError, match=r"recurrence.misfire: .*'sometimes'"):
        _create(told, "--misfire", "sometimes")
