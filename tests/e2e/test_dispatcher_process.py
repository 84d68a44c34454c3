"""The dispatcher as a process: it ends cleanly on a signal, imports nothing heavy, and its death loses nothing."""

import signal
import subprocess
import sys

import pytest

from deployments.schema import migrate
from fleet.runtime import open_runtime
from fleet.settings import child_environment

HEAVY = ("prefect", "dagster", "mlflow", "xgboost", "pandas", "matplotlib", "rosbags")


@pytest.fixture
def started(settings):
    """A dispatcher that has said it is up; what is left of it is killed at the end."""
    runtime = open_runtime(settings)
    migrate(runtime.engine)
    runtime.engine.dispose()
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestration.dispatcher"],
        env=child_environment({"YARDMASTER_VAR_DIR": str(settings.var_dir)}),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "dispatcher started" in process.stderr.readline()
    yield process
    process.kill()
    process.wait()
    process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_dispatcher_with_exit_code_0_within_five_seconds(started, number):
    started.send_signal(number)
    assert started.wait(5) == 0


def test_the_dispatcher_imports_nothing_heavy():
    code = f"import sys, orchestration.dispatcher; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
