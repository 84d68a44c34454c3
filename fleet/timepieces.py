"""Where instants and durations come from: the system's clock, and one that tests and simulations step by hand.

Apart from fleet/clock, which knows the database's time too: a gateway has no database, and does not load one.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Where instants and durations come from."""

    def now(self) -> datetime:
        """The instant, aware UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never step back, for durations."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The instant, aware UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never step back, for durations."""
        return time.monotonic()


class SteppableClock:
    """A clock that stands still until it is stepped; ships with the product for simulation and tests."""

    def __init__(self, start: datetime) -> None:
        """`start` is aware."""
        self._now = start.astimezone(UTC)
        self._monotonic = 0.0

    def now(self) -> datetime:
        """The instant, aware UTC."""
        return self._now

    def monotonic(self) -> float:
        """Seconds stepped so far."""
        return self._monotonic

    def step(self, seconds: float) -> None:
        """Move both times on by `seconds` (the wall clock may also be stepped back by a negative value)."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += max(seconds, 0.0)
