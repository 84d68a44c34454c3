"""Single occurrences are moved or cancelled before their time; the rule stays as it is."""

from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from fleet.clock import database_now
from fleet.errors import Conflict, Invalid, NotFound
from missions.schedules.models import OPEN, Occurrence, OccurrenceStatus, Schedule, ScheduleStatus
from missions.schedules.overlap import Moment, settle
from missions.schedules.recurrence import MOMENT, YEARS, has_time, iso, spread, times
from missions.schedules.rows import lock, next_look, recurrence_of, revision_after, revision_of, tell_occurrence

FARTHEST = timedelta(days=366)


def move_occurrence(
    session: Session, *, schedule: Schedule, recurrence_id: datetime, to: datetime, who: str
) -> Occurrence:
    """The occurrence, due at `to` instead; the same again changes nothing.

    Raises:
        NotFound: the schedule has no such occurrence; says which come next.
        Conflict: it is decided already, or its time has come.
        Invalid: `to` has passed, or lies more than a year after its own time.
    """
    _refuse_far(to, schedule)
    row, moment = lock(session, schedule), Moment(database_now(session), who)
    occurrence = _open_row(session, row, recurrence_id, moment)
    if occurrence.status is not OccurrenceStatus.planned or occurrence.due_at <= moment.now:
        raise _too_late(row, occurrence, "moved")
    if to <= moment.now or to - recurrence_id > FARTHEST:
        raise Invalid(
            f"{iso(to)} has passed, or lies more than {FARTHEST.days} days after its own time; choose another.",
            to=iso(to),
        )
    if occurrence.due_at == to and occurrence.is_moved:
        return occurrence
    occurrence.due_at, occurrence.is_moved, occurrence.who = to, True, who
    occurrence.reason = f"Moved from {iso(recurrence_id)} by {who}."
    _changed(session, row, occurrence, "moved")
    return occurrence


def cancel_occurrence(
    session: Session, *, schedule: Schedule, recurrence_id: datetime, who: str, why: str = ""
) -> Occurrence:
    """The occurrence, cancelled before it starts (also while it is queued); twice is harmless.

    Raises:
        NotFound: the schedule has no such occurrence; says which come next.
        Conflict: it has started or was decided otherwise.
        Invalid: no schedule has such a time.
    """
    row, moment = lock(session, schedule), Moment(database_now(session), who)
    occurrence = _open_row(session, row, recurrence_id, moment)
    if occurrence.status is OccurrenceStatus.canceled:
        return occurrence
    if occurrence.status not in OPEN or (
        occurrence.status is OccurrenceStatus.planned and occurrence.due_at <= moment.now
    ):
        raise _too_late(row, occurrence, "cancelled")
    settle(occurrence, OccurrenceStatus.canceled, why or f"Cancelled by {who}.", moment)
    _changed(session, row, occurrence, "canceled")
    return occurrence


def _too_late(schedule: Schedule, occurrence: Occurrence, wish: str) -> Conflict:
    said = f" {occurrence.reason}" if occurrence.reason else ""
    advice = " Cancel its missions, if that is what you want." if occurrence.round_id else ""
    state = "due" if occurrence.status is OccurrenceStatus.planned else occurrence.status.value
    return Conflict(
        f"The occurrence of {iso(occurrence.recurrence_id)} of schedule {schedule.name!r} is {state} already and cannot "
        f"be {wish}.{said}{advice}",
        schedule=str(schedule.id),
        recurrence_id=iso(occurrence.recurrence_id),
        status=occurrence.status.value,
    )


def _open_row(session: Session, schedule: Schedule, recurrence_id: datetime, moment: Moment) -> Occurrence:
    """Its row, newly written when it has none yet."""
    _refuse_far(recurrence_id, schedule)
    number, _ = revision_after(session, schedule.id, max(schedule.decided_until_at, recurrence_id - MOMENT))
    query = select(Occurrence).where(Occurrence.schedule_id == schedule.id, Occurrence.recurrence_id == recurrence_id)
    if recurrence_id > schedule.decided_until_at:  # an older revision's row says nothing of what is still ahead
        query = query.where(Occurrence.revision >= number)
    known = session.exec(query.order_by(col(Occurrence.revision).desc())).first()
    if known is not None:
        return known
    recurrence = recurrence_of(revision_of(session, schedule.id, number))
    is_ahead = recurrence_id > schedule.decided_until_at and schedule.status is not ScheduleStatus.ended
    if not is_ahead or not has_time(recurrence, recurrence_id):
        ahead = times(recurrence, after=max(schedule.decided_until_at, moment.now), limit=3) if is_ahead else []
        coming = ", ".join(map(iso, ahead)) or "none"
        raise NotFound(
            f"Schedule {schedule.name!r} has no occurrence at {iso(recurrence_id)}; the next are: {coming}.",
            schedule=str(schedule.id),
            recurrence_id=iso(recurrence_id),
        )
    occurrence = Occurrence(
        organisation_id=schedule.organisation_id,
        site_id=schedule.site_id,
        schedule_id=schedule.id,
        revision=number,
        recurrence_id=recurrence_id,
        due_at=spread(recurrence, schedule.id, number)(recurrence_id),
        status=OccurrenceStatus.planned,
        who=moment.who,
        created_at=moment.now,
    )
    session.add(occurrence)
    session.flush()
    return occurrence


def _refuse_far(instant: datetime, schedule: Schedule) -> None:
    """See that it is a time that people mean; others leave the calendar in UTC."""
    if instant.year not in YEARS:
        raise Invalid(
            f"{instant.isoformat()} lies outside the years {YEARS[0]} to {YEARS[-1]}.", schedule=str(schedule.id)
        )


def _changed(session: Session, schedule: Schedule, occurrence: Occurrence, kind: str) -> None:
    schedule.version += 1
    schedule.updated_at = occurrence.decided_at or schedule.updated_at
    session.flush()
    schedule.next_due_at = next_look(session, schedule)
    tell_occurrence(session, schedule, occurrence, kind)
