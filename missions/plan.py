"""Who does what next: a pure function from a snapshot of missions and robots to a plan.

Greedy: the highest priority first, then the oldest; each takes the assignable robot that costs least. It never looks
ahead, so it is not the best plan, but it is always a right one (missions/validator says what right means).

An urgent mission (priority URGENT and above) that finds no free robot takes one from a preemptible mission of lower
priority: of those it could use, the one whose mission matters least. The robot is free when it says that it has ended;
then the urgent mission is the first that is asked about, and the other one goes on later where it was.
"""

from collections.abc import Sequence
from datetime import datetime
from math import hypot
from operator import itemgetter
from typing import Literal
from uuid import UUID

from pydantic import Field

from fleet.adapter import Activity, Frozen, OrderTask

URGENT = 50  # priority from which a mission may take the robot of a preemptible one
SILENCE_S = 30.0  # a robot of which nothing was heard for longer is offline
BATTERY_WORTH_M = 20.0  # a full battery instead of an empty one is worth this much of a way
BATTERY_UNKNOWN = 0.5
UNPLACED_M = 1e6  # a robot that has not said where it is comes last


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
    closed_until: datetime | None = Field(None, description="Nothing starts at its site before then.")
    closed_for: str = Field("", description="Name of the blackout that closes its site.")
    x_m: float | None = Field(None, description="Where it begins.")
    y_m: float | None = None
    tried_robot_ids: frozenset[UUID] = frozenset()
    tasks: tuple[OrderTask, ...] | None = Field(None, description="What is to be done, where that was read.")


class Work(Frozen):
    """What a robot is at: the live attempt of a mission."""

    mission_id: UUID
    mission_name: str
    attempt_id: UUID
    priority: int
    is_preemptible: bool
    is_ending: bool = Field(False, description="It is being cancelled or taken back already.")
    recalled_for: UUID | None = Field(None, description="The urgent mission that it is taken back for.")
    is_stuck: bool = Field(False, description="Its robot is lost, or does not end what it was told to end.")


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
    foreign_order: str = Field("", description="What it works on that was not ordered here (for people).")
    work: Work | None = Field(None, description="What it works on; read only while urgent missions wait.")
    freed_for: UUID | None = Field(None, description="The urgent mission that it was taken back for just now.")


class Snapshot(Frozen):
    """Everything a plan may rest on, as of one instant."""

    now: datetime
    missions: tuple[Wanted, ...]
    robots: tuple[Candidate, ...]
    is_remembered: bool = Field(
        False, description="The robots are some that were free a moment ago, not all as they are."
    )


class Assignment(Frozen):
    """This mission goes to this robot."""

    mission_id: UUID
    robot_id: UUID


class Refusal(Frozen):
    """Nobody can ever do this mission."""

    mission_id: UUID
    reason: str


class Preemption(Frozen):
    """This attempt is taken back from this robot, because `mission_id` needs it."""

    mission_id: UUID
    attempt_id: UUID
    robot_id: UUID


