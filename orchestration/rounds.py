"""Rounds of what is urgent; what is not begins right after one, when there is most time until the next."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestration.loops import Pace

NEEDS_S = 0.01  # what begins between two rounds is at it for about so long
SOON_S = 0.005  # a round that has not begun so long after it could is not waited for
SENDING_S = 0.002  # what a round has begun goes before what begins after it


class Rounds:
    """One round at a time, begun at once after a rest and otherwise so long after the one before began."""

    def __init__(self, every_s: float, *, longest_s: float) -> None:
        """`every_s` is between two beginnings, at least; what begins between rounds waits for `longest_s`, at most."""
        self._pace = Pace(every_s)
        self._longest_s = longest_s
        self._is_on = False
        self._ended: asyncio.Future[None] | None = (
            None  # of the round that is on or comes next, if somebody waits for it
        )

    @asynccontextmanager
    async def round(self) -> AsyncIterator[None]:
        """A round: what is in the block, when it is time for it."""
        self._is_on = True
        try:
            await self._pace.keep()
            yield
        finally:
            self._is_on = False
            if self._ended is not None:
                self._ended.set_result(None)
                self._ended = None

    def hasten(self, within_s: float) -> None:
        """Let the next begin in `within_s` at the latest: there was nothing to do in this one."""
        self._pace.hasten(within_s)

    async def between(self) -> None:
        """Wait until a round has just ended, unless none is on and none is to be expected."""
        left_s = self._pace.left_s
        if not self._is_on and (left_s > NEEDS_S or left_s < -SOON_S):
            return
        if not self._is_on and await self._end(left_s + SOON_S):
            return
        if self._is_on:
            await self._end(self._longest_s)

    async def _end(self, within_s: float) -> bool:
        ended = self._ended = self._ended or asyncio.get_running_loop().create_future()
        await asyncio.wait([ended], timeout=within_s)
        if ended.done():
            await asyncio.sleep(SENDING_S)
        return ended.done()
