"""The connections to a rosbridge: one that listens and is made again when it is lost, and more for whoever asks."""

import asyncio
import itertools
import random
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, WebSocketException

from fleet.adapters.ros2 import rosbridge_frames as frames
from fleet.adapters.ros2.link import Fields, Seen
from fleet.adapters.ros2.options import Options
from fleet.adapters.ros2.rosbridge_graph import ask_graph, exposed
from fleet.errors import Invalid
from fleet.push import PushAccount
from fleet.timepieces import Clock

CONNECT_S = 5.0
GRAPH_S = 3.0
BACKOFF_S = (0.5, 5.0)
FRAME_MAX = 16_000_000
LOST = (OSError, TimeoutError, WebSocketException, InvalidHandshake)

log = structlog.get_logger()


@dataclass(eq=False)
class Listening:
    """A subscription, also over reconnects."""

    line: "Line"
    name: str
    topic: str
    type: str
    every_ms: int
    heard: Callable[[Fields], None]

    def close(self) -> None:
        """End it."""
        self.line.forget(self)


class Line:
    """All connections to one bridge."""

    def __init__(self, account: PushAccount, options: Options, clock: Clock, lost: Callable[[], None]) -> None:
        """`lost` is called when the listening connection is gone."""
        self._clock = clock
        self.connection = 0  # counts those that listened
        self._account, self._options, self._lost = account, options, lost
        self._tls = _tls(account.url, options.ca)
        self._socket: ClientConnection | None = None
        self._why = "it was not reached yet"
        self._seen: tuple[Seen, ...] = ()
        self._changes = asyncio.Event()
        self._numbers = itertools.count(1)
        self._listens: list[Listening] = []
        self._works: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    async def run(self) -> None:
        """Keep the connection, until cancelled; whatever ends it, it is made again."""
        wait_s = BACKOFF_S[0]
        while True:
            began = self._clock.monotonic()
            (error,) = await asyncio.gather(self._once(), return_exceptions=True)
            self._why = "it closed the connection" if error is None else reason_of(error)
            if error is not None and not isinstance(error, LOST):
                log.error("a rosbridge connection failed; it is made again", account=self._account.name, exc_info=error)
            self._lose()
            if self._clock.monotonic() - began > BACKOFF_S[1]:
                wait_s = BACKOFF_S[0]
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(wait_s * 2, BACKOFF_S[1])

    def ended(self, running: "asyncio.Task[None]") -> None:
        """It is not kept any more; unless it was cancelled, whoever waits for changes is told why."""
        if not running.cancelled():
            self._failure = running.exception()
            self._changes.set()

    async def _once(self) -> None:
        async with self.connect() as socket:
            self._socket, self._why = socket, ""
            self.connection += 1
            log.info("rosbridge connected", account=self._account.name)
            works = [asyncio.create_task(self._watch_graph()), asyncio.create_task(self._follow(socket))]
            try:
                done, _ = await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
                for work in done:
                    work.result()
            finally:
                for work in works:
                    work.cancel()
                await asyncio.gather(*works, return_exceptions=True)

    async def _follow(self, socket: ClientConnection) -> None:
        for listening in self._listens:
            await socket.send(self._subscribing(listening))
        async for text in socket:
            frame = frames.parsed(text)
            if frame is not None and frame.get("op") == "publish":
                self._publish(str(frame.get("topic")), frame.get("msg"))

    def _publish(self, topic: str, message: object) -> None:
        if isinstance(message, dict):
            for listening in [one for one in self._listens if one.topic == topic]:
                listening.heard(message)

    def _lose(self) -> None:
        if self._socket is not None:
            log.warning("rosbridge lost", account=self._account.name, why=self._why)
        self._socket = None
        self._see(())
        self._lost()

    async def _watch_graph(self) -> None:
        while True:
            try:
                async with self.connect() as socket:
                    while True:
                        self._see(await ask_graph(socket, self._options))
                        await asyncio.sleep(GRAPH_S)
            except LOST as error:
                if self._options.exposes:
                    self._see(exposed(self._options))
                log.warning("rosapi does not answer", account=self._account.name, why=reason_of(error))
                await asyncio.sleep(GRAPH_S)

    def _see(self, seen: Sequence[Seen]) -> None:
        if tuple(seen) != self._seen:
            self._seen = tuple(seen)
            self._changes.set()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[ClientConnection]:
        """A new connection, for one purpose."""
        headers = {"Authorization": f"Bearer {self._account.credential}"} if self._account.credential else {}
        async with connect(
            self._account.url,
            ssl=self._tls,
            additional_headers=headers,
            open_timeout=CONNECT_S,
            ping_interval=10.0,
            ping_timeout=10.0,
            close_timeout=1.0,
            max_size=FRAME_MAX,
            max_queue=64,
            proxy=None,
        ) as socket:
            yield socket

    def trouble(self) -> str:
        """Why the bridge is away; empty when it is there."""
        return "" if self._socket is not None else f"the rosbridge at {self._account.url} is away: {self._why}"

    @property
    def seen(self) -> Sequence[Seen]:
        """What the bridge's graph shows."""
        return self._seen

    async def changed(self) -> None:
        """Return when `seen` is different from when it was last called.

        Raises:
            BaseException: what ended `run`; the link is to be opened anew.
        """
        await self._changes.wait()
        self._changes.clear()
        if self._failure is not None:
            raise self._failure

    def number(self) -> int:
        """One that was not given before."""
        return next(self._numbers)

    def subscribe(self, topic: str, type: str, every_ms: int, heard: Callable[[Fields], None]) -> Listening:
        """Listen to a topic, now and after every reconnect."""
        listening = Listening(self, f"sub:{next(self._numbers)}", topic, type, every_ms, heard)
        self._listens.append(listening)
        self.send(self._subscribing(listening))
        return listening

    def _subscribing(self, listening: Listening) -> str:
        return frames.subscribe(listening.name, listening.topic, listening.type, every_ms=listening.every_ms)

    def forget(self, listening: Listening) -> None:
        """End a subscription."""
        if listening in self._listens:
            self._listens.remove(listening)
            self.send(frames.unsubscribe(listening.name, listening.topic))

    def send(self, frame: str) -> None:
        """Send on the listening connection, if there is one."""
        if self._socket is not None:
            self.begin(_sent(self._socket, frame))

    def begin(self, work: Coroutine[object, object, None]) -> None:
        """Let it go on until the line is closed."""
        task = asyncio.create_task(work)
        self._works.add(task)
        task.add_done_callback(self._over)

    def _over(self, work: "asyncio.Task[None]") -> None:
        self._works.discard(work)
        if not work.cancelled() and (error := work.exception()) is not None:
            log.error("a rosbridge connection for one purpose failed", account=self._account.name, exc_info=error)

    async def close(self) -> None:
        """Close every connection."""
        works = list(self._works)
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)


async def _sent(socket: ClientConnection, frame: str) -> None:
    with suppress(*LOST):
        await socket.send(frame)


def _tls(url: str, ca: str) -> ssl.SSLContext | None:
    if urlsplit(url).scheme != "wss":
        return None
    try:
        return ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        raise Invalid(f"The certificate authority in {ca} cannot be read: {error}.") from None


def reason_of(error: BaseException) -> str:
    """Why a connection failed, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return str(error) or type(error).__name__
