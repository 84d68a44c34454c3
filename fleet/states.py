"""The latest that each robot said of itself; newer wins by the robot's own time, never by arrival."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from uuid import UUID

from sqlalchemy import ColumnElement, Executable, String, bindparam, case, cast, false, or_, true, update
from sqlalchemy.engine import Dialect
from sqlmodel import Field, Session, SQLModel, col, select

from fleet import changes
from fleet.adapter import Activity, Observation
from fleet.clock import database_now
from fleet.database import STATEMENTS_KEPT, TELLING, UTCDateTime, insert_for, made, table_of, text_of
from fleet.robots import Robot
from fleet.statements import write

AHEAD_S = 60.0
TOLD_MAX = 50  # in one transaction: while it writes, nobody else does on SQLite
RECOVERED_FRACTION = 0.05  # so far above its minimum a battery is no longer called low, so that it does not flicker


OBSERVED = (
    "organisation_id",
    "observed_at",
    "received_at",
    "activity",
    "battery_fraction",
    "x_m",
    "y_m",
    "yaw_rad",
    "order_key",
    "skew_s",
)


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
    told_activity: Activity | None = Field(
        default=None, sa_type=text_of(Activity), description="What the feed was last told; offline when it was silent."
    )
    is_told_low: bool = Field(default=False, description="Whether the feed was last told that its battery is low.")


STATES = table_of(RobotState)
TOLD = (
    update(STATES)
    .where(STATES.c.robot_id == bindparam("of"))
    .values(told_activity=bindparam("activity_now"), is_told_low=bindparam("low"))
)


def observe(session: Session, robot: Robot, seen: Observation, *, received_at: datetime) -> bool:
    """Keep `seen` if it is newer than what is kept; True when it was. Seen twice, the second changes nothing.

    A stamp from more than AHEAD_S in the future gives way to the next that is not: a robot whose clock leapt ahead once
    would otherwise be frozen until that time has come.
    """
    connection = session.connection()
    upsert = _upsert(connection.dialect, _is_plausible(seen, received_at))
    return connection.execute(upsert, _values(robot, seen, received_at), execution_options=TELLING).rowcount == 1


def observe_all(session: Session, seen: Iterable[tuple[Robot, Observation, datetime]]) -> None:
    """`observe` for many at once, each with when it was received, where it does not matter which of them were newer.

    In order of the robots' ids, so that nobody deadlocks; stamps from the future first, so that they give way.
    """
    connection = session.connection()
    in_order = sorted(seen, key=lambda each: each[0].id)
    for is_plausible in (False, True):
        values = [_values(*each) for each in in_order if _is_plausible(*each[1:]) is is_plausible]
        if values:
            write(connection, _upsert(connection.dialect, is_plausible), values)


def _values(robot: Robot, seen: Observation, received_at: datetime) -> dict[str, object]:
    return {
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


def _is_plausible(seen: Observation, received_at: datetime) -> bool:
    return (received_at - seen.observed_at).total_seconds() >= -AHEAD_S


@lru_cache(maxsize=STATEMENTS_KEPT)
def _upsert(dialect: Dialect, is_plausible: bool) -> Executable:
    insert = insert_for(dialect)(table_of(RobotState))
    kept = {name: insert.excluded[name] for name in OBSERVED}  # what was told stays
    newer: ColumnElement[bool] = col(RobotState.observed_at) < insert.excluded["observed_at"]
    if is_plausible:
        newer = or_(newer, col(RobotState.skew_s) < -AHEAD_S)
    upsert = insert.on_conflict_do_update(index_elements=["robot_id"], set_=kept, where=newer)
    return made(upsert, dialect, ["robot_id", *OBSERVED])


def tell_changes(session: Session, *, silence_s: float, limit: int = TOLD_MAX) -> int:
    """Tell the feed which robots do something else, fell silent or came back, or have little battery; gives how many.

    At most `limit`: when it gives as many, there may be more for another transaction.

    A robot of which nothing was heard for `silence_s` is offline. Looked at again and again it tells each change once,
    also when several look at once; what comes and goes between two looks is not told.
    """
    now = database_now(session)
    is_away = or_(col(RobotState.received_at) < now - timedelta(seconds=silence_s), _is(Activity.offline))
    activity = case((is_away, Activity.offline.value), else_=cast(col(RobotState.activity), String))
    is_low = case(
        (col(RobotState.battery_fraction) < Robot.battery_minimum_fraction, true()),
        (col(RobotState.battery_fraction) >= Robot.battery_minimum_fraction + RECOVERED_FRACTION, false()),
        else_=col(RobotState.is_told_low),
    )
    told = cast(col(RobotState.told_activity), String)
    changed = or_(told.is_distinct_from(activity), is_low != col(RobotState.is_told_low))
    query = select(Robot, RobotState, activity, is_low).join(RobotState, col(RobotState.robot_id) == Robot.id)
    # Once they are locked they are as they were read, and nobody else tells them.
    chosen = query.where(changed).order_by(col(Robot.id)).limit(limit).with_for_update(of=RobotState)
    rows = [(robot, state, Activity(now_is), bool(low)) for robot, state, now_is, low in session.execute(chosen).all()]
    if rows:
        news = [{"of": robot.id, "activity_now": now_is, "low": low} for robot, _, now_is, low in rows]
        session.connection().execute(TOLD, news)
    for robot, state, now_is, low in rows:
        _tell(session, robot, state, now_is, low)
    return len(rows)


def _is(activity: Activity) -> ColumnElement[bool]:
    return col(RobotState.activity) == activity


def _tell(session: Session, robot: Robot, state: RobotState, activity: Activity, is_low: bool) -> None:
    was, was_low = state.told_activity, state.is_told_low
    kinds = []
    if activity is not was:
        is_back = was in (None, Activity.offline)
        kinds += ["online", activity.value] if is_back and activity is not Activity.offline else [activity.value]
    if is_low is not was_low:
        kinds.append("battery_low" if is_low else "battery_recovered")
    for kind in kinds:
        fields = {"name": robot.name, "was": was.value if was else None, "battery_fraction": state.battery_fraction}
        changes.record(
            session,
            organisation_id=robot.organisation_id,
            subject="robot",
            subject_id=robot.id,
            kind=kind,
            fields={**fields, "heard_at": state.received_at.isoformat()},
        )
