"""What must still reach a robot: rows written in the transaction of the decision, before anything is sent."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from functools import cache
from uuid import UUID

from sqlalchemy import Update, bindparam, func, update
from sqlalchemy.orm.util import identity_key
from sqlmodel import Session, col, select

from fleet import ledger
from fleet.adapter import Order
from fleet.clock import database_now, lies_ahead
from fleet.database import row_of, table_of
from missions.models import Attempt, Command, OutboxMessage, OutboxStatus

MORE = "more_to_send"  # in a session's info: this transaction has written something that is to be sent
AFTER_ANSWERS = 1  # the turn of messages that end otherwise: first, robots have answered
TABLE = table_of(OutboxMessage)
OUTBOX = TABLE.c
ANSWERED = (
    update(TABLE)
    .where(OUTBOX.id == bindparam("of"), OUTBOX.status == OutboxStatus.pending)
    .values(status=OutboxStatus.done, answer=bindparam("told"), claimed_until=None, next_try_at=bindparam("until"))
)
PURSUE_S = 10.0  # a command that the robot's reports do not agree with is sent again after this long
OPPOSITE = {
    Command.pause: {Command.resume},
    Command.resume: {Command.pause},
    Command.cancel: {Command.submit, Command.pause, Command.resume},
}


def enqueue(session: Session, attempt: Attempt, command: Command, order: Order | None = None) -> OutboxMessage:
    """Another message of this command to the attempt's robot; pending ones that it contradicts are dropped."""
    drop(session, attempt, OPPOSITE.get(command, set()))
    now = database_now(session)
    message = OutboxMessage(
        organisation_id=attempt.organisation_id,
        robot_id=attempt.robot_id,
        attempt_id=attempt.id,
        command=command,
        number=_last_number(session, attempt, command) + 1,
        fence=attempt.fence,
        order=order.model_dump(mode="json") if order else None,
        next_try_at=now,
        created_at=now,
    )
    session.add(message)
    session.flush()
    session.info["ring"] = session.info[MORE] = True
    return message


def enqueue_first(session: Session, attempt: Attempt, order: Order) -> OutboxMessage:
    """The first message of a new attempt, its order; missions/dispatch writes it as it is at the end."""
    now = database_now(session)
    message = row_of(
        OutboxMessage,
        organisation_id=attempt.organisation_id,
        robot_id=attempt.robot_id,
        attempt_id=attempt.id,
        command=Command.submit,
        fence=attempt.fence,
        order=order.model_dump(mode="json"),
        next_try_at=now,
        created_at=now,
    )
    session.info["ring"] = True
    return message


def _last_number(session: Session, attempt: Attempt, command: Command) -> int:
    mine = (OutboxMessage.attempt_id == attempt.id, OutboxMessage.command == command)
    return session.exec(select(func.max(OutboxMessage.number)).where(*mine)).one() or 0


def newest(session: Session, attempt: Attempt, command: Command) -> OutboxMessage | None:
    """The newest message of this command to the attempt."""
    mine = (OutboxMessage.attempt_id == attempt.id, OutboxMessage.command == command)
    return session.exec(select(OutboxMessage).where(*mine).order_by(col(OutboxMessage.number).desc())).first()


def told(session: Session, attempt: Attempt, commands: Collection[Command]) -> Sequence[OutboxMessage]:
    """The messages of these commands to the attempt, oldest first."""
    mine = (OutboxMessage.attempt_id == attempt.id, col(OutboxMessage.command).in_(commands))
    return session.exec(select(OutboxMessage).where(*mine).order_by(col(OutboxMessage.id))).all()


def drop(session: Session, attempt: Attempt, commands: Collection[Command]) -> None:
    """Pending messages of these commands are sent no more (one that is on its way may still arrive)."""
    if commands:
        _end_pending(session, attempt, commands, {"status": OutboxStatus.dropped})


def arrived(session: Session, attempt: Attempt, why: str) -> None:
    """The robot has the order, so it is not sent again."""
    next_try_at = database_now(session) + timedelta(seconds=PURSUE_S)
    done = {"status": OutboxStatus.done, "answer": why, "next_try_at": next_try_at}
    _end_pending(session, attempt, {Command.submit}, done)


def _end_pending(
    session: Session, attempt: Attempt, commands: Collection[Command], values: Mapping[str, object]
) -> None:
    if any(isinstance(row, OutboxMessage) for row in (*session.new, *session.dirty)):
        session.flush()  # what was enqueued until now ends, and nothing that is enqueued later
    is_all = set(commands) == set(Command)
    named = {"of": attempt.id, "pending": OutboxStatus.pending, **{f"to_{name}": values[name] for name in values}}
    for which in [{}] if is_all else [{"told": command} for command in commands]:
        ledger.change(session, _ending(frozenset(values), is_all), {**named, **which}, turn=AFTER_ANSWERS)
    for row in list(session.identity_map.values()):
        if isinstance(row, OutboxMessage) and row.attempt_id == attempt.id:
            session.expire(row)


@cache
def _ending(names: frozenset[str], is_all: bool) -> Update:
    mine = [OUTBOX.attempt_id == bindparam("of"), OUTBOX.status == bindparam("pending")]
    if not is_all:
        mine.append(OUTBOX.command == bindparam("told"))
    values: dict[str, object] = {name: bindparam(f"to_{name}") for name in sorted(names)}
    return update(TABLE).where(*mine).values({**values, "claimed_until": None})


def settle(session: Session, message_id: UUID, answer: str) -> None:
    """The robot has answered; unless it was settled before, it is not sent again, nor the same command for PURSUE_S seconds."""
    next_try_at = database_now(session) + timedelta(seconds=PURSUE_S)
    ledger.change(session, ANSWERED, {"of": message_id, "told": answer, "until": next_try_at})
    known = session.identity_map.get(identity_key(OutboxMessage, message_id))
    if known is not None:
        session.expire(known)


def postpone(session: Session, message: OutboxMessage, why: str) -> None:
    """No answer: it is sent again later, each time after twice as long, at most half a minute."""
    message.answer = why
    message.claimed_until = None
    message.next_try_at = database_now(session) + timedelta(seconds=min(2.0 ** (message.tries - 1), 30.0))
    session.add(message)


def hasten(session: Session, attempt: Attempt) -> None:
    """The robot never had the order: send it now, unless it is on its way."""
    message = newest(session, attempt, Command.submit)
    if message is not None and message.status is OutboxStatus.pending:
        message.next_try_at = database_now(session)
        session.add(message)
        session.info["ring"] = session.info[MORE] = True


def pursue(session: Session, attempt: Attempt, command: Command) -> bool:
    """Send the command again if the last one was answered long enough ago; True when it is."""
    last = newest(session, attempt, command)
    if last is not None and (
        last.status is OutboxStatus.pending or lies_ahead(last.next_try_at, database_now(session))
    ):
        return False
    enqueue(session, attempt, command)
    return True
