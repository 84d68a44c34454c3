"""The last metre: what the platform says was done, beside what the robots' own record says they were told and did."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from deployments.demo.night import Night, Outcome, problems_of
from deployments.local import own_command, shown
from fleet.accounts import ManufacturerAccount
from fleet.adapter import OrderStatus
from fleet.adapters.ros2.runs import goal_id
from fleet.adapters.simulated.local_orders import VDA5050
from fleet.adapters.simulated.record import SiteRecord, read_record
from fleet.robots import COMMANDED_OVER, Robot
from missions.models import Attempt, TaskResult

SPOKEN = {"ros2": "ROS 2 over DDS", "vda5050": "VDA 5050 over MQTT", "simulated": "the cloud's HTTP"}
RUNS_MAX = 5  # a pause ends a run of a goal; nobody pauses that often in one night


@dataclass(frozen=True)
class Driven:
    """One attempt as the platform has it."""

    robot: str
    manufacturer: str
    key: str
    status: str
    done: frozenset[int]
    touched: frozenset[int]


@dataclass(frozen=True)
class Comparison:
    """Both sides beside each other."""

    goals: int
    twice: tuple[str, ...]
    missing: tuple[str, ...]
    strange: tuple[str, ...]
    live: tuple[str, ...]


async def compare(night: Night) -> Outcome:
    """Over which link each robot was driven, and whether each goal was carried out exactly once."""
    driven = await night.read(lambda session: driven_by(session, night))
    record = await asyncio.to_thread(read_record, night.var / "site" / "journal.db")
    over_ros2 = [attempt for attempt in driven if attempt.manufacturer == "ros2"]
    found = compared(over_ros2, record)
    links = await night.read(lambda session: _links(session, night))
    missions = Counter(attempt.robot for attempt in driven)
    told = "; ".join(f"{robot}: {missions[robot]} by {SPOKEN[link]}" for robot, link in sorted(links.items()))
    checks = {
        "every robot was driven": set(links) <= set(missions),
        "ROS 2 over DDS drove robots": bool(over_ros2),
        f"no task was carried out twice ({', '.join(found.twice[:3])})": not found.twice,
        f"every task that succeeded was carried out by its robot ({', '.join(found.missing[:3])})": not found.missing,
        f"no robot was told anything that no mission asked for ({', '.join(found.strange[:3])})": not found.strange,
        f"no goal is left running ({', '.join(found.live[:3])})": not found.live,
        f"no goal came again after its robot had forgotten it ({record.again})": not record.again,
    }
    where = f"{own_command()} --var {shown(night.var)} robots show amr-01"
    return Outcome(f"{told}; {found.goals} goals, each carried out once", where, problems_of(checks))


def driven_by(session: Session, night: Night) -> list[Driven]:
    """Every attempt of the night, with the tasks that succeeded and those that were begun."""
    query = (
        select(Attempt, Robot, ManufacturerAccount.manufacturer)
        .join(Robot, col(Robot.id) == Attempt.robot_id)
        .join(ManufacturerAccount, col(ManufacturerAccount.id) == COMMANDED_OVER)
        .where(Attempt.organisation_id == night.organisation_id)
    )
    results = session.exec(select(TaskResult).where(TaskResult.organisation_id == night.organisation_id)).all()
    return [
        Driven(
            robot.name,
            manufacturer,
            attempt.key,
            attempt.status.value,
            frozenset(one.position for one in results if one.attempt_id == attempt.id and one.status == "succeeded"),
            frozenset(one.position for one in results if one.attempt_id == attempt.id),
        )
        for attempt, robot, manufacturer in session.exec(query).all()
    ]


def compared(driven: Sequence[Driven], record: SiteRecord) -> Comparison:
    """What was driven over ROS 2 beside the record; goals are known by their ids, which follow from the attempts' keys."""
    ours = {
        str(goal_id(attempt.key, position, run)): (attempt, position)
        for attempt in driven
        for position in attempt.touched
        for run in range(RUNS_MAX)
    }
    goals = _of_ros2(record)
    well = record.with_status(OrderStatus.succeeded)
    done = Counter(ours[word] for word in goals & well if word in ours)
    wanted = {(attempt, position) for attempt in driven for position in attempt.done}
    live = {word for word in goals if record.reports[word].status in {OrderStatus.accepted, OrderStatus.running}}
    return Comparison(
        goals=len(goals),
        twice=tuple(_named(one) for one, times in done.items() if times > 1),
        missing=tuple(_named(one) for one in wanted if not done[one]),
        strange=tuple(sorted(goals - set(ours))),
        live=tuple(sorted(live)),
    )


def _of_ros2(record: SiteRecord) -> set[str]:
    return {word for word in record.reports if not word.startswith(VDA5050)}


def _named(one: tuple[Driven, int]) -> str:
    attempt, position = one
    return f"task {position} of {attempt.key} on {attempt.robot}"


def _links(session: Session, night: Night) -> Mapping[str, str]:
    query = select(Robot.name, ManufacturerAccount.manufacturer).join(
        ManufacturerAccount, col(ManufacturerAccount.id) == COMMANDED_OVER
    )
    return dict(session.exec(query.where(Robot.organisation_id == night.organisation_id)).all())
