"""The only clock: the system's, and one that tests and simulations step by hand."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.sql.elements import SQLCoreOperations
from sqlalchemy.sql.functions import func
from sqlmodel import Session

ASKED = "asked_database_now"
AHEAD_S = 60.0  # hardly any claim or pause before another try is longer: what lies further ahead is of another clock


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


def database_now(session: Session) -> datetime:
    """The instant that leases are judged by: the steppable clock if the session has one, else the database server's.

    SQLite is on this machine, so its clock is the system's. A server is asked once a session, which lives for one
    transaction; from then on the time that has passed here is added.
    """
    clock = session.info.get("clock")
    if isinstance(clock, SteppableClock):
        return clock.now()
    if session.get_bind().dialect.name != "postgresql":
        return SystemClock().now()
    here = SystemClock().monotonic()
    if ASKED not in session.info:
        found = session.execute(select(func.clock_timestamp())).scalar_one()
        session.info[ASKED] = (found.astimezone(UTC), here)
    there, then = session.info[ASKED]
    return there + timedelta(seconds=here - then)  # type: ignore[no-any-return]


def has_come(column: SQLCoreOperations[Any], now: datetime, *, ahead_s: float = AHEAD_S) -> ColumnElement[bool]:
    """Whether the instant in `column` lies before `now` or is null (for claims, tries and questions, not for wishes).

    One more than `ahead_s` ahead has come, too: it was written before the machine's clock was set back, and whoever
    waits for it would wait until the clock gets there again. `ahead_s` is above the longest wait that is ever written.
    """
    return or_(column.is_(None), column <= now, column > now + timedelta(seconds=ahead_s))


def lies_ahead(at: datetime, now: datetime, *, ahead_s: float = AHEAD_S) -> bool:
    """Whether to wait for the instant `at`: the same rule as `has_come`, for a value."""
    return now < at <= now + timedelta(seconds=ahead_s)
