"""What our books tell a gateway of an order that another one may have begun, so that it begins nothing of it again."""

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlmodel import Session, col, select

from fleet.clock import database_now
from fleet.push import Inheritance
from missions.models import Attempt, TaskResult

EARLIER_MAX = 5  # orders of the robot before it that are named


def inheritances(session: Session, handed_at: Mapping[str, datetime]) -> dict[str, Inheritance]:
    """What is known of these orders (attempt keys), each with when it was first handed to another gateway.

    Without those that are over for us: of them nothing is to go on, and a cancel only sees to it that nothing does.
    """
    now = database_now(session)
    attempts = {row.key: row for row in session.exec(select(Attempt).where(col(Attempt.key).in_(handed_at))).all()}
    found = {}
    for key, at in handed_at.items():
        since_s = (now - at).total_seconds()
        known = attempts.get(key)
        if known is None:
            found[key] = Inheritance(since_s=since_s)
        elif known.finished_at is None:
            found[key] = _of(session, known, since_s)
    return found


def live(session: Session) -> Collection[str]:
    """The keys of the attempts that have not ended."""
    return session.exec(select(Attempt.key).where(col(Attempt.finished_at).is_(None))).all()


def _of(session: Session, attempt: Attempt, since_s: float) -> Inheritance:
    done = (TaskResult.attempt_id == attempt.id, TaskResult.status == "succeeded")
    positions = session.exec(select(TaskResult.position).where(*done).order_by(col(TaskResult.position))).all()
    before = (Attempt.robot_id == attempt.robot_id, col(Attempt.id) < attempt.id)
    earlier = session.exec(select(Attempt.key).where(*before).order_by(col(Attempt.id).desc()).limit(EARLIER_MAX)).all()
    worked = select(Attempt.id).where(*before, col(Attempt.started_at).is_not(None)).limit(1)
    return Inheritance(
        since_s=since_s,
        done=tuple(positions),
        is_begun=attempt.report_sequence >= 0 or attempt.started_at is not None or bool(attempt.robot_reference),
        sequence=attempt.report_sequence,
        earlier=tuple(earlier),
        has_worked=session.exec(worked).first() is not None,
    )
