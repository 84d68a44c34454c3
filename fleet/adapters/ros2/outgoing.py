"""What waits to be told by a link: everything in its order, but of each robot's observations only the newest."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from fleet.adapter import Observation
from fleet.push import Exposure, Heard, Told

WAITING_MAX = 10_000  # with nobody to take them; the oldest go first, and are counted


class Outgoing:
    """Filled and emptied on one event loop; one reader."""

    def __init__(self) -> None:
        """Nothing waits."""
        self.conflated = 0
        self._newest: dict[str, Observation] = {}
        self._others: deque[Told] = deque(maxlen=WAITING_MAX)
        self._filled = asyncio.Event()
        self._failure: BaseException | None = None

    def put(self, told: Told) -> None:
        """Let it be told; a newer observation, exposure or hearing of a robot takes the place of one that still waits."""
        if isinstance(told, Observation):
            self.conflated += told.serial_number in self._newest
            self._newest[told.serial_number] = told
        else:
            if isinstance(told, Exposure | Heard):
                self._forget(told)
            self._others.append(told)
        self._filled.set()

    def _forget(self, told: Exposure | Heard) -> None:
        for waiting in self._others:
            if type(waiting) is type(told) and waiting.serial_number == told.serial_number:
                self._others.remove(waiting)
                return

    def fail(self, error: BaseException) -> None:
        """Nothing will be told any more: whoever reads is told why, after what still waits."""
        self._failure = error
        self._filled.set()

    async def stream(self) -> AsyncIterator[Told]:
        """Each as it comes.

        Raises:
            BaseException: what `fail` was given.
        """
        while True:
            await self._filled.wait()
            while self._others:
                yield self._others.popleft()
            while self._newest:
                yield self._newest.pop(next(iter(self._newest)))
            if not self._others and not self._newest:
                if self._failure is not None:
                    raise self._failure
                self._filled.clear()
