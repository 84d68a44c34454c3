"""What people want of a mission that exists: pause, resume, cancel, approve, skip, abandon, retry.

A command is accepted at once in every live state, also while nobody knows whether the robot has the order, and is
pursued (missions/recovery) until the robot's own report agrees. While a mission is being cancelled, pause, resume and skip
are taken, noted, and change nothing (docs/decisions/0019-commands-beside-a-cancel.md).
"""

from dataclasses import replace
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlmodel import Session, col, select

from fleet.adapter import Order, TaskKind
from fleet.clock import database_now
from fleet.database import new_id
from fleet.errors import Conflict, Invalid
from missions import holds, outbox, wishes
from missions.alerts import OBEYS_S, is_unheeded
from missions.create import insert
from missions.drafts import Draft
from missions.lifecycle import Cause, move_mission, note
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
    Recall,
    RetryFrom,
)
from missions.outcome import REST_SKIPPED, call_back, end_of_skipped, end_unheard
from missions.progress import Progress, first_task_left, progress_of

CommandName = Literal["pause", "resume", "cancel", "approve", "skip", "abandon", "retry"]
NO_EFFECT_BESIDE_CANCEL = {"pause", "resume", "skip"}


def command(  # noqa: PLR0913  whose, which, what, at which task, who and why: none can be left out
    session: Session,
    *,
    organisation_id: UUID,
    mission_id: UUID,
    command: CommandName,
    who: str,
    why: str,
    task: int | None = None,
) -> Mission:
    """The mission after the command was taken; `retry` gives the new mission. The same command twice is harmless.

    `task` is the position of the task to `skip`; without it, it is the one that the mission is at.

    Raises:
        NotFound: no such mission in this organisation.
        Conflict: the mission's state forbids it (a terminal one takes only `retry`, a live one none); says which.
        Invalid: there is no such task, or the command takes none.
    """
    mission = lock_mission(session, mission_id, organisation_id)
    cause = Cause(who, why or f"{command} by {who}")
    if task is not None and command != "skip":
        raise Invalid(f"Only skip takes a task, and this is {command} with task {task}; leave it out.", task=task)
    if command == "retry":
        return _retry(session, mission, cause)
    if mission.status in MISSION_TERMINAL:
        raise Conflict(
            f"Mission {mission.name!r} has ended ({mission.status}); it cannot be told to {command}. Retry makes a new one.",
            mission=str(mission.id),
            status=mission.status.value,
        )
    if mission.desired is Desired.cancel and command in NO_EFFECT_BESIDE_CANCEL:
        _note_without_effect(session, mission, cause, command, task)
    elif command == "skip":
        _skip(session, mission, cause, task)
    else:
        tell = {"cancel": wishes.cancel, "pause": wishes.pause, "resume": wishes.resume}
        ({"approve": _approve, "abandon": _abandon} | tell)[command](session, mission, cause)
    return mission


def _approve(session: Session, mission: Mission, cause: Cause) -> None:
    if mission.status is MissionStatus.awaiting_approval:
        move_mission(session, mission, MissionStatus.scheduled, cause)
    elif not mission.approval_needed:
        raise Conflict(f"Mission {mission.name!r} needs no approval; it is {mission.status}.", mission=str(mission.id))


def _note_without_effect(
    session: Session, mission: Mission, cause: Cause, command: CommandName, position: int | None
) -> None:
    if position is not None:
        _check_position(mission, position, progress_of(session, mission))
    wishes.note_without_effect(
        session, mission, command if position is None else f"{command} of task {position}", cause
    )


def _skip(session: Session, mission: Mission, cause: Cause, position: int | None) -> None:
    attempt = live_attempt(session, mission.id)
    if position is None and attempt is not None and _has_skipped(session, mission, attempt):
        return  # the same again: its robot has not yet ended what it was at
    task = _task_to_skip(session, mission, position)
    if task.skipped_at is not None:
        return
    task.skipped_at, task.skipped_by = database_now(session), cause.who
    session.add(task)
    note(session, mission, "task_skipped", Cause(cause.who, cause.why, {"task": task.position}))
    if attempt is None:
        _go_on_behind(session, mission, cause)
    elif task.position >= attempt.first_task or task.kind is TaskKind.record_bag:
        left_out = Cause(cause.who, f"task {task.position} is skipped: {cause.why}")
        call_back(session, mission, attempt, Recall.skip, left_out)


def _has_skipped(session: Session, mission: Mission, attempt: Attempt) -> bool:
    """Whether the task that the attempt is, or was, at is skipped; later ones that are skipped by their number do not count."""
    told = outbox.newest(session, attempt, Command.submit)
    order = Order.model_validate(told.order).tasks if told else ()
    sent = [task.position for task in order if task.kind is not TaskKind.record_bag]
    progress = progress_of(session, mission)
    at = len(progress.steps) if progress.current is None else progress.current
    return any(progress.steps[position].is_skipped for position in sent if position < at)


