"""The rows of what comes in: deliveries, uploads, bags."""

from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, Column, Index, LargeBinary, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from fleet.database import JSONColumn, UTCDateTime, new_id, text_of
from ingestion.statuses import BagStatus as BagStatus  # given on: whoever has rows asks here


class DeliveryStatus(StrEnum):
    """How far a delivery is understood."""

    received = "received"
    applied = "applied"
    rejected = "rejected"


class Delivery(SQLModel, table=True):
    """One webhook message or poll page, stored raw before it is understood; (account, key) exists once."""

    __tablename__ = "deliveries"
    __table_args__ = (UniqueConstraint("account_id", "key"), Index("ix_deliveries_due", "status", "next_try_at"))

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    account_id: UUID = Field(foreign_key="manufacturer_accounts.id", index=True)
    key: str
    source: str = Field(description="webhook or poll")
    headers: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSONColumn, nullable=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    received_at: datetime = Field(sa_type=UTCDateTime)
    status: DeliveryStatus = Field(default=DeliveryStatus.received, sa_type=text_of(DeliveryStatus))
    tries: int = 0
    next_try_at: datetime = Field(sa_type=UTCDateTime)
    applied_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    error: str | None = None


class UploadStatus(StrEnum):
    """How far an upload is."""

    open = "open"
    complete = "complete"
    failed = "failed"


class Upload(SQLModel, table=True):
    """A recording on its way in; its parts lie under `{organisation}/uploads/{id}/` until it is complete."""

    __tablename__ = "uploads"

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    filename: str
    robot_name: str | None = None
    mission_id: UUID | None = None
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    sha256: str = Field(max_length=64)
    status: UploadStatus = Field(default=UploadStatus.open, sa_type=text_of(UploadStatus))
    parts: dict[str, int] = Field(
        default_factory=dict, sa_column=Column(JSONColumn, nullable=False), description="part number -> bytes"
    )
    files: list[dict[str, object]] = Field(
        default_factory=list,
        sa_column=Column(JSONColumn, nullable=False, server_default="[]"),
        description="of a folder",
    )
    promised: dict[str, int] = Field(
        default_factory=dict,
        sa_column=Column(JSONColumn, nullable=False, server_default="{}"),
        description="part number -> bytes, of the parts for which an address was given",
    )
    bag_id: UUID | None = None
    error: str | None = None
    uploaded_by: str
    created_at: datetime = Field(sa_type=UTCDateTime)
    active_at: datetime | None = Field(default=None, sa_type=UTCDateTime, description="When a part came last.")
    completed_at: datetime | None = Field(default=None, sa_type=UTCDateTime)


class Bag(SQLModel, table=True):
    """A recording, addressed by its content; the same content twice within an organisation is one bag.

    A cut of another bag is one, too: its content is the span, its files are the dataset itself (`ingestion.bags.cuts`).
    """

    __tablename__ = "bags"
    __table_args__ = (UniqueConstraint("organisation_id", "sha256"),)

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    sha256: str = Field(max_length=64)
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    filename: str
    object_key: str
    robot_id: UUID | None = Field(default=None, foreign_key="robots.id", index=True)
    robot_name: str = "unknown"
    mission_id: UUID | None = Field(default=None, index=True)
    status: BagStatus = Field(default=BagStatus.stored, sa_type=text_of(BagStatus))
    converter: str = Field(default="", description="Version of the converter that made the present dataset.")
    manifest_key: str | None = None
    messages: int = 0
    topics: int = 0
    recorded_on: date | None = Field(default=None, description="UTC date of the first message: its lake partition.")
    started_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    error: str | None = None
    cut_of_id: UUID | None = Field(default=None, index=True, description="The bag that it is a span of.")
    cut_event_id: UUID | None = Field(default=None, description="The event around which it was cut out.")
    uploaded_at: datetime = Field(sa_type=UTCDateTime)
    converted_at: datetime | None = Field(default=None, sa_type=UTCDateTime)


class BagTopic(SQLModel, table=True):
    """A topic of a converted bag as its manifest tells it; a topic with two definitions has a row for each."""

    __tablename__ = "bag_topics"
    __table_args__ = (
        # A search reads these alone: the rows themselves are long, and most have no errors.
        Index("ix_bag_topics_named", "organisation_id", "name", "type", "bag_id"),
        Index("ix_bag_topics_of_type", "organisation_id", "type", "bag_id"),
        Index(
            "ix_bag_topics_with_errors",
            "organisation_id",
            "bag_id",
            sqlite_where=text("errors != ''"),
            postgresql_where=text("errors != ''"),
        ),
    )

    bag_id: UUID = Field(foreign_key="bags.id", primary_key=True)
    number: int = Field(primary_key=True, description="Its place in the manifest.")
    organisation_id: UUID = Field(foreign_key="organisations.id")
    name: str
    type: str
    definition: str = Field(default="", description="Where it comes from: recorded, or assumed from a distribution.")
    rows: int = 0
    rejected: int = 0
    started_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    reason: str | None = Field(default=None, description="Why it could not be decoded and is kept raw.")
    media: int = Field(default=0, description="Files of pictures or clouds.")
    bytes: int = Field(default=0, sa_column=Column(BigInteger, nullable=False), description="As recorded.")
    rate_hz: float | None = Field(default=None, description="One message in the median interval.")
    gaps: int = Field(default=0, description="Intervals of more than five medians.")
    longest_gap_s: float | None = None
    duplicates: int = 0
    log_time_regressions: int = 0
    stamp_regressions: int = 0
    unstamped: int = 0
    skew_median_s: float | None = Field(default=None, description="log_time less the header's stamp.")
    skew_largest_s: float | None = None
    errors: str = Field(default="", description="The different warnings and errors that it told, one a line.")
