"""The two state machines. Nothing else writes `status`, `desired`, `recall` or `version` of a mission or an attempt.

Every change is a compare-and-set on (status, version), leaves a row with who, when, why and on what evidence, and tells
the changes feed, all in the caller's transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from sqlalchemy.orm.attributes import instance_state, set_committed_value
from sqlmodel import Session, col, select

from fleet import changes, ledger
from fleet.clock import database_now
from fleet.database import TELLING, inserting
from fleet.errors import Conflict
from missions.models import (
    ATTEMPT_TERMINAL,
    Attempt,
    AttemptStatus,
    Desired,
    Mission,
    MissionStatus,
    Recall,
    Transition,
)

A = AttemptStatus
M = MissionStatus

ATTEMPT_MOVES: Mapping[AttemptStatus, frozenset[AttemptStatus]] = {
    A.prepared: frozenset({A.dispatched, A.canceled}),
    A.dispatched: frozenset({A.accepted, A.running, A.paused, A.lost, *ATTEMPT_TERMINAL}),
    A.accepted: frozenset({A.running, A.paused, A.lost, *ATTEMPT_TERMINAL}),
    A.running: frozenset({A.paused, A.lost, A.succeeded, A.failed, A.canceled}),
    A.paused: frozenset({A.running, A.lost, A.succeeded, A.failed, A.canceled}),
    A.lost: frozenset({A.accepted, A.running, A.paused, *ATTEMPT_TERMINAL}),
    A.succeeded: frozenset(),
    A.failed: frozenset(),
    A.rejected: frozenset(),
    A.canceled: frozenset(),
}
MISSION_MOVES: Mapping[MissionStatus, frozenset[MissionStatus]] = {
    M.created: frozenset({M.awaiting_approval, M.scheduled, M.refused, M.canceled, M.expired}),
    M.awaiting_approval: frozenset({M.scheduled, M.refused, M.canceled, M.expired}),
    # To SUCCEEDED when the tasks that were left are skipped while it waits for another try.
    M.scheduled: frozenset({M.assigned, M.refused, M.canceled, M.expired, M.succeeded}),
    M.assigned: frozenset({M.running, M.paused, M.scheduled, M.succeeded, M.failed, M.canceled, M.expired}),
    M.running: frozenset({M.paused, M.scheduled, M.succeeded, M.failed, M.canceled, M.expired}),
    M.paused: frozenset({M.running, M.scheduled, M.succeeded, M.failed, M.canceled, M.expired}),
    M.succeeded: frozenset(),
    M.failed: frozenset(),
    M.canceled: frozenset(),
    M.expired: frozenset(),
    M.refused: frozenset(),
}
Subject = TypeVar("Subject", Mission, Attempt)


@dataclass(frozen=True)
class Cause:
    """Who changes a status, why, and on what evidence."""

    who: str
    why: str
    evidence: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Begun:
    """A mission that is there now: its row and its first lines of history, as they were written."""

    row: Mapping[str, object]
    history: tuple[Mapping[str, object], ...]


def begin_missions(session: Session, asked: Sequence[tuple[Mapping[str, object], Cause]]) -> dict[UUID, Begun]:
    """Insert the missions whose key is not taken, each after its first move, with the history of both; by their ids.

    `asked` has the values of all columns but the instants. One statement a table, however many there are.
    """
    now = database_now(session)
    begun: dict[object, Begun] = {}
    for values, cause in asked:
        to = M.awaiting_approval if values["approval_needed"] else M.scheduled
        news = {"status": to, "version": 1, "reason": cause.why, "created_at": now, "updated_at": now}
        row = {**values, **news}
        begun[row["id"]] = Begun(row, _first_lines(row, cause))
    new = _insert_missions(session, [one.row for one in begun.values()])
    with ledger.together(session):
        for id_ in new:
            for line in begun[id_].history:
                ledger.append(session, Transition, line)
                _tell_of_new(session, begun[id_].row, line)
    return {id_: begun[id_] for id_ in new}


def _first_lines(row: Mapping[str, object], cause: Cause) -> tuple[Mapping[str, object], ...]:
    shared = {
        "organisation_id": row["organisation_id"],
        "mission_id": row["id"],
        "subject": "mission",
        "subject_id": row["id"],
        "who": cause.who,
        "why": cause.why,
        "evidence": dict(cause.evidence),
        "at": row["created_at"],
    }
    born = {"from_status": None, "to_status": M.created.value, "version": 0}
    moved = {"from_status": M.created.value, "to_status": M(str(row["status"])).value, "version": 1}
    return ({**shared, **born}, {**shared, **moved})


def _tell_of_new(session: Session, row: Mapping[str, object], line: Mapping[str, object]) -> None:
    round_id = str(row["round_id"]) if row["round_id"] else None
    said = {"version": line["version"], "who": line["who"], "why": line["why"], "name": row["name"]}
    organisation_id = row["organisation_id"]
    assert isinstance(organisation_id, UUID)
    changes.record(
        session,
        organisation_id=organisation_id,
        subject="mission",
        subject_id=row["id"],
        kind=str(line["to_status"]).lower(),
        fields={**said, "round_id": round_id},
    )


def _insert_missions(session: Session, rows: Sequence[Mapping[str, object]]) -> Sequence[UUID]:
    """The ids of those that were inserted: an organisation has one mission of a key, the first in `rows`."""
    ids = [id_ for row in rows if isinstance(id_ := row["id"], UUID)]
    if not ids:
        return []
    connection = session.connection()
    insert = inserting(connection, Mission, rows[0], ignoring=["organisation_id", "key"])
    # In one order, so that two who are asked for the same at once do not wait for each other.
    in_order = sorted(rows, key=lambda row: (str(row["organisation_id"]), str(row["key"])))
    result = connection.execute(insert, in_order, execution_options=TELLING)
    if result.rowcount == len(ids):
        return ids
    there = set(session.exec(select(Mission.id).where(col(Mission.id).in_(ids))).all())
    return [id_ for id_ in ids if id_ in there]


def begin_attempt(session: Session, attempt: Attempt, cause: Cause) -> None:
    """Insert the attempt and write the first line of its history."""
    session.add(attempt)
    session.flush()
    begin_attempts(session, [(attempt, cause)])


def begin_attempts(session: Session, begun: Sequence[tuple[Attempt, Cause]]) -> None:
    """Write the first line of the history of attempts that are inserted later in this transaction, as they are by then."""
    for attempt, cause in begun:
        _tell(session, attempt, None, cause)


def move_mission(session: Session, mission: Mission, to: MissionStatus, cause: Cause) -> None:
    """Move the mission to `to`; its `reason` becomes the cause's why.

    Raises:
        Conflict: the table does not allow it, or somebody else was faster.
    """
    was = mission.status
    if to not in MISSION_MOVES[was]:
        raise Conflict(f"A mission that is {was} cannot become {to}.", mission=str(mission.id), status=was.value)
    _swap(session, mission, {"status": to, "reason": cause.why, "updated_at": database_now(session)})
    _tell(session, mission, was, cause)


def move_attempt(session: Session, attempt: Attempt, to: AttemptStatus, cause: Cause) -> None:
    """Move the attempt to `to` and stamp the instant that belongs to it.

    Raises:
        Conflict: the table does not allow it, or somebody else was faster.
    """
    was = attempt.status
    if to not in ATTEMPT_MOVES[was]:
        raise Conflict(f"An attempt that is {was} cannot become {to}.", attempt=attempt.key, status=was.value)
    _swap(session, attempt, {"status": to, "reason": cause.why, **_stamps(attempt, to, database_now(session))})
    _tell(session, attempt, was, cause)


def wish(session: Session, mission: Mission, desired: Desired, cause: Cause) -> None:
    """Write what we want of a live mission; the same wish again changes nothing.

    Raises:
        Conflict: the mission has ended or is being cancelled, or somebody else was faster.
    """
    if mission.desired == desired:
        return
    if not MISSION_MOVES[mission.status]:
        raise Conflict(f"The mission has ended: it is {mission.status}.", mission=str(mission.id))
    if mission.desired is Desired.cancel:
        raise Conflict("The mission is being cancelled; that is not taken back.", mission=str(mission.id))
    _swap(session, mission, {"desired": desired, "updated_at": database_now(session)})
    wished = Cause(cause.who, cause.why, {**cause.evidence, "desired": desired.value})
    _tell(session, mission, mission.status, wished, kind=f"desired_{desired.value}")


def note(session: Session, mission: Mission, kind: str, cause: Cause) -> None:
    """Write into the history of a live mission what changed of it besides its status, such as a skipped task.

    Raises:
        Conflict: the mission has ended, or somebody else was faster.
    """
    if not MISSION_MOVES[mission.status]:
        raise Conflict(f"The mission has ended: it is {mission.status}.", mission=str(mission.id))
    _swap(session, mission, {})
    _tell(session, mission, mission.status, cause, kind=kind)


def take_back(
    session: Session, attempt: Attempt, recall: Recall, cause: Cause, *, for_mission: UUID | None = None
) -> bool:
    """Write that the live attempt is to be ended although its mission goes on; False when it is being taken back already.

    The first reason stands: what ends it anyway is not ended twice.

    Raises:
        Conflict: the attempt has ended, or somebody else was faster.
    """
    if attempt.status in ATTEMPT_TERMINAL:
        raise Conflict(f"The attempt has ended: it is {attempt.status}.", attempt=attempt.key)
    if attempt.recall is not None:
        return False
    wanted = {"recall": recall, "recall_reason": cause.why, "recalled_for": for_mission}
    _swap(session, attempt, {**wanted, "recalled_at": database_now(session)})
    why = Cause(cause.who, cause.why, {**cause.evidence, "recall": recall.value})
    _tell(session, attempt, attempt.status, why, kind=f"recalled_{recall.value}")
    return True


def _stamps(attempt: Attempt, to: AttemptStatus, now: datetime) -> dict[str, object]:
    stamps: dict[str, object] = {}
    if to is A.dispatched:
        stamps["sent_at"] = now
    if to in {A.running, A.succeeded} and attempt.started_at is None:
        stamps["started_at"] = now
    if to in ATTEMPT_TERMINAL:
        stamps["finished_at"] = now
    return stamps


def _swap(session: Session, row: Subject, values: Mapping[str, object]) -> None:
    changed: dict[str, object] = {**values, "version": row.version + 1}
    state = instance_state(row)
    if state.persistent:
        # What else was changed on the row goes along, instead of in a statement of its own.
        changed = {name: getattr(row, name) for name in state.committed_state} | changed
        was = {"status": row.status, "version": row.version}
        ledger.swap(session, type(row), row.id, was, changed)
    for name, value in changed.items():
        set_committed_value(row, name, value)


def _tell(
    session: Session, row: Mission | Attempt, was: MissionStatus | AttemptStatus | None, cause: Cause, kind: str = ""
) -> None:
    subject = "mission" if isinstance(row, Mission) else "attempt"
    line = {
        "organisation_id": row.organisation_id,
        "mission_id": _mission_id(row),
        "subject": subject,
        "subject_id": row.id,
        "from_status": was.value if was else None,
        "to_status": row.status.value,
        "version": row.version,
        "who": cause.who,
        "why": cause.why,
        "evidence": dict(cause.evidence),
        "at": database_now(session),
    }
    ledger.append(session, Transition, line)
    changes.record(
        session,
        organisation_id=row.organisation_id,
        subject=subject,
        subject_id=row.id,
        kind=kind or row.status.value.lower(),
        fields=_fields(row, cause),
    )


def _mission_id(row: Mission | Attempt) -> UUID:
    return row.id if isinstance(row, Mission) else row.mission_id


def _fields(row: Mission | Attempt, cause: Cause) -> dict[str, object]:
    fields: dict[str, object] = {"version": row.version, "who": cause.who, "why": cause.why}
    if isinstance(row, Mission):
        return fields | {"name": row.name, "round_id": str(row.round_id) if row.round_id else None}
    return fields | {"mission_id": str(row.mission_id), "robot_id": str(row.robot_id), "number": row.number}


def replay(history: Iterable[Transition]) -> str | None:
    """The status that a subject's history, in order of version, leads to; None when there is none.

    Raises:
        Conflict: the history has a gap or a move that no table allows.
    """
    status: str | None = None
    for version, line in enumerate(history):
        if line.version != version or line.from_status != status or not _is_move(line):
            raise Conflict(f"The history breaks at version {line.version}.", subject=str(line.subject_id))
        status = line.to_status
    return status


def _is_move(line: Transition) -> bool:
    if line.from_status is None or line.from_status == line.to_status:
        return True  # the first line, or a wish
    if line.subject == "mission":
        return M(line.to_status) in MISSION_MOVES[M(line.from_status)]
    return A(line.to_status) in ATTEMPT_MOVES[A(line.from_status)]
