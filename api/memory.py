"""Answers that are looked up often and may be a few seconds old: tokens and accounts."""

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
