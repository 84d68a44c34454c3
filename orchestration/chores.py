"""What a dispatcher does now and then, whether or not anything happened: each chore by itself, so that none stops another."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select

from fleet import ledger, states
from fleet.accounts import ManufacturerAccount
from fleet.adapters import push_manufacturers
from fleet.clock import database_now, has_come
from fleet.errors import YardmasterError
from fleet.runtime import Runtime
from missions import alerts, recovery
from missions.models import Desired, Mission, MissionStatus
from missions.schedules import firing
from orchestration.lanes import Room

log = structlog.get_logger(__name__)

WHO = "system:dispatcher"
CHORES_S = 1.0  # how late a schedule fires, or a mission expires, at most
OFFLINE_S = 150.0  # two and a half polling cycles; a mission is given to no robot that was silent for longer than 30 s
LOOK_S = 5.0  # how often live missions are looked at for what a person must be told
ASK_S = 0.5  # how often quiet robots are looked for
WATCH_S = 10.0  # while missions wait, robots are looked at at least this often, whoever else polls

# What a schedule, an alert or a rule that nobody foresaw can raise; anything else ends the turn, and the next begins anew.
BROKEN = (
    YardmasterError,
    SQLAlchemyError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
)


class Chores:
    """The chores of one dispatcher, and when each was done last."""

    def __init__(self, runtime: Runtime) -> None:
        """Nothing was done yet."""
        self._runtime = runtime
        self._done_at: dict[str, float] = {}
        self._began_at: datetime | None = None
        self._asks_on = False

    def do(self) -> bool:
        """Fire schedules, expire, time out and look for whom to alert, where it is time for that; True when it was."""
        if not self._is_time("chores", CHORES_S):
            return False
        self._safely("fire schedules", partial(firing.fire_due, self._runtime.transaction, who=WHO))
        self._safely("end what is late", self._end_late)
        if self._is_time("alerts", LOOK_S):
            self._safely("follow alerts", partial(self._write, alerts.follow))
            self._safely("tell of robots", self._tell_of_robots)
        return True

    def is_to_ask(self, room: Room) -> bool:
        """Whether it is time for questions and there may be any; nothing waits for it, as it only reads."""
        if not (self._is_time("questions", ASK_S) or self._asks_on):
            return False
        with self._runtime.reading() as session:
            self._began_at = self._began_at or database_now(session)
            self._asks_on = recovery.is_any_to_ask(
                session, busy=room.busy, crowded=room.crowded, unheard_since=self._began_at
            )
        return self._asks_on

    def questions(self, room: Room) -> list[recovery.Question]:
        """Live attempts to ask about now; first of all, those that nobody has asked about since this process began."""
        with self._runtime.transaction() as session:
            found = recovery.questions(
                session,
                busy=room.busy,
                crowded=room.crowded,
                limit=room.free,
                unheard_since=self._began_at,
                has_room=room.take,
            )
        self._asks_on = bool(found)
        return found

    def unwatched(self) -> list[ManufacturerAccount]:
        """Accounts of organisations whose missions wait, and which nobody has polled for WATCH_S."""
        waiting = select(Mission.organisation_id).where(
            Mission.status == MissionStatus.scheduled, Mission.desired == Desired.run
        )
        with self._runtime.reading() as session:
            since = database_now(session) - timedelta(seconds=WATCH_S)
            stale = has_come(col(ManufacturerAccount.polled_at), since)
            ours = col(ManufacturerAccount.organisation_id).in_(waiting)
            is_polled = col(ManufacturerAccount.manufacturer).not_in(push_manufacturers())
            return list(session.exec(select(ManufacturerAccount).where(ours, stale, is_polled)).all())

    def _is_time(self, chore: str, every_s: float) -> bool:
        now = self._runtime.clock.monotonic()
        if now - self._done_at.get(chore, -every_s) < every_s:
            return False
        self._done_at[chore] = now
        return True

    def _safely(self, what: str, chore: Callable[[], object]) -> None:
        try:
            chore()
        except BROKEN:
            log.exception("a chore failed; the next turn tries again", chore=what)

    def _end_late(self) -> None:
        with self._runtime.reading() as session:  # hardly ever is anything late, and on SQLite one writes at a time
            if not recovery.is_any_late(session):
                return
        self._safely("expire missions", partial(self._write, partial(recovery.expire, who=WHO)))
        self._safely("time out tasks", partial(self._write, partial(recovery.time_out, who=WHO)))

    def _tell_of_robots(self) -> None:
        told = states.TOLD_MAX
        while told == states.TOLD_MAX:  # short transactions, so that whoever waits to write comes in between
            with self._runtime.transaction() as session, ledger.together(session):
                told = states.tell_changes(session, silence_s=OFFLINE_S)

    def _write(self, work: Callable[[Session], object]) -> None:
        with self._runtime.transaction() as session:
            work(session)
