"""What is wanted of a live mission is written, and its robot told: cancel, pause, resume. The mission is locked."""

from sqlmodel import Session, col, select

from fleet.clock import database_now
from missions import outbox
from missions.lifecycle import Cause, move_mission, note, wish
from missions.live import live_attempt
from missions.models import AttemptStatus, Command, Desired, Mission, MissionStatus, Transition
from missions.outcome import advance

NO_EFFECT = "asked_without_effect"


def cancel(session: Session, mission: Mission, cause: Cause) -> None:
    """End the mission: at once where no robot has its order, else when its robot says so."""
    if mission.desired is Desired.cancel:
        return
    wish(session, mission, Desired.cancel, cause)
    attempt = live_attempt(session, mission.id)
    if attempt is None:
        move_mission(session, mission, MissionStatus.canceled, cause)
    elif attempt.status is AttemptStatus.prepared:  # nothing was sent, and in this transaction nobody can begin to
        advance(session, mission, attempt, AttemptStatus.canceled, cause)
    else:
        # A mission changes whenever its robot holds and goes on, and that does not give it more time to obey.
        attempt.recalled_at = attempt.recalled_at or database_now(session)
        session.add(attempt)
        outbox.enqueue(session, attempt, Command.cancel)


def pause(session: Session, mission: Mission, cause: Cause) -> None:
    """Hold the mission; a person's pause of one that a hold has paused stands when that hold is released."""
    if mission.desired is Desired.pause:
        if "hold" not in cause.evidence and is_wish_of_hold(session, mission):
            kept = Cause(cause.who, cause.why, {**cause.evidence, "desired": Desired.pause.value})
            note(session, mission, f"desired_{Desired.pause}", kept)
        return
    wish(session, mission, Desired.pause, cause)
    _tell_robot(session, mission, Command.pause)


def resume(session: Session, mission: Mission, cause: Cause) -> None:
    """Let the mission go on."""
    if mission.desired is Desired.run and mission.status is not MissionStatus.paused:
        return
    wish(session, mission, Desired.run, cause)
    _tell_robot(session, mission, Command.resume)


def is_wish_of_hold(session: Session, mission: Mission) -> bool:
    """Whether what is wanted of the mission now is what a hold wants, and no person."""
    same = (Transition.subject == "mission", Transition.subject_id == mission.id)
    newest = select(Transition.evidence).where(*same, Transition.from_status == Transition.to_status)
    for evidence in session.exec(newest.order_by(col(Transition.version).desc())).all():
        if "desired" in evidence:
            return "hold" in evidence
    return False


def note_without_effect(session: Session, mission: Mission, asked: str, cause: Cause) -> None:
    """Write that something was asked of a mission that is being cancelled, once: that is not taken back."""
    same = (Transition.subject == "mission", Transition.subject_id == mission.id)
    noted = select(Transition.evidence).where(*same, Transition.from_status == Transition.to_status)
    if any(evidence.get(NO_EFFECT) == asked for evidence in session.exec(noted).all()):
        return
    why = f"{asked} has no effect, for the mission is being cancelled: {cause.why}"
    note(session, mission, NO_EFFECT, Cause(cause.who, why, {**cause.evidence, NO_EFFECT: asked}))


def _tell_robot(session: Session, mission: Mission, command: Command) -> None:
    attempt = live_attempt(session, mission.id)
    if attempt is not None and attempt.recall is None:  # one that is taken back is to end, not to pause or go on
        outbox.enqueue(session, attempt, command)
