"""An occurrence starts: its round is made, unless missions of an earlier one of its schedule are still under way."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func
from sqlmodel import Session, col, select

from fleet.errors import Conflict, Invalid, NotFound
from fleet.organisations import Site
from missions.commands import command
from missions.create import create_round
from missions.models import MISSION_TERMINAL, Mission, MissionCreate, MissionStatus
from missions.schedules.models import Occurrence, OccurrenceStatus, Overlap, Recurrence, Schedule, ScheduleRevision
from missions.schedules.recurrence import iso
from missions.schedules.rows import recurrence_of, revision_of, tell_occurrence

LIVE = tuple(status for status in MissionStatus if status not in MISSION_TERMINAL)
PAUSED = "The schedule is paused."
QUEUE_MAX = 100  # occurrences of one schedule; who falls behind by more will not catch up


@dataclass(frozen=True)
class Moment:
    """When it is looked at, and by whom."""

    now: datetime
    who: str


def start(session: Session, schedule: Schedule, occurrence: Occurrence, moment: Moment) -> None:
    """Start it, or queue or skip it by the overlap policy; the occurrence then says what became of it."""
    revision = revision_of(session, schedule.id, occurrence.revision)
    recurrence = recurrence_of(revision)
    older = live_missions(session, schedule)
    queued = _queued_count(session, schedule)
    if recurrence.overlap is Overlap.queue and (older or queued):
        _queue(occurrence, older, queued, moment)
    elif recurrence.overlap is Overlap.skip and older:
        settle(occurrence, OccurrenceStatus.skipped, f"Overlaps with {_names(older)} of an earlier occurrence.", moment)
    else:
        if recurrence.overlap is Overlap.cancel_older:
            _cancel(session, schedule, occurrence, older, moment)
        _fire(session, schedule, revision, occurrence, moment)
    tell_occurrence(session, schedule, occurrence)


def start_queued(session: Session, schedule: Schedule, moment: Moment) -> int:
    """Start the first queued occurrence if the ones before it are over, and skip those that waited too long.

    Gives the number of queued occurrences that were decided.
    """
    decided = 0
    for occurrence in _queued(session, schedule):
        revision = revision_of(session, schedule.id, occurrence.revision)
        if _has_waited_too_long(occurrence, recurrence_of(revision), moment.now):
            settle(
                occurrence, OccurrenceStatus.skipped, "Its start window passed while an earlier one went on.", moment
            )
        elif live_missions(session, schedule):
            continue
        else:
            _fire(session, schedule, revision, occurrence, moment)
        decided += 1
        tell_occurrence(session, schedule, occurrence)
    return decided


def live_missions(session: Session, schedule: Schedule) -> Sequence[Mission]:
    """Missions of the schedule's occurrences that are not over, oldest first."""
    query = (
        select(Mission)
        .join(Occurrence, col(Occurrence.round_id) == Mission.round_id)
        .where(Occurrence.schedule_id == schedule.id, col(Mission.status).in_(LIVE))
    )
    return session.exec(query.order_by(col(Mission.id))).all()


def settle(occurrence: Occurrence, status: OccurrenceStatus, reason: str, moment: Moment) -> None:
    """What became of it, why, when and by whom."""
    occurrence.status = status
    occurrence.reason = reason
    occurrence.who = moment.who
    occurrence.decided_at = moment.now


def round_key(occurrence: Occurrence) -> str:
    """The key of the occurrence's round: schedule, revision and recurrence id."""
    return f"{occurrence.schedule_id}/{occurrence.revision}/{iso(occurrence.recurrence_id)}"


def _queue(occurrence: Occurrence, older: Sequence[Mission], queued: int, moment: Moment) -> None:
    if queued >= QUEUE_MAX:
        settle(occurrence, OccurrenceStatus.skipped, f"{queued} earlier ones are queued already.", moment)
        return
    occurrence.status = OccurrenceStatus.queued
    occurrence.who = moment.who
    occurrence.reason = f"Waits for {_names(older)} of an earlier occurrence." if older else "Waits for earlier ones."


def _queued_count(session: Session, schedule: Schedule) -> int:
    query = select(func.count()).where(
        Occurrence.schedule_id == schedule.id, Occurrence.status == OccurrenceStatus.queued
    )
    return session.exec(query).one()


def _queued(session: Session, schedule: Schedule) -> Sequence[Occurrence]:
    query = select(Occurrence).where(
        Occurrence.schedule_id == schedule.id, Occurrence.status == OccurrenceStatus.queued
    )
    return session.exec(query.order_by(col(Occurrence.due_at), col(Occurrence.recurrence_id))).all()


def _names(missions: Sequence[Mission]) -> str:
    more = f" and {len(missions) - 1} more" if len(missions) > 1 else ""
    return f"mission {missions[0].name!r} ({missions[0].status}){more}"


def _has_waited_too_long(occurrence: Occurrence, recurrence: Recurrence, now: datetime) -> bool:
    within = recurrence.start_within_s
    return within is not None and occurrence.due_at + timedelta(seconds=within) <= now


def _cancel(
    session: Session, schedule: Schedule, occurrence: Occurrence, older: Sequence[Mission], moment: Moment
) -> None:
    why = f"The occurrence of {iso(occurrence.recurrence_id)} of schedule {schedule.name!r} cancels earlier ones."
    for mission in older:
        try:
            command(
                session,
                organisation_id=mission.organisation_id,
                mission_id=mission.id,
                command="cancel",
                who=moment.who,
                why=why,
            )
        except Conflict:
            if mission.status not in MISSION_TERMINAL:  # else it ended while this waited for its lock: that was wanted
                raise
    for waiting in _queued(session, schedule):  # of an earlier revision, by which they were to wait
        settle(waiting, OccurrenceStatus.canceled, why, moment)
        tell_occurrence(session, schedule, waiting)


def _fire(
    session: Session, schedule: Schedule, revision: ScheduleRevision, occurrence: Occurrence, moment: Moment
) -> None:
    """Make the round; a mission that no longer fits the site fails the occurrence, and nothing of the round is left."""
    site = session.get_one(Site, schedule.site_id)
    key = round_key(occurrence)
    wanted = _missions(revision, occurrence, key)
    savepoint = session.begin_nested()
    try:
        made = create_round(
            session, site=site, name=schedule.name, key=key, missions=wanted, who=f"schedule:{schedule.key}"
        )
        session.flush()
    except (NotFound, Invalid, Conflict) as error:
        savepoint.rollback()
        session.refresh(occurrence)
        settle(occurrence, OccurrenceStatus.failed, error.message, moment)
        return
    savepoint.commit()
    settle(occurrence, OccurrenceStatus.fired, "", moment)
    occurrence.round_id = made.id


def _missions(revision: ScheduleRevision, occurrence: Occurrence, key: str) -> list[MissionCreate]:
    within = recurrence_of(revision).start_within_s
    latest = None if within is None else occurrence.due_at + timedelta(seconds=within)
    return [
        MissionCreate.model_validate({**template, "key": f"{key}/{index}", "not_after_at": latest})
        for index, template in enumerate(revision.missions)
    ]
