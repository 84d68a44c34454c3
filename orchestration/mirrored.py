"""A mirrored run: the flow run in Prefect that shows one occurrence of a schedule, and how the two name each other.

The run carries in its parameters what it shows, so nothing about it is kept in our database.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, BaseModel, ValidationError
from sqlalchemy import func
from sqlmodel import Session, col, select

from fleet.changes import Change
from fleet.clock import database_now
from fleet.errors import Conflict, NotFound
from missions.schedules.models import OPEN, Occurrence, OccurrenceStatus, Schedule, ScheduleStatus
from missions.schedules.overrides import cancel_occurrence, move_occurrence
from missions.schedules.recurrence import iso
from missions.schedules.rows import recurrence_of, revision_of
from missions.schedules.upcoming import upcoming

NAME = "scheduled-round"
WHO = f"prefect:{NAME}"
PER_SCHEDULE = 5
IN_ALL = 200
NEWS = ("schedule", "occurrence", "blackout")
SOON = timedelta(seconds=1)  # an occurrence is moved to a later instant, never to this one


class Shown(BaseModel):
    """What a mirrored run shows, as its parameters say: one occurrence, and when we took it to be due."""

    schedule: UUID
    revision: int
    recurrence_id: AwareDatetime
    due_at: AwareDatetime
    name: str
    organisation: str

    @property
    def key(self) -> str:
        """Names the occurrence: idempotency key of its run, and key of its round."""
        return f"{self.schedule}/{self.revision}/{iso(self.recurrence_id)}"


class Wanted(NamedTuple):
    """A run that there should be, and what it is called on Prefect's pages."""

    shown: Shown
    run_name: str
    site: str


def shown_by(parameters: Mapping[str, object]) -> Shown | None:
    """What the run with these parameters shows; None when it is no mirrored run."""
    try:
        return Shown.model_validate(parameters)
    except ValidationError:
        return None


def wanted(session: Session) -> dict[str, Wanted]:
    """The runs that there should be, by key, the next one first: 5 per schedule, 200 in all."""
    found: dict[str, Wanted] = {}
    for one in upcoming(session, per_schedule=PER_SCHEDULE, limit=IN_ALL):
        shown = Shown(
            schedule=one.schedule_id,
            revision=one.revision,
            recurrence_id=one.recurrence_id,
            due_at=one.due_at,
            name=one.schedule,
            organisation=one.organisation,
        )
        zone = recurrence_of(revision_of(session, one.schedule_id, one.revision)).timezone
        found[shown.key] = Wanted(shown, run_name(shown, zone), one.site)
    return found


def has_news(session: Session, since: int) -> tuple[int, bool]:
    """The id of the newest change, and whether one after `since` may be of what comes next."""
    newest = session.exec(select(func.max(Change.id))).one() or 0
    news = select(Change.id).where(col(Change.id) > since, col(Change.subject).in_(NEWS)).limit(1)
    return newest, session.exec(news).first() is not None


def run_name(shown: Shown, timezone: str) -> str:
    """Schedule and local time, such as `Night round, Mon 2 Mar 06:00`."""
    local = shown.due_at.astimezone(ZoneInfo(timezone))
    return f"{shown.name}, {local:%a} {local.day} {local:%b %H:%M}"


def occurrence_of(session: Session, shown: Shown) -> Occurrence | None:
    """The row of the occurrence; None as long as nobody has decided, moved or cancelled it."""
    same = (
        Occurrence.schedule_id == shown.schedule,
        Occurrence.revision == shown.revision,
        Occurrence.recurrence_id == shown.recurrence_id,
    )
    return session.exec(select(Occurrence).where(*same)).first()


def move(session: Session, shown: Shown, to: datetime) -> None:
    """Move the occurrence as its run was moved; to a time that has passed means: now. Twice is harmless.

    Raises:
        Conflict: it is decided already, or its time has come.
        NotFound: there is no such occurrence (any more).
    """
    schedule = _schedule(session, shown)
    later = max(to, database_now(session) + SOON)
    move_occurrence(session, schedule=schedule, recurrence_id=shown.recurrence_id, to=later, who=WHO)


def cancel(session: Session, shown: Shown) -> OccurrenceStatus | None:
    """Cancel the occurrence as its run was cancelled, if it has not been decided; gives what it is now. Twice is harmless.

    None when there is nothing to cancel: the schedule was changed or has ended meanwhile.
    """
    row = occurrence_of(session, shown)
    if row is not None and row.status not in OPEN:
        return row.status
    try:
        schedule = _schedule(session, shown)
        if row is None and schedule.revision != shown.revision:
            return None
        why = f"The flow run of this occurrence was cancelled in Prefect by {WHO}."
        done = cancel_occurrence(session, schedule=schedule, recurrence_id=shown.recurrence_id, who=WHO, why=why)
    except NotFound:
        return None
    except Conflict:
        return OccurrenceStatus.planned  # its time has come in this very moment
    return done.status


def left(session: Session, shown: Shown) -> Occurrence | None:
    """What is left of an occurrence that does not come up any more: a row that was moved or cancelled by itself.

    None when there is no row, or when its schedule was changed or ended: then it is not this one that somebody meant.
    """
    schedule = session.get(Schedule, shown.schedule)
    if schedule is None or schedule.revision != shown.revision or schedule.status is ScheduleStatus.ended:
        return None
    return occurrence_of(session, shown)


def is_passed_over(session: Session, shown: Shown) -> bool:
    """Whether the occurrence will never be decided: its schedule changed, ended or went before its time came."""
    schedule = session.get(Schedule, shown.schedule)
    return schedule is None or (
        occurrence_of(session, shown) is None and schedule.decided_until_at >= shown.recurrence_id
    )


def _schedule(session: Session, shown: Shown) -> Schedule:
    schedule = session.get(Schedule, shown.schedule)
    if schedule is None:
        raise NotFound(f"There is no schedule {shown.schedule}.", schedule=str(shown.schedule))
    return schedule
