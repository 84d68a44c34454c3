"""Intake: what the inbox holds is understood and applied, in one place readable top to bottom.

inbox.due -> adapter's events_from (pure, no lock held) -> inbox.claim_due -> events.record -> rules.follow ->
states.observe -> missions.feedback. One delivery, one savepoint; a batch shares the commit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError, StatementError
from sqlmodel import Session, col, select

from fleet import events, ledger, states
from fleet.accounts import ManufacturerAccount
from fleet.adapter import Happening, Observation, OrderReport, Reported
from fleet.adapters import translator
from fleet.errors import Conflict, Unavailable, YardmasterError
from fleet.robots import Robot, robots_by_serial
from fleet.runtime import Runtime
from ingestion import inbox, rules
from ingestion.models import Delivery
from missions import feedback
from missions.live import lock_by_keys

log = structlog.get_logger(__name__)

# What may be otherwise in a moment: another process wrote the same row, the database was busy.
PASSING = (Unavailable, Conflict, OperationalError)
# What a delivery that nobody foresaw can raise in translation or while it is applied; it is rejected, kept, and replayable.
POISON = (
    YardmasterError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    IntegrityError,
    DataError,
)
Robots = Mapping[str, Robot]


@dataclass(frozen=True)
class Understood:
    """What one delivery says, or why it says nothing."""

    delivery_id: UUID
    account: ManufacturerAccount
    said: Sequence[Reported] = field(default=())
    error: Exception | None = None


@dataclass(frozen=True)
class Known:
    """What is looked up once for many deliveries; `low` are the robots with an open battery alert."""

    account: ManufacturerAccount
    robots: Robots
    low: set[UUID]


def drain(runtime: Runtime, *, limit: int = 200) -> int:
    """Understand and apply up to `limit` waiting deliveries; how many were settled or put off.

    Several may drain at once: a delivery is applied by one. Every delivery may be applied again, by replay.
    """
    with runtime.reading() as session:
        waiting = inbox.due(session, limit=limit)
        accounts = _accounts_of(session, waiting)
    if not waiting:
        return 0
    understood = {delivery.id: _understand(accounts[delivery.account_id], delivery) for delivery in waiting}
    try:
        with runtime.transaction() as session, ledger.together(session):
            return _apply_all(session, understood, list(accounts))
    except (IntegrityError, DataError, StatementError) as error:
        if isinstance(error, DBAPIError) and not isinstance(error, POISON):
            raise  # the database's own trouble
        log.info("deliveries applied with each line by itself", count=len(understood), error=type(error).__name__)
    with runtime.transaction() as session:  # so that only the one whose line the database refuses is rejected
        return _apply_all(session, understood, list(accounts))


def _apply_all(session: Session, understood: Mapping[UUID, Understood], account_ids: Sequence[UUID]) -> int:
    robots = {account_id: _robots_in(session, account_id, understood) for account_id in account_ids}
    held = inbox.claim_due(session, list(understood))
    if not held:
        return 0
    said = [one for delivery in held for one in understood[delivery.id].said]
    # In one fixed order, and before the first of them is changed, so that nobody deadlocks.
    lock_by_keys(session, {one.key for one in said if isinstance(one, OrderReport) and _is_ours(one.key)})
    low = rules.with_low_battery(session, [robot for ours in robots.values() for robot in ours.values()])
    for delivery in held:
        known = Known(understood[delivery.id].account, robots[delivery.account_id], low)
        _settle(session, delivery, understood[delivery.id], known)
    return len(held)


def _is_ours(key: str) -> bool:
    """Whether it could be the key of an attempt; the database is not asked for what others made up."""
    return key.isascii() and key.isprintable()


def replay(runtime: Runtime, delivery_ids: Sequence[UUID]) -> int:
    """Make applied or rejected deliveries wait again; how many. The next drain reads their stored bytes anew."""
    with runtime.transaction() as session:
        return inbox.put_back(session, delivery_ids)


def _accounts_of(session: Session, waiting: Sequence[Delivery]) -> dict[UUID, ManufacturerAccount]:
    ids = {delivery.account_id for delivery in waiting}
    rows = session.exec(select(ManufacturerAccount).where(col(ManufacturerAccount.id).in_(ids))).all()
    return {row.id: row for row in rows}


def _understand(account: ManufacturerAccount, delivery: Delivery) -> Understood:
    try:
        return Understood(delivery.id, account, translator(account.manufacturer)(delivery.body))
    except POISON as error:
        return Understood(delivery.id, account, error=error)


def _robots_in(session: Session, account_id: UUID, understood: Mapping[UUID, Understood]) -> Robots:
    serials = {
        said.serial_number
        for one in understood.values()
        if one.account.id == account_id
        for said in one.said
        # PostgreSQL cannot even be asked for a NUL; no robot has one in its serial number.
        if said.serial_number is not None and "\0" not in said.serial_number
    }
    return robots_by_serial(session, account_id, serials)


def _settle(session: Session, delivery: Delivery, understood: Understood, known: Known) -> None:
    try:
        if understood.error is not None:
            raise understood.error
        with ledger.savepoint(session):
            plain = _plain(understood.said, known)
            states.observe_all(session, plain, received_at=delivery.received_at)
            done = {id(said) for _, said in plain}
            for said in understood.said:
                if id(said) not in done:
                    _apply(session, delivery, known, said)
    except PASSING as error:
        if not inbox.postpone(session, delivery, _sentence(error)):
            _tell_rejected(session, delivery)
    except (*POISON, StatementError) as error:
        if isinstance(error, DBAPIError) and not isinstance(error, POISON):
            raise  # the database's own trouble, such as a missing table
        inbox.reject(session, delivery, _sentence(error))
        _tell_rejected(session, delivery)
    else:
        inbox.apply(session, delivery)


def _plain(said: Sequence[Reported], known: Known) -> list[tuple[Robot, Observation]]:
    """The observations from which nothing but the robots' state follows, in one order, so that nobody deadlocks."""
    happened = {one.serial_number for one in said if isinstance(one, Happening)}
    plain = [
        (robot, one)
        for one in said
        if isinstance(one, Observation)
        and one.serial_number not in happened
        and (robot := known.robots.get(one.serial_number)) is not None
        and robot.id not in known.low
    ]
    return sorted(plain, key=lambda each: each[0].id)


