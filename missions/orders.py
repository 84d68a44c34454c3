"""What a robot is told to do: the tasks of its mission, as they are sent."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlmodel import Session

from fleet import reading
from fleet.adapter import Order, OrderTask, TaskKind
from fleet.database import table_of
from fleet.organisations import Station
from fleet.robots import Robot
from missions.live import IDS
from missions.models import Attempt, MissionTask

TASK, STATION = table_of(MissionTask).c, table_of(Station).c


class WantedTask(NamedTuple):
    """A task of a mission, and its station by name and place; fields in the order in which TASKS has them."""

    position: int
    kind: TaskKind
    parameters: dict[str, str | float | int | bool]
    timeout_s: float
    skipped_at: datetime | None = None
    station: str | None = None
    x_m: float | None = None
    y_m: float | None = None


_COLUMNS = (TASK.position, TASK.kind, TASK.parameters, TASK.timeout_s, TASK.skipped_at)
TASKS = (
    select(TASK.mission_id, *_COLUMNS, STATION.name, STATION.x_m, STATION.y_m)
    .join(table_of(Station), STATION.id == TASK.station_id, isouter=True)
    .where(TASK.mission_id.in_(IDS))
    .order_by(TASK.position)
)


def tasks_of(session: Session, mission_ids: Sequence[UUID]) -> dict[UUID, list[WantedTask]]:
    """The tasks of missions as they are now, in order."""
    found: dict[UUID, list[WantedTask]] = {mission_id: [] for mission_id in mission_ids}
    for mission_id, *task in reading.read(session, TASKS, {"ids": list(mission_ids)}):
        found[mission_id].append(WantedTask(*task))
    return found


def place_of(tasks: Sequence[WantedTask], *, first_task: int) -> tuple[float, float] | None:
    """Where the mission begins (pure): at the first station that is still to be gone to, None when there is none."""
    left = (task for task in tasks if task.position >= first_task and task.skipped_at is None)
    return next(((task.x_m, task.y_m) for task in left if task.x_m is not None and task.y_m is not None), None)


def order_tasks(tasks: Sequence[WantedTask], *, first_task: int) -> tuple[OrderTask, ...]:
    """The tasks still to do, as they are sent (pure); a recording belongs to the attempt, so each attempt has it.

    What somebody skipped is left out.
    """
    return tuple(
        OrderTask(
            position=task.position,
            kind=task.kind,
            station=task.station,
            x_m=task.x_m,
            y_m=task.y_m,
            parameters=task.parameters,
            timeout_s=task.timeout_s,
        )
        for task in tasks
        if task.skipped_at is None and (task.position >= first_task or task.kind is TaskKind.record_bag)
    )


def order_of(attempt: Attempt, robot: Robot, tasks: tuple[OrderTask, ...]) -> Order:
    """What the robot is sent for this attempt (pure)."""
    return Order(
        key=attempt.key,
        fence=attempt.fence,
        serial_number=robot.address,
        mission_id=str(attempt.mission_id),
        tasks=tasks,
    )
