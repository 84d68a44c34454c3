"""What gateways are asked: rows that somebody leaves and waits upon, sent on by the process that has the gateway's line."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Index, and_, delete, text, update
from sqlmodel import Field, Session, SQLModel, col, select

from fleet.clock import database_now
from fleet.database import JSONColumn, UTCDateTime, claim, new_id, text_of
from fleet.gateways import GatewayAccount, RobotLink, kept
from fleet.robots import COMMANDED_AT, COMMANDED_OVER, Robot

COMMAND_S = 14.0  # nothing older is sent on: whoever asked has given up by then (missions/sending waits 15 s)
KEEP_COMMANDS = timedelta(days=1)
UNHANDED = {"handed_epoch": None, "handed_to": None}


class CommandKind(StrEnum):
    """What a gateway may be asked."""

    submit = "submit"
    query = "query"
    cancel = "cancel"
    pause = "pause"
    resume = "resume"
    exposure = "exposure"
    discover = "discover"


class LinkCommand(SQLModel, table=True):
    """Something that a gateway is asked, and its answer; sent again, it is harmless."""

    __tablename__ = "link_commands"
    __table_args__ = (
        Index("ix_link_commands_open", "answered_at", "expires_at"),
        Index(
            "ix_link_commands_handed",
            "key",
            sqlite_where=text("handed_epoch IS NOT NULL"),
            postgresql_where=text("handed_epoch IS NOT NULL"),
        ),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    account_id: UUID = Field(foreign_key="manufacturer_accounts.id", index=True)
    robot_id: UUID | None = Field(default=None, foreign_key="robots.id", index=True)
    kind: CommandKind = Field(sa_type=text_of(CommandKind))
    serial_number: str = ""
    key: str = ""
    fence: int = 0
    order_json: dict[str, object] | None = Field(default=None, sa_column=Column(JSONColumn, nullable=True))
    handed_epoch: int | None = Field(
        default=None, description="Of the lease under which an order went out; written before it does."
    )
    handed_to: UUID | None = Field(default=None, description="The gateway that had that lease.")
    created_at: datetime = Field(sa_type=UTCDateTime)
    expires_at: datetime = Field(sa_type=UTCDateTime)
    answered_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    answer: dict[str, object] | None = Field(default=None, sa_column=Column(JSONColumn, nullable=True))


def open_commands(session: Session, gateway_ids: Collection[UUID]) -> list[tuple[UUID, LinkCommand]]:
    """What these gateways are still to be asked, oldest first, each with the gateway that holds the robot.

    A command that concerns no robot of ours goes to every gateway of the account.
    """
    now = database_now(session)
    is_open = (col(LinkCommand.answered_at).is_(None), LinkCommand.expires_at > now)
    held = (
        select(RobotLink.gateway_id, LinkCommand)
        .join(RobotLink, col(RobotLink.robot_id) == col(LinkCommand.robot_id))
        .where(*is_open, col(RobotLink.gateway_id).in_(gateway_ids), RobotLink.expires_at > now)
    )
    loose = (
        select(GatewayAccount.gateway_id, LinkCommand)
        .join(GatewayAccount, col(GatewayAccount.account_id) == col(LinkCommand.account_id))
        .where(*is_open, col(LinkCommand.robot_id).is_(None), col(GatewayAccount.gateway_id).in_(gateway_ids))
    )
    found = [*session.exec(held).all(), *session.exec(loose).all()]
    return sorted(found, key=lambda each: each[1].id)


def answer_commands(
    session: Session, answers: Mapping[UUID, Mapping[str, object]], *, unsent: Collection[UUID] = ()
) -> None:
    """Keep what was answered; a second answer to the same command changes nothing.

    Those that the answer says were certainly not sent (`unsent`) count as never handed out, unless the robot has changed
    hands since: then the gateway may have forgotten, for that, what it did with the order before.
    """
    now = database_now(session)
    for command_id in sorted(answers):
        mine = (col(LinkCommand.id) == command_id, col(LinkCommand.answered_at).is_(None))
        if command_id in unsent:
            unhand = update(LinkCommand).where(*mine, _is_under_its_lease()).values(**UNHANDED)
            session.execute(unhand, execution_options={"synchronize_session": False})
        values = {"answered_at": now, "answer": kept(answers[command_id])}
        session.execute(update(LinkCommand).where(*mine).values(**values))
    session.info["ring"] = bool(answers)


def _is_under_its_lease() -> ColumnElement[bool]:
    lease = select(RobotLink.epoch).where(col(RobotLink.robot_id) == col(LinkCommand.robot_id))
    return col(LinkCommand.handed_epoch) == lease.scalar_subquery()


def forget_commands(session: Session, *, before: datetime, limit: int, but_for: Collection[str] = ()) -> int:
    """Remove what was asked earlier than `before`, at most `limit`, but for orders of these keys; gives their number."""
    is_old = (LinkCommand.created_at < before, col(LinkCommand.key).not_in(but_for))
    old = select(LinkCommand.id).where(*is_old).order_by(col(LinkCommand.id))
    chosen = claim(session, old, limit=limit)
    session.execute(delete(LinkCommand).where(col(LinkCommand.id).in_(chosen)))
    return len(chosen)


def reached_by(session: Session, robot_ids: Collection[UUID]) -> dict[UUID, int]:
    """The epochs of the leases under which these robots are held now; those that none holds are not in it."""
    now = database_now(session)
    query = select(RobotLink.robot_id, RobotLink.epoch)
    held = and_(col(RobotLink.robot_id).in_(robot_ids), col(RobotLink.expires_at) > now)
    return dict(session.exec(query.where(held)).all())


@dataclass(frozen=True)
class Handed:
    """An order that went out under another lease than the one of now: who holds the robot may not know it."""

    order: dict[str, object]
    first_at: datetime


def hand_out(session: Session, command_ids: Collection[UUID]) -> set[UUID]:
    """Note under whose lease these orders go out; gives those that may.

    One that went out under another lease may not: who holds the robot by now is asked about it first. Nor may one that
    was answered meanwhile.
    """
    mine = and_(col(LinkCommand.id).in_(command_ids), col(LinkCommand.answered_at).is_(None))
    if len(command_ids) > 1:  # in the order in which `answer_commands` goes: neither has what the other waits for
        session.execute(select(LinkCommand.id).where(mine).order_by(col(LinkCommand.id)).with_for_update())
    lease = col(RobotLink.robot_id) == col(LinkCommand.robot_id)
    epoch, holder = select(RobotLink.epoch).where(lease), select(RobotLink.gateway_id).where(lease)
    first = update(LinkCommand).where(mine, col(LinkCommand.handed_epoch).is_(None))
    session.execute(
        first.values(handed_epoch=epoch.scalar_subquery(), handed_to=holder.scalar_subquery()),
        execution_options={"synchronize_session": False},
    )
    is_current = and_(
        lease,
        col(RobotLink.epoch) == col(LinkCommand.handed_epoch),
        col(RobotLink.expires_at) > database_now(session),
    )
    return set(session.exec(select(LinkCommand.id).join(RobotLink, is_current).where(mine)).all())


def handed_to(session: Session, gateway_id: UUID, account_id: UUID, keys: Collection[str]) -> set[tuple[str, str]]:
    """Those of these orders that went out to this gateway over this account, each with the robot's address."""
    mine = (LinkCommand.handed_to == gateway_id, LinkCommand.account_id == account_id, col(LinkCommand.key).in_(keys))
    is_handed = col(LinkCommand.handed_epoch).is_not(None)
    return set(session.exec(select(LinkCommand.key, LinkCommand.serial_number).where(*mine, is_handed)).all())


