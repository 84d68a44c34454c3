"""Whom a person must look at: robots that went silent with an order, take too long with it, or do not end it.

The alerts follow from the live attempts alone, so they are right again after any crash: what is missing is opened, what
is over is closed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, or_
from sqlmodel import Session, col, select

from fleet.adapter import TaskKind
from fleet.alerts import close_alert, open_alert
from fleet.clock import database_now
from fleet.events import Alert
from fleet.robots import Robot
from missions.models import Attempt, AttemptStatus, Desired, Mission, MissionTask, Transition

SILENT, OVERDUE, UNHEEDED = "robot_silent", "order_overdue", "cancel_not_obeyed"
GRACE_S = 120.0  # what an order may take beyond the times of its tasks: for its way to the robot and back
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
        .where(col(Alert.open_key).is_not(None), col(Alert.rule).in_((SILENT, OVERDUE, UNHEEDED)))
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
    elif live.mission.desired is Desired.cancel:
        if now - live.mission.updated_at > timedelta(seconds=OBEYS_S):
            yield UNHEEDED, _unheeded(live)
    elif live.mission.desired is Desired.run and live.attempt.status is not AttemptStatus.paused:
        is_overdue = now - live.moved_at > timedelta(seconds=live.allowed_s + GRACE_S)
        if is_overdue:
            yield OVERDUE, _overdue(live)


def _silent(live: Live) -> str:
    heard_at, sent_at = live.attempt.heard_at, live.attempt.created_at
    since = f"since {_hour(heard_at)}" if heard_at else f"of the order given to it at {_hour(sent_at)}"
    return (
        f"{live.robot.name}: nothing was heard {since}, and it has mission {live.mission.name!r}. "
        "Look where it is; it is given nothing else until it answers."
    )


def _unheeded(live: Live) -> str:
    told = _hour(live.mission.updated_at)
    return (
        f"{live.robot.name}: told at {told} to end mission {live.mission.name!r}, and it has not. Stop it at its side."
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
    allowed = _allowed_s(session)
    moved = _moved_at(session)
    return [
        Live(robot, mission, attempt, allowed.get(attempt.id, 0.0), moved.get(attempt.id, attempt.created_at))
        for robot, mission, attempt in rows
    ]


def _allowed_s(session: Session) -> Mapping[UUID, float]:
    is_sent = or_(col(MissionTask.position) >= Attempt.first_task, col(MissionTask.kind) == TaskKind.record_bag)
    query = (
        select(Attempt.id, func.sum(MissionTask.timeout_s))
        .join(MissionTask, col(MissionTask.mission_id) == Attempt.mission_id)
        .where(col(Attempt.finished_at).is_(None), is_sent)
        .group_by(col(Attempt.id))
    )
    return dict(session.exec(query).all())


def _moved_at(session: Session) -> Mapping[UUID, datetime]:
    query = (
        select(Attempt.id, func.max(Transition.at))
        .join(Transition, col(Transition.mission_id) == Attempt.mission_id)
        .where(col(Attempt.finished_at).is_(None), Transition.subject_id == Attempt.id)
        .group_by(col(Attempt.id))
    )
    return dict(session.exec(query).all())


def _hour(at: datetime) -> str:
    return f"{at:%H:%M} UTC"
