"""The rows of a schedule: found within one organisation, locked, read with their revisions, and told to the feed."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlmodel import Session, col, select

from fleet import changes
from fleet.errors import Invalid, NotFound
from missions.schedules.models import (
    Occurrence,
    OccurrenceStatus,
    Recurrence,
    Schedule,
    ScheduleRevision,
    ScheduleStatus,
)
from missions.schedules.recurrence import iso, times

FRESH = {"populate_existing": True}
NAMED_MAX = 20  # of schedules with one name


def schedule_of(session: Session, organisation_id: UUID, name_or_id: UUID | str) -> Schedule:
    """The schedule with this id, key or name; of several called so the one that has not ended.

    Raises:
        NotFound: the organisation has none such.
        Invalid: several are called so; names their ids.
    """
    ours = select(Schedule).where(Schedule.organisation_id == organisation_id)
    name = str(name_or_id)
    wanted = [ours.where(Schedule.key == name), ours.where(Schedule.name == name)]
    with suppress(ValueError):
        wanted.insert(0, ours.where(Schedule.id == UUID(name)))
    for query in wanted:
        found = session.exec(query.order_by(col(Schedule.id).desc()).limit(NAMED_MAX)).all()
        left = [schedule for schedule in found if schedule.status is not ScheduleStatus.ended] or found
        if len(left) > 1:
            ids = ", ".join(f"{schedule.id} ({schedule.status})" for schedule in left)
            raise Invalid(f"Several schedules are called {name!r}; give the id of one: {ids}.", schedule=name)
        if left:
            return left[0]
    raise NotFound(f"There is no schedule {name!r}; `yardmaster schedules list` names those there are.", schedule=name)


def lock(session: Session, schedule: Schedule) -> Schedule:
    """The schedule as it is now, locked until the transaction ends."""
    query: Any = select(Schedule).where(Schedule.id == schedule.id).with_for_update()
    found: Schedule = session.exec(query.execution_options(**FRESH)).one()
    return found


def revision_of(session: Session, schedule_id: UUID, number: int) -> ScheduleRevision:
    """That revision of the schedule."""
    return session.get_one(ScheduleRevision, (schedule_id, number))


def recurrence_of(revision: ScheduleRevision) -> Recurrence:
    """When it happens, according to this revision."""
    return Recurrence.model_validate(revision.recurrence)


def revision_after(session: Session, schedule_id: UUID, instant: datetime) -> tuple[int, datetime | None]:
    """The number of the revision whose times come right after `instant`, and until when they count (None: no end)."""
    query = (
        select(ScheduleRevision.number, ScheduleRevision.valid_from_at)
        .where(ScheduleRevision.schedule_id == schedule_id)
        .order_by(col(ScheduleRevision.number))
    )
    known: Sequence[tuple[int, datetime]] = session.exec(query).all()
    number = max((number for number, begins in known if begins <= instant), default=known[0][0])
    return number, next((begins for later, begins in known if later > number), None)


def next_look(session: Session, schedule: Schedule) -> datetime | None:
    """When there is something to decide next: a time of the rule, or a row that waits for its time."""
    if schedule.status is ScheduleStatus.ended:
        return None
    number, ends_at = revision_after(session, schedule.id, schedule.decided_until_at)
    recurrence = recurrence_of(revision_of(session, schedule.id, number))
    ahead = times(recurrence, after=schedule.decided_until_at, until=ends_at, limit=1)
    looks = [*ahead, *_rows_due(session, schedule, recurrence)]
    if not ahead and ends_at is not None:
        looks.append(ends_at)
    return min(looks, default=None)


def _rows_due(session: Session, schedule: Schedule, recurrence: Recurrence) -> list[datetime]:
    query = (
        select(Occurrence.status, func.min(Occurrence.due_at))
        .where(Occurrence.schedule_id == schedule.id, col(Occurrence.status).in_(["planned", "queued"]))
        .group_by(col(Occurrence.status))
    )
    first = dict(session.exec(query).all())
    looks = [first[OccurrenceStatus.planned]] if OccurrenceStatus.planned in first else []
    if OccurrenceStatus.queued in first and recurrence.start_within_s is not None:
        looks.append(first[OccurrenceStatus.queued] + timedelta(seconds=recurrence.start_within_s))
    return looks


def tell_schedule(session: Session, schedule: Schedule, kind: str, **fields: object) -> None:
    """Tell the feed what happened to the schedule."""
    changes.record(
        session,
        organisation_id=schedule.organisation_id,
        subject="schedule",
        subject_id=schedule.id,
        kind=kind,
        fields={"name": schedule.name, "status": schedule.status.value, "revision": schedule.revision, **fields},
    )


def tell_occurrence(session: Session, schedule: Schedule, occurrence: Occurrence, kind: str = "") -> None:
    """Tell the feed what became of the occurrence."""
    changes.record(
        session,
        organisation_id=schedule.organisation_id,
        subject="occurrence",
        subject_id=occurrence.id,
        kind=kind or occurrence.status.value,
        fields={
            "schedule": str(schedule.id),
            "name": schedule.name,
            "revision": occurrence.revision,
            "recurrence_id": iso(occurrence.recurrence_id),
            "due_at": iso(occurrence.due_at),
            "round": str(occurrence.round_id) if occurrence.round_id else None,
            "reason": occurrence.reason,
        },
    )
