"""Organisations (tenants), their sites and stations, and the principal that acts."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, Session, SQLModel, select

from fleet.database import UTCDateTime, new_id, text_of
from fleet.errors import NotFound


class PrincipalKind(StrEnum):
    """Who may act."""

    user = "user"
    key = "key"
    partner = "partner"
    customer = "customer"
    device = "device"
    system = "system"


@dataclass(frozen=True)
class Principal:
    """The one who acts, always within one organisation."""

    kind: PrincipalKind
    name: str
    organisation_id: UUID

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


class StationKind(StrEnum):
    """What a place on a site's map is for."""

    station = "station"
    dock = "dock"
    inspection_point = "inspection_point"


class Organisation(SQLModel, table=True):
    """A tenant: what belongs to one is invisible to every other."""

    __tablename__ = "organisations"

    id: UUID = Field(default_factory=new_id, primary_key=True)
    name: str = Field(unique=True)
    created_at: datetime = Field(sa_type=UTCDateTime)


class Site(SQLModel, table=True):
    """A place where robots work; its dates are those of `timezone` (IANA)."""

    __tablename__ = "sites"
    __table_args__ = (UniqueConstraint("organisation_id", "name"),)

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    name: str
    timezone: str = "UTC"


class Station(SQLModel, table=True):
    """A named place on a site's map, in metres of the map frame."""

    __tablename__ = "stations"
    __table_args__ = (UniqueConstraint("site_id", "name"),)

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    site_id: UUID = Field(foreign_key="sites.id", index=True)
    name: str
    kind: StationKind = Field(default=StationKind.station, sa_type=text_of(StationKind))
    x_m: float
    y_m: float


class AccessToken(SQLModel, table=True):
    """A bearer token of a principal; only its SHA-256 is kept."""

    __tablename__ = "access_tokens"

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    kind: PrincipalKind = Field(sa_type=text_of(PrincipalKind))
    name: str
    token_sha256: str = Field(unique=True, max_length=64)
    created_at: datetime = Field(sa_type=UTCDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UTCDateTime)


def issue_token(session: Session, principal: Principal, *, now: datetime) -> str:
    """A new bearer token for `principal`; the text is given once and not kept."""
    token = f"ym_{secrets.token_urlsafe(32)}"
    session.add(
        AccessToken(
            organisation_id=principal.organisation_id,
            kind=principal.kind,
            name=principal.name,
            token_sha256=_digest(token),
            created_at=now,
        )
    )
    session.flush()
    return token


def principal_of(session: Session, token: str) -> Principal | None:
    """Whose token this is, or None when it is unknown or revoked."""
    digest = _digest(token)
    row = session.exec(select(AccessToken).where(AccessToken.token_sha256 == digest)).first()
    if row is None or row.revoked_at is not None or not hmac.compare_digest(row.token_sha256, digest):
        return None
    return Principal(row.kind, row.name, row.organisation_id)


def _digest(token: str) -> str:
    # The token has 256 random bits, so a plain hash is enough: there is nothing to guess.
    return hashlib.sha256(token.encode()).hexdigest()


def organisation_named(session: Session, name: str) -> Organisation:
    """The organisation called `name`.

    Raises:
        NotFound: there is none.
    """
    row = session.exec(select(Organisation).where(Organisation.name == name)).first()
    if row is None:
        raise NotFound(f"There is no organisation {name!r}; `yardmaster db seed` makes the demo's.", organisation=name)
    return row


def site_named(session: Session, organisation_id: UUID, name: str) -> Site:
    """The site called `name` within the organisation.

    Raises:
        NotFound: there is none.
    """
    row = session.exec(select(Site).where(Site.organisation_id == organisation_id, Site.name == name)).first()
    if row is None:
        known = session.exec(select(Site.name).where(Site.organisation_id == organisation_id)).all()
        raise NotFound(f"There is no site {name!r}; known sites: {', '.join(sorted(known)) or 'none'}.", site=name)
    return row


def stations_of(session: Session, site_id: UUID) -> dict[str, Station]:
    """The stations of a site by name."""
    return {row.name: row for row in session.exec(select(Station).where(Station.site_id == site_id)).all()}
