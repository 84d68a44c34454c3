"""Gateways near the robots: who they are, which accounts they serve, which robots each holds, and what they are told.

A robot is held by one gateway at a time, by a lease whose epoch rises with every change of hands. Who wants something of
a robot that a gateway holds leaves a row; the process that has the gateway's connection sends it on.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Column, ColumnElement, UniqueConstraint, and_, bindparam, delete, or_, update
from sqlmodel import Field, Session, SQLModel, col, select

from fleet.accounts import ManufacturerAccount
from fleet.clock import database_now
from fleet.database import JSONColumn, UTCDateTime, insert_for, new_id, table_of, text_of
from fleet.errors import Conflict, Forbidden, NotFound
from fleet.organisations import AccessToken, Principal, PrincipalKind, Site, issue_token
from fleet.push import Exposure, Heard, Hearing
from fleet.robots import COMMANDED_OVER, Robot

LEASE_S = 15.0  # a gateway that is not heard for so long has lost its robots to any other
Places = Mapping[tuple[UUID, str], Robot]  # by account and address
PREFIX = "gateway:"  # of the name of the principal that a gateway's token names
WHY_MAX = 500


class Gateway(SQLModel, table=True):
    """A process near the robots that dials in; `epoch` rises with every connection of it, only the newest counts."""

    __tablename__ = "gateways"
    __table_args__ = (UniqueConstraint("organisation_id", "name"),)

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    site_id: UUID = Field(foreign_key="sites.id", index=True)
    name: str
    token_id: UUID | None = Field(default=None, foreign_key="access_tokens.id")
    journal: str = Field(default="", description="Id of the journal that it dialled in with last.")
    version: str = ""
    epoch: int = 0
    seen_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    created_at: datetime = Field(sa_type=UTCDateTime)


class GatewayAccount(SQLModel, table=True):
    """An account whose robots a gateway serves; several gateways may serve one."""

    __tablename__ = "gateway_accounts"

    gateway_id: UUID = Field(foreign_key="gateways.id", primary_key=True)
    account_id: UUID = Field(foreign_key="manufacturer_accounts.id", primary_key=True, index=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)


class RobotLink(SQLModel, table=True):
    """How one robot is reached: who holds it until when, how well it is heard, what it exposes."""

    __tablename__ = "robot_links"

    robot_id: UUID = Field(foreign_key="robots.id", primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    gateway_id: UUID = Field(foreign_key="gateways.id", index=True)
    epoch: int = Field(default=1, description="Rises when another gateway, or one with another journal, takes it over.")
    expires_at: datetime = Field(sa_type=UTCDateTime)
    hearing: Hearing | None = Field(default=None, sa_type=text_of(Hearing))
    since: datetime | None = Field(default=None, sa_type=UTCDateTime)
    why: str = ""
    exposure: dict[str, object] = Field(default_factory=dict, sa_column=Column(JSONColumn, nullable=False))
    digest: str = ""
    told_at: datetime | None = Field(default=None, sa_type=UTCDateTime, description="When its exposure changed last.")


@dataclass(frozen=True)
class Held:
    """A robot that a gateway holds; `account_id` and `address` are where commands go."""

    robot_id: UUID
    account_id: UUID
    address: str
    epoch: int
    digest: str = field(default="", compare=False)


def add_gateway(
    session: Session, site: Site, name: str, accounts: Sequence[ManufacturerAccount], *, now: datetime
) -> tuple[Gateway, str]:
    """A new gateway that serves these accounts, and its token, which is given once and not kept.

    Raises:
        Conflict: there is one of this name.
    """
    mine = (Gateway.organisation_id == site.organisation_id, Gateway.name == name)
    if session.exec(select(Gateway.id).where(*mine)).first() is not None:
        raise Conflict(f"There is a gateway {name!r} already; revoke it, or take another name.", gateway=name)
    gateway = Gateway(organisation_id=site.organisation_id, site_id=site.id, name=name, created_at=now)
    session.add(gateway)
    session.flush()
    token = _issue(session, gateway, now)
    assign(session, gateway, accounts)
    return gateway, token


def renew_token(session: Session, gateway: Gateway, *, now: datetime) -> str:
    """A new token of a gateway; the one before and a revocation are void."""
    _void(session, gateway, now)
    gateway.revoked_at = None
    gateway.epoch += 1  # whoever is connected with the old one is displaced with its next breath
    return _issue(session, gateway, now)


def revoke(session: Session, gateway: Gateway, *, now: datetime) -> None:
    """Shut it out: its token is void, its connection ends with its next breath, its robots are free for others."""
    _void(session, gateway, now)
    gateway.revoked_at = gateway.revoked_at or now
    session.add(gateway)
    free(session, gateway.id)


def _issue(session: Session, gateway: Gateway, now: datetime) -> str:
    principal = Principal(PrincipalKind.device, f"{PREFIX}{gateway.id}", gateway.organisation_id)
    token = issue_token(session, principal, now=now)
    issued = (AccessToken.organisation_id == gateway.organisation_id, AccessToken.name == principal.name)
    newest = select(AccessToken.id).where(*issued, col(AccessToken.revoked_at).is_(None))
    gateway.token_id = session.exec(newest.order_by(col(AccessToken.id).desc())).first()
    session.add(gateway)
    session.flush()
    return token


def _void(session: Session, gateway: Gateway, now: datetime) -> None:
    mine = col(AccessToken.name) == f"{PREFIX}{gateway.id}"
    live = update(AccessToken).where(mine, col(AccessToken.revoked_at).is_(None))
    session.execute(live.values(revoked_at=now))


def assign(session: Session, gateway: Gateway, accounts: Sequence[ManufacturerAccount]) -> None:
    """From now on it serves exactly these accounts."""
    session.execute(delete(GatewayAccount).where(col(GatewayAccount.gateway_id) == gateway.id))
    session.add_all(
        GatewayAccount(gateway_id=gateway.id, account_id=account.id, organisation_id=gateway.organisation_id)
        for account in accounts
    )
    session.flush()


def gateway_named(session: Session, organisation_id: UUID, name: str) -> Gateway:
    """The gateway called `name` within the organisation.

    Raises:
        NotFound: there is none; names the known ones.
    """
    mine = Gateway.organisation_id == organisation_id
    row = session.exec(select(Gateway).where(mine, Gateway.name == name)).first()
    if row is None:
        known = ", ".join(session.exec(select(Gateway.name).where(mine).order_by(Gateway.name)).all())
        raise NotFound(f"There is no gateway {name!r}; known gateways: {known or 'none'}.", gateway=name)
    return row


def gateway_of(session: Session, principal: Principal) -> Gateway | None:
    """The gateway that acts, when `principal` is one that is not revoked."""
    if principal.kind is not PrincipalKind.device or not principal.name.startswith(PREFIX):
        return None
    row = session.get(Gateway, UUID(principal.name.removeprefix(PREFIX)))
    is_its_own = row is not None and row.revoked_at is None and row.organisation_id == principal.organisation_id
    return row if is_its_own else None


def accounts_of(session: Session, gateway_id: UUID) -> Sequence[ManufacturerAccount]:
    """The accounts that a gateway serves."""
    query = select(ManufacturerAccount).join(
        GatewayAccount, col(GatewayAccount.account_id) == col(ManufacturerAccount.id)
    )
    return session.exec(query.where(GatewayAccount.gateway_id == gateway_id).order_by(ManufacturerAccount.name)).all()


def shared_accounts(session: Session, gateway_id: UUID) -> set[UUID]:
    """Those of its accounts that another gateway serves too."""
    mine = select(GatewayAccount.account_id).where(GatewayAccount.gateway_id == gateway_id)
    others = (col(GatewayAccount.account_id).in_(mine), GatewayAccount.gateway_id != gateway_id)
    return set(session.exec(select(GatewayAccount.account_id).where(*others)).all())


def dial_in(session: Session, gateway: Gateway, *, journal: str, version: str) -> int:
    """A new connection of the gateway; its epoch, above which any other connection of it displaces this one."""
    locked = session.get_one(Gateway, gateway.id, with_for_update=True, populate_existing=True)
    locked.epoch += 1
    if locked.journal not in {"", journal}:  # it has forgotten what it sent, as another gateway would not know it
        mine = col(RobotLink.gateway_id) == gateway.id
        _lock(session, mine)
        session.execute(update(RobotLink).where(mine).values(epoch=RobotLink.epoch + 1))
    locked.journal, locked.version, locked.seen_at = journal, version, database_now(session)
    session.add(locked)
    return locked.epoch


def hold(session: Session, gateway_id: UUID, epoch: int) -> list[Held]:
    """Renew the leases of what this connection's gateway holds and take what is free of its accounts; what it holds now.

    Raises:
        Conflict: a newer connection of this gateway is there.
        Forbidden: it was revoked.
    """
    gateway = session.get_one(Gateway, gateway_id, with_for_update=True, populate_existing=True)
    if gateway.revoked_at is not None:
        raise Forbidden(f"The gateway {gateway.name} was revoked; `yardmaster gateways add --again` lets it in anew.")
    if gateway.epoch != epoch:
        raise Conflict(f"The gateway {gateway.name} has dialled in anew; this connection of it is displaced.")
    now = database_now(session)
    gateway.seen_at = now
    session.add(gateway)
    _renew(session, gateway, now)
    rows = session.exec(
        select(Robot, RobotLink.epoch, RobotLink.digest)
        .join(RobotLink, col(RobotLink.robot_id) == col(Robot.id))
        .where(RobotLink.gateway_id == gateway.id, RobotLink.expires_at > now)
        .order_by(col(Robot.id))
    ).all()
    return [Held(robot.id, robot.commanded_over, robot.address, number, digest) for robot, number, digest in rows]


def _renew(session: Session, gateway: Gateway, now: datetime) -> None:
    served = select(GatewayAccount.account_id).where(GatewayAccount.gateway_id == gateway.id)
    mine = select(Robot.id).where(COMMANDED_OVER.in_(served))
    until = now + timedelta(seconds=LEASE_S)
    session.flush()
    is_over = and_(col(RobotLink.robot_id).in_(mine), col(RobotLink.expires_at) <= now)
    _lock(session, or_(col(RobotLink.gateway_id) == gateway.id, is_over))
    session.execute(
        update(RobotLink)
        .where(col(RobotLink.gateway_id) == gateway.id, col(RobotLink.robot_id).in_(mine))
        .values(expires_at=until)
    )
    session.execute(
        update(RobotLink)
        .where(is_over)
        .values(
            gateway_id=gateway.id,
            epoch=RobotLink.epoch + 1,
            expires_at=until,
            hearing=None,
            since=now,
            why="its gateway has taken it over just now",
            digest="",
        )
    )
    session.execute(
        update(RobotLink)
        .where(col(RobotLink.gateway_id) == gateway.id, col(RobotLink.robot_id).not_in(mine))
        .values(expires_at=now)
    )
    _take_new(session, gateway, served, now, until)


def _take_new(session: Session, gateway: Gateway, served: Any, now: datetime, until: datetime) -> None:
    """Robots that nobody has held yet; of two gateways that come at once one has each, and the other takes no harm."""
    linked = select(RobotLink.robot_id)
    unheld = select(Robot).where(COMMANDED_OVER.in_(served), col(Robot.id).not_in(linked)).order_by(col(Robot.id))
    rows = [
        RobotLink(
            robot_id=robot.id,
            organisation_id=robot.organisation_id,
            gateway_id=gateway.id,
            expires_at=until,
            since=now,
            why="it was not heard yet",
        ).model_dump()
        for robot in session.exec(unheld).all()
    ]
    if rows:
        connection = session.connection()
        insert = insert_for(connection.dialect)(table_of(RobotLink))
        connection.execute(insert.on_conflict_do_nothing(index_elements=["robot_id"]), rows)


def free(session: Session, gateway_id: UUID) -> None:
    """The gateway lets all its robots go, as when it ends in good order."""
    mine = col(RobotLink.gateway_id) == gateway_id
    _lock(session, mine)
    session.execute(update(RobotLink).where(mine).values(expires_at=database_now(session)))


def _lock(session: Session, which: ColumnElement[bool]) -> None:
    """Lock these links one robot after the other: of gateways that do so at once, none has what another waits for."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(RobotLink.robot_id).where(which).order_by(col(RobotLink.robot_id)).with_for_update())


