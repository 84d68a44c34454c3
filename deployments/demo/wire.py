"""The last metre: what the platform says was done, beside what the robots' own record says they were told and did."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from deployments.demo.night import Night, Outcome, problems_of
from deployments.local import own_command, shown
from fleet.accounts import ManufacturerAccount
from fleet.adapter import OrderStatus
from fleet.adapters.ros2.runs import goal_id
from fleet.adapters.simulated.local_orders import VDA5050
from fleet.adapters.simulated.record import SiteRecord, read_record
from fleet.adapters.vda5050.runs import order_id
from fleet.robots import COMMANDED_OVER, Robot
from missions.models import Attempt, AttemptStatus, TaskResult

SPOKEN = {"ros2": "ROS 2 over DDS", "vda5050": "VDA 5050 over MQTT", "simulated": "the cloud's HTTP"}
TASKS_MAX = 200  # of a mission (missions.models)
RUNS_MAX = 5  # a pause ends a run of a goal; nobody pauses that often in one night


@dataclass(frozen=True)
class Driven:
    """One attempt as the platform has it."""

    robot: str
    manufacturer: str
    key: str
    is_done: bool
    done: frozenset[int]


@dataclass(frozen=True)
class Comparison:
    """Both sides beside each other; each sentence names what only one of them has."""

    orders: int
    twice: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    strange: tuple[str, ...] = ()
    live: tuple[str, ...] = ()


async def compare(night: Night) -> Outcome:
    """Over which link each robot was driven, and whether what each was told was carried out exactly once."""
    driven = await night.read(lambda session: driven_by(session, night))
    record = await asyncio.to_thread(read_record, night.var / "site" / "journal.db")
    links = await night.read(lambda session: _links(session, night))
    goals, orders = goals_compared(driven, record), orders_compared(driven, record)
    checks = {
        "every robot was driven": set(links) <= {attempt.robot for attempt in driven},
        "ROS 2 over DDS drove robots": goals.orders > 0,
        f"no goal or order came again after its robot had forgotten it ({dict(record.again)})": not record.again,
        **_holds("goals", goals),
        **_holds("orders", orders),
    }
    missions = Counter(attempt.robot for attempt in driven)
    told = "; ".join(f"{robot}: {missions[robot]} by {SPOKEN[link]}" for robot, link in sorted(links.items()))
    given = f"{goals.orders} goals" + (f" and {orders.orders} orders" if orders.orders else "")
    where = f"{own_command()} --var {shown(night.var)} robots show amr-01"
    return Outcome(f"{told}; {given}, each once", where, problems_of(checks))


def _holds(what: str, found: Comparison) -> dict[str, bool]:
    return {
        f"no {what} were carried out twice ({_some(found.twice)})": not found.twice,
        f"all {what} that the platform says succeeded were carried out ({_some(found.missing)})": not found.missing,
        f"no {what} came that no mission asked for ({_some(found.strange)})": not found.strange,
        f"no {what} are left running ({_some(found.live)})": not found.live,
    }


def _some(named: Sequence[str]) -> str:
    return ", ".join(named[:3]) or "none"


def driven_by(session: Session, night: Night) -> list[Driven]:
    """Every attempt of the night, with the tasks of it that succeeded."""
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
            attempt.status is AttemptStatus.succeeded,
            frozenset(one.position for one in results if one.attempt_id == attempt.id and one.status == "succeeded"),
        )
        for attempt, robot, manufacturer in session.exec(query).all()
    ]


def goals_compared(driven: Sequence[Driven], record: SiteRecord) -> Comparison:
    """What was driven over ROS 2 beside the record; goals are known by their ids, which follow from the attempts' keys."""
    over_ros2 = [attempt for attempt in driven if attempt.manufacturer == "ros2"]
    ours = {
        str(goal_id(attempt.key, position, run)): (attempt, position)
        for attempt in over_ros2
        for position in range(TASKS_MAX)
        for run in range(RUNS_MAX)
    }
    told = {word for word in record.reports if not word.startswith(VDA5050)}
    done = Counter(ours[word] for word in told & record.with_status(OrderStatus.succeeded) if word in ours)
    wanted = [(attempt, position) for attempt in over_ros2 for position in attempt.done]
    return Comparison(
        orders=len(told),
        twice=tuple(_named(one) for one, times in done.items() if times > 1),
        missing=tuple(_named(one) for one in wanted if not done[one]),
        strange=tuple(sorted(told - set(ours))),
        live=tuple(sorted(told & _live(record))),
    )


def orders_compared(driven: Sequence[Driven], record: SiteRecord) -> Comparison:
    """What was driven over VDA 5050 beside the record; the orderId follows from the attempt's key."""
    ours = {f"{VDA5050}{order_id(one.key)}": one for one in driven if one.manufacturer == "vda5050"}
    told = {word for word in record.reports if word.startswith(VDA5050)}
    done = record.with_status(OrderStatus.succeeded)
    return Comparison(
        orders=len(told),
        missing=tuple(one.key for word, one in ours.items() if one.is_done and word not in done),
        strange=tuple(sorted(word for word in told if word not in ours and not _is_update(word, ours))),
        live=tuple(sorted(told & _live(record))),
    )


def _is_update(word: str, orders: Collection[str]) -> bool:
    """A robot keeps what an update adds to an order under the order's word and the update's number."""
    return word.rpartition("/")[0] in orders


def _live(record: SiteRecord) -> set[str]:
    return record.with_status(OrderStatus.accepted) | record.with_status(OrderStatus.running)


def _named(one: tuple[Driven, int]) -> str:
    attempt, position = one
    return f"task {position} of {attempt.key} on {attempt.robot}"


def _links(session: Session, night: Night) -> Mapping[str, str]:
    query = select(Robot.name, ManufacturerAccount.manufacturer).join(
        ManufacturerAccount, col(ManufacturerAccount.id) == COMMANDED_OVER
    )
    return dict(session.exec(query.where(Robot.organisation_id == night.organisation_id)).all())
