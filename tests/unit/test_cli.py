"""The command line: light to start, clear when something is wrong."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from deployments.cli import bags
from deployments.cli.app import app, run
from deployments.cli.missions import _wanted
from fleet.adapter import TaskKind

HEAVY = {
    "prefect",
    "mlflow",
    "xgboost",
    "dagster",
    "pandas",
    "matplotlib",
    "fastapi",
    "sqlmodel",
    "sqlalchemy",
    "pyarrow",
    "pydantic",
    "asyncio",
}
GROUPS = [[], ["missions"], ["robots"], ["bags"], ["db"], ["report"]]


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


@pytest.mark.parametrize("group", GROUPS, ids=lambda words: " ".join(words) or "yardmaster")
def test_every_group_shows_its_help(runner, group):
    shown = runner.invoke(app, [*group, "--help"])
    assert shown.exit_code == 0
    assert "Usage:" in shown.output


def test_help_imports_nothing_heavy():
    script = (
        "import sys; sys.argv = ['yardmaster', '--help']\n"
        "from deployments.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('LOADED', *{name.partition('.')[0] for name in sys.modules})"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.partition("LOADED ")[2].split())
    assert "typer" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize(
    "command",
    ["up", "demo", "simulate", "doctor", "train", "score", "dispatcher", "api", "worker", "mlflow", "dagster"],
)
def test_every_promised_command_is_there(runner, command):
    assert runner.invoke(app, [command, "--help"]).exit_code == 0


def test_an_unknown_command_ends_with_exit_code_2(runner):
    shown = runner.invoke(app, ["fly"])
    assert shown.exit_code == 2
    assert "No such command 'fly'" in shown.output


def test_a_nonsense_value_names_the_option_and_what_it_wants(runner):
    shown = runner.invoke(app, ["up", "--speed", "fast"])
    assert shown.exit_code == 2
    assert "Invalid value for '--speed': Input should be a valid number" in shown.output


def test_a_mission_id_that_is_none_is_told(runner):
    shown = runner.invoke(app, ["missions", "cancel", "not-an-id"])
    assert shown.exit_code == 2
    assert "Input should be a valid UUID" in shown.output


def test_each_station_is_visited_and_read_in_the_order_given():
    wanted = _wanted("Evening look", ["press-1", "pump-1"], "key", None, [])
    assert [(task.kind, task.station) for task in wanted.tasks] == [
        (TaskKind.go_to, "press-1"),
        (TaskKind.reading, "press-1"),
        (TaskKind.go_to, "pump-1"),
        (TaskKind.reading, "pump-1"),
    ]


def test_a_converted_recording_has_the_exit_code_of_its_status():
    assert bags.EXIT == {"complete": 0, "repaired": 0, "partial": 3, "refused": 2}


def test_an_error_of_ours_is_one_sentence_on_standard_error(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("YARDMASTER_VAR_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["yardmaster", "db", "check"])
    with pytest.raises(SystemExit) as ended:
        run()
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert told.startswith("yardmaster: The database")
    assert "yardmaster db migrate" in told
    assert "Traceback" not in told