def _task_to_skip(session: Session, mission: Mission, position: int | None) -> MissionTask:
    progress = progress_of(session, mission)
    if position is None:
        position = progress.current
        if position is None:
            raise Conflict(f"Mission {mission.name!r} has no task left to skip.", mission=str(mission.id))
    _check_position(mission, position, progress)
    if progress.steps[position].is_done and not progress.steps[position].is_skipped:
        raise Conflict(f"Task {position} of mission {mission.name!r} is done; skip one that is not.", task=position)
    return session.exec(
        select(MissionTask).where(MissionTask.mission_id == mission.id, MissionTask.position == position)
    ).one()


def _check_position(mission: Mission, position: int, progress: Progress) -> None:
    last = len(progress.steps) - 1
    if not 0 <= position <= last:
        raise Invalid(
            f"Mission {mission.name!r} has the tasks 0 to {last}; there is no task {position}.", task=position
        )


def _go_on_behind(session: Session, mission: Mission, cause: Cause) -> None:
    session.flush()
    progress = progress_of(session, mission)
    mission.first_task = first_task_left(progress.steps, default=mission.first_task)
    session.add(mission)
    if progress.is_rest_skipped:
        is_begun = mission.status is MissionStatus.scheduled
        to = end_of_skipped(progress) if is_begun else MissionStatus.canceled
        move_mission(session, mission, to, Cause(cause.who, REST_SKIPPED))


def _abandon(session: Session, mission: Mission, cause: Cause) -> None:
    attempt = live_attempt(session, mission.id)
    if attempt is None and _was_abandoned(session, mission):
        return
    if attempt is None or not _may_be_abandoned(session, mission, attempt):
        state = f"its robot is heard of ({attempt.status})" if attempt else "no robot has it"
        raise Conflict(
            f"Mission {mission.name!r} is not lost: {state}. Abandon is for an order of whose robot nothing is heard, or "
            f"that its robot has not ended {OBEYS_S:.0f} s after it was told to; cancel ends any other.",
            mission=str(mission.id),
            status=mission.status.value,
        )
    gone = Cause(cause.who, f"given up by {cause.who}, who says the robot no longer has the order: {cause.why}")
    holds.hold_abandoned(session, attempt, cause)
    end_unheard(session, mission, attempt, gone)
    # A copy of the order may still be on its way, and come when nobody asks for it any more.
    outbox.enqueue(session, attempt, Command.cancel)


def _may_be_abandoned(session: Session, mission: Mission, attempt: Attempt) -> bool:
    return attempt.status is AttemptStatus.lost or is_unheeded(mission, attempt, database_now(session))


def _was_abandoned(session: Session, mission: Mission) -> bool:
    tries = select(Attempt).where(Attempt.mission_id == mission.id).order_by(col(Attempt.number).desc())
    newest = session.exec(tries).first()
    if newest is None:
        return False
    same = (holds.Hold.organisation_id == mission.organisation_id, holds.Hold.key == holds.abandoned_key(newest))
    return session.exec(select(holds.Hold.id).where(*same)).first() is not None


def _retry(session: Session, mission: Mission, cause: Cause) -> Mission:
    """A new mission that begins where the old one ended, or does all again, as its `retry_from` says."""
    if mission.status not in MISSION_TERMINAL or mission.status is MissionStatus.succeeded:
        raise Conflict(
            f"Mission {mission.name!r} is {mission.status}; only one that failed, was cancelled, expired or was refused "
            "is retried.",
            mission=str(mission.id),
            status=mission.status.value,
        )
    steps = progress_of(session, mission).steps
    is_all_again = mission.retry_from is RetryFrom.first_task or not any(step.is_left for step in steps)
    if is_all_again:  # also what was skipped
        steps = tuple(replace(step, is_skipped=False) for step in steps)
    first = 0 if mission.retry_from is RetryFrom.first_task else first_task_left(steps, default=0)
    news = _news_of_retry(mission, cause, database_now(session)) | {"first_task": first}
    again = mission.model_dump() | news
    kept = {} if not is_all_again else {"skipped_at": None, "skipped_by": ""}
    tasks = session.exec(select(MissionTask).where(MissionTask.mission_id == mission.id)).all()
    copies = tuple(task.model_dump() | {"mission_id": again["id"]} | kept for task in tasks)
    found = insert(session, Draft(again, copies), cause)
    if found.retry_of != mission.id:
        raise Conflict(
            f"The key {again['key']!r} of a retry is that of another mission, {found.name!r} of {found.requested_by}, which "
            f"retries nothing of {mission.name!r}; ask for a new mission with a key of its own.",
            mission=str(found.id),
        )
    return found


def _news_of_retry(mission: Mission, cause: Cause, now: datetime) -> dict[str, object]:
    return {
        "id": new_id(),
        "retry_of": mission.id,
        "key": f"{mission.key}/retry",
        "status": MissionStatus.created,
        "desired": Desired.run,
        "version": 0,
        "reason": "",
        "robot_id": None,
        "content_sha256": "",
        "not_after_at": _if_ahead(mission.not_after_at, now),
        "deadline_at": _if_ahead(mission.deadline_at, now),
        "requested_by": cause.who,
        "created_at": now,
        "updated_at": now,
    }


def _if_ahead(at: datetime | None, now: datetime) -> datetime | None:
    return at if at is not None and at > now else None
