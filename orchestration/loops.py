"""Loops of a process that is woken: by the doorbell, by a tick, and for its end by a signal."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager

import structlog

from fleet.doorbell import Listener
from fleet.runtime import Runtime

log = structlog.get_logger(__name__)

AGAIN_S = 1.0  # until a doorbell that could not be heard is opened again
BELL_S = 0.5  # how long the ear listens in one go, which bounds how long it delays the end of the process


class Pace:
    """Lets something begin at once after a rest, and otherwise so long after it began last: meanwhile more gathers."""

    def __init__(self, every_s: float) -> None:
        """`every_s` is between two beginnings, at least."""
        self._every_s = every_s
        self._next = 0.0

    @property
    def left_s(self) -> float:
        """How long until it may begin again; negative when it could have begun."""
        return self._next - asyncio.get_running_loop().time()

    def hasten(self, within_s: float) -> None:
        """Let it begin again in `within_s` at the latest: nothing came of it."""
        self._next = min(self._next, asyncio.get_running_loop().time() + within_s)

    async def keep(self) -> None:
        """Wait until it may begin."""
        loop = asyncio.get_running_loop()
        if self._next > loop.time():
            await asyncio.sleep(self._next - loop.time())
        self._next = loop.time() + self._every_s


async def repeat(work: Callable[[], Coroutine[None, None, None]], woken: asyncio.Event, ended: asyncio.Event) -> None:
    """Do `work` now and whenever `woken` is set, until `ended` is; one that fails is tried again when next woken."""
    while not ended.is_set():
        woken.clear()
        try:
            await work()
        except Exception:
            log.exception("a turn failed; the next one tries again")
        await woken.wait()


async def hear(runtime: Runtime, woken: asyncio.Event, ended: asyncio.Event) -> None:
    """Set `woken` whenever another process rings, until `ended` is set."""
    while not ended.is_set():
        (error,) = await asyncio.gather(_listen(runtime, woken, ended), return_exceptions=True)
        if not ended.is_set():
            log.warning("the doorbell is opened again", error=str(error))
            await asyncio.sleep(AGAIN_S)


async def _listen(runtime: Runtime, woken: asyncio.Event, ended: asyncio.Event) -> None:
    # What this process writes itself it knows of: a ring of its own would only cost another turn.
    with await asyncio.to_thread(runtime.doorbell.listen, own=False) as listener:
        while not ended.is_set():
            if await asyncio.to_thread(_rung, listener):
                woken.set()


def _rung(listener: Listener) -> bool:
    return listener.wait(BELL_S)


@contextmanager
def on_signals(ends: Sequence[Callable[[], None]]) -> Iterator[None]:
    """Call all of `ends` when SIGTERM or SIGINT comes within the block; on the main thread's running loop."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for end in ends:
            end()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
