"""The live rows of a mission, locked in one fixed order: mission, then attempt, then robot, so that nobody deadlocks."""

from typing import Any
from uuid import UUID

from sqlmodel import Session, col, select

from fleet.errors import NotFound
from missions.models import Attempt, Mission

FRESH = {"populate_existing": True}


def lock_mission(session: Session, mission_id: UUID, organisation_id: UUID | None = None) -> Mission:
    """The mission as it is now, locked until the transaction ends; within the organisation where one is given.

    Raises:
        NotFound: no such mission, or another organisation's.
    """
    query: Any = select(Mission).where(Mission.id == mission_id).with_for_update()
    mission: Mission | None = session.exec(query.execution_options(**FRESH)).first()
    if mission is None or organisation_id not in {None, mission.organisation_id}:
        raise NotFound(f"There is no mission {mission_id}.", mission=str(mission_id))
    return mission


def live_attempt(session: Session, mission_id: UUID) -> Attempt | None:
    """The one attempt of the mission that has not ended, as it is now; the mission is locked by the caller."""
    query: Any = select(Attempt).where(Attempt.mission_id == mission_id, col(Attempt.finished_at).is_(None))
    found: Attempt | None = session.exec(query.execution_options(**FRESH)).first()
    return found


def attempt_now(session: Session, attempt_id: UUID) -> Attempt:
    """The attempt as it is now; the mission is locked by the caller."""
    query: Any = select(Attempt).where(Attempt.id == attempt_id)
    found: Attempt = session.exec(query.execution_options(**FRESH)).one()
    return found
