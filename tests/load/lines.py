"""Those who talk to the platform while it is measured: they stand for other machines, so they cost next to nothing.

Real HTTP/1.1 over real sockets, read only as far as it must be.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections import deque
from collections.abc import Mapping

import uvloop

LONGEST_S = 30.0


class Line(asyncio.Protocol):
    """One connection that is kept; calls go one after the other."""

    def __init__(self, host: str, port: int, headers: Mapping[str, str]) -> None:
        """`headers` go with every call."""
        self._head = "".join(f"{name}: {value}\r\n" for name, value in {"Host": f"{host}:{port}", **headers}.items())
        self._received = bytearray()
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._free = asyncio.Lock()
        self._address = (host, port)

    async def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Status and body of the answer."""
        async with self._free:
            loop = asyncio.get_running_loop()
            if self._transport is None or self._transport.is_closing():
                self._transport, _ = await loop.create_connection(lambda: self, *self._address)
            self._answer = loop.create_future()
            more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
            first = f"POST {path} HTTP/1.1\r\n{self._head}{more}Content-Type: application/json\r\n"
            self._transport.write(f"{first}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            async with asyncio.timeout(LONGEST_S):
                return await self._answer

    def data_received(self, data: bytes) -> None:
        """An answer, or a part of one."""
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._received[:end].lower()
        _, found, length = head.partition(b"content-length: ")
        whole = end + 4 + (int(length.partition(b"\r\n")[0]) if found else 0)
        if len(self._received) >= whole and self._answer is not None and not self._answer.done():
            self._answer.set_result((int(head[9:12]), bytes(self._received[end + 4 : whole])))
            del self._received[:whole]

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits is told."""
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the connection was closed"))


def signed(secret: str, delivery_id: str, body: bytes, now_s: int) -> dict[str, str]:
    """The headers of a webhook, as Standard Webhooks has them."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{delivery_id}.{now_s}.".encode() + body, hashlib.sha256)
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": delivery_id, "webhook-timestamp": str(now_s), "webhook-signature": signature}


def mission(key: str) -> bytes:
    """What asks for a mission of one task."""
    return json.dumps({"name": key, "key": key, "site": "yard", "tasks": [{"station": "press"}]}).encode()


class Crowd:
    """Clients who ask for missions over lines of their own."""

    def __init__(self, port: int, token: str, clients: int) -> None:
        """`token` is an operator's."""
        headers = {"Authorization": f"Bearer {token}"}
        self._lines = [Line("127.0.0.1", port, headers) for _ in range(clients)]
        self.waits: list[float] = []

    def ask_all(self, count: int, *, name: str) -> float:
        """As fast as they get answers, each its next; in seconds."""
        return uvloop.run(self._ask_all(deque(range(count)), name))

    async def _ask_all(self, left: "deque[int]", name: str) -> float:
        await self._ask(self._lines[0], f"{name}-first")  # so that what is imported late is there
        self.waits.clear()
        began = time.monotonic()
        await asyncio.gather(*(self._ask_next(line, left, name) for line in self._lines))
        return time.monotonic() - began

    async def _ask_next(self, line: Line, left: "deque[int]", name: str) -> None:
        while left:
            await self._ask(line, f"{name}-{left.popleft()}")

    async def _ask(self, line: Line, key: str) -> str:
        began = time.monotonic()
        status, body = await line.post("/v1/missions", mission(key))
        self.waits.append(time.monotonic() - began)
        assert status == 201, body
        return str(json.loads(body)["id"])

    def ask_evenly(self, count: int, *, name: str, rate: float) -> tuple[list[str], float]:
        """`rate` a second, whether or not the others are answered; their ids in order, and the seconds it took."""
        return uvloop.run(self._ask_evenly(count, name, rate))

    async def _ask_evenly(self, count: int, name: str, rate: float) -> tuple[list[str], float]:
        await self._ask(self._lines[0], f"{name}-first")
        self.waits.clear()
        began = time.monotonic()
        asked = []
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            line = self._lines[number % len(self._lines)]
            asked.append(asyncio.ensure_future(self._ask(line, f"{name}-{number}")))
        ids = await asyncio.gather(*asked)
        return list(ids), time.monotonic() - began
