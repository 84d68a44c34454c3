"""The inbox is drained in its own time: beside the dispatcher in one process, or apart from it in another."""

import asyncio
from collections.abc import Callable
from uuid import UUID

import structlog

from fleet.runtime import Runtime
from orchestration import intake
from orchestration.lanes import Lanes
from orchestration.loops import hear, on_signals, repeat
from orchestration.timers import ticking

log = structlog.get_logger(__name__)

INTAKE = UUID(int=0)
DELIVERIES_MAX = 5  # in one transaction: while it writes, nobody else does on SQLite


class Postbox:
    """Drains the inbox in a lane of its own, so that its troubles delay no mission."""

    def __init__(self, runtime: Runtime, applied: Callable[[], None]) -> None:
        """`applied` is called whenever something that came in was applied: it may have freed a robot."""
        self._runtime, self._applied = runtime, applied
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
            self._has_post = False
            while await asyncio.to_thread(intake.drain, self._runtime, limit=DELIVERIES_MAX):
                self._applied()


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
