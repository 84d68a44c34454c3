"""Intake: what the inbox holds is understood and applied, in one place readable top to bottom.

inbox.due -> adapter's events_from (pure, no lock held) -> inbox.claim_due -> events.record -> rules.follow ->
states.observe -> missions.feedback. A batch is applied in one go; where that fails, one delivery, one savepoint.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from sqlalchemy import BindParameter, bindparam
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError, StatementError
from sqlmodel import Session, col, select

from fleet import events, ledger, reading, states
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
IDS: BindParameter[list[UUID]] = bindparam("ids", expanding=True)
OF_IDS = select(ManufacturerAccount).where(col(ManufacturerAccount.id).in_(IDS))
Robots = Mapping[str, Robot]


@dataclass(frozen=True)
class Known:
    """What is looked up once for many deliveries of an account; `low` are the robots with an open battery alert."""

    account: ManufacturerAccount
    robots: Robots
    low: set[UUID]


@dataclass(frozen=True)
class Understood:
    """What one delivery says, or why it says nothing."""

    delivery: Delivery
    known: Known
    said: Sequence[Reported] = field(default=())
    error: Exception | None = None


Plain = Mapping[int, tuple[Robot, Observation]]


def drain(runtime: Runtime, *, limit: int = 200) -> int:
    """Understand and apply up to `limit` waiting deliveries; how many were settled or put off.

    Several may drain at once: a delivery is applied by one. Every delivery may be applied again, by replay.
    """
    with runtime.reading() as session:
        understood = _understand_all(session, inbox.due(session, limit=limit))
    if not understood:
        return 0
    try:
        with runtime.transaction() as session, ledger.together(session):
            return _apply_at_once(session, understood)
    except (*POISON, StatementError) as error:
        if isinstance(error, DBAPIError) and not isinstance(error, POISON):
            raise  # the database's own trouble, such as a missing table
        log.info("deliveries applied one by one", count=len(understood), error=type(error).__name__)
    with runtime.transaction() as session:  # so that only the one that cannot be applied is rejected or put off
        return _apply_each(session, understood)


def _apply_at_once(session: Session, understood: Mapping[UUID, Understood]) -> int:
    """Apply all of them in one go; when it raises, nothing of it may be committed."""
    held = inbox.claim_ids(session, list(understood))
    mine = [understood[delivery_id] for delivery_id in held]
    sound = [one for one in mine if one.error is None]
    _lock_missions(session, sound)
    plain = _plain(sound)
    seen = [(*plain[id(said)], one.delivery.received_at) for one in sound for said in one.said if id(said) in plain]
    states.observe_all(session, seen)
    for one in mine:
        if one.error is not None:
            _settle(session, session.get_one(Delivery, one.delivery.id), one)
        else:
            _apply_rest(session, one.delivery, one, plain)
    inbox.apply_all(session, [one.delivery.id for one in sound])
    return len(held)


def _apply_each(session: Session, understood: Mapping[UUID, Understood]) -> int:
    held = inbox.claim_due(session, list(understood))
    _lock_missions(session, [understood[delivery.id] for delivery in held])
    for delivery in held:
        _settle(session, delivery, understood[delivery.id])
    return len(held)


def _lock_missions(session: Session, understood: Sequence[Understood]) -> None:
    """In one fixed order, and before the first of them is changed, so that nobody deadlocks."""
    keys = {said.key for one in understood for said in one.said if isinstance(said, OrderReport)}
    if keys:
        lock_by_keys(session, {key for key in keys if _is_ours(key)})


def _is_ours(key: str) -> bool:
    """Whether it could be the key of an attempt; the database is not asked for what others made up."""
    return key.isascii() and key.isprintable()


def replay(runtime: Runtime, delivery_ids: Sequence[UUID]) -> int:
    """Make applied or rejected deliveries wait again; how many. The next drain reads their stored bytes anew."""
    with runtime.transaction() as session:
        return inbox.put_back(session, delivery_ids)


def _understand_all(session: Session, waiting: Sequence[Delivery]) -> dict[UUID, Understood]:
    ids = {delivery.account_id for delivery in waiting}
    rows = reading.plain(ManufacturerAccount, reading.read(session, OF_IDS, {"ids": list(ids)})) if ids else []
    found: dict[UUID, Understood] = {}
    for account in rows:
        robots: dict[str, Robot] = {}
        known = Known(account, robots, set())
        mine = [_understand(known, delivery) for delivery in waiting if delivery.account_id == account.id]
        robots.update(robots_by_serial(session, account.id, _serials(mine)))
        known.low.update(rules.with_low_battery(session, robots.values()))
        found.update({one.delivery.id: one for one in mine})
    return found


def _understand(known: Known, delivery: Delivery) -> Understood:
    try:
        return Understood(delivery, known, translator(known.account.manufacturer)(delivery.body))
    except POISON as error:
        return Understood(delivery, known, error=error)


def _serials(understood: Sequence[Understood]) -> set[str]:
    # PostgreSQL cannot even be asked for a NUL; no robot has one in its serial number.
    said = (said.serial_number for one in understood for said in one.said)
    return {serial_number for serial_number in said if serial_number is not None and "\0" not in serial_number}


def _settle(session: Session, delivery: Delivery, understood: Understood) -> None:
    try:
        if understood.error is not None:
            raise understood.error
        with ledger.savepoint(session):
            plain = _plain([understood])
            states.observe_all(session, [(*each, delivery.received_at) for each in plain.values()])
            _apply_rest(session, delivery, understood, plain)
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


def _plain(understood: Sequence[Understood]) -> Plain:
    """The observations from which nothing but the robots' state follows, by their identity."""
    stirred = {robot.id for one in understood for robot in _stirred(one)}
    return {
        id(said): (robot, said)
        for one in understood
        for said in one.said
        if isinstance(said, Observation)
        and (robot := one.known.robots.get(said.serial_number)) is not None
        and robot.id not in stirred
        and robot.id not in one.known.low
    }


def _stirred(one: Understood) -> Iterator[Robot]:
    """Robots of which it says that something happened: an alert may be opened, which what they say of themselves may close."""
    for said in one.said:
        if isinstance(said, Happening) and (said.serial_number or "") in one.known.robots:
            yield one.known.robots[said.serial_number or ""]


def _apply_rest(session: Session, delivery: Delivery, understood: Understood, plain: Plain) -> None:
    for said in understood.said:
        if id(said) not in plain:
            _apply(session, delivery, understood.known, said)


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
