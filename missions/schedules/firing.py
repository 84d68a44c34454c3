"""Schedules fire: each occurrence is decided once and its round made with it, whoever looks and however often.

One transaction works off a bounded batch of one schedule: it locks the schedule, decides its due occurrences, writes
their rows and their rounds, and moves the cursor on. A crash leaves all of that or nothing. The cursor never goes back,
so a clock that does makes nothing twice.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import structlog
from sqlalchemy import inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from fleet.clock import database_now
from fleet.database import claim
from fleet.errors import Unavailable, YardmasterError
from missions.models import Mission
from missions.schedules.catch_up import Decision, decide
from missions.schedules.due import Batch, batch_of
from missions.schedules.models import Occurrence, OccurrenceStatus, Schedule, ScheduleStatus
from missions.schedules.overlap import LIVE, PAUSED, Moment, settle, start, start_queued
from missions.schedules.rows import next_look, tell_occurrence, tell_schedule

log = structlog.get_logger(__name__)

BATCHES = 50  # in one call, and fewer when they make much, so that whoever calls gets on with the rest of its work
MISSIONS = 50  # made in one transaction, and in one call, about
ROWS = 1000  # written in one call, about
TOLD_MAX = 20  # occurrences that were not started are told one by one up to so many, then as one change
AGAIN_S = 60.0  # how long a schedule that cannot be decided rests

BROKEN = (YardmasterError, ValueError, LookupError, ArithmeticError)


class Done(NamedTuple):
    """How many occurrences were decided, and how many missions were to be made for them."""

    decided: int
    missions: int


def fire_due(transaction: Callable[[], AbstractContextManager[Session]], *, who: str, limit: int = BATCHES) -> int:
    """Decide what is due, at most `limit` batches, each in a transaction of its own; gives how many were decided.

    It does a bounded part of the work and gives 0 when nothing is left: whoever is behind calls again until then. Any
    number of processes may call it at once. A schedule that cannot be decided is left for a minute.

    Raises:
        Unavailable: the database does not answer; what was committed stays.
    """
    done = Done(0, 0)
    broken: set[UUID] = set()
    for _ in range(limit):
        batch = _next_batch(transaction, who, broken)
        if batch is None:
            break
        done = Done(done.decided + batch.decided, done.missions + batch.missions)
        if done.decided >= ROWS or done.missions >= MISSIONS:
            break
    return done.decided


def _next_batch(transaction: Callable[[], AbstractContextManager[Session]], who: str, broken: set[UUID]) -> Done | None:
    claimed: UUID | None = None
    try:
        with transaction() as session:
            schedule = _claim(session, broken)
            if schedule is None:
                return None
            claimed = schedule.id
            return work_off(session, schedule, Moment(database_now(session), who))
    except BROKEN as error:
        if claimed is None or isinstance(error, Unavailable):
            raise
        log.warning("a schedule cannot be decided", schedule=str(claimed), error=str(error), exc_info=True)
    broken.add(claimed)
    with transaction() as session:
        row = session.get_one(Schedule, claimed, with_for_update=True)
        row.next_due_at = database_now(session) + timedelta(seconds=AGAIN_S)
    return Done(0, 0)


def _claim(session: Session, broken: set[UUID]) -> Schedule | None:
    """A schedule whose time has come, else one whose queue may go on; others' are passed over."""
    others = select(Schedule).where(col(Schedule.id).not_in(broken)).order_by(col(Schedule.next_due_at))
    at_work = col(Schedule.status).in_([ScheduleStatus.active, ScheduleStatus.paused])
    due = others.where(at_work, col(Schedule.next_due_at) <= database_now(session))
    queued = select(Occurrence.schedule_id).where(Occurrence.status == OccurrenceStatus.queued)
    under_way = (
        select(Occurrence.schedule_id)
        .join(Mission, col(Mission.round_id) == Occurrence.round_id)
        .where(col(Mission.status).in_(LIVE))
    )
    is_free = col(Schedule.id).in_(queued) & col(Schedule.id).not_in(under_way)
    found = claim(session, due, limit=1) or claim(
        session, others.where(Schedule.status == ScheduleStatus.active, is_free), limit=1
    )
    return found[0] if found else None


