"""A schedule is changed: a new revision from now on. What was decided stays as it is, and what people had said of single
occurrences still ahead (moved, cancelled) goes along where the new rule has the same time."""

from collections.abc import Sequence

from sqlmodel import Session, col, select

from fleet.clock import database_now
from fleet.database import new_id
from fleet.errors import Conflict
from fleet.events import insert_new
from fleet.organisations import Site
from missions.schedules.create import check, revision_row
from missions.schedules.models import (
    MissionTemplate,
    Occurrence,
    OccurrenceStatus,
    Recurrence,
    Schedule,
    ScheduleStatus,
)
from missions.schedules.overlap import Moment, settle
from missions.schedules.recurrence import has_time
from missions.schedules.rows import lock, next_look, recurrence_of, revision_of, tell_schedule


def revise(
    session: Session,
    *,
    schedule: Schedule,
    recurrence: Recurrence | None = None,
    missions: Sequence[MissionTemplate] | None = None,
    name: str | None = None,
    who: str,
) -> Schedule:
    """The schedule with what is given changed from now on; the same content again changes nothing.

    Raises:
        Invalid, NotFound: as for a new schedule.
        Conflict: the schedule has ended.
    """
    row = lock(session, schedule)
    if row.status is ScheduleStatus.ended:
        raise Conflict(f"Schedule {row.name!r} has ended; create a new one.", schedule=str(row.id))
    now = database_now(session)
    if name is not None and name != row.name:
        row.name, row.updated_at = name, now
        row.version += 1
        tell_schedule(session, row, "renamed", who=who)
    kept = revision_of(session, row.id, row.revision)
    when = recurrence or recurrence_of(kept)
    what = missions or [MissionTemplate.model_validate(one) for one in kept.missions]
    valid_from_at = max(now, row.decided_until_at)
    new = revision_row(row, when, what, valid_from_at=valid_from_at, who=who, made_at=now)
    if new.content_sha256 == kept.content_sha256:
        return row
    check(session, site=session.get_one(Site, row.site_id), recurrence=when, missions=what, after=valid_from_at)
    row.revision = new.number = kept.number + 1
    row.version += 1
    row.updated_at = now
    session.add(new)
    session.flush()
    _take_along(session, row, when, kept.number, Moment(now, who))
    session.flush()
    row.next_due_at = next_look(session, row)
    tell_schedule(session, row, "revised", who=who)
    return row


def _take_along(session: Session, schedule: Schedule, recurrence: Recurrence, before: int, moment: Moment) -> None:
    begins = revision_of(session, schedule.id, schedule.revision).valid_from_at
    ahead = select(Occurrence).where(
        Occurrence.schedule_id == schedule.id, Occurrence.revision == before, Occurrence.recurrence_id > begins
    )
    for old in session.exec(ahead.order_by(col(Occurrence.recurrence_id))).all():
        if has_time(recurrence, old.recurrence_id):
            _copy(session, old, schedule.revision, moment)
        if old.status is OccurrenceStatus.planned:
            settle(old, OccurrenceStatus.canceled, f"Revision {schedule.revision} took its place.", moment)


def _copy(session: Session, old: Occurrence, revision: int, moment: Moment) -> None:
    """Its twin in the new revision: as it is, or, when the old one has started, so that it does not start again."""
    is_kept = old.status in {OccurrenceStatus.planned, OccurrenceStatus.canceled}
    news: dict[str, object] = {"id": new_id(), "revision": revision, "created_at": moment.now, "round_id": None}
    if not is_kept:
        news |= {
            "status": OccurrenceStatus.skipped,
            "reason": f"Decided before its time in revision {old.revision} ({old.status}).",
            "who": moment.who,
            "decided_at": moment.now,
        }
    insert_new(session, Occurrence, old.model_dump() | news, on=["schedule_id", "revision", "recurrence_id"])
