"""Occurrences of long ago are forgotten; the missions that they made stay."""

from datetime import datetime

from sqlmodel import Session, col, delete, or_, select

from fleet.database import claim
from missions.models import Mission
from missions.schedules.models import OPEN, Occurrence, Schedule, ScheduleStatus
from missions.schedules.overlap import LIVE


def forget(session: Session, *, before: datetime, limit: int) -> int:
    """Remove at most `limit` that were decided, and due, before; gives their number.

    What the cursor of its schedule has not passed stays (it would happen again), and so does what is under way.
    """
    under_way = select(Mission.id).where(Mission.round_id == Occurrence.round_id, col(Mission.status).in_(LIVE))
    is_passed = or_(
        col(Schedule.decided_until_at) >= Occurrence.recurrence_id, col(Schedule.status) == ScheduleStatus.ended
    )
    safe = select(Schedule.id).where(Schedule.id == Occurrence.schedule_id, is_passed)
    old = (
        select(Occurrence.id)
        .where(col(Occurrence.status).not_in(OPEN), col(Occurrence.decided_at) < before, Occurrence.due_at < before)
        .where(Occurrence.recurrence_id < before, safe.exists(), ~under_way.exists())
    )
    chosen = claim(session, old, limit=limit)
    session.exec(delete(Occurrence).where(col(Occurrence.id).in_(chosen)))
    return len(chosen)
