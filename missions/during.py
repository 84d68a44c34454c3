"""Which missions a robot was on in a span of time."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import or_
from sqlmodel import Session, col, select

from missions.models import Attempt, Mission

MOST = 1000


@dataclass(frozen=True)
class Stint:
    """A robot on a mission: from when it was given the order until that was over; `end` is None while it is not."""

    mission_id: UUID
    name: str
    begin: datetime
    end: datetime | None

    def holds(self, at: datetime) -> bool:
        """Whether the robot was on it at this instant."""
        return self.begin <= at and (self.end is None or at <= self.end)


def stints(session: Session, robot_id: UUID, *, since: datetime, until: datetime) -> list[Stint]:
    """The missions a robot was on between these instants, in the order of time; 1000 at most."""
    query = (
        select(Mission.id, Mission.name, Attempt.created_at, Attempt.finished_at)
        .join(Attempt, col(Attempt.mission_id) == Mission.id)
        .where(Attempt.robot_id == robot_id, Attempt.created_at <= until)
        .where(or_(col(Attempt.finished_at).is_(None), col(Attempt.finished_at) >= since))
    )
    rows = session.exec(query.order_by(col(Attempt.created_at)).limit(MOST)).all()
    return [Stint(*row) for row in rows]
