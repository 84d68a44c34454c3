"""What a mission becomes when its attempt moves: the one place where an attempt's move is carried over."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlmodel import Session, col, select

from missions import leases, outbox
from missions.lifecycle import ATTEMPT_MOVES, Cause, move_attempt, move_mission
from missions.models import (
    ATTEMPT_TERMINAL,
    Attempt,
    AttemptStatus,
    Command,
    Desired,
    Mission,
    MissionStatus,
    MissionTask,
    TaskResult,
)

FOLLOWS = {
    AttemptStatus.running: MissionStatus.running,
    AttemptStatus.paused: MissionStatus.paused,
    AttemptStatus.succeeded: MissionStatus.succeeded,
    AttemptStatus.canceled: MissionStatus.canceled,
}


@dataclass(frozen=True)
class Step:
    """One task as a retry sees it."""

    has_station: bool
    is_done: bool


def advance(session: Session, mission: Mission, attempt: Attempt, to: AttemptStatus, cause: Cause) -> bool:
    """Move the attempt and let its mission follow; False, and nothing done, when the table does not allow the move.

    A terminal attempt gives its robot back and drops what was still to be sent to it.
    """
    if to not in ATTEMPT_MOVES[attempt.status]:
        return False
    move_attempt(session, attempt, to, cause)
    if to in ATTEMPT_TERMINAL:
        outbox.drop(session, attempt, set(Command))
        leases.release(session, attempt)
    _follow(session, mission, attempt, cause)
    return True


def mission_status_after(attempt: Attempt, mission: Mission) -> MissionStatus | None:
    """Where the mission goes because of its attempt (pure); None when it stays.

    The fact wins over the wish: an attempt that succeeded while its cancel was under way has succeeded.
    """
    if attempt.status not in {AttemptStatus.failed, AttemptStatus.rejected}:
        to = FOLLOWS.get(attempt.status)
    elif mission.desired is Desired.cancel:
        to = MissionStatus.canceled
    else:
        to = MissionStatus.scheduled if attempt.number < mission.attempts_max else MissionStatus.failed
    return None if to is mission.status else to


def _follow(session: Session, mission: Mission, attempt: Attempt, cause: Cause) -> None:
    to = mission_status_after(attempt, mission)
    if attempt.status in ATTEMPT_TERMINAL:
        mission.first_task = first_task_left(_steps(session, mission.id), default=mission.first_task)
        session.add(mission)
    if to is not None:
        evidence = {**cause.evidence, "attempt": attempt.number}
        move_mission(session, mission, to, Cause(cause.who, cause.why, evidence))


def _steps(session: Session, mission_id: UUID) -> list[Step]:
    done = set(
        session.exec(
            select(TaskResult.position).where(TaskResult.mission_id == mission_id, TaskResult.status == "succeeded")
        ).all()
    )
    tasks = session.exec(
        select(MissionTask).where(MissionTask.mission_id == mission_id).order_by(col(MissionTask.position))
    ).all()
    return [Step(has_station=task.station_id is not None, is_done=task.position in done) for task in tasks]


def first_task_left(steps: Sequence[Step], *, default: int) -> int:
    """Position of the task a further attempt begins with (pure).

    That is the first one not done; if it names no station, the attempt begins with the last one before it that does,
    because another robot stands elsewhere. `default` when all is done.
    """
    left = next((position for position, step in enumerate(steps) if not step.is_done), None)
    if left is None:
        return default
    return max((position for position in range(left + 1) if steps[position].has_station), default=left)
