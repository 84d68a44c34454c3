"""A plan becomes attempts: hold, attempt and outbox row in one transaction, before anything is sent."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from fleet import ledger
from fleet.accounts import ManufacturerAccount
from fleet.adapter import Activity, Order, OrderTask, TaskKind
from fleet.clock import database_now
from fleet.errors import Conflict
from fleet.organisations import Station
from fleet.robots import COMMANDED_OVER, Robot
from fleet.states import RobotState
from missions import holds, leases, outbox
from missions.lifecycle import Cause, begin_attempts, move_mission
from missions.live import IDS, lock_mission, lock_missions, tries_of
from missions.models import Attempt, Desired, Mission, MissionStatus, MissionTask, OutboxMessage
from missions.plan import Assignment, Candidate, Plan, Refusal, Snapshot, Wanted, fits, is_assignable
from missions.preemption import preempt

log = structlog.get_logger(__name__)

STATE: tuple[Any, ...] = (RobotState.activity, RobotState.received_at, RobotState.battery_fraction)
_ROBOTS: Any = (
    select(Robot, ManufacturerAccount, *STATE)
    .join(ManufacturerAccount, col(ManufacturerAccount.id) == COMMANDED_OVER)
    .join(RobotState, col(RobotState.robot_id) == Robot.id, isouter=True)
    .where(col(Robot.id).in_(IDS))
    .order_by(col(Robot.id))
)
LOCK_ROBOTS = _ROBOTS.with_for_update(key_share=True, of=Robot)
TASKS = (
    select(MissionTask, Station)
    .join(Station, col(Station.id) == MissionTask.station_id, isouter=True)
    .where(col(MissionTask.mission_id).in_(IDS))
    .order_by(col(MissionTask.position))
)
Transaction = Callable[[], AbstractContextManager[Session]]


@dataclass(frozen=True)
class Given:
    """A mission that was just given to a robot, in the transaction that wrote it."""

    mission: Mission
    robot: Robot
    account: ManufacturerAccount
    attempt: Attempt
    message: OutboxMessage


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
            ledger.append(session, type(row), row.model_dump())
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
    missions = _all_unchanged(session, [assignment.mission_id for assignment in assignments], snapshot)
    wanted = {
        assignment.robot_id: assignment.mission_id for assignment in assignments if assignment.mission_id in missions
    }
    seen = {mission.id: mission for mission in snapshot.missions}
    robots = _free(session, {robot_id: seen[mission_id] for robot_id, mission_id in wanted.items()})
    attempts = [_attempt(session, missions[wanted[robot_id]], robot) for robot_id, (robot, _) in robots.items()]
    fences = leases.take(session, {attempt.robot_id: str(attempt.id) for attempt in attempts})
    taken = [attempt for attempt in attempts if attempt.robot_id in fences]
    for attempt in taken:
        attempt.fence = fences[attempt.robot_id]
    begun = [(attempt, _cause(attempt, robots[attempt.robot_id][0], who)) for attempt in taken]
    begin_attempts(session, begun)
    tasks = _tasks(session, [attempt.mission_id for attempt in taken])
    given = []
    for attempt, cause in begun:
        mission, (robot, account) = missions[attempt.mission_id], robots[attempt.robot_id]
        message = outbox.enqueue_first(session, attempt, _order(mission, attempt, robot, tasks[mission.id]))
        mission.robot_id = robot.id
        move_mission(session, mission, MissionStatus.assigned, cause)
        given.append(Given(mission, robot, account, attempt, message))
    return given


def _all_unchanged(session: Session, mission_ids: Sequence[UUID], snapshot: Snapshot) -> dict[UUID, Mission]:
    versions = {mission.id: mission.version for mission in snapshot.missions}
    # Only what waits: who holds robots locks these first, and then the missions under way on them.
    waiting = lock_missions(session, mission_ids, only_waiting=True)
    return {
        mission.id: mission
        for mission in waiting.values()
        if mission.version == versions[mission.id] and _is_waiting(mission)
    }


def _is_waiting(mission: Mission) -> bool:
    return mission.status is MissionStatus.scheduled and mission.desired is Desired.run


def _free(session: Session, wanted: Mapping[UUID, Wanted]) -> dict[UUID, tuple[Robot, ManufacturerAccount]]:
    """The robots, locked in order of their ids, with the accounts they are commanded over.

    Without those that people hold, or that cannot begin their mission, since the snapshot was taken.
    """
    rows = session.exec(LOCK_ROBOTS, params={"ids": list(wanted)}).all()
    held = holds.open_holds(session, {robot.organisation_id for robot, *_ in rows})
    now = database_now(session)
    return {
        robot.id: (robot, account)
        for robot, account, *state in rows
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
    return Attempt(
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


def _tasks(session: Session, mission_ids: Sequence[UUID]) -> dict[UUID, list[tuple[MissionTask, Station | None]]]:
    found: dict[UUID, list[tuple[MissionTask, Station | None]]] = {mission_id: [] for mission_id in mission_ids}
    for task, station in session.exec(TASKS, params={"ids": list(mission_ids)}).all():
        found[task.mission_id].append((task, station))
    return found


def _order(
    mission: Mission, attempt: Attempt, robot: Robot, tasks: Sequence[tuple[MissionTask, Station | None]]
) -> Order:
    return Order(
        key=attempt.key,
        fence=attempt.fence,
        serial_number=robot.address,
        mission_id=str(mission.id),
        tasks=order_tasks(tasks, first_task=mission.first_task),
    )


def order_tasks(tasks: Sequence[tuple[MissionTask, Station | None]], *, first_task: int) -> tuple[OrderTask, ...]:
    """The tasks still to do, as they are sent (pure); a recording belongs to the attempt, so each attempt has it.

    What somebody skipped is left out.
    """
    return tuple(
        OrderTask.model_validate(
            {
                "position": task.position,
                "kind": task.kind,
                "station": station.name if station else None,
                "x_m": station.x_m if station else None,
                "y_m": station.y_m if station else None,
                "parameters": task.parameters,
                "timeout_s": task.timeout_s,
            }
        )
        for task, station in tasks
        if task.skipped_at is None and (task.position >= first_task or task.kind is TaskKind.record_bag)
    )
