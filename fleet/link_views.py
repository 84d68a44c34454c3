"""How gateways and the links of robots are shown, to people on the command line and to programs over the API."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import func
from sqlmodel import Session, col, select

from fleet import gateways
from fleet.accounts import ManufacturerAccount
from fleet.clock import database_now
from fleet.errors import NotFound
from fleet.gateways import Gateway, GatewayAccount, RobotLink
from fleet.organisations import Site
from fleet.push import Endpoint, Exposure, Hearing
from fleet.robots import Robot


class GatewayView(BaseModel):
    """A gateway: whom it serves, and whether it is there."""

    id: UUID
    name: str
    site: str
    accounts: list[str] = Field(description="The accounts that it serves.")
    is_there: bool = Field(description="Whether it was heard within its lease.")
    robots: int = Field(description="How many robots it holds now.")
    seen_at: datetime | None
    version: str
    epoch: int = Field(description="How often it has dialled in.")
    revoked_at: datetime | None
    created_at: datetime


class LinkView(BaseModel):
    """How one robot is reached, what it exposes, and why a command would be refused now."""

    robot: str
    account: str = Field(description="The account over which it is commanded.")
    manufacturer: str = Field(description="The adapter of that account.")
    url: str
    address: str
    gateway: str | None = Field(description="The gateway that holds it, or did last; null: a cloud, or none yet.")
    is_held: bool
    epoch: int | None = None
    expires_at: datetime | None = None
    hearing: Hearing | None = None
    since: datetime | None = None
    why: str = ""
    link: str = Field("", description="dds, rosbridge or mqtt")
    facts: dict[str, str] = {}
    endpoints: list[Endpoint] = []
    digest: str = ""
    told_at: datetime | None = Field(None, description="When what it exposes was told last.")
    refusals: list[str] = Field(
        [], description="Why a command would be refused or not arrive now; empty: it would not."
    )


def gateway_views(session: Session, rows: Sequence[Gateway]) -> list[GatewayView]:
    """These gateways, in their order."""
    now, ids = database_now(session), [row.id for row in rows]
    sites = dict(session.exec(select(Site.id, Site.name).where(col(Site.id).in_({row.site_id for row in rows}))).all())
    served = session.exec(
        select(GatewayAccount.gateway_id, ManufacturerAccount.name)
        .join(ManufacturerAccount, col(ManufacturerAccount.id) == col(GatewayAccount.account_id))
        .where(col(GatewayAccount.gateway_id).in_(ids))
        .order_by(ManufacturerAccount.name)
    ).all()
    counted = select(RobotLink.gateway_id, func.count()).where(
        col(RobotLink.gateway_id).in_(ids), col(RobotLink.expires_at) > now
    )
    robots = dict(session.exec(counted.group_by(col(RobotLink.gateway_id))).all())
    kept = {"id", "name", "seen_at", "version", "epoch", "revoked_at", "created_at"}
    return [
        GatewayView(
            **row.model_dump(include=kept),
            site=sites[row.site_id],
            accounts=[name for gateway_id, name in served if gateway_id == row.id],
            is_there=row.seen_at is not None and (now - row.seen_at).total_seconds() < gateways.LEASE_S,
            robots=robots.get(row.id, 0),
        )
        for row in rows
    ]


def link_view(session: Session, robot: Robot) -> LinkView:
    """How this robot is reached now."""
    account = session.get_one(ManufacturerAccount, robot.commanded_over)
    row = session.get(RobotLink, robot.id)
    now = database_now(session)
    away = gateways.out_of_reach(session, {robot.organisation_id}, now).get(robot.id)
    said = Exposure.model_validate(row.exposure) if row is not None and row.exposure else None
    known: dict[str, Any] = {}
    if row is not None:
        known = row.model_dump(include={"epoch", "expires_at", "hearing", "since", "why", "digest", "told_at"})
    if said is not None:
        known |= {"link": said.link, "facts": dict(said.facts), "endpoints": list(said.endpoints)}
    return LinkView(
        robot=robot.name,
        account=account.name,
        manufacturer=account.manufacturer,
        url=account.base_url,
        address=robot.address,
        gateway=None if row is None else session.get_one(Gateway, row.gateway_id).name,
        is_held=row is not None and row.expires_at > now,
        refusals=[*([f"It is {away}."] if away else []), *(said.refusals if said else ())],
        **known,
    )


def robot_of(session: Session, organisation_id: UUID, robot_id: UUID) -> Robot:
    """The robot with this id within the organisation.

    Raises:
        NotFound: there is none.
    """
    row = session.get(Robot, robot_id)
    if row is None or row.organisation_id != organisation_id:
        raise NotFound(f"There is no robot {robot_id}; GET /v1/robots lists yours.", robot=str(robot_id))
    return row
