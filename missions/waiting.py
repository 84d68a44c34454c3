"""Why a mission has no robot yet, in words for a person (pure)."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from fleet.adapter import Activity
from missions.plan import (
    SILENCE_S,
    Candidate,
    Wanted,
    can_do,
    is_assignable,
    is_being_freed,
    is_ready,
    reason_to_refuse,
)

NAMED_MAX = 3


def reason_to_wait(mission: Wanted, robots: Sequence[Candidate], now: datetime) -> str:
    """Why the mission has no robot yet, for a person; names three robots at most.

    When one is free nothing is in the way but missions that are more urgent, and it says so.
    """
    refusal = reason_to_refuse(mission, robots)
    if refusal or not is_ready(mission, now):
        return refusal or _out_of_time(mission, now)
    able = [robot for robot in robots if can_do(mission, robot)]
    here = sorted((robot for robot in able if robot.site_id == mission.site_id), key=lambda robot: robot.name)
    if not here:
        return _nobody_here(able)
    freed = next((robot for robot in here if is_being_freed(robot, mission, now)), None)
    if freed is not None:
        return f"{freed.name} is being freed for it."
    free = [robot.name for robot in here if is_assignable(robot, now)]
    if free:
        verb = "is" if len(free) == 1 else "are"
        return f"{_some(free)} {verb} free, and the most urgent missions go first."
    if mission.pinned_robot_id:
        return f"Only {here[0].name} may do it, and it is {_occupation(here[0], now)}."
    return f"No robot is free: {_occupations(here, now)}."


def _out_of_time(mission: Wanted, now: datetime) -> str:
    if mission.closed_until is not None and now < mission.closed_until:
        return f"Nothing starts at its site until {mission.closed_until:%Y-%m-%d %H:%M:%S} UTC ({mission.closed_for})."
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
    if robot.foreign_order:
        return f"busy (with {robot.foreign_order:.50}, which was not ordered here)"
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
