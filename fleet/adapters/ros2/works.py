"""What goes on beside on a link, seen to its end: an error is told, and what must go on is begun again."""

import asyncio
from collections.abc import Callable, Coroutine

import structlog

AGAIN_FIRST_S, AGAIN_MAX_S = 0.5, 30.0

log = structlog.get_logger()


class Works:
    """What goes on beside, until it is closed."""

    def __init__(self) -> None:
        """Nothing goes on."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._again_s, self._failed_at = AGAIN_FIRST_S, 0.0
        self._is_stopped = False

    def begin(self, work: Coroutine[object, object, None], *, again: Callable[[], None] | None = None) -> None:
        """Let it go on beside; what it stumbles over is logged, and `again` is called a while later, at most 30 s."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, again))

    def _ended(self, task: asyncio.Task[None], again: Callable[[], None] | None) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.error("work on a link ended with an error", exc_info=error)
        if again is not None:
            asyncio.get_running_loop().call_later(self._rest_s(), self._begin_again, again)

    def _rest_s(self) -> float:
        now = asyncio.get_running_loop().time()
        is_soon = now - self._failed_at < 2 * AGAIN_MAX_S
        self._again_s = min(2 * self._again_s, AGAIN_MAX_S) if is_soon else AGAIN_FIRST_S
        self._failed_at = now
        return self._again_s

    def _begin_again(self, again: Callable[[], None]) -> None:
        if not self._is_stopped:
            again()

    def stop(self) -> None:
        """End all that goes on, without waiting for it."""
        self._is_stopped = True
        for task in list(self._tasks):
            task.cancel()

    async def close(self) -> None:
        """End all that goes on."""
        tasks = list(self._tasks)
        self.stop()
        await asyncio.gather(*tasks, return_exceptions=True)
