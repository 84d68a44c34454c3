"""Robots: where they are, how they are, and what somebody must look at."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func
from sqlmodel import Session, col, select

from api.deps import Parts, Reader
from api.pages import Listing, Wanted, page_of
from api.problems import described
from fleet import gateways
from fleet.adapter import Activity
from fleet.clock import database_now
from fleet.events import Alert
from fleet.robots import Robot
from fleet.states import RobotState
from missions import holds
from missions.foreign import foreign_orders
from ml.models import RobotHealth

router = APIRouter(tags=["robots"])


class Shown(BaseModel):
    """Read from a row."""

    model_config = ConfigDict(from_attributes=True)


class StateRead(Shown):
    """The newest that the robot said of itself, in metres and radians of its map."""

    activity: Activity
    battery_fraction: float | None
    x_m: float | None
    y_m: float | None
    yaw_rad: float | None
    order_key: str | None
    observed_at: datetime = Field(description="By the robot's own clock.")
    received_at: datetime


class HealthRead(Shown):
    """How many operating hours its drive is expected to go on, with a 90 % interval."""

    rul_hours: float
    rul_lower_hours: float
    rul_upper_hours: float
    as_of: datetime
    model_version: str


class AlertRead(Shown):
    """Someone must look."""

    rule: str
    message: str
    opened_at: datetime


class RobotRead(Shown):
    """A robot with its newest state, its newest health and its open alerts."""

    id: UUID
    name: str
    serial_number: str
    model: str
    capabilities: list[str]
    state: StateRead | None = None
    health: HealthRead | None = None
    alerts: list[AlertRead] = []
    held_by: str | None = Field(None, description="Who holds it from being given missions, and why.")
    foreign_order: str | None = Field(None, description="What it works on that was not ordered here.")
    out_of_reach: str | None = Field(None, description="Why no command reaches it now, when only a gateway could.")


@router.get("/v1/robots", responses=described(401, 403))
def list_robots(runtime: Parts, caller: Reader, place: Wanted) -> Listing[RobotRead]:
    """The robots of your organisation."""
    with runtime.reading() as session:
        robots, following = page_of(session, Robot, caller, place)
        return Listing(items=_described(session, robots), next=following)


def _described(session: Session, robots: Sequence[Robot]) -> list[RobotRead]:
    ids = [robot.id for robot in robots]
    states = {row.robot_id: row for row in session.exec(select(RobotState).where(col(RobotState.robot_id).in_(ids)))}
    health = _newest_health(session, ids)
    alerts = session.exec(
        select(Alert).where(col(Alert.robot_id).in_(ids), col(Alert.closed_at).is_(None)).order_by(col(Alert.id))
    ).all()
    owners = {robot.organisation_id for robot in robots}
    foreign, held = foreign_orders(session, owners), holds.open_holds(session, owners)
    away = gateways.out_of_reach(session, owners, database_now(session))
    return [
        RobotRead(
            **robot.model_dump(include={"id", "name", "serial_number", "model", "capabilities"}),
            state=StateRead.model_validate(states[robot.id]) if robot.id in states else None,
            health=HealthRead.model_validate(health[robot.id]) if robot.id in health else None,
            alerts=[AlertRead.model_validate(alert) for alert in alerts if alert.robot_id == robot.id],
            held_by=holds.words(hold) if (hold := holds.covering(robot, held)) else None,
            foreign_order=foreign[robot.id].order if robot.id in foreign else None,
            out_of_reach=away.get(robot.id),
        )
        for robot in robots
    ]


def _newest_health(session: Session, ids: Sequence[UUID]) -> dict[UUID, RobotHealth]:
    order = func.row_number().over(
        partition_by=col(RobotHealth.robot_id), order_by=(col(RobotHealth.scored_at).desc(), col(RobotHealth.id).desc())
    )
    ranked = select(RobotHealth.id, order.label("place")).where(col(RobotHealth.robot_id).in_(ids)).subquery()
    newest = select(RobotHealth).join(ranked, ranked.c.id == col(RobotHealth.id)).where(ranked.c.place == 1)
    return {row.robot_id: row for row in session.exec(newest)}
