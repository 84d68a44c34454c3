"""An urgent mission takes a robot: the live attempt of a less important one is taken back, and goes on later."""

from sqlmodel import Session, select

from missions.lifecycle import Cause, note
from missions.live import attempt_now, lock_mission
from missions.models import ATTEMPT_TERMINAL, Attempt, AttemptStatus, Desired, Mission, MissionStatus, Recall
from missions.outcome import call_back
from missions.plan import Preemption, Snapshot


def preempt(session: Session, preemption: Preemption, snapshot: Snapshot, *, who: str) -> Attempt | None:
    """The attempt, being taken back, or None when either mission has changed since the snapshot.

    Of several dispatchers with the same plan one takes it back; the others find it done. The robot goes to the urgent
    mission when it says that it has ended: by then that is the first of those that wait.
    """
    taken = session.exec(select(Attempt.mission_id).where(Attempt.id == preemption.attempt_id)).one()
    both = {key: lock_mission(session, key) for key in sorted([preemption.mission_id, taken])}
    urgent, other = both[preemption.mission_id], both[taken]
    attempt = attempt_now(session, preemption.attempt_id)
    if not (_still_waits(urgent, snapshot) and _may_be_taken(attempt, other, urgent)):
        return None
    why = f"its robot is needed for {urgent.name!r} (priority {urgent.priority}); it goes on when one is free"
    cause = Cause(who, why, {"for": str(urgent.id), "priority": urgent.priority})
    call_back(session, other, attempt, Recall.preempted, cause, for_mission=urgent.id)
    # With a new version, so that whoever planned with an older one takes no second robot.
    taking = Cause(who, f"takes the robot of {other.name!r} (priority {other.priority})", {"from": str(other.id)})
    note(session, urgent, "robot_taken", taking)
    return attempt


def _still_waits(mission: Mission, snapshot: Snapshot) -> bool:
    seen = next(each for each in snapshot.missions if each.id == mission.id)
    is_same = mission.version == seen.version and mission.status is MissionStatus.scheduled
    return is_same and mission.desired is Desired.run


def _may_be_taken(attempt: Attempt, mission: Mission, urgent: Mission) -> bool:
    is_live = attempt.status not in ATTEMPT_TERMINAL and attempt.status is not AttemptStatus.lost
    is_wanted = mission.desired is not Desired.cancel and attempt.recall is None
    return is_live and is_wanted and mission.preemptible and mission.priority < urgent.priority
