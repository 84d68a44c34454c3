"""Opening and closing alerts: one open alert per robot and rule, each told to the changes feed."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import update
from sqlmodel import Session, col, select

from fleet import changes
from fleet.database import new_id
from fleet.events import Alert, insert_new
from fleet.robots import Robot


def open_alert(
    session: Session, robot: Robot, rule: str, message: str, *, at: datetime, event_id: UUID | None = None
) -> None:
    """Someone must look at the robot; while an alert of this rule is open on it, another one changes nothing."""
    alert = Alert(
        id=new_id(),
        organisation_id=robot.organisation_id,
        robot_id=robot.id,
        event_id=event_id,
        rule=rule,
        message=message,
        open_key=_open_key(robot, rule),
        opened_at=at,
    )
    if insert_new(session, Alert, alert.model_dump(), on=["open_key"]):
        _tell(session, alert, "opened")


def close_alert(session: Session, robot: Robot, rule: str, *, at: datetime) -> None:
    """Nobody must look any more; an alert that was opened after `at`, or none at all, is left as it is."""
    same = (Alert.open_key == _open_key(robot, rule), Alert.opened_at <= at)
    alert = session.exec(select(Alert).where(*same)).first()
    if alert is None:
        return
    is_open = (col(Alert.id) == alert.id, col(Alert.open_key).is_not(None))
    closed = session.execute(update(Alert).where(*is_open).values(open_key=None, closed_at=at))
    if closed.rowcount == 1:  # type: ignore[attr-defined]
        _tell(session, alert, "closed")


def _open_key(robot: Robot, rule: str) -> str:
    return f"{robot.organisation_id}/{robot.id}/{rule}"


def _tell(session: Session, alert: Alert, kind: str) -> None:
    changes.record(
        session,
        organisation_id=alert.organisation_id,
        subject="alert",
        subject_id=alert.id,
        kind=kind,
        fields={"rule": alert.rule},
    )
