"""The only clock: the system's, one that is stepped by hand (fleet/timepieces), and the database server's."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.sql.elements import SQLCoreOperations
from sqlalchemy.sql.functions import func
from sqlmodel import Session

from fleet.timepieces import Clock as Clock  # given on: whoever has a database asks here
from fleet.timepieces import SteppableClock as SteppableClock
from fleet.timepieces import SystemClock as SystemClock

CLOCK, SERVER_CLOCK = "clock", "server_clock"  # in a session's info
ASK_EVERY_S = 1.0
SERVER_NOW = select(func.clock_timestamp())
AHEAD_S = 60.0  # hardly any claim or pause before another try is longer: what lies further ahead is of another clock


class ServerClock:
    """What the clock of a database server says, asked once in ASK_EVERY_S: from then on the time that passes here is added."""

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self._asked: tuple[datetime, float] | None = None

    def now(self, session: Session) -> datetime:
        """The instant on the server of this session; any thread may ask."""
        here = SystemClock().monotonic()
        asked = self._asked
        if asked is None or here - asked[1] > ASK_EVERY_S:
            found = session.connection().execute(SERVER_NOW).scalar_one()
            asked = self._asked = (found.astimezone(UTC), here)
        there, then = asked
        return there + timedelta(seconds=here - then)


def database_now(session: Session) -> datetime:
    """The instant that leases are judged by: the steppable clock if the session has one, else the database server's.

    SQLite is on this machine, so its clock is the system's. A server's is read through the `ServerClock` of the process.
    """
    info = session.info
    clock = info.get(CLOCK)
    if isinstance(clock, SteppableClock):
        return clock.now()
    if session.get_bind().dialect.name != "postgresql":
        return SystemClock().now()
    server_clock: ServerClock = info.get(SERVER_CLOCK) or info.setdefault(SERVER_CLOCK, ServerClock())
    return server_clock.now(session)


def has_come(column: SQLCoreOperations[Any], now: datetime, *, ahead_s: float = AHEAD_S) -> ColumnElement[bool]:
    """Whether the instant in `column` lies before `now` or is null (for claims, tries and questions, not for wishes).

    One more than `ahead_s` ahead has come, too: it was written before the machine's clock was set back, and whoever
    waits for it would wait until the clock gets there again. `ahead_s` is above the longest wait that is ever written.
    """
    return has_come_by(column, now, now + timedelta(seconds=ahead_s))


def has_come_by(column: SQLCoreOperations[Any], now: object, strange: object) -> ColumnElement[bool]:
    """`has_come` for statements that are made once: `strange` is what no instant that is waited for lies after."""
    return or_(column.is_(None), column <= now, column > strange)


def lies_ahead(at: datetime, now: datetime, *, ahead_s: float = AHEAD_S) -> bool:
    """Whether to wait for the instant `at`: the same rule as `has_come`, for a value."""
    return now < at <= now + timedelta(seconds=ahead_s)
