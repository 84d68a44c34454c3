"""HTTP to others: every call with limits and a deadline, answers sorted into our errors."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from fleet.errors import Invalid, Rejected, Unavailable

CONNECT_TIMEOUT_S = 3.0
IDLE_S = 5.0  # a connection that rests for longer may be closed on the other side just when it is used again
BODY_MAX_BYTES = 16_000_000
DEADLINE_TIMEOUTS = 3


@dataclass(frozen=True)
class Answer:
    """What came back: any status below 500."""

    status: int
    body: bytes
    headers: dict[str, str]


class Transport:
    """One pool of connections to one base address."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, *, deadline_s: float) -> None:
        """`session` carries timeouts and limits; a call is over after `deadline_s`; see `open_transport`."""
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._deadline_s = deadline_s

    async def call(
        self,
        method: str,
        path: str,
        *,
        content: Any = None,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request: JSON `content` or raw `body`; `path` goes behind the base address unless it is a whole address.

        Raises:
            Unavailable: no answer, a broken one, 429 or 5xx: the outcome is unknown and the same may succeed later.
            Rejected: the answer is larger than 16 MB.
        """
        if content is not None:
            body = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
            headers = {"Content-Type": "application/json", **(headers or {})}
        url = path if path.startswith(("http://", "https://")) else self._base_url + path
        try:
            # The session's own timeouts are for each wait; one who sends a byte a second would hold the call for ever.
            async with asyncio.timeout(self._deadline_s):
                answer = await self._answer(method, url, body, headers)
        # A ValueError tells of what cannot be sent at all, such as a line break in a header.
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unavailable(
                f"{method} {path} at {self._base_url} got no answer ({type(error).__name__}: {error}).", path=path
            ) from error
        if answer.status >= 500 or answer.status == 429:
            raise Unavailable(f"{method} {path} answered {answer.status}.", path=path, status=answer.status)
        return answer

    async def _answer(self, method: str, url: str, body: bytes | None, headers: dict[str, str] | None) -> Answer:
        async with self._session.request(method, url, data=body, headers=headers, allow_redirects=False) as response:
            received = await _bounded(response)
            return Answer(response.status, received, {name.lower(): value for name, value in response.headers.items()})


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    received = bytearray()
    async for chunk in response.content.iter_any():
        received += chunk
        if len(received) > BODY_MAX_BYTES:
            response.close()  # nobody waits for the rest
            raise Rejected(f"{response.url} sent more than {BODY_MAX_BYTES} bytes; ask for less at once.")
    return bytes(received)


@asynccontextmanager
async def open_transport(
    base_url: str, *, timeout_s: float = 10.0, connections: int = 32, headers: dict[str, str] | None = None
) -> AsyncIterator[Transport]:
    """A pool of at most `connections` to `base_url`; redirects are not followed, the proxy settings are not read.

    Each wait lasts at most `timeout_s`, a whole call three times that.

    Raises:
        Invalid: `base_url` is no address of http or https.
    """
    address = _address(base_url)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=IDLE_S),
        headers=headers,
        timeout=aiohttp.ClientTimeout(
            total=None, connect=timeout_s, sock_connect=CONNECT_TIMEOUT_S, sock_read=timeout_s
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("Content-Type",),
        trust_env=False,
    ) as session:
        yield Transport(session, address, deadline_s=DEADLINE_TIMEOUTS * timeout_s)


def _address(base_url: str) -> str:
    try:
        url = URL(base_url)
    except ValueError as error:
        raise Invalid(f"{base_url!r} is no address: {error}.", url=base_url) from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise Invalid(f"{base_url!r} is no address; it must begin with http:// or https:// and a host.", url=base_url)
    return str(url)


def probe(url: str, *, timeout_s: float = 2.0) -> int | None:
    """The status that a GET of `url` answers now, or None when nothing answers; for supervisors that wait for healthy."""
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    try:
        connection = kind(parts.netloc, timeout=timeout_s)
        try:
            connection.request("GET", parts.path or "/")
            return connection.getresponse().status
        finally:
            connection.close()
    except (OSError, HTTPException):
        return None
