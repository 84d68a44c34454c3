"""A message of the outbox reaches its robot: begin (commit), deliver (no database), settle (commit).

A crash between any two of these leaves a row that says what is not known: the message is sent again after CLAIM_S, and
from the second try on the robot is asked first whether it has the order.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

import structlog
from sqlalchemy import and_, bindparam, not_
from sqlalchemy import select as sqlalchemy_select
from sqlmodel import Session, col, select

from fleet import reading
from fleet.accounts import ManufacturerAccount
from fleet.adapter import (
    Accepted,
    Acknowledged,
    Adapter,
    CommandOutcome,
    Order,
    OrderReport,
    OrderStatus,
    Refused,
    SubmitOutcome,
    Unknown,
    Unsupported,
)
from fleet.clock import AHEAD_S, database_now, has_come, has_come_by
from fleet.database import UTCDateTime, table_of
from fleet.errors import NotFound, YardmasterError
from fleet.robots import COMMANDED_OVER, Robot
from missions import feedback, outbox
from missions.dispatch import Given
from missions.lifecycle import Cause
from missions.live import attempt_now, attempt_of, lock_mission
from missions.models import (
    ATTEMPT_TERMINAL,
    Attempt,
    AttemptStatus,
    Command,
    Mission,
    OutboxMessage,
    OutboxStatus,
)
from missions.outcome import advance

log = structlog.get_logger(__name__)

CLAIM_S = 20.0
ANSWER_S = 15.0  # below CLAIM_S, so that a message is never on its way twice from living dispatchers
OUTBOX = table_of(OutboxMessage).c
_IS_PENDING = OUTBOX.status == OutboxStatus.pending
_TIMES = (bindparam("now", type_=UTCDateTime), bindparam("strange", type_=UTCDateTime))
IS_DUE = (
    sqlalchemy_select(OUTBOX.id)
    .where(_IS_PENDING, has_come_by(OUTBOX.next_try_at, *_TIMES), has_come_by(OUTBOX.claimed_until, *_TIMES))
    .limit(1)
)
Answer = SubmitOutcome | CommandOutcome | OrderReport
Said = TypeVar("Said")
# What a link that does not understand its robots can raise: these must be found lost then, and not be forgotten.
STUMBLES = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, OSError)


@dataclass(frozen=True)
class Due:
    """A message that may be sent now, and the robot whose lane it takes."""

    message_id: UUID
    mission_id: UUID
    robot_id: UUID
    account_id: UUID


@dataclass(frozen=True)
class Parcel:
    """A claimed message with all that is needed to send it without the database."""

    message_id: UUID
    mission_id: UUID
    robot_id: UUID
    account: ManufacturerAccount
    serial_number: str
    key: str
    fence: int
    command: Command
    order: Order | None
    tries: int


def has_due(session: Session) -> bool:
    """Whether there is a message to send now, whoever's lane it needs; costs less than `due`."""
    now = database_now(session)
    times = {"now": now, "strange": now + timedelta(seconds=AHEAD_S)}
    return bool(reading.read(session, IS_DUE, times))


def due(session: Session, *, busy: Collection[UUID] = (), crowded: Collection[UUID] = (), limit: int = 64) -> list[Due]:
    """Messages to send now, oldest first, one a robot.

    Robots in `busy`, those of accounts in `crowded` and those with a message on its way wait.
    """
    now = database_now(session)
    pending = OutboxMessage.status == OutboxStatus.pending
    on_its_way = select(OutboxMessage.robot_id).where(pending, not_(has_come(col(OutboxMessage.claimed_until), now)))
    query = (
        select(OutboxMessage.id, Attempt.mission_id, OutboxMessage.robot_id, COMMANDED_OVER)
        .join(Attempt, col(Attempt.id) == OutboxMessage.attempt_id)
        .join(Robot, col(Robot.id) == OutboxMessage.robot_id)
        .where(col(Robot.id).not_in(busy), COMMANDED_OVER.not_in(crowded))
        .where(pending, has_come(col(OutboxMessage.next_try_at), now), col(OutboxMessage.robot_id).not_in(on_its_way))
        .order_by(col(OutboxMessage.id))
        .limit(limit * 4)
    )
    first: dict[UUID, Due] = {}
    for message_id, mission_id, robot_id, account_id in session.exec(query).all():
        first.setdefault(robot_id, Due(message_id, mission_id, robot_id, account_id))
    return list(first.values())[:limit]


def begin(session: Session, due: Due, *, who: str) -> Parcel | None:
    """Claim the message for CLAIM_S and write that it is being sent; None when there is nothing to send any more."""
    mission = lock_mission(session, due.mission_id)
    message = _claimable(session, due.message_id)
    if message is None:
        return None
    attempt = attempt_now(session, message.attempt_id)
    now = database_now(session)
    _claim(message, now)
    if message.command is Command.submit:
        _note_sent(session, mission, attempt, message, now, who)
    robot = session.get_one(Robot, message.robot_id)
    account = session.get_one(ManufacturerAccount, robot.commanded_over)
    order = Order.model_validate(message.order) if message.order else None
    return _parcel(message, attempt, robot, account, order)


