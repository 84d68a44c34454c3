"""The gateway as a process: it cannot start without what it needs, ends in order, and goes on while the platform is away."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def start(tmp_path: Path, unused_tcp_port: int):
    """Starts a gateway for a platform that is away; all are ended with the test."""
    token = tmp_path / "token"
    token.write_text("ym_x\n")
    children: list[subprocess.Popen[str]] = []

    def run(
        *, token_file: Path = token, url: str = f"ws://127.0.0.1:{unused_tcp_port}/v1/link"
    ) -> subprocess.Popen[str]:
        files = ("--token-file", str(token_file), "--journal", str(tmp_path / "gateway.db"))
        command = [sys.executable, "-m", "orchestration.gateway", "--url", url, *files]
        children.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return children[-1]

    yield run
    for child in children:
        child.kill()
        child.communicate()


def _says(child: subprocess.Popen[str], words: str) -> str:
    assert child.stderr is not None
    for line in child.stderr:
        if words in line:
            return line
    pytest.fail(f"it ended without saying {words!r}")


def test_a_gateway_waits_for_a_platform_that_is_away_and_ends_in_order(start):
    child = start()
    assert "does not answer" in _says(child, "the platform is away")
    child.send_signal(signal.SIGTERM)
    _says(child, "gateway ended")
    assert child.wait(10) == 0


def test_a_second_gateway_with_the_same_journal_cannot_start(start):
    first = start()
    _says(first, "gateway started")
    second = start()
    assert "Another gateway has the journal" in _says(second, "cannot go on")
    assert second.wait(10) == 2


def test_a_gateway_without_a_token_cannot_start(start, tmp_path: Path):
    child = start(token_file=tmp_path / "none")
    assert "The token cannot be read" in _says(child, "cannot go on")
    assert child.wait(10) == 2


def test_an_address_that_is_none_is_told_and_ends_the_gateway(start):
    child = start(url="http://127.0.0.1/v1/link")
    assert "it must begin with ws:// or wss://" in _says(child, "cannot go on")
    assert child.wait(10) == 2


def test_a_gateway_with_a_damaged_journal_cannot_start_and_says_what_to_do(start, tmp_path: Path):
    (tmp_path / "gateway.db").write_bytes(b"nonsense " * 1000)
    child = start()
    assert "move it away" in _says(child, "cannot go on")
    assert child.wait(10) == 2
