"""The inbox is drained in its own time: beside the dispatcher in one process, or apart from it in another."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog

from fleet.runtime import Runtime
from orchestration import intake
from orchestration.lanes import Lanes
from orchestration.loops import Pace, hear, on_signals, repeat
from orchestration.timers import ticking

log = structlog.get_logger(__name__)

INTAKE = UUID(int=0)
DELIVERIES_MAX = 8  # in one transaction: while it writes, nobody else does on SQLite
CROWD_MAX = 64  # as many when more and more wait: each lets dealing go before it, and must not fall behind for that
DRAIN_S = 0.04  # no report waits longer for others, with which it is applied for a fraction of the cost


async def _nobody() -> None:
    pass


class Postbox:
    """Drains the inbox in a lane of its own, so that its troubles delay no mission."""

    def __init__(
        self, runtime: Runtime, applied: Callable[[], None], let_pass: Callable[[], Awaitable[None]] = _nobody
    ) -> None:
        """`applied` is called whenever something that came in was applied: it may have freed a robot.

        `let_pass` is awaited before each transaction, for what is more urgent.
        """
        self._runtime, self._applied, self._let_pass = runtime, applied, let_pass
        self._pace = Pace(DRAIN_S)
        self._lanes = Lanes(lambda: None, width=1)
        self._has_post = False  # the inbox may have more

    def look(self) -> None:
        """Drain what is there, unless that is under way: then once more after it."""
        self._has_post = True
        self._lanes.start(INTAKE, self._drain)

    async def idle(self) -> None:
        """Wait until what is there is drained."""
        await self._lanes.idle()

    async def close(self) -> None:
        """End the draining."""
        await self._lanes.close()

    async def _drain(self) -> None:
        while self._has_post:
            await self._pace.keep()
            self._has_post = False
            limit = DELIVERIES_MAX
            while await self._drain_some(limit) >= limit:
                limit = min(2 * limit, CROWD_MAX)

    async def _drain_some(self, limit: int) -> int:
        await self._let_pass()
        count = await asyncio.to_thread(intake.drain, self._runtime, limit=limit)
        if count:
            self._has_post = True  # what did not fit, or came meanwhile
            self._applied()
        return count


async def run_apart(runtime: Runtime) -> None:
    """Drain the inbox until SIGTERM or SIGINT, for dispatchers that leave it; any number may run."""
    woken, ended = asyncio.Event(), asyncio.Event()
    postbox = Postbox(runtime, lambda: None)  # whoever waits for it hears the bell

    async def turn() -> None:
        postbox.look()
        await postbox.idle()

    with on_signals((ended.set, woken.set)), ticking(woken.set):
        ear = asyncio.create_task(hear(runtime, woken, ended))
        log.info("the inbox is drained apart")
        await repeat(turn, woken, ended)
        await postbox.close()
        await asyncio.gather(ear, return_exceptions=True)
    log.info("the inbox is drained no more")
