"""How long live attempts have been at it, and how long their tasks allow."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, func, or_, update
from sqlmodel import Session, col, select

from fleet.adapter import TaskKind
from fleet.organisations import Station
from missions.models import Attempt, AttemptStatus, Desired, Mission, MissionTask, TaskResult, Transition

GRACE_S = 120.0  # what an order may take beyond the times of its tasks: for its way to the robot and back
TASK_GRACE_S = 30.0  # what a task may take beyond its time: what is told of its end comes late


@dataclass(frozen=True)
class Running:
    """A running attempt; `task` is the one it is at, where its robot tells that."""

    attempt_id: UUID
    mission_id: UUID
    running_since: datetime
    allowed_s: float
    task: str = ""
    task_since: datetime | None = None
    task_timeout_s: float = 0.0


LIVE = select(Attempt.id).where(col(Attempt.finished_at).is_(None))


def reason_to_end(running: Running, now: datetime) -> str:
    """Why the attempt is to be ended now (pure): a task, or all of it, takes too long; empty when it does not."""
    if running.task_since is None:
        if (now - running.running_since).total_seconds() <= running.allowed_s + GRACE_S:
            return ""
        return f"it ran for longer than the {running.allowed_s:.0f} s that its tasks may take"
    since = max(running.task_since, running.running_since)  # it held, or was silent, before it last began to run
    if (now - since).total_seconds() <= running.task_timeout_s + TASK_GRACE_S:
        return ""
    return f"{running.task} took longer than its {running.task_timeout_s:.0f} s"


def running_attempts(session: Session, now: datetime) -> list[Running]:
    """The attempts that run, that are to run and that nobody takes back, with the task each is at.

    What began after `now` began before the clock was set back: it is counted from now on, else it could hang as long as
    the clock needs to get there again.
    """
    _count_anew(session, now)
    return running_as_read(session, now)


def is_any_overdue(session: Session, now: datetime) -> bool:
    """Whether `running_attempts` would write or give one to be ended; only reads."""
    begun = select(TaskResult.attempt_id).where(col(TaskResult.attempt_id).in_(LIVE), col(TaskResult.heard_at) > now)
    ahead = select(Attempt.id).where(col(Attempt.finished_at).is_(None), col(Attempt.started_at) > now)
    if any(session.exec(query.limit(1)).first() is not None for query in (begun, ahead)):
        return True
    return any(reason_to_end(running, now) for running in running_as_read(session, now))


def running_as_read(session: Session, now: datetime) -> list[Running]:
    """`running_attempts` without writing anything."""
    query = (
        select(Attempt.id, Attempt.mission_id, Attempt.started_at, Attempt.created_at)
        .join(Mission, col(Mission.id) == Attempt.mission_id)
        .where(col(Attempt.finished_at).is_(None), Attempt.status == AttemptStatus.running)
        .where(col(Attempt.recall).is_(None), Mission.desired == Desired.run)
    )
    rows = session.exec(query).all()
    ids = [attempt_id for attempt_id, *_ in rows]
    allowed, moved, tasks = allowed_s(session, ids), moved_at(session, ids, AttemptStatus.running), _tasks(session, ids)
    return [
        Running(
            attempt_id,
            mission_id,
            _latest(now, moved.get(attempt_id), started_at, created_at),
            allowed.get(attempt_id, 0.0),
            *tasks.get(attempt_id, ()),
        )
        for attempt_id, mission_id, started_at, created_at in rows
    ]


def _count_anew(session: Session, now: datetime) -> None:
    begun = update(TaskResult).where(col(TaskResult.attempt_id).in_(LIVE), col(TaskResult.heard_at) > now)
    session.execute(begun.values(heard_at=now).execution_options(synchronize_session=False))
    ahead = update(Attempt).where(col(Attempt.finished_at).is_(None), col(Attempt.started_at) > now)
    session.execute(ahead.values(started_at=now).execution_options(synchronize_session=False))


def _latest(now: datetime, *instants: datetime | None) -> datetime:
    """The first of `instants` that has come; `now` when none has."""
    return next((at for at in instants if at is not None and at <= now), now)


def _tasks(session: Session, attempt_ids: Iterable[UUID]) -> Mapping[UUID, tuple[str, datetime | None, float]]:
    query = (
        select(TaskResult.attempt_id, MissionTask.position, MissionTask.kind, Station.name)
        .add_columns(col(TaskResult.heard_at), col(MissionTask.timeout_s))
        .join(
            MissionTask,
            and_(
                col(MissionTask.mission_id) == TaskResult.mission_id, col(MissionTask.position) == TaskResult.position
            ),
        )
        .join(Station, col(Station.id) == MissionTask.station_id, isouter=True)
        .where(col(TaskResult.attempt_id).in_(attempt_ids), col(TaskResult.status) == "running")
        .where(col(TaskResult.heard_at).is_not(None), col(MissionTask.kind) != TaskKind.record_bag)
        .order_by(col(TaskResult.position).desc())
    )
    return {
        attempt_id: (f"task {position} ({kind}{f' at {station}' if station else ''})", heard_at, timeout_s)
        for attempt_id, position, kind, station, heard_at, timeout_s in session.execute(query).all()
    }


def allowed_s(session: Session, attempt_ids: Iterable[UUID]) -> Mapping[UUID, float]:
    """How long the tasks of each attempt's order may take together."""
    is_sent = or_(col(MissionTask.position) >= Attempt.first_task, col(MissionTask.kind) == TaskKind.record_bag)
    query = (
        select(Attempt.id, func.sum(MissionTask.timeout_s))
        .join(MissionTask, col(MissionTask.mission_id) == Attempt.mission_id)
        .where(col(Attempt.id).in_(attempt_ids), is_sent, col(MissionTask.skipped_at).is_(None))
        .group_by(col(Attempt.id))
    )
    return dict(session.exec(query).all())


def moved_at(session: Session, attempt_ids: Iterable[UUID], to: AttemptStatus | None = None) -> Mapping[UUID, datetime]:
    """When each attempt last became what it is, or last became `to`."""
    is_move = or_(col(Transition.from_status).is_(None), col(Transition.from_status) != Transition.to_status)
    query = select(Transition.subject_id, func.max(Transition.at)).where(
        col(Transition.subject_id).in_(attempt_ids), Transition.subject == "attempt", is_move
    )
    if to is not None:
        query = query.where(Transition.to_status == to.value)
    return dict(session.exec(query.group_by(col(Transition.subject_id))).all())
