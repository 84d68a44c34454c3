"""The exclusive hold of an attempt on a robot: a lease row, and a fence that only rises."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import BindParameter, bindparam, delete, select, update
from sqlmodel import Session

from fleet import ledger, reading
from fleet.clock import database_now
from fleet.database import table_of
from fleet.robots import HolderKind, Robot, RobotLease
from missions.models import Attempt

# For people who look at the row. Nothing is decided by it: an attempt holds its robot until it has ended.
LEASE_S = 3600.0
LEASES, ROBOTS = table_of(RobotLease), table_of(Robot)
OF: BindParameter[list[UUID]] = bindparam("ids", expanding=True)
RUN_OUT = delete(LEASES).where(
    LEASES.c.robot_id.in_(OF),
    LEASES.c.expires_at < bindparam("now"),
    LEASES.c.holder_kind != HolderKind.attempt,
)
_IS_HELD = select(LEASES.c.robot_id).where(LEASES.c.robot_id == ROBOTS.c.id).exists()
RAISE_FENCE = (
    update(ROBOTS)
    .where(ROBOTS.c.id.in_(OF), ~_IS_HELD)
    .values(fence=ROBOTS.c.fence + 1)
    .returning(ROBOTS.c.id, ROBOTS.c.organisation_id, ROBOTS.c.fence)
)
HELD = select(LEASES.c.robot_id).where(LEASES.c.robot_id.in_(OF))
RELEASE = delete(LEASES).where(LEASES.c.robot_id == bindparam("of"), LEASES.c.holder_id == bindparam("by"))


def take(
    session: Session, holders: Mapping[UUID, str], *, unheld: Mapping[UUID, Robot] | None = None
) -> dict[UUID, int]:
    """Hold robots, which the caller has locked, for attempts: robot to new fence, without those that somebody else holds.

    A hold of an operator or a charger that has run out is free; one of an attempt never runs out. The fences of those
    that the caller saw `unheld` under their locks are raised with what else it writes, by compare-and-set.
    """
    now = database_now(session)
    rows = [_raise(session, row) for robot_id, row in (unheld or {}).items() if robot_id in holders]
    rows += _raise_of_held(session, set(holders) - {robot_id for robot_id, *_ in rows}, now)
    for robot_id, organisation_id, fence in rows:
        lease = {
            "robot_id": robot_id,
            "organisation_id": organisation_id,
            "holder_kind": HolderKind.attempt,
            "holder_id": holders[robot_id],
            "fence": fence,
            "expires_at": now + timedelta(seconds=LEASE_S),
        }
        ledger.append(session, RobotLease, lease)
    return {robot_id: fence for robot_id, _, fence in rows}


def _raise(session: Session, robot: Robot) -> tuple[UUID, UUID, int]:
    fence = robot.fence + 1
    ledger.swap(session, Robot, robot.id, {"fence": robot.fence}, {"fence": fence})
    return robot.id, robot.organisation_id, fence


def _raise_of_held(session: Session, robot_ids: set[UUID], now: datetime) -> list[tuple[UUID, UUID, int]]:
    """The fences of those that nobody holds any more."""
    if not robot_ids:
        return []
    ids = {"ids": list(robot_ids)}
    session.connection().execute(RUN_OUT, {**ids, "now": now})
    return [(robot_id, whose, fence) for robot_id, whose, fence in reading.read(session, RAISE_FENCE, ids)]


def release(session: Session, attempt: Attempt) -> None:
    """Give the robot back, if this attempt still holds it."""
    ledger.change(session, RELEASE, {"of": attempt.robot_id, "by": str(attempt.id)})
