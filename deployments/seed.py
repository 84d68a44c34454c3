"""The first rows of a one-machine platform: an organisation with a site and robots, an account, and tokens to begin with.

Everything is found by name before it is made, so that every start may seed again.
"""

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from sqlmodel import Session, col, select

from deployments.access import Access
from deployments.links import Links
from deployments.seed_links import seed_links
from fleet.accounts import ManufacturerAccount
from fleet.adapter import DiscoveredRobot
from fleet.adapters.simulated.site_map import SITE_MAP, SITE_NAME, SITE_TIMEZONE
from fleet.organisations import Organisation, Principal, PrincipalKind, Site, Station, issue_token, principal_of
from fleet.robots import Robot

ORGANISATION = "demo"
STRANGER = "other"
ACCOUNT = "north-plant cloud"
Row = TypeVar("Row")


def seed(
    session: Session,
    *,
    now: datetime,
    site_url: str,
    robots: Sequence[DiscoveredRobot],
    known: Access | None,
    links: Links | None = None,
) -> Access:
    """The demo's rows; `known` tokens that still open the door are kept, the others are issued anew.

    With `links` the robots are commanded over these; without, as before: at first through their manufacturer's cloud.
    """
    organisation = _organisation(session, ORGANISATION, now)
    stranger = _organisation(session, STRANGER, now)
    site = _site(session, organisation)
    account = _account(session, organisation, site_url, now)
    _stations(session, site)
    _robots(session, site, account, robots, now)
    kept = known.model_dump() if known else {}
    gateway_token = kept.get("gateway_token", "")
    if links is not None:
        gateway_token = seed_links(session, site, links, robots, known=gateway_token, now=now)
    tokens = {
        name: _token(session, kept.get(name, ""), Principal(kind, f"{owner.name}-{kind.value}", owner.id), now)
        for name, owner, kind in (
            ("operator_token", organisation, PrincipalKind.user),
            ("device_token", organisation, PrincipalKind.device),
            ("customer_token", organisation, PrincipalKind.customer),
            ("other_customer_token", stranger, PrincipalKind.customer),
        )
    }
    return Access(
        organisation=organisation.name,
        organisation_id=organisation.id,
        site=site.name,
        account_id=account.id,
        credential=account.credential,
        webhook_secret=account.webhook_secret,
        gateway_token=gateway_token,
        **tokens,
    )


def _organisation(session: Session, name: str, now: datetime) -> Organisation:
    row = session.exec(select(Organisation).where(Organisation.name == name)).first()
    return row or _added(session, Organisation(name=name, created_at=now))


def _site(session: Session, organisation: Organisation) -> Site:
    query = select(Site).where(Site.organisation_id == organisation.id, Site.name == SITE_NAME)
    new = Site(organisation_id=organisation.id, name=SITE_NAME, timezone=SITE_TIMEZONE)
    return session.exec(query).first() or _added(session, new)


def _account(session: Session, organisation: Organisation, site_url: str, now: datetime) -> ManufacturerAccount:
    query = select(ManufacturerAccount).where(
        ManufacturerAccount.organisation_id == organisation.id, ManufacturerAccount.name == ACCOUNT
    )
    row = session.exec(query).first()
    if row is None:
        row = ManufacturerAccount(
            organisation_id=organisation.id,
            name=ACCOUNT,
            manufacturer="simulated",
            base_url=site_url,
            credential=secrets.token_urlsafe(24),
            webhook_secret=f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}",
            created_at=now,
        )
    row.base_url = site_url
    return _added(session, row)


def _stations(session: Session, site: Site) -> None:
    there = set(session.exec(select(col(Station.name)).where(Station.site_id == site.id)).all())
    session.add_all(
        Station(
            organisation_id=site.organisation_id,
            site_id=site.id,
            name=place.name,
            kind=place.kind,
            x_m=place.x_m,
            y_m=place.y_m,
        )
        for place in SITE_MAP
        if place.name not in there
    )


def _robots(
    session: Session, site: Site, account: ManufacturerAccount, wanted: Sequence[DiscoveredRobot], now: datetime
) -> None:
    there = set(session.exec(select(col(Robot.serial_number)).where(Robot.account_id == account.id)).all())
    session.add_all(
        Robot(
            organisation_id=site.organisation_id,
            site_id=site.id,
            account_id=account.id,
            name=robot.name,
            serial_number=robot.serial_number,
            model=robot.model,
            capabilities=list(robot.capabilities),
            created_at=now,
        )
        for robot in wanted
        if robot.serial_number not in there
    )


def _token(session: Session, known: str, principal: Principal, now: datetime) -> str:
    if known and principal_of(session, known) == principal:
        return known
    return issue_token(session, principal, now=now)


def _added(session: Session, row: Row) -> Row:
    session.add(row)
    session.flush()
    return row