def note_heard(session: Session, *, gateway_id: UUID, robots: Places, told: Sequence[tuple[UUID, Heard]]) -> None:
    """Keep how well robots are heard, each told with the account of its link."""
    known = {(account_id, heard.serial_number): heard for account_id, heard in told}
    for place in sorted(known.keys() & robots.keys(), key=lambda place: robots[place].id):  # in the order of `_lock`
        heard = known[place]
        mine = (col(RobotLink.robot_id) == robots[place].id, col(RobotLink.gateway_id) == gateway_id)
        why = heard.why[:WHY_MAX].replace("\0", "\ufffd")
        values = {"hearing": heard.hearing, "since": heard.since, "why": why}
        session.execute(update(RobotLink).where(*mine).values(**values))


def note_exposed(session: Session, *, gateway_id: UUID, robots: Places, told: Sequence[tuple[UUID, Exposure]]) -> None:
    """Keep what robots expose, each told with the account of its link."""
    for account_id, exposure in told:
        robot = robots.get((account_id, exposure.serial_number))
        if robot is not None:
            mine = (col(RobotLink.robot_id) == robot.id, col(RobotLink.gateway_id) == gateway_id)
            session.execute(
                update(RobotLink)
                .where(*mine)
                .values(
                    exposure=kept(exposure.model_dump(mode="json")),
                    digest=exposure.digest,
                    told_at=database_now(session),
                )
            )


