"""Programs that a test starts, and all that they start in turn: ended with the test, however that ends."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import psutil
import pytest

MARK = "STARTED_BY_TEST"
GRACE_S = 10.0


@pytest.fixture(scope="module")
def program() -> Iterator[Callable[..., "subprocess.CompletedProcess[str]"]]:
    """Runs this Python with some arguments to its end; a process that is left afterwards is ended, and told.

    What was started is known by a word in its environment, or by the folder for temporary files that it was given (a
    PostgreSQL server paints over its environment).
    """
    word, folder = secrets.token_hex(8), tempfile.mkdtemp(prefix="ym-")  # short: unix sockets lie in it
    os.chmod(folder, 0o755)

    def run(*arguments: object, within_s: float) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, *map(str, arguments)]
        surroundings = {**os.environ, MARK: word, "TMPDIR": folder}
        return subprocess.run(command, capture_output=True, text=True, timeout=within_s, check=False, env=surroundings)

    yield run
    left = _ended(word, folder)
    shutil.rmtree(folder, ignore_errors=True)
    assert left == [], "left running by a program of this test, and ended now"


def _ended(word: str, folder: str) -> list[str]:
    """End what still runs after a moment; gives what that was."""
    _, left = psutil.wait_procs(_started(word, folder), timeout=GRACE_S)
    told = [_told(process) for process in left]
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, timeout=GRACE_S)
    return told


def _started(word: str, folder: str) -> list[psutil.Process]:
    return [
        process for process in psutil.process_iter() if process.pid != os.getpid() and _is_ours(process, word, folder)
    ]


def _is_ours(process: psutil.Process, word: str, folder: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.environ().get(MARK) == word or any(folder in part for part in process.cmdline())
    except (psutil.Error, OSError):
        return False


def _told(process: psutil.Process) -> str:
    try:
        return f"{process.pid}: {' '.join(process.cmdline())[:200]}"
    except psutil.Error:
        return str(process.pid)
