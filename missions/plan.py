"""Who does what next: a pure function from a snapshot of missions and robots to a plan.

Greedy: the highest priority first, then the oldest; each takes the assignable robot that costs least. It never looks
ahead, so it is not the best plan, but it is always a right one (missions/validator says what right means).
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from math import hypot
from typing import Literal
from uuid import UUID

from pydantic import Field

from fleet.adapter import Activity, Frozen

SILENCE_S = 30.0  # a robot of which nothing was heard for longer is offline
BATTERY_WORTH_M = 20.0  # a full battery instead of an empty one is worth this much of a way
BATTERY_UNKNOWN = 0.5
UNPLACED_M = 1e6  # a robot that has not said where it is comes last
NAMED_MAX = 3


class Wanted(Frozen):
    """A mission that waits for a robot."""

    id: UUID
    organisation_id: UUID
    site_id: UUID
    name: str
    version: int
    priority: int
    created_at: datetime
    required_capabilities: frozenset[str] = frozenset()
    pinned_robot_id: UUID | None = None
    ready_at: datetime | None = Field(None, description="Not before: the earliest start, or the pause before a retry.")
    not_after_at: datetime | None = None
    x_m: float | None = Field(None, description="Where it begins.")
    y_m: float | None = None
    tried_robot_ids: frozenset[UUID] = frozenset()


class Candidate(Frozen):
    """A robot as the planner sees it."""

    id: UUID
    organisation_id: UUID
    site_id: UUID
    name: str
    capabilities: frozenset[str]
    is_held: bool
    held_by: str = Field("", description="What people hold it for: 'held by <who> (<reason>)'; empty: nobody does.")
    activity: Activity = Activity.offline
    heard_at: datetime | None = None
    battery_fraction: float | None = None
    battery_minimum_fraction: float = 0.0
    x_m: float | None = None
    y_m: float | None = None


class Snapshot(Frozen):
    """Everything a plan may rest on, as of one instant."""

    now: datetime
    missions: tuple[Wanted, ...]
    robots: tuple[Candidate, ...]


class Assignment(Frozen):
    """This mission goes to this robot."""

    mission_id: UUID
    robot_id: UUID


class Refusal(Frozen):
    """Nobody can ever do this mission."""

    mission_id: UUID
    reason: str


class Plan(Frozen):
    """What to do now; missions in neither list wait."""

    kind: Literal["plan"] = "plan"
    assignments: tuple[Assignment, ...] = ()
    refusals: tuple[Refusal, ...] = ()


def plan(snapshot: Snapshot) -> Plan:
    """The greedy plan for the snapshot; the same snapshot gives the same plan."""
    assignments: list[Assignment] = []
    refusals: list[Refusal] = []
    free = [robot for robot in snapshot.robots if is_assignable(robot, snapshot.now)]
    for mission in sorted(snapshot.missions, key=lambda mission: (-mission.priority, mission.created_at, mission.id)):
        reason = reason_to_refuse(mission, snapshot.robots)
        if reason:
            refusals.append(Refusal(mission_id=mission.id, reason=reason))
            continue
        robot = _cheapest(mission, free) if is_ready(mission, snapshot.now) else None
        if robot is not None:
            free.remove(robot)
            assignments.append(Assignment(mission_id=mission.id, robot_id=robot.id))
    return Plan(assignments=tuple(assignments), refusals=tuple(refusals))


def is_assignable(robot: Candidate, now: datetime) -> bool:
    """Whether the robot may begin a mission now: heard of, idle, held by nobody, with enough battery."""
    if robot.is_held or robot.held_by or robot.activity is not Activity.idle or robot.heard_at is None:
        return False
    is_silent = (now - robot.heard_at).total_seconds() > SILENCE_S
    is_low = robot.battery_fraction is not None and robot.battery_fraction < robot.battery_minimum_fraction
    return not (is_silent or is_low)


def is_ready(mission: Wanted, now: datetime) -> bool:
    """Whether the mission may begin now."""
    is_early = mission.ready_at is not None and now < mission.ready_at
    is_late = mission.not_after_at is not None and now > mission.not_after_at
    return not (is_early or is_late)


def _can_do(mission: Wanted, robot: Candidate) -> bool:
    is_wanted = mission.pinned_robot_id in {None, robot.id}
    return (
        is_wanted
        and mission.organisation_id == robot.organisation_id
        and mission.required_capabilities <= robot.capabilities
    )


def _cheapest(mission: Wanted, free: Sequence[Candidate]) -> Candidate | None:
    able = [robot for robot in free if _can_do(mission, robot) and robot.site_id == mission.site_id]
    return min(able, key=lambda robot: _cost(mission, robot), default=None)


def _cost(mission: Wanted, robot: Candidate) -> tuple[bool, float, str]:
    battery = BATTERY_UNKNOWN if robot.battery_fraction is None else robot.battery_fraction
    way_m = _distance_m(mission, robot) + BATTERY_WORTH_M * (1.0 - battery)
    return (robot.id in mission.tried_robot_ids, way_m, robot.name)


def _distance_m(mission: Wanted, robot: Candidate) -> float:
    if mission.x_m is None or mission.y_m is None:
        return 0.0
    if robot.x_m is None or robot.y_m is None:
        return UNPLACED_M
    return hypot(mission.x_m - robot.x_m, mission.y_m - robot.y_m)


def reason_to_refuse(mission: Wanted, robots: Sequence[Candidate]) -> str:
    """Why no robot of the organisation could ever do the mission, for a person; empty when one could.

    While the organisation has no robots at all, the mission waits for them.
    """
    ours = [robot for robot in robots if robot.organisation_id == mission.organisation_id]
    if not ours or any(_can_do(mission, robot) for robot in ours):
        return ""
    wanted = ", ".join(sorted(mission.required_capabilities))
    pinned = next((robot for robot in ours if robot.id == mission.pinned_robot_id), None)
    if pinned is not None:
        missing = ", ".join(sorted(mission.required_capabilities - pinned.capabilities))
        return f"{pinned.name} is the only robot that may do it, and it lacks: {missing}."
    if not wanted:
        return "The one robot that may do it is no longer of this organisation."
    nowhere = sorted(mission.required_capabilities - frozenset[str]().union(*(robot.capabilities for robot in ours)))
    named = ", ".join(sorted(robot.name for robot in ours)[:10])
    if nowhere:
        return f"No robot can do {', '.join(nowhere)} (of {len(ours)}: {named})."
    return f"No robot can do all of {wanted} (of {len(ours)}: {named})."


def reason_to_wait(mission: Wanted, robots: Sequence[Candidate], now: datetime) -> str:
    """Why the mission has no robot yet, for a person; names three robots at most.

    When one is free nothing is in the way but missions that are more urgent, and it says so.
    """
    refusal = reason_to_refuse(mission, robots)
    if refusal or not is_ready(mission, now):
        return refusal or _out_of_time(mission, now)
    able = [robot for robot in robots if _can_do(mission, robot)]
    here = sorted((robot for robot in able if robot.site_id == mission.site_id), key=lambda robot: robot.name)
    if not here:
        return _nobody_here(able)
    free = [robot.name for robot in here if is_assignable(robot, now)]
    if free:
        verb = "is" if len(free) == 1 else "are"
        return f"{_some(free)} {verb} free, and the most urgent missions go first."
    if mission.pinned_robot_id:
        return f"Only {here[0].name} may do it, and it is {_occupation(here[0], now)}."
    return f"No robot is free: {_occupations(here, now)}."


def _out_of_time(mission: Wanted, now: datetime) -> str:
    if mission.ready_at is not None and now < mission.ready_at:
        return f"It is too early until {mission.ready_at:%Y-%m-%d %H:%M:%S} UTC."
    return f"It is too late since {mission.not_after_at:%Y-%m-%d %H:%M:%S} UTC; it is about to expire."


def _nobody_here(able: Sequence[Candidate]) -> str:
    if not able:
        return "The organisation has no robots yet."
    return f"No robot that can do it is at its site (elsewhere: {_some(sorted(robot.name for robot in able))})."


def _some(names: Sequence[str]) -> str:
    left_out = len(names) - NAMED_MAX
    return ", ".join(names[:NAMED_MAX]) + (f" and {left_out} more" if left_out > 0 else "")


def _occupations(robots: Sequence[Candidate], now: datetime) -> str:
    named = ", ".join(f"{robot.name} is {_occupation(robot, now)}" for robot in robots[:NAMED_MAX])
    others = Counter(_occupation(robot, now).partition(" (")[0] for robot in robots[NAMED_MAX:])
    counted = ", ".join(f"{count} {word}" for word, count in others.most_common())
    return f"{named}; of the others {counted}" if counted else named


def _occupation(robot: Candidate, now: datetime) -> str:
    """What keeps a robot that is not assignable; the figures, and a person's reason, in brackets."""
    if robot.held_by:
        return robot.held_by
    if robot.heard_at is None:
        return "not heard of yet"
    silent_s = (now - robot.heard_at).total_seconds()
    if silent_s > SILENCE_S:
        return f"silent (for {_span(silent_s)})"
    if robot.is_held or robot.activity is Activity.executing:
        return "busy"
    if robot.activity is Activity.idle:
        return f"low on battery ({robot.battery_fraction:.1%}, it needs {robot.battery_minimum_fraction:.0%})"
    if robot.activity is Activity.charging and robot.battery_fraction is not None:
        return f"charging ({robot.battery_fraction:.0%})"
    return {Activity.maintenance: "in maintenance", Activity.error: "in error"}.get(
        robot.activity, robot.activity.value
    )


def _span(seconds: float) -> str:
    for unit, unit_s in (("h", 3600), ("min", 60)):
        if seconds >= 2 * unit_s:
            return f"{seconds // unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"
