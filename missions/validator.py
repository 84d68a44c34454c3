"""What a right plan is, said independently of how plans are made: shares no line with missions/plan but its values."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

from missions.plan import SILENCE_S, URGENT, Candidate, Plan, Preemption, Snapshot, Wanted


def violations(snapshot: Snapshot, plan: Plan) -> list[str]:
    """Every rule the plan breaks, as a sentence; empty for a right plan."""
    missions = {mission.id: mission for mission in snapshot.missions}
    robots = {robot.id: robot for robot in snapshot.robots}
    named = _named(plan)
    found = [f"mission {key} is named {count} times" for key, count in Counter(named).items() if count > 1]
    used = Counter([each.robot_id for each in plan.assignments] + [each.robot_id for each in plan.preemptions])
    found += [f"robot {key} is given {count} missions" for key, count in used.items() if count > 1]
    found += [f"mission {key} is unknown" for key in named if key not in missions]
    found += [f"robot {key} is unknown" for key in used if key not in robots]
    if found:
        return found
    for assignment in plan.assignments:
        found += _wrong_pair(missions[assignment.mission_id], robots[assignment.robot_id], snapshot)
    for refusal in plan.refusals:
        found += _wrong_refusal(missions[refusal.mission_id], snapshot)
    for preemption in plan.preemptions:
        found += _wrong_preemption(preemption, snapshot, plan)
    found += _needless_waits(snapshot, plan)
    return found + list(_passed_over(snapshot, plan, missions, robots))


def _named(plan: Plan) -> list[UUID]:
    given, refused = [each.mission_id for each in plan.assignments], [each.mission_id for each in plan.refusals]
    return given + refused + [each.mission_id for each in plan.preemptions]


def _wrong_pair(mission: Wanted, robot: Candidate, snapshot: Snapshot) -> list[str]:
    wrong = [*_wrong_match(mission, robot), *_wrong_time(mission, snapshot), *_wrong_robot(robot, snapshot)]
    return [f"{mission.name} on {robot.name}: {reason}" for reason in wrong]


def _wrong_match(mission: Wanted, robot: Candidate) -> Iterator[str]:
    if mission.organisation_id != robot.organisation_id:
        yield "another organisation's robot"
    if mission.site_id != robot.site_id:
        yield "the robot is at another site"
    for capability in mission.required_capabilities:
        if capability not in robot.capabilities:
            yield f"the robot lacks {capability}"
    if mission.pinned_robot_id is not None and mission.pinned_robot_id != robot.id:
        yield "the mission is for another robot"


def _wrong_time(mission: Wanted, snapshot: Snapshot) -> Iterator[str]:
    if mission.ready_at is not None and mission.ready_at > snapshot.now:
        yield "too early"
    if mission.not_after_at is not None and mission.not_after_at < snapshot.now:
        yield "too late"
    if mission.closed_until is not None and mission.closed_until > snapshot.now:
        yield f"its site is closed for {mission.closed_for}"


def _wrong_robot(robot: Candidate, snapshot: Snapshot) -> Iterator[str]:
    if robot.is_held:
        yield "the robot is held"
    if robot.held_by:
        yield f"the robot is {robot.held_by}"
    if robot.activity.value != "idle":
        yield f"the robot is {robot.activity.value}"
    if robot.heard_at is None or snapshot.now - robot.heard_at > timedelta(seconds=SILENCE_S):
        yield "the robot is silent"
    if robot.battery_fraction is not None and robot.battery_fraction < robot.battery_minimum_fraction:
        yield f"its battery is at {robot.battery_fraction:.2f}"


def _wrong_refusal(mission: Wanted, snapshot: Snapshot) -> list[str]:
    ours = [robot for robot in snapshot.robots if robot.organisation_id == mission.organisation_id]
    if not ours:
        return [f"{mission.name} is refused before any robot is known"]
    able = [robot.name for robot in ours if not any(_unable(mission, robot))]
    return [f"{mission.name} is refused, and {name} could do it" for name in able]


def _unable(mission: Wanted, robot: Candidate) -> Iterator[bool]:
    yield not mission.required_capabilities.issubset(robot.capabilities)
    yield mission.pinned_robot_id is not None and mission.pinned_robot_id != robot.id


def _passed_over(
    snapshot: Snapshot, plan: Plan, missions: dict[UUID, Wanted], robots: dict[UUID, Candidate]
) -> Iterator[str]:
    served = {assignment.mission_id for assignment in plan.assignments}
    refused = {refusal.mission_id for refusal in plan.refusals}
    waiting = [mission for mission in snapshot.missions if mission.id not in served | refused]
    for assignment in plan.assignments:
        winner, robot = missions[assignment.mission_id], robots[assignment.robot_id]
        for mission in waiting:
            if mission.priority > winner.priority and not _wrong_pair(mission, robot, snapshot):
                yield f"{mission.name} waits although {robot.name} went to {winner.name} of lower priority"
    idle = [robot for robot in snapshot.robots if robot.id not in {a.robot_id for a in plan.assignments}]
    for mission in waiting:
        for robot in idle:
            if not _wrong_pair(mission, robot, snapshot):
                yield f"{mission.name} waits although {robot.name} is free for it"


def _wrong_preemption(preemption: Preemption, snapshot: Snapshot, plan: Plan) -> list[str]:
    mission = next(each for each in snapshot.missions if each.id == preemption.mission_id)
    robot = next(each for each in snapshot.robots if each.id == preemption.robot_id)
    wrong = [*_unfit_for_taking(mission, robot, snapshot), *_wrong_time(mission, snapshot)]
    if robot.work is not None and robot.work.attempt_id != preemption.attempt_id:
        wrong.append("the attempt is not the one that it is at")
    if any(_is_reserved(mission, other, snapshot) for other in snapshot.robots):
        wrong.append("a robot is being freed for it already")
    busy = {assignment.robot_id for assignment in plan.assignments}
    wrong += [
        f"{other.name} is free for it"
        for other in snapshot.robots
        if other.id not in busy and not _wrong_pair(mission, other, snapshot)
    ]
    taken = {each.robot_id for each in plan.preemptions}
    wrong += [
        f"{other.name} is at something less important"
        for other in snapshot.robots
        if other.id not in taken and _matters_less(other, robot) and not [*_unfit_for_taking(mission, other, snapshot)]
    ]
    return [f"{mission.name} takes {robot.name}: {reason}" for reason in wrong]


def _matters_less(one: Candidate, other: Candidate) -> bool:
    return one.work is not None and other.work is not None and one.work.priority < other.work.priority


def _unfit_for_taking(mission: Wanted, robot: Candidate, snapshot: Snapshot) -> Iterator[str]:
    yield from _wrong_match(mission, robot)
    yield from _unusable(robot, snapshot)
    if mission.priority < URGENT:
        yield "the mission is not urgent"
    if robot.work is None:
        yield "the robot is at nothing"
        return
    if not robot.work.is_preemptible:
        yield f"{robot.work.mission_name} is not preemptible"
    if robot.work.priority >= mission.priority:
        yield f"{robot.work.mission_name} is as important"
    if robot.work.is_ending:
        yield f"{robot.work.mission_name} is ending already"
    if robot.work.is_stuck:
        yield "the robot is lost"


def _unusable(robot: Candidate, snapshot: Snapshot) -> Iterator[str]:
    """Why the robot would not be given anything even when it had ended what it is at."""
    ended = robot.model_copy(update={"is_held": False})
    for reason in _wrong_robot(ended, snapshot):
        if reason not in {"the robot is executing", "the robot is paused"}:
            yield reason


def _is_reserved(mission: Wanted, robot: Candidate, snapshot: Snapshot) -> bool:
    if robot.work is not None:
        return robot.work.recalled_for == mission.id and not robot.work.is_stuck
    return robot.freed_for == mission.id and not [*_unusable(robot, snapshot)]


def _needless_waits(snapshot: Snapshot, plan: Plan) -> list[str]:
    """Urgent missions that wait although they may take a robot."""
    served = set(_named(plan))
    taken = {each.robot_id for each in plan.preemptions}
    return [
        f"{mission.name} waits although it may take {robot.name}"
        for mission in snapshot.missions
        if mission.id not in served and not any(_is_reserved(mission, each, snapshot) for each in snapshot.robots)
        for robot in snapshot.robots
        if robot.id not in taken and not [*_unfit_for_taking(mission, robot, snapshot), *_wrong_time(mission, snapshot)]
    ]