def _apply(session: Session, delivery: Delivery, known: Known, said: Reported) -> None:
    robot = known.robots.get(said.serial_number or "")
    if robot is None and said.serial_number is not None:
        _tell_unknown_robot(session, delivery, said.serial_number)
    if isinstance(said, Happening):
        _happened(session, delivery, known, robot, said)
    elif robot is not None and isinstance(said, Observation):
        if states.observe(session, robot, said, received_at=delivery.received_at) and robot.id in known.low:
            rules.follow_state(session, robot, said)
    elif robot is not None and isinstance(said, OrderReport):
        feedback.apply(session, robot=robot, report=said, received_at=delivery.received_at, who=f"robot:{robot.name}")


def _happened(session: Session, delivery: Delivery, known: Known, robot: Robot | None, seen: Happening) -> None:
    event = events.record(
        session,
        organisation_id=delivery.organisation_id,
        robot_id=None if robot is None else robot.id,
        # A manufacturer's keys are unique in its own account only.
        seen=seen.model_copy(update={"key": f"{known.account.id}:{seen.key}"}),
        received_at=delivery.received_at,
    )
    if event is not None and robot is not None:
        rules.follow(session, robot, event)
        known.low.add(robot.id)  # it may have opened the alert


def _tell_unknown_robot(session: Session, delivery: Delivery, serial_number: str) -> None:
    seen = Happening(
        key=f"{delivery.account_id}:unknown-robot:{serial_number}",
        kind="unknown_robot",
        occurred_at=delivery.received_at,
        severity="warning",
        fields={"serial_number": serial_number, "account": str(delivery.account_id)},
    )
    if _record_ours(session, delivery, seen):
        log.warning("unknown robot", serial_number=serial_number, account=str(delivery.account_id))


def _tell_rejected(session: Session, delivery: Delivery) -> None:
    seen = Happening(
        key=f"{delivery.account_id}:delivery-rejected:{delivery.id}",
        kind="delivery_rejected",
        occurred_at=delivery.received_at,
        severity="error",
        fields={"delivery": str(delivery.id), "key": delivery.key, "error": delivery.error},
    )
    _record_ours(session, delivery, seen)


def _record_ours(session: Session, delivery: Delivery, seen: Happening) -> bool:
    event = events.record(
        session,
        organisation_id=delivery.organisation_id,
        robot_id=None,
        seen=seen,
        received_at=delivery.received_at,
    )
    return event is not None


def _sentence(error: Exception) -> str:
    return error.message if isinstance(error, YardmasterError) else f"{type(error).__name__}: {error}"
