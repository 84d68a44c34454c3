"""The dispatcher's safety net: an APScheduler tick that makes it look even when no bell was heard."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC

from apscheduler.schedulers.asyncio import AsyncIOScheduler

TICK_S = 1.0


@contextmanager
def ticking(tick: Callable[[], None], *, every_s: float = TICK_S) -> Iterator[None]:
    """Call `tick` on the running event loop every `every_s` seconds until the block ends.

    Ticks that were missed while the loop was busy are one tick, however late (the default would drop them silently).
    """
    scheduler = AsyncIOScheduler(timezone=UTC)
    options = {"coalesce": True, "misfire_grace_time": None, "max_instances": 1}
    scheduler.add_job(_in_loop, "interval", args=[tick], seconds=every_s, id="tick", **options)
    scheduler.start()
    try:
        yield
    finally:
        scheduler.shutdown(wait=False)


async def _in_loop(tick: Callable[[], None]) -> None:
    # A coroutine runs on the loop itself; a plain function would run in a thread, where an asyncio.Event is not safe.
    tick()
