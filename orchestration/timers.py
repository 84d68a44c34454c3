"""The dispatcher's timers by APScheduler: a tick that makes it look even when no bell was heard, and an hourly chore."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from fleet.clock import SystemClock

TICK_S = 1.0
HOUR_S = 3600
FIRST_S = 60.0  # a process that is started anew every half hour gets to its chore, too

OPTIONS = {"coalesce": True, "misfire_grace_time": None, "max_instances": 1}


@contextmanager
def ticking(tick: Callable[[], None], *, every_s: float = TICK_S) -> Iterator[None]:
    """Call `tick` on the running event loop every `every_s` seconds until the block ends.

    Ticks that were missed while the loop was busy are one tick, however late (the default would drop them silently).
    """
    scheduler = AsyncIOScheduler(timezone=UTC)
    scheduler.add_job(_in_loop, "interval", args=[tick], seconds=every_s, id="tick", **OPTIONS)
    with _running(scheduler):
        yield


@contextmanager
def hourly(chore: Callable[[], Awaitable[None]], *, first_s: float = FIRST_S) -> Iterator[None]:
    """Run the coroutine function `chore` after `first_s` seconds and then every hour; the end of the block cancels it."""
    scheduler = AsyncIOScheduler(timezone=UTC)
    begins_at = SystemClock().now() + timedelta(seconds=first_s)
    scheduler.add_job(chore, "interval", seconds=HOUR_S, id="chore", next_run_time=begins_at, **OPTIONS)
    with _running(scheduler):
        yield


@contextmanager
def _running(scheduler: AsyncIOScheduler) -> Iterator[None]:
    scheduler.start()
    try:
        yield
    finally:
        scheduler.shutdown(wait=False)


async def _in_loop(tick: Callable[[], None]) -> None:
    # A coroutine runs on the loop itself; a plain function would run in a thread, where an asyncio.Event is not safe.
    tick()
