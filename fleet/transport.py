"""HTTP to others: every call with limits and a deadline, answers sorted into our errors."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from fleet.errors import Invalid, Rejected, Unavailable

CONNECT_TIMEOUT_S = 3.0
BODY_MAX_BYTES = 16_000_000
DEADLINE_TIMEOUTS = 3
HTTP_ERRORS = (httpx.HTTPError,)  # what client libraries built on HTTPX raise (Prefect's); catch it to go on later


@dataclass(frozen=True)
class Answer:
    """What came back: any status below 500."""

    status: int
    body: bytes
    headers: dict[str, str]


class Transport:
    """One pool of connections to one base address."""

    def __init__(self, client: httpx.AsyncClient, *, deadline_s: float) -> None:
        """`client` carries base address, timeouts and limits; a call is over after `deadline_s`; see `open_transport`."""
        self._client = client
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
        """One request: JSON `content` or raw `body`.

        Raises:
            Unavailable: no answer, a broken one, 429 or 5xx: the outcome is unknown and the same may succeed later.
            Rejected: the answer is larger than 16 MB.
        """
        try:
            # The client's own timeouts are for each wait; one who sends a byte a second would hold the call for ever.
            async with (
                asyncio.timeout(self._deadline_s),
                self._client.stream(method, path, json=content, content=body, headers=headers) as response,
            ):
                received = await _bounded(response)
        except (httpx.RequestError, TimeoutError) as error:
            raise Unavailable(
                f"{method} {path} at {self._client.base_url} got no answer ({type(error).__name__}: {error}).",
                path=path,
            ) from error
        if response.status_code >= 500 or response.status_code == 429:
            raise Unavailable(
                f"{method} {path} answered {response.status_code}.", path=path, status=response.status_code
            )
        return Answer(response.status_code, received, dict(response.headers))


async def _bounded(response: httpx.Response) -> bytes:
    received = bytearray()
    async for chunk in response.aiter_bytes():
        received += chunk
        if len(received) > BODY_MAX_BYTES:
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
    async with httpx.AsyncClient(
        base_url=_address(base_url),
        headers=headers,
        timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        follow_redirects=False,
        trust_env=False,
    ) as client:
        yield Transport(client, deadline_s=DEADLINE_TIMEOUTS * timeout_s)


def _address(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise Invalid(f"{base_url!r} is no address: {error}.", url=base_url) from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise Invalid(f"{base_url!r} is no address; it must begin with http:// or https:// and a host.", url=base_url)
    return url


def probe(url: str, *, timeout_s: float = 2.0) -> int | None:
    """The status that a GET of `url` answers now, or None when nothing answers; for supervisors that wait for healthy."""
    try:
        return httpx.get(url, timeout=timeout_s, trust_env=False).status_code
    except httpx.TransportError:
        return None
