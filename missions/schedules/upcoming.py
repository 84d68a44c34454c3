"""What people see of schedules: what comes next, and what became of the occurrences before."""

from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from uuid import UUID

import structlog
from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session, and_, col, or_, select

from fleet.clock import database_now
from fleet.errors import YardmasterError
from fleet.organisations import Organisation, Site
from missions.schedules.blackouts import closures
from missions.schedules.models import (
    MissionTemplate,
    Occurrence,
    OccurrenceStatus,
    Recurrence,
    Schedule,
    ScheduleStatus,
)
from missions.schedules.recurrence import spread, times
from missions.schedules.rows import recurrence_of, revision_of, schedule_of

log = structlog.get_logger(__name__)

NEXT = 5
LOOK = 4  # times as many are looked at, for those that a blackout keeps out


class Upcoming(BaseModel):
    """An occurrence that is still to come; `closed_by` names the blackout or holiday for which it will be skipped."""

    model_config = ConfigDict(frozen=True)

    schedule_id: UUID
    schedule: str
    organisation: str
    site: str
    revision: int
    recurrence_id: datetime
    due_at: datetime
    is_moved: bool = False
    closed_by: str = ""


class OccurrenceView(BaseModel):
    """One occurrence with what became of it."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: UUID
    revision: int
    recurrence_id: datetime = Field(description="The instant of the rule; it names the occurrence.")
    due_at: datetime = Field(description="When it was to start: with its jitter, or where it was moved to.")
    status: OccurrenceStatus
    is_moved: bool
    reason: str
    who: str
    round_id: UUID | None
    decided_at: datetime | None


class ScheduleView(BaseModel):
    """A schedule as it is now, and what comes next."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    name: str
    key: str
    site: str
    status: ScheduleStatus
    revision: int
    recurrence: Recurrence
    missions: list[MissionTemplate]
    next: list[Upcoming]
    requested_by: str
    created_at: datetime
    updated_at: datetime


def upcoming(session: Session, *, per_schedule: int = NEXT, limit: int = 200) -> list[Upcoming]:
    """What comes next of all active schedules of all organisations, by its due instant.

    Moved ones stand where they were moved to, cancelled ones and those that a blackout will skip are left out.
    """
    active = select(Schedule).where(Schedule.status == ScheduleStatus.active, col(Schedule.next_due_at).is_not(None))
    schedules = session.exec(active.order_by(col(Schedule.next_due_at)).limit(limit)).all()
    names = _names(session, schedules)
    found = chain.from_iterable(_open(session, one, names[one.id], per_schedule) for one in schedules)
    return sorted(found, key=lambda one: (one.due_at, one.schedule_id))[:limit]


def schedule_view(session: Session, organisation_id: UUID, name_or_id: UUID | str) -> ScheduleView:
    """One schedule of the organisation.

    Raises:
        NotFound: there is none.
    """
    return schedule_views(session, [schedule_of(session, organisation_id, name_or_id)])[0]


def schedule_views(session: Session, schedules: Sequence[Schedule]) -> list[ScheduleView]:
    """These schedules, in this order."""
    names = _names(session, schedules)
    return [_view(session, one, names[one.id]) for one in schedules]


def schedules_of(
    session: Session, organisation_id: UUID, *, status: ScheduleStatus | None = None, limit: int = 100
) -> list[ScheduleView]:
    """The organisation's schedules, newest first."""
    query = select(Schedule).where(Schedule.organisation_id == organisation_id)
    if status is not None:
        query = query.where(Schedule.status == status)
    return schedule_views(session, session.exec(query.order_by(col(Schedule.id).desc()).limit(limit)).all())


def coming(session: Session, schedule: Schedule, *, limit: int = NEXT) -> list[Upcoming]:
    """What comes next of the schedule; nothing while it is paused or has ended."""
    return _coming(session, schedule, _names(session, [schedule])[schedule.id], limit)


def past(session: Session, schedule: Schedule, *, limit: int = 100) -> list[OccurrenceView]:
    """What became of the schedule's occurrences and what is queued, newest first."""
    query = (
        select(Occurrence)
        .where(Occurrence.schedule_id == schedule.id, Occurrence.status != OccurrenceStatus.planned)
        .order_by(col(Occurrence.due_at).desc(), col(Occurrence.revision).desc())
    )
    return [OccurrenceView.model_validate(row) for row in session.exec(query.limit(limit)).all()]


