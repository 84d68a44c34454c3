"""The API as a process: starts, says clearly why it cannot, ends in good order, and keeps its word through kill -9."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlmodel import select

from fleet.clock import SystemClock
from fleet.runtime import Runtime
from fleet.settings import Settings, child_environment
from ingestion.models import Delivery
from ingestion.signatures import sign

ROOT = Path(__file__).parents[2]
BODY = b'{"entries": []}'


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    """The environment of a process over the test's own folder."""
    return child_environment({"YARDMASTER_VAR_DIR": str(settings.var_dir.resolve())})


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the process writes what it tells; a pipe that nobody reads would stop it."""
    return tmp_path / "api.log"


@pytest.fixture
def start(runtime: Runtime, environment, port: int, log: Path) -> Iterator:
    """Starts the API on the port and waits until it is ready; what still runs is killed after the test."""
    started: list[subprocess.Popen] = []

    def do() -> subprocess.Popen:
        command = [sys.executable, "-m", "api.serve", "--port", str(port)]
        with log.open("a") as out:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=out)
        started.append(process)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()
            try:
                if httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200:
                    return process
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError("the API did not become ready")

    yield do
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def post(world, port: int):
    """Posts one signed delivery; True when it was acknowledged, False when there was no answer."""

    async def do(client: httpx.AsyncClient, delivery_id: str) -> bool:
        sent_at = SystemClock().now()
        headers = {
            "webhook-id": delivery_id,
            "webhook-timestamp": str(int(sent_at.timestamp())),
            "webhook-signature": sign(
                world.account.webhook_secret, delivery_id=delivery_id, sent_at=sent_at, body=BODY
            ),
        }
        address = f"http://127.0.0.1:{port}/v1/webhooks/{world.account.id}"
        try:
            return (await client.post(address, content=BODY, headers=headers)).status_code == 202
        except httpx.TransportError:
            return False

    return do


@pytest.fixture
def stored(runtime: Runtime):
    """The keys in the database."""

    def read() -> set[str]:
        with runtime.reading() as session:
            return set(session.exec(select(Delivery.key)).all())

    return read


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_good_order_when_it_is_asked_to(start, log: Path, number: int):
    process = start()
    process.send_signal(number)
    assert process.wait(10) == 0
    told = log.read_text()
    assert "api listens" in told
    assert "api stopped" in told
    assert "Traceback" not in told


def test_an_open_connection_does_not_keep_it_from_ending(start, port: int):
    process = start()
    with socket.create_connection(("127.0.0.1", port)) as idle:
        idle.sendall(b"POST /v1/missions HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_port_in_use_is_told_in_one_sentence(environment):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "api.serve", "--port", str(port)]
        ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 2
    assert f"127.0.0.1:{port}" in ran.stderr
    assert "--port" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_deliveries_under_way_are_answered_before_it_ends(start, post, stored):
    process = start()

    async def storm() -> set[str]:
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            calls = [asyncio.ensure_future(post(client, f"d-{number}")) for number in range(60)]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            process.send_signal(signal.SIGTERM)
            outcomes = await asyncio.gather(*calls)
        return {f"d-{number}" for number, is_taken in enumerate(outcomes) if is_taken}

    acknowledged = asyncio.run(storm())
    assert process.wait(10) == 0
    assert acknowledged
    assert acknowledged <= stored()


@pytest.mark.proof
def test_what_was_acknowledged_survives_kill_9_in_every_round(start, post, stored):
    acknowledged: set[str] = set()

    async def storm(process: subprocess.Popen, round_: int) -> None:
        kill_at = len(acknowledged) + 60 + 23 * round_

        async def sender(client: httpx.AsyncClient, lane: int) -> None:
            for number in range(10_000):
                delivery_id = f"r{round_}-l{lane}-{number}"
                if not await post(client, delivery_id):
                    return
                acknowledged.add(delivery_id)
                if len(acknowledged) == kill_at:
                    process.kill()

        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            await asyncio.gather(*(sender(client, lane) for lane in range(16)))

    for round_ in range(5):
        process = start()
        asyncio.run(storm(process, round_))
        assert process.wait(10) == -signal.SIGKILL
        assert acknowledged <= stored()
    assert len(acknowledged) > 500
