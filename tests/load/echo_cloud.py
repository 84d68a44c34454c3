"""A cloud for measuring: speaks the simulated manufacturer's wire, does every job in a given time, costs next to nothing.

`python tests/load/echo_cloud.py FOLDER`: prints its address, then serves until SIGTERM, and leaves `arrivals.json` in
FOLDER: when each job arrived and how often. Reports go to our inbox as raw deliveries, as the API writes them.
"""

import argparse
import asyncio
import heapq
import json
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from sqlmodel import select

from fleet.accounts import ManufacturerAccount
from fleet.runtime import Runtime, open_runtime
from ingestion import inbox

REPORT_EVERY_S = 0.02  # what happened in between goes in one delivery
REASONS = {200: "OK", 201: "Created", 404: "Not Found"}


class Cloud:
    """Jobs by token; a unit does one at a time, in `takes_s`."""

    def __init__(self, runtime: Runtime, takes_s: float) -> None:
        """`runtime` is where the reports go."""
        self._runtime = runtime
        self._takes_s = takes_s
        self.arrivals: dict[str, list[float]] = {}
        self.ends: dict[str, float] = {}
        self.units: dict[str, str] = {}
        self._ending: list[tuple[float, str]] = []
        self._entries: list[dict[str, object]] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests of one connection, one after the other, until it is closed."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                arrived = time.monotonic()
                first, *lines = head.decode().split("\r\n")
                fields = dict(line.lower().split(": ", 1) for line in lines if line)
                body = await reader.readexactly(int(fields.get("content-length", 0)))
                method, path, _ = first.split(" ")
                status, answer = self._answer(method, path, body, arrived)
                text = json.dumps(answer).encode()
                writer.write(
                    f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _answer(self, method: str, path: str, body: bytes, arrived: float) -> tuple[int, dict[str, object]]:
        if path == "/api/status":
            return 200, {"entries": [self._unit(unit, token) for unit, token in self.units.items()]}
        if path.startswith("/api/events"):
            return 200, {"entries": [], "next": "", "more": False}
        if method == "POST" and path.endswith("/jobs"):
            return self._take(json.loads(body), arrived)
        if method == "GET":
            token = path.partition("token=")[2].replace("%2F", "/")
            found = token in self.ends
            return (200, self._job(token)) if found else (404, {"code": "NO_JOB", "cause": "no such job"})
        return 200, {}

    def _take(self, job: dict[str, str], arrived: float) -> tuple[int, dict[str, object]]:
        token, unit = job["token"], job["unitSn"]
        self.arrivals.setdefault(token, []).append(arrived)
        if token not in self.ends:
            self.ends[token] = arrived + self._takes_s
            self.units[unit] = token
            heapq.heappush(self._ending, (self.ends[token], token))
            self._entries += [self._job(token), self._unit(unit, token)]
        return 201, {"jobRef": token, "state": "QUEUED"}

    def _job(self, token: str) -> dict[str, object]:
        is_done = time.monotonic() >= self.ends[token]
        unit = next(unit for unit, newest in self.units.items() if newest == token)
        return {
            "type": "JOB",
            "token": token,
            "unitSn": unit,
            "state": "DONE" if is_done else "EXECUTING",
            "stampUs": _now_us(),
            "revision": 2 if is_done else 1,
            "epoch": 0,
            "steps": [{"index": 0, "state": "OK" if is_done else "BUSY"}],
        }

    def _unit(self, unit: str, token: str) -> dict[str, object]:
        is_idle = time.monotonic() >= self.ends.get(token, 0.0)
        mode = "STANDBY" if is_idle else "EXECUTING"
        place = {"chargePct": 90.0, "xMm": 0.0, "yMm": 0.0, "bearingDeg": 0.0}
        return {"type": "UNIT", "unitSn": unit, "stampUs": _now_us(), "mode": mode, **place}

    async def report(self) -> None:
        """Tell what happened, one delivery for all of it."""
        number = 0
        while True:
            await asyncio.sleep(REPORT_EVERY_S)
            while self._ending and self._ending[0][0] <= time.monotonic():
                _, token = heapq.heappop(self._ending)
                job = self._job(token)
                self._entries += [job, self._unit(str(job["unitSn"]), token)]
            if self._entries:
                number += 1
                entries, self._entries = self._entries, []
                await asyncio.to_thread(self._post, f"{id(self)}/{number}", entries)

    def _post(self, key: str, entries: list[dict[str, object]]) -> None:
        body = json.dumps({"entries": entries}).encode()
        with self._runtime.transaction() as session:
            account = session.exec(select(ManufacturerAccount)).one()
            now = self._runtime.clock.now()
            arriving = inbox.arriving(account, key=key, source="webhook", headers={}, body=body, received_at=now)
            inbox.receive(session, arriving)


def _now_us() -> int:
    return int(datetime.now(UTC).timestamp() * 1e6)


async def serve(folder: Path, takes_s: float, units: int) -> None:
    """Serve until SIGTERM."""
    cloud = Cloud(open_runtime(), takes_s)
    cloud.units = {f"SN-{number:04}": str(UUID(int=number)) for number in range(units)}
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    server = await asyncio.start_server(cloud.answer, "127.0.0.1", 0)
    reporting = asyncio.create_task(cloud.report())
    (folder / "url").write_text(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await stopped.wait()
    (folder / "arrivals.json").write_text(json.dumps(cloud.arrivals))
    reporting.cancel()
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--takes-s", type=float, default=1.0)
    parser.add_argument("--units", type=int, default=400)
    wanted = parser.parse_args()
    asyncio.run(serve(wanted.folder, wanted.takes_s, wanted.units))
