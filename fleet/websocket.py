"""WebSockets to others: dialled out with limits and a deadline, what can go wrong sorted into our errors."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI, WebSocketException

from fleet.errors import Invalid, Rejected, Unauthorized, Unavailable

OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0
REFUSED = frozenset({400, 401, 403, 404, 409})


class LineClosed(Unavailable):
    """The other side is gone; `code` is why it closed, as RFC 6455 and its protocol number it, 1006 when it did not say."""

    def __init__(self, message: str, close_code: int) -> None:
        """`message` carries the words of the other side, `close_code` its number."""
        super().__init__(message, close_code=close_code)
        self.close_code = close_code


class WebSocketLine:
    """An open line; one may say while another listens."""

    def __init__(self, connection: ClientConnection, url: str) -> None:
        """See `open_websocket`."""
        self._connection, self._url = connection, url

    async def say(self, text: str) -> None:
        """Send one text; waits while the other side is slow.

        Raises:
            LineClosed: the line is gone; the text may or may not have arrived.
        """
        try:
            await self._connection.send(text)
        except ConnectionClosed as error:
            raise _gone(self._url, error) from None

    async def hear(self) -> str | bytes:
        """The next message.

        Raises:
            LineClosed: the line is gone.
        """
        try:
            return await self._connection.recv()
        except ConnectionClosed as error:
            raise _gone(self._url, error) from None


def _gone(url: str, error: ConnectionClosed) -> LineClosed:
    said = error.rcvd
    words = f" ({said.reason})" if said is not None and said.reason else ""
    return LineClosed(f"{url} closed the line{words}.", 1006 if said is None else said.code)


@asynccontextmanager
async def open_websocket(
    url: str, *, headers: Mapping[str, str] | None = None, ca: Path | None = None, message_max_bytes: int = 16_000_000
) -> AsyncIterator[WebSocketLine]:
    """A line to `url` (ws:// or wss://); proxy settings are not read, a certificate is checked against `ca` or the system's.

    Raises:
        Invalid: `url` is none of a WebSocket, or `ca` cannot be read.
        Unauthorized: the other side knows no such credential.
        Rejected: it refuses for another reason; says which.
        Unavailable: nothing answers there, or not as a WebSocket.
    """
    context = _tls(url, ca)
    try:
        connection = await connect(
            url,
            additional_headers=dict(headers or {}),
            ssl=context,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=message_max_bytes,
            compression=None,
            ping_interval=None,
            proxy=None,
        )
    except InvalidStatus as error:
        raise _refusal(url, error) from None
    except ssl.SSLCertVerificationError as error:  # which is a ValueError, too
        raise Unavailable(f"The certificate of {url} is not valid: {error.verify_message}.", url=url) from None
    except (InvalidURI, ValueError) as error:
        raise Invalid(f"{url!r} is no address of a WebSocket: {error}.", url=url) from None
    except (OSError, TimeoutError, InvalidHandshake, WebSocketException) as error:
        raise Unavailable(f"{url} does not answer ({type(error).__name__}: {error}).", url=url) from None
    try:
        yield WebSocketLine(connection, url)
    finally:
        await connection.close()


def _tls(url: str, ca: Path | None) -> ssl.SSLContext | None:
    scheme, host = urlsplit(url).scheme, urlsplit(url).hostname
    if scheme not in {"ws", "wss"} or not host:
        raise Invalid(f"{url!r} is no address; it must begin with ws:// or wss:// and a host.", url=url)
    if scheme == "ws":
        return None
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except OSError as error:
        raise Invalid(f"The certificates in {ca} cannot be read: {error}.", ca=str(ca)) from None


def _refusal(url: str, error: InvalidStatus) -> Exception:
    status = error.response.status_code
    words = (error.response.body or b"")[:500].decode(errors="replace")
    if status in {401, 403}:
        return Unauthorized(f"{url} does not let us in ({status}): {words}", status=status)
    if status in REFUSED:
        return Rejected(f"{url} refused ({status}): {words}", status=status)
    return Unavailable(f"{url} answered {status}.", status=status)
