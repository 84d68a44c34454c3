"""One thing after the other for each robot, each to its end, even when nobody waits for it any more."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

Outcome = TypeVar("Outcome")


class Turns:
    """What is under way for each robot.

    Who asks gives up after some seconds. An order that was being written down then is still begun, and whoever asks
    about it next waits for that: otherwise it would be told that the order never came, and the order would come later.
    """

    def __init__(self) -> None:
        """Nothing is under way."""
        self._locks: dict[str, asyncio.Lock] = {}

    async def take(self, robot: str, work: Awaitable[Outcome]) -> Outcome:
        """Do this once what came before for the robot is over; it goes on when the caller is cancelled."""
        return await asyncio.shield(self._in_turn(robot, work))

    async def _in_turn(self, robot: str, work: Awaitable[Outcome]) -> Outcome:
        async with self._locks.setdefault(robot, asyncio.Lock()):
            return await work
