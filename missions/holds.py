"""Holds of people: a robot, a site or a whole fleet is given nothing new until the hold is released."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from fleet.database import UTCDateTime, new_id, text_of


class HoldScope(StrEnum):
    """How much is held."""

    robot = "robot"
    site = "site"
    fleet = "fleet"


class Meanwhile(StrEnum):
    """What becomes of missions that are under way on held robots."""

    finish = "finish"
    pause = "pause"
    cancel = "cancel"


class Hold(SQLModel, table=True):
    """One hold; (organisation, key) exists once, so asking twice is harmless. `released_at` ends it."""

    __tablename__ = "holds"
    __table_args__ = (
        UniqueConstraint("organisation_id", "key"),
        Index("ix_holds_open", "organisation_id", "released_at"),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    key: str
    scope: HoldScope = Field(sa_type=text_of(HoldScope))
    site_id: UUID | None = Field(default=None, foreign_key="sites.id", index=True)
    robot_id: UUID | None = Field(default=None, foreign_key="robots.id", index=True)
    meanwhile: Meanwhile = Field(default=Meanwhile.finish, sa_type=text_of(Meanwhile))
    reason: str
    who: str
    created_at: datetime = Field(sa_type=UTCDateTime)
    released_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    released_by: str = ""
