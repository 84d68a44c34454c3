"""What happened: one row per happening, told once however often it is reported."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Column, Index, UniqueConstraint
from sqlmodel import Field, Session, SQLModel

from fleet.adapter import Happening
from fleet.database import TELLING, JSONColumn, UTCDateTime, inserting, new_id, text_of


class Severity(StrEnum):
    """How much it matters."""

    info = "info"
    warning = "warning"
    error = "error"


class Event(SQLModel, table=True):
    """A happening; `key` makes a second report of it harmless."""

    __tablename__ = "events"
    __table_args__ = (
        UniqueConstraint("organisation_id", "key"),
        Index("ix_events_of_robot", "robot_id", "occurred_at"),  # what happened while a bag was recorded
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    robot_id: UUID | None = Field(default=None, foreign_key="robots.id")
    key: str
    kind: str = Field(index=True)
    severity: Severity = Field(default=Severity.info, sa_type=text_of(Severity))
    occurred_at: datetime = Field(sa_type=UTCDateTime, index=True)
    received_at: datetime = Field(sa_type=UTCDateTime)
    fields: dict[str, object] = Field(default_factory=dict, sa_column=Column(JSONColumn, nullable=False))


class Alert(SQLModel, table=True):
    """Someone must look; one open alert per robot and rule."""

    __tablename__ = "alerts"

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    robot_id: UUID | None = Field(default=None, foreign_key="robots.id", index=True)
    event_id: UUID | None = Field(default=None, foreign_key="events.id")
    rule: str
    message: str
    open_key: str | None = Field(default=None, unique=True, description="organisation/robot/rule while open, then null")
    opened_at: datetime = Field(sa_type=UTCDateTime)
    closed_at: datetime | None = Field(default=None, sa_type=UTCDateTime)


def record(
    session: Session, *, organisation_id: UUID, robot_id: UUID | None, seen: Happening, received_at: datetime
) -> Event | None:
    """The new event row, or None when this happening (organisation, key) was already recorded."""
    row = Event(
        organisation_id=organisation_id,
        robot_id=robot_id,
        key=seen.key,
        kind=seen.kind,
        severity=Severity(seen.severity),
        occurred_at=seen.occurred_at,
        received_at=received_at,
        fields=dict(seen.fields),
    )
    return row if insert_new(session, Event, row.model_dump(), on=["organisation_id", "key"]) else None


def insert_new(session: Session, table: type[SQLModel], values: dict[str, object], *, on: list[str]) -> bool:
    """Insert unless a row with the same `on` columns is there; True when inserted."""
    connection = session.connection()
    insert = inserting(connection, table, values, ignoring=on)
    return connection.execute(insert, values, execution_options=TELLING).rowcount == 1
