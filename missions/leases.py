"""The exclusive hold of an attempt on a robot: a lease row, and a fence that only rises."""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from sqlalchemy import bindparam, delete, insert, update
from sqlmodel import Session, col, select

from fleet.clock import database_now
from fleet.robots import HolderKind, Robot, RobotLease
from missions.models import Attempt

# For people who look at the row. Nothing is decided by it: an attempt holds its robot until it has ended.
LEASE_S = 3600.0
LOOSE = {"synchronize_session": False}  # no row of these is in anybody's hands
_MINE = (col(RobotLease.robot_id) == bindparam("of"), col(RobotLease.holder_id) == bindparam("by"))
RELEASE = delete(RobotLease).where(*_MINE)


def take(session: Session, holders: Mapping[UUID, str]) -> dict[UUID, int]:
    """Hold robots, which the caller has locked, for attempts: robot to new fence, without those that somebody else holds.

    A hold of an operator or a charger that has run out is free; one of an attempt never runs out.
    """
    now = database_now(session)
    wanted = col(RobotLease.robot_id).in_(holders)
    run_out = (wanted, col(RobotLease.expires_at) < now, col(RobotLease.holder_kind) != HolderKind.attempt)
    session.execute(delete(RobotLease).where(*run_out).execution_options(**LOOSE))
    held = set(session.exec(select(RobotLease.robot_id).where(wanted)).all())
    free = [robot_id for robot_id in holders if robot_id not in held]
    session.execute(
        update(Robot).where(col(Robot.id).in_(free)).values(fence=Robot.fence + 1).execution_options(**LOOSE)
    )
    rows = session.exec(select(Robot.id, Robot.organisation_id, Robot.fence).where(col(Robot.id).in_(free))).all()
    leases = [
        {
            "robot_id": robot_id,
            "organisation_id": organisation_id,
            "holder_kind": HolderKind.attempt,
            "holder_id": holders[robot_id],
            "fence": fence,
            "expires_at": now + timedelta(seconds=LEASE_S),
        }
        for robot_id, organisation_id, fence in rows
    ]
    if leases:
        session.connection().execute(insert(RobotLease), leases)
    return {robot_id: fence for robot_id, _, fence in rows}


def release(session: Session, attempt: Attempt) -> None:
    """Give the robot back, if this attempt still holds it."""
    session.flush()
    session.connection().execute(RELEASE, {"of": attempt.robot_id, "by": str(attempt.id)})
