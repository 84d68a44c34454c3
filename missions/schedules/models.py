"""The rows and values of schedules: what recurs, how it was at each revision, and what became of each occurrence."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Value
from sqlalchemy import Column, Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from fleet.database import JSONColumn, UTCDateTime, new_id, text_of
from missions.models import MissionCreate, Text


class Misfire(StrEnum):
    """What becomes of occurrences that nobody could start in time (later than the grace)."""

    skip = "skip"
    run_once = "run_once"
    coalesce = "coalesce"
    all = "all"


class Overlap(StrEnum):
    """What becomes of an occurrence while missions of an earlier one are not over."""

    queue = "queue"
    skip = "skip"
    cancel_older = "cancel_older"


class ScheduleStatus(StrEnum):
    """Whether a schedule makes occurrences."""

    active = "active"
    paused = "paused"
    ended = "ended"


class OccurrenceStatus(StrEnum):
    """What became of one occurrence; `planned` and `queued` are not decided yet."""

    planned = "planned"
    queued = "queued"
    fired = "fired"
    skipped = "skipped"
    missed = "missed"
    coalesced = "coalesced"
    canceled = "canceled"
    failed = "failed"


OPEN = frozenset({OccurrenceStatus.planned, OccurrenceStatus.queued})


class MissionTemplate(MissionCreate):
    """A mission that every occurrence asks for; its key is made from the occurrence."""

    key: Text = Value("", max_length=200, description="Leave empty: made from the occurrence.")


class Recurrence(BaseModel):
    """When: a rule in a named time zone, with exceptions, and what happens when an occurrence is late or overlaps."""

    model_config = ConfigDict(extra="forbid")

    rule: Text = Value(min_length=1, max_length=1000, description="An RRULE (RFC 5545) or a five-field cron.")
    begins: Text = Value(
        description="Local time of the first possible occurrence, such as 2026-03-01T06:00:00 (DTSTART)."
    )
    timezone: Text = Value(description="Name of the IANA time zone, such as Europe/Berlin.")
    exdates: list[Text] = Value(default_factory=list, max_length=1000, description="Local times left out.")
    rdates: list[Text] = Value(default_factory=list, max_length=1000, description="Local times added.")
    misfire: Misfire = Value(Misfire.run_once, description="What becomes of occurrences later than the grace.")
    grace_s: float = Value(
        300.0, ge=0, le=86_400, description="One this late is still started; the jitter is not counted."
    )
    catch_up_max: int = Value(10, ge=1, le=100, description="With `all`: the newest so many late ones are started.")
    jitter_s: float = Value(
        0.0, ge=0, le=3600, description="Spread starts over so many seconds, always alike for one occurrence."
    )
    overlap: Overlap = Value(Overlap.queue, description="What happens while the one before is not over.")
    skip_holidays: bool = Value(False, description="Leave out the days of the site's imported holiday calendars.")
    start_within_s: float | None = Value(
        None, gt=0, le=7 * 86_400, description="Missions not begun so long after their time are EXPIRED."
    )


class ScheduleCreate(BaseModel):
    """A recurring round: what is asked for, and when; `key` makes asking twice harmless."""

    model_config = ConfigDict(extra="forbid")

    name: Text = Value(min_length=1, max_length=200)
    key: Text = Value(min_length=1, max_length=200)
    recurrence: Recurrence
    missions: list[MissionTemplate] = Value(min_length=1, max_length=200)


class Schedule(SQLModel, table=True):
    """A recurring round of one site; its newest revision tells when and what.

    `decided_until_at` is the cursor: every occurrence up to it has its row; it never goes back. `next_due_at` is when
    there is something to decide next (a time of the rule, or the due instant of one that was spread or moved).
    """

    __tablename__ = "schedules"
    __table_args__ = (UniqueConstraint("organisation_id", "key"), Index("ix_schedules_due", "status", "next_due_at"))

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    site_id: UUID = Field(foreign_key="sites.id", index=True)
    name: str
    key: str
    status: ScheduleStatus = Field(default=ScheduleStatus.active, sa_type=text_of(ScheduleStatus))
    revision: int = 1
    version: int = 0
    decided_until_at: datetime = Field(sa_type=UTCDateTime)
    next_due_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    requested_by: str
    created_at: datetime = Field(sa_type=UTCDateTime)
    updated_at: datetime = Field(sa_type=UTCDateTime)


class ScheduleRevision(SQLModel, table=True):
    """A schedule as it was from `valid_from_at` on, until the next revision; never rewritten."""

    __tablename__ = "schedule_revisions"

    schedule_id: UUID = Field(foreign_key="schedules.id", primary_key=True)
    number: int = Field(primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    recurrence: dict[str, object] = Field(sa_column=Column("recurrence_json", JSONColumn, nullable=False))
    missions: list[dict[str, object]] = Field(sa_column=Column("missions_json", JSONColumn, nullable=False))
    content_sha256: str = Field(max_length=64)
    valid_from_at: datetime = Field(sa_type=UTCDateTime)
    made_by: str
    created_at: datetime = Field(sa_type=UTCDateTime)


class Occurrence(SQLModel, table=True):
    """One time of a schedule; (schedule, revision, recurrence_id) exists once, so it happens once.

    `recurrence_id` is the instant that the rule gives, before jitter and moves (RFC 5545 RECURRENCE-ID, as UTC).
    """

    __tablename__ = "occurrences"
    __table_args__ = (
        UniqueConstraint("schedule_id", "revision", "recurrence_id"),
        Index("ix_occurrences_open", "status", "schedule_id"),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    site_id: UUID = Field(foreign_key="sites.id", index=True)
    schedule_id: UUID = Field(foreign_key="schedules.id", index=True)
    revision: int
    recurrence_id: datetime = Field(sa_type=UTCDateTime)
    due_at: datetime = Field(
        sa_type=UTCDateTime, description="When it is to start: with jitter, or where it was moved to."
    )
    status: OccurrenceStatus = Field(sa_type=text_of(OccurrenceStatus))
    is_moved: bool = False
    reason: str = ""
    who: str
    round_id: UUID | None = Field(default=None, foreign_key="rounds.id", index=True)
    created_at: datetime = Field(sa_type=UTCDateTime)
    decided_at: datetime | None = Field(default=None, sa_type=UTCDateTime)


class BlackoutKind(StrEnum):
    """What a window keeps from starting: everything, or only occurrences of schedules that skip holidays."""

    blackout = "blackout"
    holiday = "holiday"


class Blackout(SQLModel, table=True):
    """A window at a site in which nothing may start, once or again and again.

    Once: `begins_at` and `ends_at`. Recurring: `rule`, with `begins_at` as its DTSTART in `timezone` and
    `ends_at - begins_at` as the length of each.
    """

    __tablename__ = "blackouts"
    __table_args__ = (UniqueConstraint("organisation_id", "site_id", "key"),)

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    site_id: UUID = Field(foreign_key="sites.id", index=True)
    key: str = Field(description="Name of the blackout, or calendar/UID/RECURRENCE-ID of an imported event.")
    name: str
    kind: BlackoutKind = Field(default=BlackoutKind.blackout, sa_type=text_of(BlackoutKind))
    calendar: str = Field(default="", description="The imported calendar it came with; empty: made by hand.")
    begins_at: datetime = Field(sa_type=UTCDateTime)
    ends_at: datetime = Field(sa_type=UTCDateTime)
    timezone: str
    rule: str = ""
    exdates: list[str] = Field(default_factory=list, sa_column=Column(JSONColumn, nullable=False))
    made_by: str
    created_at: datetime = Field(sa_type=UTCDateTime)


class BlackoutCreate(BaseModel):
    """A window in which nothing may start at the site; `key` makes asking twice harmless."""

    model_config = ConfigDict(extra="forbid")

    name: Text = Value(min_length=1, max_length=200)
    key: Text = Value(min_length=1, max_length=200)
    kind: BlackoutKind = Value(
        BlackoutKind.blackout, description="A holiday keeps out only schedules that skip holidays."
    )
    begins: Text = Value(description="Local time, such as 2026-03-01T22:00:00; with a rule, of the first one.")
    ends: Text = Value(description="Local time at which it is over; with a rule, of the first one.")
    timezone: Text = Value("", description="Name of the IANA time zone; empty: the site's.")
    rule: Text = Value("", max_length=1000, description="An RRULE or a five-field cron, when it recurs.")
    exdates: list[Text] = Value(default_factory=list, max_length=1000, description="Local times of those left out.")
