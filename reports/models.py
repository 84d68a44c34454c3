"""The rows of published reports."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, UniqueConstraint
from sqlmodel import Field, SQLModel

from fleet.database import JSONColumn, UTCDateTime, new_id


class Report(SQLModel, table=True):
    """A published report; (organisation, kind, key) exists once and its files never change."""

    __tablename__ = "reports"
    __table_args__ = (UniqueConstraint("organisation_id", "kind", "key"),)

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    site_id: UUID | None = Field(default=None, foreign_key="sites.id")
    kind: str = Field(description="fleet")
    key: str
    title: str
    period_from: datetime = Field(sa_type=UTCDateTime)
    period_to: datetime = Field(sa_type=UTCDateTime)
    manifest_key: str
    files: dict[str, str] = Field(
        default_factory=dict, sa_column=Column(JSONColumn, nullable=False), description="format -> object key"
    )
    published_at: datetime = Field(sa_type=UTCDateTime)
    published_by: str