def robots_at(session: Session, gateway_id: UUID) -> dict[tuple[UUID, str], Robot]:
    """The robots that a gateway may speak for, by account and address."""
    served = select(GatewayAccount.account_id).where(GatewayAccount.gateway_id == gateway_id)
    rows = session.exec(select(Robot).where(COMMANDED_OVER.in_(served))).all()
    return {(robot.commanded_over, robot.address): robot for robot in rows}


def kept(said: Mapping[str, object]) -> dict[str, object]:
    """What a gateway said, as both databases can keep it: PostgreSQL keeps no NUL."""
    text = json.dumps(said, default=str)
    return dict(json.loads(text.replace("\\u0000", "\\ufffd")))


_NOW = bindparam("now", type_=UTCDateTime)
_IS_AWAY = or_(col(RobotLink.robot_id).is_(None), col(RobotLink.expires_at) <= _NOW)
_IS_UNHEARD = col(RobotLink.hearing).in_([Hearing.silent, Hearing.trouble])
_IS_LINKED = or_(col(Robot.link_account_id).is_not(None), col(RobotLink.robot_id).is_not(None))
_SAID: tuple[Any, ...] = (Robot.id, Gateway.name, RobotLink.expires_at, RobotLink.hearing, RobotLink.why)
UNREACHED = (
    select(*_SAID)
    .select_from(Robot)
    .join(RobotLink, col(RobotLink.robot_id) == col(Robot.id), isouter=True)
    .join(Gateway, col(Gateway.id) == col(RobotLink.gateway_id), isouter=True)
    .where(col(Robot.organisation_id).in_(bindparam("ids", expanding=True)), _IS_LINKED, or_(_IS_AWAY, _IS_UNHEARD))
)


