"""Robots that work on what was not ordered here: somebody sent it at the robot itself, or from another system.

They are tolerated: such a robot is not idle, so nothing is given to it, and people see what it is at.
"""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlmodel import Session, col, select

from fleet.adapter import Activity
from fleet.robots import Robot
from fleet.states import RobotState
from missions.models import Attempt

AT_WORK = (Activity.executing, Activity.paused)


class ForeignOrder(BaseModel):
    """What a robot says that it works on, and of which nothing is known here."""

    model_config = ConfigDict(frozen=True)

    robot_id: UUID
    robot: str
    order: str
    observed_at: datetime


def foreign_orders(session: Session, organisation_ids: Collection[UUID]) -> dict[UUID, ForeignOrder]:
    """The robots of these organisations with a foreign order, by their ids."""
    ours = select(Attempt.id).where(Attempt.key == RobotState.order_key, Attempt.robot_id == RobotState.robot_id)
    query = (
        select(Robot.id, Robot.name, RobotState.order_key, RobotState.observed_at)
        .join(RobotState, col(RobotState.robot_id) == Robot.id)
        .where(col(Robot.organisation_id).in_(organisation_ids), col(RobotState.activity).in_(AT_WORK))
        .where(col(RobotState.order_key).is_not(None), RobotState.order_key != "")
        .where(~ours.correlate(RobotState).exists())
        .order_by(Robot.name)
    )
    return {
        robot_id: ForeignOrder(robot_id=robot_id, robot=name, order=order or "", observed_at=observed_at)
        for robot_id, name, order, observed_at in session.exec(query).all()
    }
