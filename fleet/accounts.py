"""Accounts with manufacturers: where their cloud is, and the secrets shared with it."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, UniqueConstraint
from sqlmodel import Field, Session, SQLModel, select

from fleet.database import JSONColumn, UTCDateTime, new_id
from fleet.errors import NotFound


class ManufacturerAccount(SQLModel, table=True):
    """One organisation's account with one manufacturer; `manufacturer` names the adapter in fleet/adapters."""

    __tablename__ = "manufacturer_accounts"
    __table_args__ = (UniqueConstraint("organisation_id", "name"),)

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    name: str
    manufacturer: str
    base_url: str
    credential: str = Field(default="", repr=False)
    webhook_secret: str = Field(repr=False, description="whsec_ and base64, as Standard Webhooks writes it")
    options: dict[str, object] = Field(
        default_factory=dict,
        sa_column=Column(JSONColumn, nullable=False),
        description="The adapter's own options, see its README.",
    )
    cursor: str = Field(default="", description="Where the next poll of events goes on, in the manufacturer's words.")
    polled_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    created_at: datetime = Field(sa_type=UTCDateTime)


def account_names(session: Session, organisation_id: UUID) -> list[str]:
    """The names of the organisation's accounts."""
    mine = ManufacturerAccount.organisation_id == organisation_id
    return list(session.exec(select(ManufacturerAccount.name).where(mine).order_by(ManufacturerAccount.name)).all())


def account_named(session: Session, organisation_id: UUID, name: str) -> ManufacturerAccount:
    """The account called `name` within the organisation.

    Raises:
        NotFound: there is none; names the known ones.
    """
    mine = (ManufacturerAccount.organisation_id == organisation_id, ManufacturerAccount.name == name)
    row = session.exec(select(ManufacturerAccount).where(*mine)).first()
    if row is None:
        known = ", ".join(account_names(session, organisation_id))
        raise NotFound(f"There is no account {name!r}; known accounts: {known or 'none'}.", account=name)
    return row
