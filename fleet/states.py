"""The latest that each robot said of itself; newer wins by the robot's own time, never by arrival."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import or_
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Field, Session, SQLModel, col

from fleet.adapter import Activity, Observation
from fleet.database import UTCDateTime, text_of
from fleet.robots import Robot

AHEAD_S = 60.0


class RobotState(SQLModel, table=True):
    """One row a robot: its newest observation."""

    __tablename__ = "robot_states"

    robot_id: UUID = Field(foreign_key="robots.id", primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    observed_at: datetime = Field(sa_type=UTCDateTime)
    received_at: datetime = Field(sa_type=UTCDateTime)
    activity: Activity = Field(sa_type=text_of(Activity))
    battery_fraction: float | None = None
    x_m: float | None = None
    y_m: float | None = None
    yaw_rad: float | None = None
    order_key: str | None = Field(default=None, description="The order the robot says it is working on.")
    skew_s: float = Field(default=0.0, description="received_at - observed_at: network delay plus clock difference.")


def observe(session: Session, robot: Robot, seen: Observation, *, received_at: datetime) -> bool:
    """Keep `seen` if it is newer than what is kept; True when it was. Seen twice, the second changes nothing.

    A stamp from more than AHEAD_S in the future gives way to the next that is not: a robot whose clock leapt ahead once
    would otherwise be frozen until that time has come.
    """
    values = {
        "robot_id": robot.id,
        "organisation_id": robot.organisation_id,
        "observed_at": seen.observed_at,
        "received_at": received_at,
        "activity": seen.activity,
        "battery_fraction": seen.battery_fraction,
        "x_m": seen.x_m,
        "y_m": seen.y_m,
        "yaw_rad": seen.yaw_rad,
        "order_key": seen.order_key,
        "skew_s": (received_at - seen.observed_at).total_seconds(),
    }
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    insert = dialect.insert(RobotState).values(values)
    kept = {name: insert.excluded[name] for name in values if name != "robot_id"}
    newer = col(RobotState.observed_at) < seen.observed_at
    if (received_at - seen.observed_at).total_seconds() >= -AHEAD_S:
        newer = or_(newer, col(RobotState.skew_s) < -AHEAD_S)
    upsert = insert.on_conflict_do_update(index_elements=["robot_id"], set_=kept, where=newer)
    # psycopg tells how many rows an INSERT wrote only when it is asked to.
    result = session.execute(upsert.execution_options(preserve_rowcount=True))
    return result.rowcount == 1  # type: ignore[attr-defined, no-any-return]
