"""A plan becomes attempts: hold, attempt and outbox row in one transaction, before anything is sent."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import structlog
from sqlmodel import Session, col, select

from fleet.adapter import Order, OrderTask, TaskKind
from fleet.clock import database_now
from fleet.errors import Conflict
from fleet.organisations import Station
from fleet.robots import Robot
from missions import holds, leases, outbox
from missions.lifecycle import Cause, begin_attempt, move_mission
from missions.live import lock_mission
from missions.models import Attempt, Command, Desired, Mission, MissionStatus, MissionTask
from missions.plan import Assignment, Plan, Refusal, Snapshot

log = structlog.get_logger(__name__)

Transaction = Callable[[], AbstractContextManager[Session]]


def carry_out(transaction: Transaction, plan: Plan, snapshot: Snapshot, *, who: str) -> list[Attempt]:
    """The attempts that the plan became, each in a transaction of its own; what another was faster at is passed over."""
    attempts: list[Attempt] = []
    for refusal in plan.refusals:
        with transaction() as session:
            refuse(session, refusal, snapshot, who=who)
    for assignment in plan.assignments:
        try:
            with transaction() as session:
                attempt = assign(session, assignment, snapshot, who=who)
        except Conflict as error:
            log.info("assignment passed over", mission=str(assignment.mission_id), reason=error.message)
            continue
        if attempt is not None:
            attempts.append(attempt)
    return attempts


def assign(session: Session, assignment: Assignment, snapshot: Snapshot, *, who: str) -> Attempt | None:
    """The attempt of this assignment, or None when the mission or the robot has changed since the snapshot.

    Of several dispatchers with the same plan one gets the hold; the others get None. Raises Conflict (and the caller
    rolls back) when two meet in the very same instant.
    """
    mission = _unchanged(session, assignment.mission_id, snapshot)
    if mission is None:
        return None
    robot = session.exec(select(Robot).where(Robot.id == assignment.robot_id).with_for_update()).one()
    number = len(session.exec(select(Attempt.id).where(Attempt.mission_id == mission.id)).all()) + 1
    attempt = Attempt(
        organisation_id=mission.organisation_id,
        mission_id=mission.id,
        robot_id=robot.id,
        number=number,
        key=f"{mission.id}/{number}",
        fence=robot.fence + 1,
        first_task=mission.first_task,
        created_at=database_now(session),
    )
    fence = leases.take(session, robot, str(attempt.id))
    if fence is None:
        raise Conflict(f"{robot.name} is held by somebody else.", robot=robot.name)
    held = holds.held_by(session, robot)
    if held is not None:  # put since the snapshot was taken
        raise Conflict(f"{robot.name} is {holds.words(held)}.", robot=robot.name)
    attempt.fence = fence
    cause = Cause(who, f"given to {robot.name}", {"robot": robot.name, "attempt": number, "fence": fence})
    begin_attempt(session, attempt, cause)
    outbox.enqueue(session, attempt, Command.submit, _order(session, mission, attempt, robot))
    mission.robot_id = robot.id
    move_mission(session, mission, MissionStatus.assigned, cause)
    return attempt


def refuse(session: Session, refusal: Refusal, snapshot: Snapshot, *, who: str) -> Mission | None:
    """The mission, refused with its reason, or None when it has changed since the snapshot."""
    mission = _unchanged(session, refusal.mission_id, snapshot)
    if mission is not None:
        move_mission(session, mission, MissionStatus.refused, Cause(who, refusal.reason))
    return mission


def _unchanged(session: Session, mission_id: object, snapshot: Snapshot) -> Mission | None:
    seen = next(mission for mission in snapshot.missions if mission.id == mission_id)
    mission = lock_mission(session, seen.id)
    is_same = mission.version == seen.version and mission.desired is Desired.run
    return mission if is_same and mission.status is MissionStatus.scheduled else None


def _order(session: Session, mission: Mission, attempt: Attempt, robot: Robot) -> Order:
    query = (
        select(MissionTask, Station)
        .join(Station, col(Station.id) == MissionTask.station_id, isouter=True)
        .where(MissionTask.mission_id == mission.id)
        .order_by(col(MissionTask.position))
    )
    return Order(
        key=attempt.key,
        fence=attempt.fence,
        serial_number=robot.serial_number,
        mission_id=str(mission.id),
        tasks=order_tasks(session.exec(query).all(), first_task=mission.first_task),
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