def _view(session: Session, schedule: Schedule, names: tuple[str, str]) -> ScheduleView:
    revision = revision_of(session, schedule.id, schedule.revision)
    return ScheduleView(
        **schedule.model_dump(exclude={"organisation_id", "site_id", "version", "decided_until_at", "next_due_at"}),
        site=names[1],
        recurrence=recurrence_of(revision),
        missions=[MissionTemplate.model_validate(one) for one in revision.missions],
        next=_readable(session, schedule, names, NEXT),
    )


def _names(session: Session, schedules: Sequence[Schedule]) -> dict[UUID, tuple[str, str]]:
    """The names of each one's organisation and site."""
    query = (
        select(Site.id, Organisation.name, Site.name)
        .join(Organisation, col(Organisation.id) == Site.organisation_id)
        .where(col(Site.id).in_({one.site_id for one in schedules}))
    )
    names = {site_id: (organisation, site) for site_id, organisation, site in session.exec(query).all()}
    return {one.id: names[one.site_id] for one in schedules}


def _open(session: Session, schedule: Schedule, names: tuple[str, str], limit: int) -> list[Upcoming]:
    ahead = _readable(session, schedule, names, LOOK * limit)
    return [one for one in ahead if not one.closed_by][:limit]


def _readable(session: Session, schedule: Schedule, names: tuple[str, str], limit: int) -> list[Upcoming]:
    try:
        return _coming(session, schedule, names, limit)
    except (YardmasterError, ValueError) as error:  # such as a time zone that is no more: the others are shown
        log.warning("a schedule cannot be looked ahead", schedule=str(schedule.id), error=str(error))
        return []


def _coming(session: Session, schedule: Schedule, names: tuple[str, str], limit: int) -> list[Upcoming]:
    if schedule.status is not ScheduleStatus.active:
        return []
    revision = revision_of(session, schedule.id, schedule.revision)
    recurrence = recurrence_of(revision)
    now = database_now(session)
    after = max(schedule.decided_until_at, revision.valid_from_at, now)
    rows = _rows_ahead(session, schedule, after, now)
    known = {row.recurrence_id for row in rows if row.revision == schedule.revision}
    due_at = spread(recurrence, schedule.id, schedule.revision)
    ahead = [at for at in times(recurrence, after=after, limit=limit + len(known)) if at not in known]
    due = [(at, due_at(at), schedule.revision, False) for at in ahead]
    due += [
        (row.recurrence_id, row.due_at, row.revision, row.is_moved)
        for row in rows
        if row.status is OccurrenceStatus.planned and row.due_at > now
    ]
    first = sorted(due, key=lambda one: (one[1], one[0]))[:limit]
    return _views(session, schedule, names, first, recurrence)


def _rows_ahead(session: Session, schedule: Schedule, after: datetime, now: datetime) -> Sequence[Occurrence]:
    is_planned = and_(col(Occurrence.status) == OccurrenceStatus.planned, col(Occurrence.due_at) > now)
    query = select(Occurrence).where(
        Occurrence.schedule_id == schedule.id, or_(is_planned, col(Occurrence.recurrence_id) > after)
    )
    return session.exec(query).all()


def _views(
    session: Session,
    schedule: Schedule,
    names: tuple[str, str],
    due: Sequence[tuple[datetime, datetime, int, bool]],
    recurrence: Recurrence,
) -> list[Upcoming]:
    instants = [one[1] for one in due]
    closed = closures(session, schedule.site_id, instants, with_holidays=recurrence.skip_holidays)
    found = []
    for recurrence_id, due_at, revision, is_moved in due:
        window = closed.get(due_at)
        found.append(
            Upcoming(
                schedule_id=schedule.id,
                schedule=schedule.name,
                organisation=names[0],
                site=names[1],
                revision=revision,
                recurrence_id=recurrence_id,
                due_at=due_at,
                is_moved=is_moved,
                closed_by=window.name if window else "",
            )
        )
    return found
