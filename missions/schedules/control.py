"""A schedule is paused, resumed or ended. What falls into a pause is skipped, and each occurrence says so."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from fleet.clock import database_now
from fleet.errors import Conflict
from missions.schedules.firing import work_off
from missions.schedules.models import OPEN, Occurrence, OccurrenceStatus, Schedule, ScheduleStatus
from missions.schedules.overlap import PAUSED, Moment, settle
from missions.schedules.rows import lock, next_look, tell_occurrence, tell_schedule


def pause(session: Session, *, schedule: Schedule, who: str, why: str = "") -> Schedule:
    """Nothing of the schedule starts until it is resumed; what is queued is skipped. Twice is harmless.

    Raises:
        Conflict: the schedule has ended.
    """
    row, moment = _locked(session, schedule, who)
    if row.status is ScheduleStatus.active:
        queued = _open_rows(session, row, {OccurrenceStatus.queued})
        _settle_all(session, row, queued, OccurrenceStatus.skipped, PAUSED, moment)
        _turn(session, row, ScheduleStatus.paused, why, moment)
    return row


def resume(session: Session, *, schedule: Schedule, who: str, why: str = "") -> Schedule:
    """The schedule goes on with what comes next; nothing of the pause is caught up with. Twice is harmless.

    Raises:
        Conflict: the schedule has ended.
    """
    row, moment = _locked(session, schedule, who)
    if row.status is ScheduleStatus.paused:
        work_off(session, row, moment)  # what nobody had looked at yet; of a long outage only the oldest get a row
        left = _open_rows(session, row, {OccurrenceStatus.planned}, until=moment.now)
        _settle_all(session, row, left, OccurrenceStatus.skipped, PAUSED, moment)
        row.decided_until_at = max(row.decided_until_at, moment.now)
        _turn(session, row, ScheduleStatus.active, why, moment)
    return row


def end(session: Session, *, schedule: Schedule, who: str, why: str = "") -> Schedule:
    """The schedule makes no occurrences any more; what has started goes on. Twice is harmless."""
    row = lock(session, schedule)
    moment = Moment(database_now(session), who)
    if row.status is not ScheduleStatus.ended:
        left = _open_rows(session, row, OPEN)
        _settle_all(session, row, left, OccurrenceStatus.canceled, why or "The schedule was ended.", moment)
        _turn(session, row, ScheduleStatus.ended, why, moment)
    return row


def _locked(session: Session, schedule: Schedule, who: str) -> tuple[Schedule, Moment]:
    row = lock(session, schedule)
    if row.status is ScheduleStatus.ended:
        raise Conflict(f"Schedule {row.name!r} has ended; create a new one.", schedule=str(row.id))
    return row, Moment(database_now(session), who)


def _turn(session: Session, schedule: Schedule, status: ScheduleStatus, why: str, moment: Moment) -> None:
    schedule.status = status
    schedule.version += 1
    schedule.updated_at = moment.now
    session.flush()
    schedule.next_due_at = next_look(session, schedule)
    kinds = {ScheduleStatus.active: "resumed", ScheduleStatus.paused: "paused", ScheduleStatus.ended: "ended"}
    tell_schedule(session, schedule, kinds[status], who=moment.who, why=why)


def _open_rows(
    session: Session, schedule: Schedule, those: Collection[OccurrenceStatus], *, until: datetime | None = None
) -> Sequence[Occurrence]:
    query = select(Occurrence).where(Occurrence.schedule_id == schedule.id, col(Occurrence.status).in_(those))
    return session.exec(query if until is None else query.where(Occurrence.due_at <= until)).all()


def _settle_all(
    session: Session,
    schedule: Schedule,
    occurrences: Sequence[Occurrence],
    status: OccurrenceStatus,
    reason: str,
    moment: Moment,
) -> None:
    for occurrence in occurrences:
        settle(occurrence, status, reason, moment)
        tell_occurrence(session, schedule, occurrence)
