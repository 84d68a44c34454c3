"""The demo is its own proof: it runs as a user runs it, and what it left behind is looked at from outside."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from deployments.supervise import LAUNCH_VARIABLE

pytestmark = [pytest.mark.proof, pytest.mark.serial, pytest.mark.timeout(2000)]
PATIENCE_S = 1800
Demo = Callable[..., tuple["subprocess.CompletedProcess[str]", dict]]


@pytest.fixture(scope="module")
def demo(program) -> Demo:
    def run(var: Path, *arguments: str) -> tuple["subprocess.CompletedProcess[str]", dict]:
        ran = program("-m", "deployments.cli", "--var", var, "demo", *arguments, within_s=PATIENCE_S)
        return ran, json.loads((var / "demo" / "result.json").read_text())

    return run


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory, demo: Demo):
    """One demo: what it said, and its result."""
    var = tmp_path_factory.mktemp("night")
    return var, *demo(var)


def test_every_stage_held(night):
    _, ran, result = night
    assert {stage["what"]: stage["problems"] for stage in result["stages"] if stage["problems"]} == {}
    assert ran.returncode == 0, ran.stdout


def test_the_table_names_every_stage(night):
    _, ran, result = night
    wanted = {
        "Start",
        "Polling",
        "Missions",
        "Schedule",
        "Robots' links",
        "Webhooks",
        "Bags to Parquet",
        "Catalogue",
        "Learning",
        "Report",
        "Stop",
    }
    assert {stage["what"] for stage in result["stages"]} == wanted
    assert all(f"│ {name} " in ran.stdout for name in wanted)


def test_the_downloaded_report_is_what_its_name_says(night):
    folder = night[0] / "demo" / "report"
    assert (folder / "fleet.pdf").read_bytes().startswith(b"%PDF-")
    assert (folder / "fleet.parquet").read_bytes().endswith(b"PAR1")
    assert "north-plant" in (folder / "fleet.html").read_text()


def test_nothing_is_left_running(night):
    var = night[0]
    left = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.Error, OSError):
            continue
        if LAUNCH_VARIABLE in environment and environment.get("YARDMASTER_VAR_DIR", "").startswith(str(var)):
            left.append(process.cmdline())
    assert left == []


def test_real_recordings_come_through_the_same_path_with_equal_messages(tmp_path, shared_data, demo):
    ran, result = demo(tmp_path, "--bags", str(shared_data / "bags"))
    assert ran.returncode == 0, ran.stdout
    brought = next(stage for stage in result["stages"] if stage["what"] == "Recordings brought along")
    assert brought["how_many"].startswith("13 recordings, ")
    assert brought["problems"] == []
