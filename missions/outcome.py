"""What a mission becomes when its attempt moves: the one place where an attempt's move is carried over."""

from uuid import UUID

from sqlmodel import Session, col, select

from missions import leases, outbox
from missions.lifecycle import ATTEMPT_MOVES, Cause, move_attempt, move_mission, take_back
from missions.models import (
    ATTEMPT_TERMINAL,
    Attempt,
    AttemptStatus,
    Command,
    Desired,
    Mission,
    MissionStatus,
    Recall,
    Transition,
)
from missions.progress import Progress, counts_as_failure, first_task_left, progress_of

FOLLOWS = {
    AttemptStatus.running: MissionStatus.running,
    AttemptStatus.paused: MissionStatus.paused,
    AttemptStatus.succeeded: MissionStatus.succeeded,
}
IN_VAIN = ATTEMPT_TERMINAL - {AttemptStatus.succeeded}
REST_SKIPPED = "the tasks that were left are skipped"
ALL_DONE = "all its tasks were done when its robot ended"


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


def call_back(
    session: Session,
    mission: Mission,
    attempt: Attempt,
    recall: Recall,
    cause: Cause,
    *,
    for_mission: UUID | None = None,
) -> bool:
    """End the live attempt although its mission goes on; False when it is being taken back already.

    One that was never sent ends at once; the others when their robot says so, which missions/recovery pursues.
    """
    if not take_back(session, attempt, recall, cause, for_mission=for_mission):
        return False
    if attempt.status is AttemptStatus.prepared:  # nothing was sent, and in this transaction nobody can begin to
        advance(session, mission, attempt, AttemptStatus.canceled, cause)
    else:
        outbox.enqueue(session, attempt, Command.cancel)
    return True


def end_unheard(session: Session, mission: Mission, attempt: Attempt, cause: Cause) -> None:
    """End an attempt whose robot tells nothing of it any more: FAILED, unless it had told that every task is done."""
    if progress_of(session, mission).is_all_done:
        done = Cause(cause.who, f"{cause.why}; all its tasks were told to be done before", cause.evidence)
        advance(session, mission, attempt, AttemptStatus.succeeded, done)
    else:
        advance(session, mission, attempt, AttemptStatus.failed, cause)


def mission_status_after(attempt: Attempt, mission: Mission, progress: Progress) -> MissionStatus | None:
    """Where the mission goes because of its attempt (pure); None when it stays.

    The fact wins over the wish: an attempt that succeeded while its cancel was under way has succeeded. `progress` is as
    of after the attempt's move.
    """
    to = _after_in_vain(attempt, mission, progress) if attempt.status in IN_VAIN else FOLLOWS.get(attempt.status)
    return None if to is mission.status else to


def _after_in_vain(attempt: Attempt, mission: Mission, progress: Progress) -> MissionStatus:
    is_ended_by_robot = attempt.status is AttemptStatus.canceled and attempt.recall is None
    if mission.desired is Desired.cancel or is_ended_by_robot:
        return MissionStatus.canceled
    if attempt.status is AttemptStatus.canceled and progress.is_all_done:
        return MissionStatus.succeeded  # it was taken back when nothing was left to do
    if attempt.recall is Recall.deadline:
        return MissionStatus.expired
    if progress.is_rest_skipped:
        return end_of_skipped(progress)
    if counts_as_failure(attempt) and progress.failures >= mission.attempts_max:
        return MissionStatus.failed
    return MissionStatus.scheduled


def end_of_skipped(progress: Progress) -> MissionStatus:
    """What a mission is of which all that was left is skipped (pure)."""
    return MissionStatus.succeeded if progress.has_done_some else MissionStatus.canceled


def _follow(session: Session, mission: Mission, attempt: Attempt, cause: Cause) -> None:
    progress = Progress()  # of a mission that has succeeded nothing more is asked
    if attempt.status in IN_VAIN:
        progress = progress_of(session, mission)
        mission.first_task = first_task_left(progress.steps, default=mission.first_task)
        session.add(mission)
    to = mission_status_after(attempt, mission, progress)
    if to is not None:
        evidence = {**cause.evidence, "attempt": attempt.number}
        why = _why_canceled(session, mission, cause) if _is_as_wished(mission, to) else _why(attempt, cause, progress)
        if why != cause.why:
            evidence["attempt_ended"] = cause.why
        move_mission(session, mission, to, Cause(cause.who, why, evidence))


def _is_as_wished(mission: Mission, to: MissionStatus) -> bool:
    return to is MissionStatus.canceled and mission.desired is Desired.cancel


def _why_canceled(session: Session, mission: Mission, cause: Cause) -> str:
    """The words of whoever cancelled the mission; its robot knows only that it was told to stop."""
    of_mission = (Transition.subject == "mission", Transition.subject_id == mission.id)
    wishes = select(Transition).where(*of_mission, Transition.from_status == Transition.to_status)
    rows = session.exec(wishes.order_by(col(Transition.version).desc())).all()
    return next((row.why for row in rows if row.evidence.get("desired") == Desired.cancel.value), cause.why)


def _why(attempt: Attempt, cause: Cause, progress: Progress) -> str:
    if attempt.status not in IN_VAIN:
        return cause.why
    if attempt.status is AttemptStatus.canceled and attempt.recall is not None and progress.is_all_done:
        return ALL_DONE
    if progress.is_rest_skipped and attempt.recall is not Recall.deadline:
        return REST_SKIPPED
    return cause.why if attempt.recall is None else attempt.recall_reason