class Plan(Frozen):
    """What to do now; missions that are neither assigned nor refused wait, also those that something is preempted for."""

    kind: Literal["plan"] = "plan"
    assignments: tuple[Assignment, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    preemptions: tuple[Preemption, ...] = ()


def plan(snapshot: Snapshot, ranking: "Ranking | None" = None) -> Plan:
    """The greedy plan for the snapshot; the same snapshot gives the same plan.

    `ranking` is of its free robots, where somebody has it from an earlier plan: what that plan gave is free no more.
    """
    assignments: list[Assignment] = []
    refusals: list[Refusal] = []
    preemptions: list[Preemption] = []
    free = ranking or Ranking([robot for robot in snapshot.robots if is_assignable(robot, snapshot.now)])
    usable = [robot for robot in snapshot.robots if robot.work is not None and is_takeable(robot, snapshot.now)]
    for mission in sorted(snapshot.missions, key=lambda mission: (-mission.priority, mission.created_at, mission.id)):
        reason = reason_to_refuse(mission, snapshot.robots)
        if reason:
            refusals.append(Refusal(mission_id=mission.id, reason=reason))
            continue
        if not is_ready(mission, snapshot.now):
            continue
        robot = free.take(mission)
        if robot is not None:
            assignments.append(Assignment(mission_id=mission.id, robot_id=robot.id))
            continue
        victim = _least_important(mission, usable) if _may_take(mission, snapshot.robots, snapshot.now) else None
        if victim is not None and victim.work is not None:
            usable.remove(victim)
            attempt_id = victim.work.attempt_id
            preemptions.append(Preemption(mission_id=mission.id, attempt_id=attempt_id, robot_id=victim.id))
    return Plan(assignments=tuple(assignments), refusals=tuple(refusals), preemptions=tuple(preemptions))


def is_assignable(robot: Candidate, now: datetime) -> bool:
    """Whether the robot may begin a mission now: heard of, idle, held by nobody, with enough battery."""
    if robot.is_held or robot.held_by or robot.activity is not Activity.idle or robot.heard_at is None:
        return False
    is_silent = (now - robot.heard_at).total_seconds() > SILENCE_S
    is_low = robot.battery_fraction is not None and robot.battery_fraction < robot.battery_minimum_fraction
    return not (is_silent or is_low)


def is_takeable(robot: Candidate, now: datetime) -> bool:
    """Whether the robot could begin another mission as soon as it has ended the preemptible one that it is at."""
    work = robot.work
    is_takeable = work is not None and work.is_preemptible and not work.is_ending and not work.is_stuck
    return is_takeable and _is_soon_assignable(robot, now)


def _is_soon_assignable(robot: Candidate, now: datetime) -> bool:
    freed = robot.model_copy(update={"is_held": False, "activity": Activity.idle})
    return robot.activity in {Activity.idle, Activity.executing, Activity.paused} and is_assignable(freed, now)


def _may_take(mission: Wanted, robots: Sequence[Candidate], now: datetime) -> bool:
    """Whether the mission may take a robot: it is urgent, and none is being freed for it already."""
    return mission.priority >= URGENT and not any(is_being_freed(robot, mission, now) for robot in robots)


def is_being_freed(robot: Candidate, mission: Wanted, now: datetime) -> bool:
    """Whether the robot was taken back for this mission, and will soon be, or just became, free for it."""
    if robot.work is not None:
        return robot.work.recalled_for == mission.id and not robot.work.is_stuck
    return robot.freed_for == mission.id and _is_soon_assignable(robot, now)


def _least_important(mission: Wanted, usable: Sequence[Candidate]) -> Candidate | None:
    able = [
        (robot.work.priority, _cost(mission, robot), robot)
        for robot in usable
        if robot.work is not None and robot.work.priority < mission.priority and fits(mission, robot)
    ]
    return min(able, key=lambda each: each[:2], default=(0, (), None))[-1]


def is_ready(mission: Wanted, now: datetime) -> bool:
    """Whether the mission may begin now."""
    is_early = mission.ready_at is not None and now < mission.ready_at
    is_late = mission.not_after_at is not None and now > mission.not_after_at
    is_closed = mission.closed_until is not None and now < mission.closed_until
    return not (is_early or is_late or is_closed)


def can_do(mission: Wanted, robot: Candidate) -> bool:
    """Whether the robot is one that may and can do the mission, wherever it is and whatever it is at."""
    is_wanted = mission.pinned_robot_id in {None, robot.id}
    return (
        is_wanted
        and mission.organisation_id == robot.organisation_id
        and mission.required_capabilities <= robot.capabilities
    )


class Ranking:
    """The robots that are free, ranked once for all missions that ask the same of them."""

    def __init__(self, robots: Sequence[Candidate]) -> None:
        """All of `robots` are free."""
        self._robots = robots
        self._taken: set[UUID] = set()
        self._ranked: dict[tuple[object, ...], list[Candidate]] = {}

    def take(self, mission: Wanted) -> Candidate | None:
        """The one that costs least, which is free no more; None when none is left for this mission."""
        ranked = self._ranking(mission)
        while ranked:
            robot = ranked.pop()
            if robot.id not in self._taken:
                self._taken.add(robot.id)
                return robot
        return None

    def _ranking(self, mission: Wanted) -> list[Candidate]:
        asked = (mission.organisation_id, mission.site_id, mission.required_capabilities, mission.pinned_robot_id)
        key = (*asked, mission.x_m, mission.y_m, mission.tried_robot_ids)
        if key not in self._ranked:
            able = [(_cost(mission, robot), robot) for robot in self._robots if fits(mission, robot)]
            able.sort(key=itemgetter(0), reverse=True)
            self._ranked[key] = [robot for _, robot in able]
        return self._ranked[key]


def fits(mission: Wanted, robot: Candidate) -> bool:
    """Whether the robot may and can do the mission, and is where it is to be done, whatever it is at."""
    return can_do(mission, robot) and robot.site_id == mission.site_id


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
    if any(can_do(mission, robot) for robot in robots):
        return ""
    ours = [robot for robot in robots if robot.organisation_id == mission.organisation_id]
    if not ours:
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