def out_of_reach(session: Session, organisation_ids: Collection[UUID], now: datetime) -> dict[UUID, str]:
    """The robots of these organisations that no gateway reaches now although only one could, each with the reason."""
    rows = session.connection().execute(UNREACHED, {"ids": list(organisation_ids), "now": now}).all()
    return {robot_id: _reach_words(name, until, hearing, why, now) for robot_id, name, until, hearing, why in rows}


def _reach_words(name: str | None, until: datetime | None, hearing: Hearing | None, why: str, now: datetime) -> str:
    if name is None or until is None:
        return "out of reach (no gateway has ever held it)"
    if until <= now:
        return f"out of reach (its gateway {name} is away)"
    kept = f": {why:.80}" if why else ""
    return f"out of reach ({'silent' if hearing is Hearing.silent else 'network trouble'} at gateway {name}{kept})"


def present(session: Session, account_ids: Collection[UUID]) -> set[UUID]:
    """Those of the accounts that a gateway serves which is there now."""
    if not account_ids:
        return set()
    since = database_now(session) - timedelta(seconds=LEASE_S)
    query = select(GatewayAccount.account_id).join(Gateway, col(Gateway.id) == col(GatewayAccount.gateway_id))
    is_there = and_(col(Gateway.seen_at) > since, col(Gateway.revoked_at).is_(None))
    return set(session.exec(query.where(is_there, col(GatewayAccount.account_id).in_(account_ids))).all())
