"""What the robot says of an order is applied to the attempt, and the mission follows."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from sqlalchemy import Executable, func
from sqlalchemy.engine import Dialect
from sqlmodel import Session

from fleet import events, ledger
from fleet.adapter import Happening, OrderReport, OrderStatus, TaskReport, Unknown
from fleet.database import STATEMENTS_KEPT, insert_for, made, table_of
from fleet.errors import Invalid
from fleet.robots import Robot
from missions import outbox
from missions.lifecycle import Cause
from missions.live import attempt_now, attempt_of, lock_mission
from missions.models import ATTEMPT_TERMINAL, Attempt, AttemptStatus, Command, TaskResult
from missions.outcome import advance

SAYS = {
    OrderStatus.accepted: AttemptStatus.accepted,
    OrderStatus.running: AttemptStatus.running,
    OrderStatus.paused: AttemptStatus.paused,
    OrderStatus.succeeded: AttemptStatus.succeeded,
    OrderStatus.failed: AttemptStatus.failed,
    OrderStatus.canceled: AttemptStatus.canceled,
    OrderStatus.rejected: AttemptStatus.rejected,
}
PRESENT = {  # words for a person, where the robot gave no reason
    AttemptStatus.accepted: "the robot has the order",
    AttemptStatus.running: "the robot has begun",
    AttemptStatus.paused: "the robot holds",
    AttemptStatus.succeeded: "all tasks done",
    AttemptStatus.failed: "the robot says it failed, without a reason",
    AttemptStatus.canceled: "the robot ended the order and stopped",
    AttemptStatus.rejected: "the robot refused, without a reason",
}
SEQUENCE_MAX = 2**63 - 1
TASKS_MAX = 200  # of a mission; a robot that tells of others is not believed in that
WORDS_MAX = 10_000
TOLD = {"status", "started_at", "finished_at", "value", "unit", "message"}  # of a task, each time


def apply(session: Session, *, robot: Robot, report: OrderReport, received_at: datetime, who: str) -> None:
    """Apply one report; the same or an older one (`sequence`) again changes nothing.

    A report of an order we never sent, or that another robot has, leaves an event and no error. `not_found` tells
    nothing here: only missions/recovery, which asked, knows what it means.

    Raises:
        Invalid: its sequence cannot be kept.
    """
    if report.status is OrderStatus.not_found:
        return
    if abs(report.sequence) > SEQUENCE_MAX:
        raise Invalid(f"The sequence of a report has {report.sequence.bit_length()} bits; at most 63 can be kept.")
    known = attempt_of(session, report.key)
    if known is None or known.robot_id != robot.id:
        _note_foreign(session, robot, report, received_at)
        return
    mission = lock_mission(session, known.mission_id)
    attempt = attempt_now(session, known.id)
    if report.sequence < attempt.report_sequence:
        return
    is_news, is_first = report.sequence > attempt.report_sequence, attempt.report_sequence < 0
    attempt.heard_at = max(received_at, attempt.heard_at or received_at)
    attempt.report_sequence = report.sequence
    session.add(attempt)
    to = SAYS[report.status]
    if to is AttemptStatus.rejected and attempt.status in {AttemptStatus.running, AttemptStatus.paused}:
        to = AttemptStatus.failed  # it had begun: what it will not do now it gives up
    if attempt.status in ATTEMPT_TERMINAL:
        if is_news and to not in ATTEMPT_TERMINAL:  # we had given it up and it runs: it must not
            outbox.enqueue(session, attempt, Command.cancel)
        return
    if is_first:
        outbox.arrived(session, attempt, f"the robot says {report.status}")
    _keep_results(session, attempt, report.tasks, received_at)
    evidence = {"sequence": report.sequence, "observed_at": report.observed_at.isoformat()}
    advance(session, mission, attempt, to, Cause(who, _kept(report.reason) or PRESENT[to], evidence))


def sound(said: OrderReport | Unknown, key: str) -> OrderReport | Unknown:
    """What the robot answered about the order `key`, or `Unknown` when that says nothing about it (pure)."""
    if isinstance(said, Unknown):
        return said
    if said.key != key:
        return Unknown(why=f"it answered about another order ({said.key:.100})")
    if abs(said.sequence) > SEQUENCE_MAX:
        return Unknown(
            why=f"the sequence in its answer has {said.sequence.bit_length()} bits, and at most 63 can be kept"
        )
    return said


def restart(session: Session, attempt: Attempt, said: OrderReport, *, known_before: int) -> None:
    """Follow a robot that counts its reports anew, as after a reboot; nothing to do for any other.

    `known_before` is the sequence that was known when it was asked: an answer below it can be no older report.
    """
    if said.status is not OrderStatus.not_found and said.sequence < min(known_before, attempt.report_sequence):
        attempt.report_sequence = said.sequence - 1
        session.add(attempt)


def _kept(words: str) -> str:
    # PostgreSQL keeps no NUL, and half a surrogate pair has no UTF-8.
    return words[:WORDS_MAX].replace("\0", "\ufffd").encode(errors="replace").decode()


def _keep_results(session: Session, attempt: Attempt, tasks: Sequence[TaskReport], received_at: datetime) -> None:
    rows: list[dict[str, object]] = [
        {
            **task.model_dump(include=TOLD | {"position"}),
            "message": _kept(task.message),
            "unit": task.unit and _kept(task.unit),
            "attempt_id": attempt.id,
            "organisation_id": attempt.organisation_id,
            "mission_id": attempt.mission_id,
            "heard_at": received_at if task.status == "running" else None,
            "files": [],
        }
        for task in tasks
        if task.status != "pending" and 0 <= task.position < TASKS_MAX
    ]
    if rows:
        upsert = _upsert(session.connection().dialect)
        for row in rows:
            ledger.change(session, upsert, row)


@lru_cache(maxsize=STATEMENTS_KEPT)
def _upsert(dialect: Dialect) -> Executable:
    table = table_of(TaskResult)
    insert = insert_for(dialect)(table)
    kept: dict[str, object] = {name: insert.excluded[name] for name in sorted(TOLD)}
    kept["heard_at"] = func.coalesce(table.c.heard_at, insert.excluded["heard_at"])
    upsert = insert.on_conflict_do_update(index_elements=["attempt_id", "position"], set_=kept)
    return made(upsert, dialect, table.c.keys())


def _note_foreign(session: Session, robot: Robot, report: OrderReport, received_at: datetime) -> None:
    seen = Happening(
        key=f"foreign_order/{robot.id}/{report.key}",
        kind="foreign_order",
        occurred_at=report.observed_at,
        serial_number=robot.serial_number,
        severity="warning",
        fields={"order": report.key, "status": report.status.value},
    )
    events.record(session, organisation_id=robot.organisation_id, robot_id=robot.id, seen=seen, received_at=received_at)