def handed_before(session: Session, keys: Collection[str]) -> dict[str, Handed]:
    """Those of these orders that went out under another lease of their robot than the one of now, by key."""
    if not keys:
        return {}
    is_former = and_(
        col(RobotLink.robot_id) == col(LinkCommand.robot_id), col(RobotLink.epoch) != col(LinkCommand.handed_epoch)
    )
    query = (
        select(LinkCommand.key, LinkCommand.order_json, LinkCommand.created_at)
        .join(RobotLink, is_former)
        .where(col(LinkCommand.key).in_(keys), col(LinkCommand.handed_epoch).is_not(None))
        .order_by(col(LinkCommand.id).desc())
    )
    return {key: Handed(dict(order or {}), at) for key, order, at in session.exec(query).all()}


def robot_ids_at(session: Session, places: Collection[tuple[UUID, str]]) -> dict[tuple[UUID, str], UUID]:
    """The robots that are commanded over these accounts and addresses."""
    accounts, addresses = {account for account, _ in places}, {address for _, address in places}
    query = select(Robot).where(COMMANDED_OVER.in_(accounts), COMMANDED_AT.in_(addresses))
    found = {(robot.commanded_over, robot.address): robot.id for robot in session.exec(query).all()}
    return {place: robot_id for place, robot_id in found.items() if place in set(places)}
