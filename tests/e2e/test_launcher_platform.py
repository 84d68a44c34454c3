"""The real platform: it comes up, survives killed children and a killed launcher, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from deployments.ports import any_free
from deployments.supervise import LAUNCH_VARIABLE, LEFTOVERS, end_leftovers
from fleet.transport import probe

pytestmark = [pytest.mark.proof, pytest.mark.serial, pytest.mark.timeout(900)]
UP_WITHIN_S = 300


class Launch:
    """`yardmaster up` in a folder, with what it said so far in a file."""

    def __init__(self, var: Path, port_base: int) -> None:
        self.var, self.port_base = var, port_base
        self.said = var.parent / f"said-{time.monotonic_ns()}.txt"
        command = [sys.executable, "-m", "deployments.cli", "--var", str(var), "up", "--port-base", str(port_base)]
        with self.said.open("w") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)

    def wait_for(self, words: str, within_s: float = UP_WITHIN_S) -> None:
        deadline = time.monotonic() + within_s
        while words not in self.said.read_text():
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < deadline, self.said.read_text()
            time.sleep(0.2)

    def children(self) -> dict[str, int]:
        rows = LEFTOVERS.validate_json((self.var / "run" / "children.json").read_bytes())
        return {row.name: row.pid for row in rows}


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[[], Launch]]:
    """Start the platform; whatever is left at the end of the test is ended."""
    var, started, port_base = tmp_path / "var", list[Launch](), _base()

    def start() -> Launch:
        started.append(Launch(var, port_base))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
    end_leftovers(var)


def _base() -> int:
    return any_free() // 10 * 10


def _ours(var: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.Error, OSError):
            continue
        if LAUNCH_VARIABLE in environment and environment.get("YARDMASTER_VAR_DIR") == str(var):
            found.append(process.pid)
    return found


def test_it_comes_up_brings_back_a_killed_child_and_leaves_nothing_after_ctrl_c(launch):
    platform = launch()
    platform.wait_for("Yardmaster is up")
    assert "The gateway is connected and holds 4 robots." in platform.said.read_text()
    assert probe(f"http://127.0.0.1:{platform.port_base + 1}/readyz") == 200
    first = platform.children()["dispatcher"]
    os.kill(first, signal.SIGKILL)
    platform.wait_for("dispatcher ended (killed by SIGKILL); it is started again")
    assert platform.children()["dispatcher"] != first
    platform.process.send_signal(signal.SIGINT)
    assert platform.process.wait(UP_WITHIN_S) == 0
    assert _ours(platform.var) == []


def test_after_kill_9_of_the_launcher_the_next_start_ends_what_is_left_and_comes_up(launch):
    killed = launch()
    killed.wait_for("Yardmaster is up")
    os.kill(killed.children()["site"], signal.SIGSTOP)  # it cannot hear that its launcher died
    killed.process.kill()
    killed.process.wait()
    again = launch()
    again.wait_for("which an earlier start had left running")
    again.wait_for("Yardmaster is up")
    assert set(_ours(again.var)) >= set(again.children().values())
    again.process.send_signal(signal.SIGTERM)
    assert again.process.wait(UP_WITHIN_S) == 0
    assert _ours(again.var) == []
