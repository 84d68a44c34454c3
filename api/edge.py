"""What every request passes first and last: a bound on its body, the security headers, one line in the log."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import SECURITY_HEADERS, problem
from fleet.clock import Clock

log = structlog.get_logger(__name__)

# How long a body may take to arrive; the parts of an upload have longer.
BODY_SECONDS = 30.0
PATH_MAX_CHARACTERS = 200
QUIET_PATHS = frozenset({"/healthz", "/readyz"})


class BodyLimit:
    """Refuses a body larger than its path allows with 413, and one that takes too long with 408.

    A length that is declared too large is refused before a byte of it is read; one that is not declared, or lies, is
    refused at the first byte too many. Either way the connection is closed, so that the rest is never read.
    """

    def __init__(self, app: ASGIApp, *, limit_of: Callable[[str], tuple[int, float]]) -> None:
        """`limit_of` gives bytes and seconds for a path."""
        self._app = app
        self._limit_of = limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, its body counted."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        bytes_max, seconds_max = self._limit_of(scope["path"])
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or int(declared) > bytes_max:
            response = problem(scope["path"], 413, _too_large(bytes_max), code="too_large", headers=_CLOSE)
            return await response(scope, receive, send)
        if declared == "0" and "transfer-encoding" not in headers:
            return await self._app(scope, receive, send)
        body = _Body(receive, bytes_max, seconds_max)
        return await self._app(scope, body.receive, body.closing(send))


_CLOSE = {"Connection": "close"}


def _too_large(bytes_max: int) -> str:
    return f"The body is larger than {bytes_max} bytes; send less at once."


class _Body:
    """A request's body on its way in, counted and timed."""

    def __init__(self, receive: Receive, bytes_max: int, seconds_max: float) -> None:
        self._receive = receive
        self._bytes_max = bytes_max
        self._seconds_max = seconds_max
        self._deadline = asyncio.get_running_loop().time() + seconds_max
        self._received = 0
        self._is_complete = False

    async def receive(self) -> Message:
        if self._is_complete:
            return await self._receive()  # only a disconnect can follow, for which there is no deadline
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            said = f"The body did not arrive within {self._seconds_max:.0f} seconds."
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, said, headers=_CLOSE) from None
        self._received += len(message.get("body", b""))
        self._is_complete = not message.get("more_body", False)
        if self._received > self._bytes_max:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(self._bytes_max), headers=_CLOSE)
        return message

    def closing(self, send: Send) -> Send:
        """`send`, which closes the connection when it answers before the body was read: the rest is never read."""

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and not self._is_complete:
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        return closing


_SECURITY = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]


class Edge:
    """Adds the security headers that a response does not set itself, and logs each request once it is answered.

    Health checks and taken webhooks, of which there are thousands, are logged for debugging only.
    """

    def __init__(self, app: ASGIApp, *, clock: Clock) -> None:
        """`clock` measures how long an answer took."""
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began, status = self._clock.monotonic(), 500  # what is answered when nothing below answered

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"] = list(message["headers"])
                own = {name for name, _ in headers}
                headers += [header for header in _SECURITY if header[0] not in own]
            await send(message)

        try:
            return await self._app(scope, receive, guarded)
        finally:
            self._log(scope, status, self._clock.monotonic() - began)

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        path = scope["path"][:PATH_MAX_CHARACTERS]
        is_routine = path in QUIET_PATHS or (path.startswith("/v1/webhooks/") and status < 300)
        write = log.debug if is_routine else log.info
        write("request", method=scope["method"], path=path, status=status, ms=round(seconds * 1000, 1))
