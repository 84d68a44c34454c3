"""Whom a person must look at: robots that went silent with an order, take too long with it, or do not do what they are told.

The alerts follow from the live attempts alone, so they are right again after any crash: what is missing is opened, what
is over is closed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from fleet.alerts import close_alert, open_alert
from fleet.clock import database_now
from fleet.events import Alert
from fleet.robots import Robot
from missions.models import Attempt, AttemptStatus, Desired, Mission
from missions.overdue import GRACE_S, allowed_s, moved_at

SILENT, OVERDUE, UNHEEDED = "robot_silent", "order_overdue", "cancel_not_obeyed"
UNPAUSED, HOLDING = "pause_not_obeyed", "order_held_by_robot"
RULES = (SILENT, OVERDUE, UNHEEDED, UNPAUSED, HOLDING)
OBEYS_S = 60.0  # how long a robot may take to end what it was told to end


@dataclass(frozen=True)
class Live:
    """A live attempt as a watcher sees it; `moved_at` is when it last became what it is."""

    robot: Robot
    mission: Mission
    attempt: Attempt
    allowed_s: float
    moved_at: datetime


def follow(session: Session) -> None:
    """Open and close the alerts that the live attempts ask for. Idempotent, also by several at once."""
    now = database_now(session)
    wanted = {(live.robot.id, rule): (live.robot, text) for live in _live(session) for rule, text in reasons(live, now)}
    query = (
        select(Robot, Alert.rule)
        .join(Alert, col(Alert.robot_id) == Robot.id)
        .where(col(Alert.open_key).is_not(None), col(Alert.rule).in_(RULES))
    )
    present = {(robot.id, rule): robot for robot, rule in session.exec(query).all()}
    for robot_id, rule in present.keys() - wanted.keys():
        close_alert(session, present[robot_id, rule], rule, at=now)
    for robot_id, rule in wanted.keys() - present.keys():
        robot, message = wanted[robot_id, rule]
        open_alert(session, robot, rule, message, at=now)


def reasons(live: Live, now: datetime) -> Iterator[tuple[str, str]]:
    """Why a person must look at the attempt now: rule and message (pure)."""
    if live.attempt.status is AttemptStatus.lost:
        yield SILENT, _silent(live)
    elif live.mission.desired is Desired.cancel or live.attempt.recall is not None:
        if is_unheeded(live.mission, live.attempt, now):
            yield UNHEEDED, _unheeded(live)
    elif live.mission.desired is Desired.pause:
        is_late = now - live.mission.updated_at > timedelta(seconds=OBEYS_S)
        if is_late and live.attempt.status is AttemptStatus.running:
            yield UNPAUSED, _unpaused(live)
    elif live.attempt.status is AttemptStatus.paused:
        if now - max(live.moved_at, live.mission.updated_at) > timedelta(seconds=OBEYS_S):
            yield HOLDING, _holding(live)
    else:
        is_overdue = now - live.moved_at > timedelta(seconds=live.allowed_s + GRACE_S)
        if is_overdue:
            yield OVERDUE, _overdue(live)


def _silent(live: Live) -> str:
    heard_at, sent_at = live.attempt.heard_at, live.attempt.created_at
    since = f"since {_hour(heard_at)}" if heard_at else f"of the order given to it at {_hour(sent_at)}"
    return (
        f"{live.robot.name}: nothing was heard {since}, and it has mission {live.mission.name!r}. "
        "Look where it is; it is given nothing else until it answers, or until you abandon the mission."
    )


def is_unheeded(mission: Mission, attempt: Attempt, now: datetime) -> bool:
    """Whether the robot was told to end the order more than OBEYS_S ago (pure)."""
    told_at = _told_at(mission, attempt)
    return told_at is not None and now - told_at > timedelta(seconds=OBEYS_S)


def _told_at(mission: Mission, attempt: Attempt) -> datetime | None:
    # The first of both: who is told twice was told long ago.
    told = mission.updated_at if mission.desired is Desired.cancel else None
    return min((at for at in (told, attempt.recalled_at) if at is not None), default=None)


def _unheeded(live: Live) -> str:
    told = _hour(_told_at(live.mission, live.attempt) or live.moved_at)
    return (
        f"{live.robot.name}: told at {told} to end mission {live.mission.name!r}, and it has not. Stop it at its side; "
        "if it does not say so then, abandon the mission."
    )


def _unpaused(live: Live) -> str:
    return (
        f"{live.robot.name}: told at {_hour(live.mission.updated_at)} to hold mission {live.mission.name!r}, and it goes "
        "on. Stop it at its side, or cancel the mission."
    )


def _holding(live: Live) -> str:
    return (
        f"{live.robot.name}: holds mission {live.mission.name!r} since {_hour(live.moved_at)}, and it is to go on. Look "
        "what is in its way at its side; resume tells it again to go on, cancel ends the mission."
    )


def _overdue(live: Live) -> str:
    return (
        f"{live.robot.name}: mission {live.mission.name!r} is {live.attempt.status} since {_hour(live.moved_at)}, longer "
        f"than the {live.allowed_s:.0f} s that its tasks may take. Look at the robot, or cancel the mission."
    )


def _live(session: Session) -> list[Live]:
    query = (
        select(Robot, Mission, Attempt)
        .join(Attempt, col(Attempt.robot_id) == Robot.id)
        .join(Mission, col(Mission.id) == Attempt.mission_id)
        .where(col(Attempt.finished_at).is_(None), Attempt.status != AttemptStatus.prepared)
    )
    rows = session.exec(query).all()
    ids = [attempt.id for _, _, attempt in rows]
    allowed, moved = allowed_s(session, ids), moved_at(session, ids)
    return [
        Live(robot, mission, attempt, allowed.get(attempt.id, 0.0), moved.get(attempt.id, attempt.created_at))
        for robot, mission, attempt in rows
    ]


def _hour(at: datetime) -> str:
    return f"{at:%H:%M} UTC"
