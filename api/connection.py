"""One connection: the head of a request (its first line and headers) is bounded in size and time, before any route sees it."""

import asyncio

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = structlog.get_logger(__name__)

HEAD_MAX_BYTES = 64_000
HEAD_SECONDS = 30.0


class BoundedConnection(HttpToolsProtocol):
    """Refuses a head above HEAD_MAX_BYTES with 400, and closes a connection whose head is not there in HEAD_SECONDS.

    The parser itself would keep headers without end in memory, and wait for them for ever.
    """

    _head_bytes = 0
    _is_head = True
    _is_head_over = False  # a head ended within the bytes that came last
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first head is awaited from now on."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; of a head, count it."""
        if self._is_head and self._patience is None:
            self._await_head()  # another request on a connection that was kept alive
        was_head, self._is_head_over = self._is_head, False
        super().data_received(data)
        if was_head and not self._is_head_over:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES and not self.transport.is_closing():
                self.send_400_response(f"The head of a request is larger than {HEAD_MAX_BYTES} bytes.")

    def on_headers_complete(self) -> None:
        """The head is there; what follows is a body, which api/edge bounds."""
        self._is_head, self._is_head_over, self._head_bytes = False, True, 0
        self._forget()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What follows is the next head."""
        self._is_head = True
        super().on_message_complete()

    def _await_head(self) -> None:
        self._patience = asyncio.get_running_loop().call_later(HEAD_SECONDS, self._give_up)

    def _forget(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        log.info("connection closed: no request came", seconds=HEAD_SECONDS)
        self.transport.close()
