"""A plan becomes attempts: hold, attempt and outbox row in one transaction, before anything is sent."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import exists
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from fleet import ledger, reading
from fleet.accounts import ManufacturerAccount
from fleet.adapter import Activity, Order, OrderTask
from fleet.clock import database_now
from fleet.database import row_of, table_of, values_of
from fleet.errors import Conflict
from fleet.robots import COMMANDED_OVER, Robot
from fleet.statements import Values
from fleet.states import RobotState
from missions import holds, leases, outbox
from missions.lifecycle import Cause, begin_attempts, move_mission
from missions.live import IDS, lock_mission, lock_waiting, tries_of
from missions.models import Attempt, Desired, Mission, MissionStatus, OutboxMessage, OutboxStatus
from missions.orders import order_of, order_tasks, tasks_of
from missions.plan import Assignment, Candidate, Plan, Refusal, Snapshot, Wanted, fits, is_assignable
from missions.preemption import preempt

log = structlog.get_logger(__name__)

OUTBOX = table_of(OutboxMessage).c
STATE: tuple[Any, ...] = (RobotState.activity, RobotState.received_at, RobotState.battery_fraction)
# Whether it must be told something else before; new orders are not written yet.
_IS_TOLD = exists().where(OUTBOX.robot_id == col(Robot.id), OUTBOX.status == OutboxStatus.pending)
_ROBOTS: Any = (
    select(Robot, ManufacturerAccount, _IS_TOLD, *STATE)
    .join(ManufacturerAccount, col(ManufacturerAccount.id) == COMMANDED_OVER)
    .join(RobotState, col(RobotState.robot_id) == Robot.id, isouter=True)
    .where(col(Robot.id).in_(IDS))
    .order_by(col(Robot.id))
)
ROBOT_WIDTH, ACCOUNT_WIDTH = reading.width(Robot), reading.width(ManufacturerAccount)
# Without those that somebody else has locked: who holds robots may wait for a mission that is locked here.
LOCK_ROBOTS = _ROBOTS.with_for_update(key_share=True, skip_locked=True, of=Robot)
Transaction = Callable[[], AbstractContextManager[Session]]
Robots = dict[UUID, tuple[Robot, ManufacturerAccount, bool]]


@dataclass(frozen=True)
class Given:
    """A mission that was just given to a robot, in the transaction that wrote it."""

    mission: Mission
    robot: Robot
    account: ManufacturerAccount
    attempt: Attempt
    message: OutboxMessage
    order: Order
    is_told_before: bool  # its robot must be told something else before the order


Also = Callable[[Session, Sequence[Given]], None]


def _nothing(session: Session, given: Sequence[Given]) -> None:
    pass


def carry_out(
    transaction: Transaction, plan: Plan, snapshot: Snapshot, *, who: str, also: Also = _nothing
) -> list[Attempt]:
    """The attempts that the plan became; what another was faster at is passed over.

    All in one transaction, in which `also` is called with what was given. When one of them meets a conflict they are
    done one by one, each in a transaction of its own, and `also` is called anew.
    """
    for refusal in plan.refusals:
        _passing(transaction, partial(refuse, refusal=refusal, snapshot=snapshot, who=who))
    for preemption in plan.preemptions:
        _passing(transaction, partial(preempt, preemption=preemption, snapshot=snapshot, who=who))
    if not plan.assignments:
        return []
    try:
        return _together(transaction, plan.assignments, snapshot, who, also)
    except (Conflict, IntegrityError) as error:
        log.info("assignments done one by one", reason=str(error))
    return [
        attempt for assignment in plan.assignments for attempt in _alone(transaction, assignment, snapshot, who, also)
    ]


def _passing(transaction: Transaction, work: Callable[[Session], object]) -> None:
    try:
        with transaction() as session:
            work(session)
    except Conflict as error:
        log.info("passed over: somebody else was faster", reason=error.message)


def _together(
    transaction: Transaction, assignments: Sequence[Assignment], snapshot: Snapshot, who: str, also: Also
) -> list[Attempt]:
    with transaction() as session, ledger.together(session):
        given = assign_all(session, assignments, snapshot, who=who)
        also(session, given)
        for row in [*(one.attempt for one in given), *(one.message for one in given)]:
            ledger.append(session, type(row), values_of(row))
    return [one.attempt for one in given]


def _alone(transaction: Transaction, assignment: Assignment, snapshot: Snapshot, who: str, also: Also) -> list[Attempt]:
    try:
        return _together(transaction, [assignment], snapshot, who, also)
    except (Conflict, IntegrityError) as error:
        log.info("assignment passed over", mission=str(assignment.mission_id), reason=str(error))
        return []


def assign_all(session: Session, assignments: Sequence[Assignment], snapshot: Snapshot, *, who: str) -> list[Given]:
    """What these assignments became, without those whose mission or robot has changed since the snapshot.

    The caller writes the attempts and the messages, as they are in the end.
    Of several dispatchers with the same plan one gets the hold. Raises Conflict or IntegrityError (and the caller rolls
    back) when the database itself refuses one of them.
    """
    seen = {mission.id: mission for mission in snapshot.missions}
    wanted = {assignment.robot_id: assignment.mission_id for assignment in assignments}
    of = {robot_id: seen[mission_id] for robot_id, mission_id in wanted.items()}
    missions, robots, unheld = _as_they_are(session, of)
    attempts = [_attempt(session, missions[wanted[robot_id]], robot) for robot_id, (robot, *_) in robots.items()]
    fences = leases.take(session, {attempt.robot_id: str(attempt.id) for attempt in attempts}, unheld=unheld)
    taken = [attempt for attempt in attempts if attempt.robot_id in fences]
    for attempt in taken:
        attempt.fence = fences[attempt.robot_id]
    begun = [(attempt, _cause(attempt, robots[attempt.robot_id][0], who)) for attempt in taken]
    begin_attempts(session, begun)
    tasks = _tasks(session, [missions[attempt.mission_id] for attempt in taken], seen)
    given = []
    for attempt, cause in begun:
        mission, (robot, account, is_told) = missions[attempt.mission_id], robots[attempt.robot_id]
        order = order_of(attempt, robot, tasks[mission.id])
        message = outbox.enqueue_first(session, attempt, order)
        mission.robot_id = robot.id
        move_mission(session, mission, MissionStatus.assigned, cause)
        given.append(Given(mission, robot, account, attempt, message, order, is_told))
    return given


def _as_they_are(
    session: Session, wanted: Mapping[UUID, Wanted]
) -> tuple[dict[UUID, Mission], Robots, dict[UUID, Robot]]:
    """The missions that still wait as they were seen, and the robots that they are wanted of, all locked and read in one go.

    With each robot the account it is commanded over, and whether it is told something before. Without those that people
    hold (or are about to), or that cannot begin their mission, since the snapshot was taken. Last, those of them of which
    there is no lease.
    """
    ids, whose = {"ids": list(wanted)}, {mission.organisation_id for mission in wanted.values()}
    also: list[tuple[Any, Values]] = [(LOCK_ROBOTS, ids), (holds.OPEN, {"ids": list(whose)}), (leases.HELD, ids)]
    # Only what waits: who holds robots locks these first, and then the missions under way on them. A hold that was put
    # meanwhile is seen, and a lease, as they are asked for under the robots' locks.
    waiting, (rows, held, leased) = lock_waiting(session, [mission.id for mission in wanted.values()], also)
    missions = {
        mission.id: waiting[mission.id]
        for mission in wanted.values()
        if mission.id in waiting and waiting[mission.id].version == mission.version and _is_waiting(waiting[mission.id])
    }
    free = _free(session, wanted, rows, holds.in_order(session, held))
    robots = {robot_id: row for robot_id, row in free.items() if wanted[robot_id].id in missions}
    unheld = robots.keys() - {robot_id for (robot_id,) in leased}
    return missions, robots, {robot_id: robot for robot_id, (robot, *_) in robots.items() if robot_id in unheld}


def _is_waiting(mission: Mission) -> bool:
    return mission.status is MissionStatus.scheduled and mission.desired is Desired.run


def _free(
    session: Session, wanted: Mapping[UUID, Wanted], rows: Sequence[Sequence[Any]], held: Sequence[holds.Hold]
) -> Robots:
    robots = reading.load(session, Robot, rows)
    accounts = reading.load(session, ManufacturerAccount, [row[ROBOT_WIDTH:] for row in rows])
    rest = [row[ROBOT_WIDTH + ACCOUNT_WIDTH :] for row in rows]
    now = database_now(session)
    return {
        robot.id: (robot, account, bool(is_told))
        for robot, account, (is_told, *state) in zip(robots, accounts, rest, strict=True)
        if not holds.covering(robot, held) and _can_begin(wanted[robot.id], _as_candidate(robot, *state), now)
    }


def _can_begin(mission: Wanted, robot: Candidate, now: datetime) -> bool:
    return is_assignable(robot, now) and fits(mission, robot)


def _as_candidate(
    robot: Robot, activity: Activity | None, heard_at: datetime | None, battery_fraction: float | None
) -> Candidate:
    return Candidate(
        id=robot.id,
        organisation_id=robot.organisation_id,
        site_id=robot.site_id,
        name=robot.name,
        capabilities=frozenset(robot.capabilities),
        is_held=False,
        activity=activity or Activity.offline,
        heard_at=heard_at,
        battery_fraction=battery_fraction,
        battery_minimum_fraction=robot.battery_minimum_fraction,
    )


def _attempt(session: Session, mission: Mission, robot: Robot) -> Attempt:
    number = tries_of(session, mission) + 1
    return row_of(
        Attempt,
        organisation_id=mission.organisation_id,
        mission_id=mission.id,
        robot_id=robot.id,
        number=number,
        key=f"{mission.id}/{number}",
        fence=robot.fence + 1,
        first_task=mission.first_task,
        created_at=database_now(session),
    )


def _cause(attempt: Attempt, robot: Robot, who: str) -> Cause:
    evidence = {"robot": robot.name, "attempt": attempt.number, "fence": attempt.fence}
    return Cause(who, f"given to {robot.name}", evidence)


def refuse(session: Session, refusal: Refusal, snapshot: Snapshot, *, who: str) -> Mission | None:
    """The mission, refused with its reason, or None when it has changed since the snapshot."""
    mission = _unchanged(session, refusal.mission_id, snapshot)
    if mission is not None:
        move_mission(session, mission, MissionStatus.refused, Cause(who, refusal.reason))
    return mission


def _unchanged(session: Session, mission_id: object, snapshot: Snapshot) -> Mission | None:
    seen = next(mission for mission in snapshot.missions if mission.id == mission_id)
    mission = lock_mission(session, seen.id)
    return mission if mission.version == seen.version and _is_waiting(mission) else None


def _tasks(
    session: Session, missions: Sequence[Mission], seen: Mapping[UUID, Wanted]
) -> dict[UUID, tuple[OrderTask, ...]]:
    """What is to be done for missions that are as they were seen: so are their tasks, where those were read then."""
    known = {mission.id: tasks for mission in missions if (tasks := seen[mission.id].tasks) is not None}
    others = [mission for mission in missions if mission.id not in known]
    rows = tasks_of(session, [mission.id for mission in others]) if others else {}
    return known | {each.id: order_tasks(rows[each.id], first_task=each.first_task) for each in others}
