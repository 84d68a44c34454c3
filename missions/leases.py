"""The exclusive hold of an attempt on a robot: a lease row, and a fence that only rises."""

from datetime import timedelta

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from fleet.clock import database_now
from fleet.events import insert_new
from fleet.robots import HolderKind, Robot, RobotLease
from missions.models import Attempt

# For people who look at the row. Nothing is decided by it: an attempt holds its robot until it has ended.
LEASE_S = 3600.0


def take(session: Session, robot: Robot, holder_id: str) -> int | None:
    """Hold the robot for an attempt: the new fence, or None when somebody else holds it.

    A hold of an operator or a charger that has run out is free; one of an attempt never runs out.
    """
    now = database_now(session)
    run_out = (col(RobotLease.robot_id) == robot.id, col(RobotLease.expires_at) < now)
    session.execute(delete(RobotLease).where(*run_out, col(RobotLease.holder_kind) != HolderKind.attempt))
    session.execute(update(Robot).where(col(Robot.id) == robot.id).values(fence=Robot.fence + 1))
    fence = session.exec(select(Robot.fence).where(Robot.id == robot.id)).one()
    lease = RobotLease(
        robot_id=robot.id,
        organisation_id=robot.organisation_id,
        holder_kind=HolderKind.attempt,
        holder_id=holder_id,
        fence=fence,
        expires_at=now + timedelta(seconds=LEASE_S),
    )
    return fence if insert_new(session, RobotLease, lease.model_dump(), on=["robot_id"]) else None


def release(session: Session, attempt: Attempt) -> None:
    """Give the robot back, if this attempt still holds it."""
    mine = (col(RobotLease.robot_id) == attempt.robot_id, col(RobotLease.holder_id) == str(attempt.id))
    session.execute(delete(RobotLease).where(*mine))
