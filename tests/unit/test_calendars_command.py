"""`yardmaster calendar occurrences`, as a person or a script calls it."""

import json

import pytest
from typer.testing import CliRunner

from deployments.cli.app import app, run
from fleet.errors import Invalid

ASK = [
    "calendar",
    "occurrences",
    "--rule",
    "FREQ=DAILY",
    "--dtstart",
    "2026-03-28T02:30",
    "--timezone",
    "Europe/Berlin",
]


def _asked(*more: str):
    return CliRunner().invoke(app, [*ASK, *more])


def test_json_holds_the_instants_in_utc():
    made = _asked("--limit", "3", "--json")
    assert json.loads(made.stdout) == ["2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]


def test_a_person_sees_utc_and_local_time_with_its_offset():
    made = _asked("--limit", "2")
    assert "2026-03-29T01:30:00Z" in made.stdout
    assert "2026-03-29 03:30:00+02:00" in made.stdout


def test_bounds_and_exceptions_are_taken():
    made = _asked(
        *("--after", "2026-03-28T02:30", "--before", "2026-04-02T00:00Z", "--exdate", "2026-03-29T02:30"),
        *("--exdate", "2026-03-30T00:30:00Z", "--rdate", "2026-03-30T12:00", "--json"),
    )
    assert json.loads(made.stdout) == ["2026-03-30T10:00:00Z", "2026-03-31T00:30:00Z", "2026-04-01T00:30:00Z"]


def test_without_an_end_ten_are_shown():
    assert len(json.loads(_asked("--json").stdout)) == 10


@pytest.mark.parametrize("text", ["2026-03-28", "tomorrow", "", "2026-02-30T00:00"])
def test_what_is_no_time_is_refused_with_its_option(text):
    refused = _asked("--after", text).exception
    assert isinstance(refused, Invalid)
    assert "--after" in refused.message


def test_a_malformed_rule_is_one_sentence_on_standard_error_and_exit_code_2(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["yardmaster", *ASK[:3], "FREQ=DALY", *ASK[4:]])
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("yardmaster: The rule 'FREQ=DALY' is refused: FREQ=DALY is not one of")