def work_off(session: Session, schedule: Schedule, moment: Moment) -> Done:
    """Decide the oldest batch of what is due, start it or say why not; the schedule is locked by the caller."""
    decided = 0 if schedule.status is ScheduleStatus.paused else start_queued(session, schedule, moment)
    batch = batch_of(session, schedule, moment.now)
    decisions = decide(batch.candidates, now=moment.now, recurrence=batch.recurrence)
    due = [_unless_paused(schedule, one) for one in decisions if one.candidate.rank <= batch.horizon]
    done = _affordable(due, batch.round_size)
    _carry_out(session, schedule, batch, done, moment)
    reached = batch.until if len(done) == len(due) else _newest_regular(done)
    schedule.decided_until_at = max(schedule.decided_until_at, reached)
    schedule.version += 1
    session.flush()
    ahead = next_look(session, schedule)
    schedule.next_due_at = ahead and max(ahead, moment.now)  # what is left takes its turn behind the others
    starts = sum(one.status is OccurrenceStatus.fired for one in done)
    decided += sum(one.status is not OccurrenceStatus.planned for one in done)
    return Done(decided, starts * batch.round_size)


def _unless_paused(schedule: Schedule, decision: Decision) -> Decision:
    if schedule.status is ScheduleStatus.active or decision.status is OccurrenceStatus.planned:
        return decision
    return Decision(decision.candidate, OccurrenceStatus.skipped, PAUSED)


def _affordable(due: list[Decision], round_size: int) -> list[Decision]:
    """The oldest of them, as many as one transaction makes missions for."""
    starts = [index for index, one in enumerate(due) if one.status is OccurrenceStatus.fired]
    most = max(1, MISSIONS // round_size)
    return due if len(starts) <= most else due[: starts[most]]


def _newest_regular(done: list[Decision]) -> datetime:
    regular = [one.candidate.recurrence_id for one in done if not one.candidate.is_moved]
    return max(regular, default=datetime.min.replace(tzinfo=UTC))


def _carry_out(session: Session, schedule: Schedule, batch: Batch, decisions: list[Decision], moment: Moment) -> None:
    """Write what is decided, start what is to start, and tell of both."""
    new = {
        one.candidate.recurrence_id: _new_row(schedule, batch.revision, one, moment)
        for one in decisions
        if one.candidate.recurrence_id not in batch.planned
    }
    _insert(session, list(new.values()))
    quiet = []
    for decision in decisions:
        recurrence_id = decision.candidate.recurrence_id
        waiting = batch.planned.get(recurrence_id)
        if decision.status is OccurrenceStatus.fired:
            # None when another row has its place: nothing is ever decided twice.
            row = waiting or session.get(Occurrence, new[recurrence_id].id)
            if row is not None:
                start(session, schedule, row, moment)
        elif decision.status is not OccurrenceStatus.planned:
            row = waiting or new[recurrence_id]
            settle(row, decision.status, decision.reason, moment)
            quiet.append(row)
    _tell(session, schedule, quiet)


def _new_row(schedule: Schedule, revision: int, decision: Decision, moment: Moment) -> Occurrence:
    is_open = decision.status in {OccurrenceStatus.fired, OccurrenceStatus.planned}
    return Occurrence(
        organisation_id=schedule.organisation_id,
        site_id=schedule.site_id,
        schedule_id=schedule.id,
        revision=revision,
        recurrence_id=decision.candidate.recurrence_id,
        due_at=decision.candidate.due_at,
        status=OccurrenceStatus.planned if is_open else decision.status,
        reason=decision.reason,
        who=moment.who,
        created_at=moment.now,
        decided_at=None if is_open else moment.now,
    )


def _insert(session: Session, rows: list[Occurrence]) -> None:
    if not rows:
        return
    connection = session.connection()
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(inspect(Occurrence).local_table)
    unique = ["schedule_id", "revision", "recurrence_id"]
    connection.execute(insert.on_conflict_do_nothing(index_elements=unique), [row.model_dump() for row in rows])


def _tell(session: Session, schedule: Schedule, quiet: list[Occurrence]) -> None:
    if len(quiet) > TOLD_MAX:
        tell_schedule(session, schedule, "passed_over", count=len(quiet), reason=quiet[-1].reason)
        return
    for row in quiet:
        tell_occurrence(session, schedule, row)
