"""The one thread that waits for all readers of a participant and hands what came to the event loop, in batches."""

import asyncio
import ctypes
import heapq
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from cyclonedds.core import (
    DDSException,
    Entity,
    GuardCondition,
    InstanceState,
    ReadCondition,
    SampleState,
    ViewState,
    WaitSet,
)
from cyclonedds.domain import DomainParticipant
from cyclonedds.sub import DataReader

from fleet.timepieces import Clock

ANYTHING = SampleState.Any | ViewState.Any | InstanceState.Any
AT_ONCE = 64  # readers looked at after one wait; the others keep the wait from blocking
IDLE_NS = 3600 * 10**9
WAITING_MAX = (
    2048  # samples of one reader that the event loop has not come to yet; more are left to Cyclone, which keeps so many
)
SLOW_S = 0.05
CLOSING = 0  # the number of the guard condition

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Source:
    """A reader and what becomes of its samples; `heard` is called on the event loop with the samples and how many were left out."""

    reader: DataReader[Any]
    take: Callable[[], Sequence[Any]]
    heard: Callable[[list[Any], int], None]
    min_interval_s: float = 0.0
    is_conflated: bool = False  # only the newest is of interest
    number: int = -1
    condition: ReadCondition | None = None


@dataclass
class _Pending:
    samples: list[Any] = field(default_factory=list)
    missed: int = 0


class Taker:
    """Waits, takes, hands over. A source with an interval is not looked at again before it has passed, so that a flood costs nothing."""

    def __init__(
        self,
        participant: DomainParticipant,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        failed: Callable[[], None],
    ) -> None:
        """The thread starts at once; `failed` is called on the loop if it ends before `close`: nothing is heard from then on."""
        self._clock, self._loop, self._failed = clock, loop, failed
        self._lock = threading.Lock()
        self._sources: dict[int, Source] = {}
        self._numbers = CLOSING
        self._pending: dict[Source, _Pending] = {}
        self._due: list[tuple[float, int]] = []
        self._is_closing = False
        self._waitset = WaitSet(participant)
        self._guard = GuardCondition(participant)
        self._attach(self._guard, CLOSING)
        self._thread = threading.Thread(target=self._run, name="ros2-dds", daemon=True)
        self._thread.start()

    def add(self, source: Source) -> None:
        """From now on its samples are taken."""
        with self._lock:
            self._numbers += 1
            source.number = self._numbers
            source.condition = ReadCondition(source.reader, ANYTHING)
            self._sources[source.number] = source
        code = self._attach(source.condition, source.number)
        if code < 0:
            raise DDSException(code, "while a reader was attached to the wait set")

    def remove(self, source: Source) -> None:
        """No more of it; may be called again."""
        with self._lock:
            self._pending.pop(source, None)
            if self._sources.pop(source.number, None) is None or source.condition is None:
                return
        self._waitset._waitset_detach(self._waitset._ref, source.condition._ref)
        source.condition = None

    def close(self) -> None:
        """End the thread and wait for it."""
        self._is_closing = True
        self._guard.set(True)
        self._thread.join()
        with self._lock:
            self._sources.clear()
            self._pending.clear()

    def _attach(self, condition: Entity, number: int) -> int:
        return int(self._waitset._waitset_attach(self._waitset._ref, condition._ref, number))

    def _run(self) -> None:
        try:
            self._wait_and_take()
        finally:
            if not self._is_closing:
                with suppress(RuntimeError):  # the loop has ended before us
                    self._loop.call_soon_threadsafe(self._failed)

    def _wait_and_take(self) -> None:
        triggered = (ctypes.c_void_p * AT_ONCE)()
        while not self._is_closing:
            count = self._waitset._waitset_wait(self._waitset._ref, triggered, AT_ONCE, self._wait_ns())
            if count < 0:
                log.error("ros2.taker_failed", code=count)
                return
            for index in range(min(count, AT_ONCE)):
                self._take(triggered[index] or CLOSING)
            self._resume()
            self._hand_over()

    def _wait_ns(self) -> int:
        if not self._due:
            return IDLE_NS
        return max(0, int((self._due[0][0] - self._clock.monotonic()) * 1e9))

    def _take(self, number: int) -> None:
        with self._lock:
            source = self._sources.get(number)
            condition = source.condition if source else None
        if source is None or condition is None:
            return
        with self._lock:
            waiting = self._pending.get(source)
            is_slow = waiting is not None and len(waiting.samples) >= WAITING_MAX
        samples = [] if is_slow else source.take()
        with self._lock:
            if samples and number in self._sources:
                pending = self._pending.setdefault(source, _Pending())
                pending.samples.extend(samples)
                if source.is_conflated and len(pending.samples) > 1:
                    pending.missed += len(pending.samples) - 1
                    del pending.samples[:-1]
        rest_s = max(source.min_interval_s, SLOW_S if is_slow else 0.0)
        if rest_s:
            self._waitset._waitset_detach(self._waitset._ref, condition._ref)
            heapq.heappush(self._due, (self._clock.monotonic() + rest_s, number))

    def _resume(self) -> None:
        """Look again at the sources whose interval has passed."""
        while self._due and self._due[0][0] <= self._clock.monotonic():
            _, number = heapq.heappop(self._due)
            with self._lock:
                source = self._sources.get(number)
                if source is not None and source.condition is not None:
                    self._attach(source.condition, number)

    def _hand_over(self) -> None:
        with self._lock:
            is_needed = bool(self._pending)
        if is_needed and not self._is_closing:
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop has ended before us: nobody is left to tell
                self._is_closing = True

    def _deliver(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, {}
        for source, held in pending.items():
            if source.number in self._sources:
                self._loop.call_soon(source.heard, held.samples, held.missed)
