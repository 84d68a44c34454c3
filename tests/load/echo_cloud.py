"""A cloud for measuring: speaks the simulated manufacturer's wire, does every job in a given time, costs next to nothing.

`python tests/load/echo_cloud.py FOLDER HOOK SECRET`: writes its address to `url` in FOLDER, serves until SIGTERM, and
leaves `arrivals.json` there: when each job arrived and how often. What happens goes to the webhook HOOK, signed with
SECRET, as one delivery for all that happened within 20 ms.
"""

import argparse
import asyncio
import heapq
import json
import signal
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import UUID

import uvloop
from lines import Line, signed

REPORT_EVERY_S = 0.02  # what happened in between goes in one delivery
REASONS = {200: "OK", 201: "Created", 404: "Not Found"}
LINES = 4


class Cloud:
    """Jobs by token; a unit does one at a time, in `takes_s`."""

    def __init__(self, takes_s: float, units: int) -> None:
        """`units` is their number."""
        self._takes_s = takes_s
        self.arrivals: dict[str, list[float]] = {}
        self.ends: dict[str, float] = {}
        self.units = {f"SN-{number:04}": str(UUID(int=number)) for number in range(units)}
        self._unit_of: dict[str, str] = {}
        self._ending: list[tuple[float, str]] = []
        self._entries: list[dict[str, object]] = []

    def answer(self, method: str, path: str, body: bytes, arrived: float) -> tuple[int, dict[str, object]]:
        """Status and content of the answer to a request."""
        if path == "/api/status":
            return 200, {"entries": [self._unit(unit, token) for unit, token in self.units.items()]}
        if path.startswith("/api/events"):
            return 200, {"entries": [], "next": "", "more": False}
        if method == "POST" and path.endswith("/jobs"):
            return self._take(json.loads(body), arrived)
        if method == "GET":
            token = unquote(path.partition("token=")[2])
            found = token in self.ends
            return (200, self._job(token)) if found else (404, {"code": "NO_JOB", "cause": "no such job"})
        return 200, {}

    def _take(self, job: dict[str, str], arrived: float) -> tuple[int, dict[str, object]]:
        token, unit = job["token"], job["unitSn"]
        self.arrivals.setdefault(token, []).append(arrived)
        if token not in self.ends:
            self.ends[token] = arrived + self._takes_s
            self.units[unit], self._unit_of[token] = token, unit
            heapq.heappush(self._ending, (self.ends[token], token))
            self._entries += [self._job(token), self._unit(unit, token)]
        return 201, {"jobRef": token, "state": "QUEUED"}

    def _job(self, token: str) -> dict[str, object]:
        is_done = time.monotonic() >= self.ends[token]
        return {
            "type": "JOB",
            "token": token,
            "unitSn": self._unit_of[token],
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

    def happened(self) -> list[dict[str, object]]:
        """What happened since it was asked last."""
        while self._ending and self._ending[0][0] <= time.monotonic():
            _, token = heapq.heappop(self._ending)
            job = self._job(token)
            self._entries += [job, self._unit(str(job["unitSn"]), token)]
        entries, self._entries = self._entries, []
        return entries


def _now_us() -> int:
    return time.time_ns() // 1000


class Connection(asyncio.Protocol):
    """Requests of one connection, one after the other."""

    def __init__(self, cloud: Cloud) -> None:
        """`cloud` answers."""
        self._cloud = cloud
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is there."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """A request, or a part of one."""
        arrived = time.monotonic()
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end]
            _, found, length = head.lower().partition(b"content-length: ")
            whole = end + 4 + (int(length.partition(b"\r\n")[0]) if found else 0)
            if len(self._received) < whole:
                return
            method, path, _ = head.partition(b"\r\n")[0].decode().split(" ")
            status, answer = self._cloud.answer(method, path, bytes(self._received[end + 4 : whole]), arrived)
            del self._received[:whole]
            text = json.dumps(answer).encode()
            first = f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Length: {len(text)}\r\n\r\n"
            self._transport.write(first.encode() + text)


async def report(cloud: Cloud, hook: str, secret: str) -> None:
    """Tell what happens for ever; a delivery that is not taken is sent again."""
    address = urlsplit(hook)
    lines = [Line(str(address.hostname), address.port or 80, {}) for _ in range(LINES)]
    number, sending = 0, set()
    while True:
        await asyncio.sleep(REPORT_EVERY_S)
        entries = cloud.happened()
        if entries:
            number += 1
            body = json.dumps({"entries": entries}).encode()
            told = asyncio.ensure_future(
                _tell(lines[number % LINES], address.path, f"{id(cloud)}/{number}", body, secret)
            )
            sending.add(told)
            told.add_done_callback(sending.discard)


async def _tell(line: Line, path: str, delivery_id: str, body: bytes, secret: str) -> None:
    while True:
        try:
            status, _ = await line.post(path, body, signed(secret, delivery_id, body, int(time.time())))
        except (OSError, TimeoutError):
            status = 0
        if status == 202:
            return
        await asyncio.sleep(0.5)


async def serve(folder: Path, cloud: Cloud, hook: str, secret: str) -> None:
    """Serve until SIGTERM."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    server = await loop.create_server(lambda: Connection(cloud), "127.0.0.1", 0)
    reporting = asyncio.create_task(report(cloud, hook, secret))
    (folder / "url").write_text(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await stopped.wait()
    (folder / "arrivals.json").write_text(json.dumps(cloud.arrivals))
    reporting.cancel()
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("hook")
    parser.add_argument("secret")
    parser.add_argument("--takes-s", type=float, default=1.0)
    parser.add_argument("--units", type=int, default=400)
    wanted = parser.parse_args()
    uvloop.run(serve(wanted.folder, Cloud(wanted.takes_s, wanted.units), wanted.hook, wanted.secret))
