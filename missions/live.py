"""The live rows of a mission, locked in one fixed order: mission, then attempt, then robot, so that nobody deadlocks."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, bindparam
from sqlalchemy.orm.util import identity_key
from sqlmodel import Session, col, select

from fleet import reading
from fleet.errors import NotFound
from fleet.statements import Values
from missions.models import Attempt, Mission, MissionStatus

FRESH = {"populate_existing": True}
TRIED_FROM = 2  # the version of a mission that may have attempts
LOCKED, KEYS = "locked_missions", "attempts_by_key"
IDS: BindParameter[list[UUID]] = bindparam("ids", expanding=True)
# Rows that refer to a mission or a robot may be written by others meanwhile: their keys do not change.
_LOCK: Any = select(Mission).where(col(Mission.id).in_(IDS)).order_by(col(Mission.id))
LOCK = _LOCK.with_for_update(key_share=True).execution_options(**FRESH)
LOCK_WAITING = LOCK.where(Mission.status == MissionStatus.scheduled)
_TRIES: Any = select(Attempt).where(col(Attempt.mission_id).in_(IDS))
TRIES = _TRIES.execution_options(**FRESH)


def lock_missions(session: Session, mission_ids: Collection[UUID]) -> dict[UUID, Mission]:
    """These missions as they are now, locked like `lock_mission` in order of their ids, with their attempts.

    Until the transaction ends, asking for one of them or for its attempts costs no further query. One that does not
    exist is left out.
    """
    ids = {"ids": list(mission_ids)}
    rows, tries = reading.read_all(session, [(LOCK, ids), (TRIES, ids)])
    return _remember(session, reading.load(session, Mission, rows), reading.load(session, Attempt, tries))


def lock_waiting(
    session: Session, mission_ids: Collection[UUID], also: Sequence[tuple[Any, Values]]
) -> tuple[dict[UUID, Mission], list[list[list[Any]]]]:
    """`lock_missions` of those that are SCHEDULED, without the others, and the rows of what is asked for right after it."""
    rows, *others = reading.read_all(session, [(LOCK_WAITING, {"ids": list(mission_ids)}), *also])
    found = reading.load(session, Mission, rows)
    return _remember(session, found, tries_now(session, found)), others


def _remember(session: Session, found: Sequence[Mission], kept: Sequence[Attempt]) -> dict[UUID, Mission]:
    locked = session.info.setdefault(LOCKED, {})
    locked.update({mission.id: mission for mission in found})
    # Held here, for a session forgets what nobody holds.
    session.info.setdefault(KEYS, {}).update({attempt.key: attempt for attempt in kept})
    return {mission.id: mission for mission in found}


def tries_now(session: Session, missions: Collection[Mission]) -> Sequence[Attempt]:
    """All attempts of these missions as they are now; costs nothing where none of them was ever given to a robot."""
    # It is written as version 0 and waits as version 1: being given to a robot is the next step at the earliest.
    tried = [mission.id for mission in missions if mission.version >= TRIED_FROM]
    return reading.load(session, Attempt, reading.read(session, TRIES, {"ids": tried})) if tried else []


def lock_mission(session: Session, mission_id: UUID, organisation_id: UUID | None = None) -> Mission:
    """The mission as it is now, locked until the transaction ends; within the organisation where one is given.

    Raises:
        NotFound: no such mission, or another organisation's.
    """
    mission: Mission | None = session.info.get(LOCKED, {}).get(mission_id)
    if mission is None:
        mission = session.exec(LOCK, params={"ids": [mission_id]}).first()
    if mission is None or organisation_id not in {None, mission.organisation_id}:
        raise NotFound(f"There is no mission {mission_id}.", mission=str(mission_id))
    return mission


def lock_by_keys(session: Session, keys: Collection[str]) -> None:
    """Lock the missions of these attempts, as `lock_missions` does; a key that is none of ours is passed over."""
    lock_missions(session, {mission_id for key in keys if (mission_id := mission_of(key)) is not None})


def mission_of(key: str) -> UUID | None:
    """The mission that an attempt of this key would be of (pure); None when no attempt has such a key."""
    try:
        return UUID(key.partition("/")[0])
    except ValueError:
        return None


def attempt_of(session: Session, key: str) -> Attempt | None:
    """The attempt of this key, also when it has ended; None when it is none of ours."""
    known: Attempt | None = session.info.get(KEYS, {}).get(key)
    return known or session.exec(select(Attempt).where(Attempt.key == key)).first()


def tries_of(session: Session, mission: Mission) -> int:
    """How many attempts there were of the mission, which `lock_missions` has locked."""
    known: dict[str, Attempt] = session.info[KEYS]
    return sum(attempt.mission_id == mission.id for attempt in known.values())


def live_attempt(session: Session, mission_id: UUID) -> Attempt | None:
    """The one attempt of the mission that has not ended, as it is now; the mission is locked by the caller."""
    query: Any = select(Attempt).where(Attempt.mission_id == mission_id, col(Attempt.finished_at).is_(None))
    found: Attempt | None = session.exec(query.execution_options(**FRESH)).first()
    return found


def attempt_now(session: Session, attempt_id: UUID) -> Attempt:
    """The attempt as it is now; the mission is locked by the caller."""
    known = session.identity_map.get(identity_key(Attempt, attempt_id))
    if isinstance(known, Attempt) and known.mission_id in session.info.get(LOCKED, {}):
        return known
    query: Any = select(Attempt).where(Attempt.id == attempt_id)
    found: Attempt = session.exec(query.execution_options(**FRESH)).one()
    return found
