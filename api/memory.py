"""Answers that are looked up often and may be a few seconds old: tokens and accounts."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

from fleet.clock import Clock

Key = TypeVar("Key")
Value = TypeVar("Value")


class Remembered(Generic[Key, Value]):
    """A bounded memory whose answers are forgotten after `seconds`; what was not found is not remembered."""

    def __init__(self, clock: Clock, *, seconds: float, size: int = 1024) -> None:
        """`seconds` is how late a revocation may be noticed; the oldest of more than `size` answers goes."""
        self._clock = clock
        self._seconds = seconds
        self._size = size
        self._kept: OrderedDict[Key, tuple[float, Value]] = OrderedDict()
        self._lock = Lock()
        self._under_way: dict[Key, tuple[float, asyncio.Task[Value | None]]] = {}

    def get(self, key: Key) -> Value | None:
        """The answer, if it is remembered and not too old; never waits for I/O."""
        with self._lock:
            kept = self._kept.get(key)
        if kept is None or self._clock.monotonic() - kept[0] >= self._seconds:
            return None
        return kept[1]

    def recall(self, key: Key, look_up: Callable[[], Value | None]) -> Value | None:
        """The remembered answer, or what `look_up` finds now."""
        known = self.get(key)
        if known is not None:
            return known
        asked_at = self._clock.monotonic()  # before the look-up, so that its duration makes no answer older
        found = look_up()
        with self._lock:
            self._kept.pop(key, None)
            if found is not None:
                self._kept[key] = (asked_at, found)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return found

    async def fetch(self, key: Key, look_up: Callable[[], Value | None]) -> Value | None:
        """The remembered answer, or what `look_up` finds now in a thread; who asks meanwhile waits for that one."""
        known = self.get(key)
        if known is not None:
            return known
        now = self._clock.monotonic()
        began, finding = self._under_way.get(key, (now, None))
        if finding is None or now - began >= self._seconds:
            finding = asyncio.create_task(asyncio.to_thread(self.recall, key, look_up))
            self._under_way[key] = (now, finding)
            finding.add_done_callback(lambda done: self._found(key, done))
        return await asyncio.shield(finding)  # one who gives up must not take the answer from the others

    def _found(self, key: Key, done: "asyncio.Task[Value | None]") -> None:
        if self._under_way.get(key, (0.0, None))[1] is done:
            del self._under_way[key]
        if not done.cancelled():
            done.exception()  # it is told to those who wait, if any still do
