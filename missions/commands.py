"""What people want of a mission that exists: pause, resume, cancel, approve, retry.

A command is accepted at once in every live state, also while nobody knows whether the robot has the order, and is
pursued (missions/recovery) until the robot's own report agrees.
"""

from typing import Literal
from uuid import UUID

from sqlmodel import Session, select

from fleet.clock import database_now
from fleet.database import new_id
from fleet.errors import Conflict
from missions import outbox
from missions.create import insert
from missions.lifecycle import Cause, move_mission, wish
from missions.live import live_attempt, lock_mission
from missions.models import (
    MISSION_TERMINAL,
    Attempt,
    AttemptStatus,
    Command,
    Desired,
    Mission,
    MissionStatus,
    MissionTask,
)
from missions.outcome import advance

CommandName = Literal["pause", "resume", "cancel", "approve", "retry"]


def command(
    session: Session, *, organisation_id: UUID, mission_id: UUID, command: CommandName, who: str, why: str
) -> Mission:
    """The mission after the command was taken; `retry` gives the new mission. The same command twice is harmless.

    Raises:
        NotFound: no such mission in this organisation.
        Conflict: the mission's state forbids it (a terminal one takes only `retry`, a live one none); says which.
    """
    mission = lock_mission(session, mission_id, organisation_id)
    cause = Cause(who, why or f"{command} by {who}")
    if command == "retry":
        return _retry(session, mission, cause)
    if mission.status in MISSION_TERMINAL:
        raise Conflict(
            f"Mission {mission.name!r} has ended ({mission.status}); it cannot be told to {command}. Retry makes a new one.",
            mission=str(mission.id),
            status=mission.status.value,
        )
    {"cancel": _cancel, "pause": _pause, "resume": _resume, "approve": _approve}[command](session, mission, cause)
    return mission


def _cancel(session: Session, mission: Mission, cause: Cause) -> None:
    if mission.desired is Desired.cancel:
        return
    wish(session, mission, Desired.cancel, cause)
    attempt = live_attempt(session, mission.id)
    if attempt is None:
        move_mission(session, mission, MissionStatus.canceled, cause)
    elif attempt.status is AttemptStatus.prepared:  # nothing was sent, and in this transaction nobody can begin to
        advance(session, mission, attempt, AttemptStatus.canceled, cause)
    else:
        outbox.enqueue(session, attempt, Command.cancel)


def _pause(session: Session, mission: Mission, cause: Cause) -> None:
    _refuse_while_canceling(mission)
    if mission.desired is Desired.pause:
        return
    wish(session, mission, Desired.pause, cause)
    _tell_robot(session, mission, Command.pause)


def _resume(session: Session, mission: Mission, cause: Cause) -> None:
    _refuse_while_canceling(mission)
    if mission.desired is Desired.run and mission.status is not MissionStatus.paused:
        return
    wish(session, mission, Desired.run, cause)
    _tell_robot(session, mission, Command.resume)


def _approve(session: Session, mission: Mission, cause: Cause) -> None:
    if mission.status is MissionStatus.awaiting_approval:
        move_mission(session, mission, MissionStatus.scheduled, cause)
    elif not mission.approval_needed:
        raise Conflict(f"Mission {mission.name!r} needs no approval; it is {mission.status}.", mission=str(mission.id))


def _tell_robot(session: Session, mission: Mission, command: Command) -> None:
    attempt: Attempt | None = live_attempt(session, mission.id)
    if attempt is not None and attempt.recall is None:  # one that is taken back is to end, not to pause or go on
        outbox.enqueue(session, attempt, command)


def _refuse_while_canceling(mission: Mission) -> None:
    if mission.desired is Desired.cancel:
        raise Conflict(f"Mission {mission.name!r} is being cancelled; that is not taken back.", mission=str(mission.id))


def _retry(session: Session, mission: Mission, cause: Cause) -> Mission:
    if mission.status not in MISSION_TERMINAL or mission.status is MissionStatus.succeeded:
        raise Conflict(
            f"Mission {mission.name!r} is {mission.status}; only one that failed, was cancelled, expired or was refused "
            "is retried.",
            mission=str(mission.id),
            status=mission.status.value,
        )
    now = database_now(session)
    is_still_ahead = mission.not_after_at is not None and mission.not_after_at > now
    news = {
        "id": new_id(),
        "retry_of": mission.id,
        "key": f"{mission.key}/retry",
        "status": MissionStatus.created,
        "desired": Desired.run,
        "version": 0,
        "reason": "",
        "robot_id": None,
        "not_after_at": mission.not_after_at if is_still_ahead else None,
        "requested_by": cause.who,
        "created_at": now,
        "updated_at": now,
    }
    again = Mission(**(mission.model_dump() | news))
    tasks = session.exec(select(MissionTask).where(MissionTask.mission_id == mission.id)).all()
    copies = [MissionTask(**(task.model_dump() | {"mission_id": again.id})) for task in tasks]
    return insert(session, again, copies, cause)