def begin_new(
    session: Session, given: Sequence[Given], *, has_room: Callable[[UUID, UUID], bool], who: str
) -> list[Parcel]:
    """Claim the orders of missions that were just given, in the transaction that gave them, so that they go at once.

    One for whose robot (first) of whose account (second) there is no room now, or whose robot must be told something
    else before, stays for `due`.
    """
    begun = [one for one in given if not one.is_told_before and has_room(one.robot.id, one.robot.commanded_over)]
    now = database_now(session)
    for one in begun:
        _claim(one.message, now)
        _note_sent(session, one.mission, one.attempt, one.message, now, who)
    return [_parcel(one.message, one.attempt, one.robot, one.account, one.order) for one in begun]


def _claim(message: OutboxMessage, now: datetime) -> None:
    message.claimed_until, message.tries = now + timedelta(seconds=CLAIM_S), message.tries + 1


def _note_sent(
    session: Session, mission: Mission, attempt: Attempt, message: OutboxMessage, now: datetime, who: str
) -> None:
    cause = Cause(who, "sent", {"tries": message.tries})
    if not advance(session, mission, attempt, AttemptStatus.dispatched, cause):
        attempt.sent_at = now  # again
        session.add(attempt)


def _claimable(session: Session, message_id: UUID) -> OutboxMessage | None:
    now = database_now(session)
    free = and_(has_come(col(OutboxMessage.claimed_until), now), has_come(col(OutboxMessage.next_try_at), now))
    waits = and_(col(OutboxMessage.status) == OutboxStatus.pending, free)
    return session.exec(
        select(OutboxMessage)
        .where(OutboxMessage.id == message_id, waits)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).first()


def _parcel(
    message: OutboxMessage, attempt: Attempt, robot: Robot, account: ManufacturerAccount, order: Order | None
) -> Parcel:
    return Parcel(
        message_id=message.id,
        mission_id=attempt.mission_id,
        robot_id=robot.id,
        account=account,
        serial_number=robot.address,
        key=attempt.key,
        fence=message.fence,
        command=message.command,
        order=order,
        tries=message.tries,
    )


async def deliver(adapter: Adapter, parcel: Parcel) -> Answer:
    """What the robot's side answers within ANSWER_S; no answer, of whatever kind, is `Unknown`."""
    return await answered(_tell(adapter, parcel))


async def answered(asked: Awaitable[Said]) -> Said | Unknown:
    """The answer, or `Unknown` when none comes within ANSWER_S, or one that the link to the robots stumbles over."""
    try:
        async with asyncio.timeout(ANSWER_S):
            return await asked
    except TimeoutError:
        return Unknown(why=f"no answer within {ANSWER_S:.0f} s")
    except YardmasterError as error:
        return Unknown(why=error.message)
    except STUMBLES as error:
        log.exception("a link to robots failed")
        return Unknown(why=f"the link to the robot failed: {type(error).__name__}: {error}"[:500])


async def _tell(adapter: Adapter, parcel: Parcel) -> Answer:
    if parcel.order is None:
        tell = {Command.cancel: adapter.cancel, Command.pause: adapter.pause, Command.resume: adapter.resume}
        return await tell[parcel.command](parcel.serial_number, parcel.key, parcel.fence)
    if parcel.tries > 1:
        said = feedback.sound(await adapter.query(parcel.serial_number, parcel.key), parcel.key)
        if isinstance(said, Unknown) or said.status is not OrderStatus.not_found:
            return said
    return await adapter.submit(parcel.order)


def settle(session: Session, parcel: Parcel, answer: Answer, *, who: str, received_at: datetime) -> None:
    """Write what came of the message; written twice, the second changes nothing."""
    mission = lock_mission(session, parcel.mission_id)
    attempt = attempt_now(session, _attempt_id(session, parcel))
    if isinstance(answer, OrderReport):
        answer = feedback.sound(answer, parcel.key)
    if isinstance(answer, Unknown):
        message = session.get_one(OutboxMessage, parcel.message_id, populate_existing=True)
        if message.status is OutboxStatus.pending:
            outbox.postpone(session, message, answer.why)
        return
    outbox.settle(session, parcel.message_id, _words(answer))
    if isinstance(answer, OrderReport):
        robot = session.get_one(Robot, parcel.robot_id)
        feedback.apply(session, robot=robot, report=answer, received_at=received_at, who=who)
        return
    if isinstance(answer, Acknowledged | Unsupported):
        return  # its gateway or cloud says so; of the robot itself nothing was heard
    attempt.heard_at = received_at
    session.add(attempt)
    if isinstance(answer, Refused):
        advance(session, mission, attempt, AttemptStatus.rejected, Cause(who, answer.reason))
    elif isinstance(answer, Accepted):
        _accept(session, attempt, answer)
        advance(session, mission, attempt, AttemptStatus.accepted, Cause(who, "the robot has the order"))


def _attempt_id(session: Session, parcel: Parcel) -> UUID:
    known = attempt_of(session, parcel.key)
    if known is None:
        raise NotFound(f"There is no attempt {parcel.key}.", attempt=parcel.key)
    return known.id


def _accept(session: Session, attempt: Attempt, answer: Accepted) -> None:
    attempt.robot_reference = answer.reference or attempt.robot_reference
    session.add(attempt)
    if attempt.status in ATTEMPT_TERMINAL:  # it arrived after we had given it up: it must not run
        outbox.enqueue(session, attempt, Command.cancel)


def _words(answer: Answer) -> str:
    match answer:
        case Refused(reason=reason) | Unsupported(reason=reason):
            return f"{answer.kind}: {reason}"
        case Accepted() | Acknowledged():
            return answer.kind
        case _:
            return f"the robot says {answer.status}" if isinstance(answer, OrderReport) else answer.kind
