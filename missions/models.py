"""The rows and values of missions. Only missions/lifecycle writes `status`, `desired`, `recall` and `version`."""

from datetime import UTC, datetime
from enum import StrEnum
from math import isfinite
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict
from pydantic import Field as Value
from sqlalchemy import BigInteger, Column, Index, Integer, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from fleet.adapter import TaskKind
from fleet.database import JSONColumn, UTCDateTime, new_id, text_of


class MissionStatus(StrEnum):
    """Where a mission is (HOUSE: it follows from its attempts)."""

    created = "CREATED"
    awaiting_approval = "AWAITING_APPROVAL"
    scheduled = "SCHEDULED"
    assigned = "ASSIGNED"
    running = "RUNNING"
    paused = "PAUSED"
    succeeded = "SUCCEEDED"
    failed = "FAILED"
    canceled = "CANCELED"
    expired = "EXPIRED"
    refused = "REFUSED"


class AttemptStatus(StrEnum):
    """Where one attempt is, as far as we know it."""

    prepared = "PREPARED"
    dispatched = "DISPATCHED"
    accepted = "ACCEPTED"
    running = "RUNNING"
    paused = "PAUSED"
    lost = "LOST"
    succeeded = "SUCCEEDED"
    failed = "FAILED"
    rejected = "REJECTED"
    canceled = "CANCELED"


MISSION_TERMINAL = frozenset(
    {
        MissionStatus.succeeded,
        MissionStatus.failed,
        MissionStatus.canceled,
        MissionStatus.expired,
        MissionStatus.refused,
    }
)
ATTEMPT_TERMINAL = frozenset(
    {AttemptStatus.succeeded, AttemptStatus.failed, AttemptStatus.rejected, AttemptStatus.canceled}
)


class Desired(StrEnum):
    """What we want of a live mission."""

    run = "run"
    pause = "pause"
    cancel = "cancel"


class Recall(StrEnum):
    """Why a live attempt is taken back from its robot although nobody cancelled the mission."""

    preempted = "preempted"
    skip = "skip"
    timeout = "timeout"
    deadline = "deadline"


class RetryFrom(StrEnum):
    """Where a further attempt begins."""

    failed_task = "failed_task"
    first_task = "first_task"


class Command(StrEnum):
    """What an outbox row tells a robot."""

    submit = "submit"
    cancel = "cancel"
    pause = "pause"
    resume = "resume"


class OutboxStatus(StrEnum):
    """Whether the robot has been told."""

    pending = "pending"
    done = "done"
    dropped = "dropped"


def _keepable(text: str) -> str:
    # PostgreSQL keeps no NUL, and half a surrogate pair has no UTF-8.
    if "\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
        raise ValueError("has a character that cannot be kept (NUL or half a surrogate pair)")
    return text


def _of_a_parameter(value: object) -> object:
    # Before the union: a long number would silently become the nearest floating-point one, and what is no value at all
    # would be told once for each kind of value there is.
    match value:
        case bool():
            pass
        case int() if not -(2**63) <= value < 2**63:
            raise ValueError("is a whole number of more than 64 bits")
        case float() if not isfinite(value):
            raise ValueError("is not a finite number")
        case str() if len(_keepable(value)) > PARAMETER_MAX:
            raise ValueError(f"has {len(value)} characters, and at most {PARAMETER_MAX} are kept")
        case int() | float() | str():
            pass
        case _:
            raise ValueError("is neither a text nor a number nor true or false")
    return value


def _within_calendar(at: datetime) -> datetime:
    try:
        at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("lies outside the years 1 to 9999 in UTC") from error
    return at


Text = Annotated[str, AfterValidator(_keepable)]
Instant = Annotated[AwareDatetime, AfterValidator(_within_calendar)]
Number = Annotated[float, Value(allow_inf_nan=False)]
Name = Annotated[Text, Value(max_length=200)]
Capability = Name
PARAMETER_MAX = 10_000
Parameter = Annotated[
    Annotated[Text, Value(max_length=PARAMETER_MAX)] | Number | int | bool, BeforeValidator(_of_a_parameter)
]


class TaskCreate(BaseModel):
    """One stop or one action that an operator asks for."""

    model_config = ConfigDict(extra="forbid")

    kind: TaskKind = TaskKind.go_to
    station: Name | None = Value(None, description="Name of a station, dock or inspection point of the site.")
    parameters: dict[Name, Parameter] = Value(default_factory=dict, max_length=100)
    timeout_s: float = Value(600.0, gt=0, le=86_400)


class MissionCreate(BaseModel):
    """What an operator asks for; `key` makes asking twice harmless."""

    model_config = ConfigDict(extra="forbid")

    name: Text = Value(min_length=1, max_length=200)
    tasks: list[TaskCreate] = Value(min_length=1, max_length=200)
    key: Text = Value(min_length=1, max_length=200)
    robot: Name | None = Value(None, description="Name of the one robot that may do it; empty: whichever fits best.")
    priority: int = Value(
        0, ge=-100, le=100, description="Higher goes first; from 50 it may take the robot of a preemptible mission."
    )
    required_capabilities: list[Capability] = Value(default_factory=list, max_length=100)
    earliest_start_at: Instant | None = None
    not_after_at: Instant | None = Value(None, description="Not started after this instant: then EXPIRED.")
    deadline_at: Instant | None = Value(
        None, description="To be done by this instant: ended and EXPIRED when it is not."
    )
    attempts_max: int = Value(2, ge=1, le=10, description="How often it is tried when a try fails.")
    backoff_s: float = Value(
        2.0, gt=0, le=3600, description="Pause before a further try: at most this, four times more each."
    )
    backoff_max_s: float = Value(300.0, gt=0, le=86_400, description="No pause before a further try is longer.")
    retry_from: RetryFrom = Value(
        RetryFrom.failed_task, description="A further try begins with the task that failed, or does all again."
    )
    preemptible: bool = Value(False, description="An urgent mission (priority 50 and above) may take its robot.")
    approval_needed: bool = Value(False, description="Waits until a person approves it.")


class Round(SQLModel, table=True):
    """Many missions requested together."""

    __tablename__ = "rounds"
    __table_args__ = (UniqueConstraint("organisation_id", "key"),)

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    site_id: UUID = Field(foreign_key="sites.id", index=True)
    name: str
    key: str
    requested_by: str
    created_at: datetime = Field(sa_type=UTCDateTime)


class Mission(SQLModel, table=True):
    """What an operator asked for, carried out by one robot at a time."""

    __tablename__ = "missions"
    __table_args__ = (UniqueConstraint("organisation_id", "key"), Index("ix_missions_status", "status"))

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    site_id: UUID = Field(foreign_key="sites.id", index=True)
    round_id: UUID | None = Field(default=None, foreign_key="rounds.id", index=True)
    retry_of: UUID | None = Field(default=None, foreign_key="missions.id")
    name: str
    key: str
    status: MissionStatus = Field(default=MissionStatus.created, sa_type=text_of(MissionStatus))
    desired: Desired = Field(default=Desired.run, sa_type=text_of(Desired))
    version: int = 0
    reason: str = Field(default="", description="Why it is where it is, for a person.")
    priority: int = 0
    required_capabilities: list[str] = Field(default_factory=list, sa_column=Column(JSONColumn, nullable=False))
    pinned_robot_id: UUID | None = Field(default=None, foreign_key="robots.id")
    robot_id: UUID | None = Field(default=None, foreign_key="robots.id", description="The robot of its newest attempt.")
    earliest_start_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    not_after_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    deadline_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    attempts_max: int = 2
    backoff_s: float = 2.0
    backoff_max_s: float = 300.0
    retry_from: RetryFrom = Field(default=RetryFrom.failed_task, sa_type=text_of(RetryFrom))
    content_sha256: str = Field(
        default="", max_length=64, description="Of what was asked for, to tell two with one key."
    )
    first_task: int = Field(default=0, description="Position of the first task still to do.")
    preemptible: bool = False
    approval_needed: bool = False
    requested_by: str
    created_at: datetime = Field(sa_type=UTCDateTime)
    updated_at: datetime = Field(sa_type=UTCDateTime)


class MissionTask(SQLModel, table=True):
    """One task of a mission, in order of `position` from 0."""

    __tablename__ = "mission_tasks"

    mission_id: UUID = Field(foreign_key="missions.id", primary_key=True)
    position: int = Field(primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    kind: TaskKind = Field(sa_type=text_of(TaskKind))
    station_id: UUID | None = Field(default=None, foreign_key="stations.id")
    parameters: dict[str, object] = Field(default_factory=dict, sa_column=Column(JSONColumn, nullable=False))
    timeout_s: float = 600.0
    skipped_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    skipped_by: str = ""


class Attempt(SQLModel, table=True):
    """One try of a mission on one robot under one fence; `key` is `<mission id>/<number>`."""

    __tablename__ = "attempts"
    __table_args__ = (
        UniqueConstraint("mission_id", "number"),
        # The database itself refuses a second live attempt of one mission, and of one robot.
        Index(
            "uq_attempts_live_mission",
            "mission_id",
            unique=True,
            sqlite_where=text("finished_at IS NULL"),
            postgresql_where=text("finished_at IS NULL"),
        ),
        Index(
            "uq_attempts_live_robot",
            "robot_id",
            unique=True,
            sqlite_where=text("finished_at IS NULL"),
            postgresql_where=text("finished_at IS NULL"),
        ),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    mission_id: UUID = Field(foreign_key="missions.id", index=True)
    robot_id: UUID = Field(foreign_key="robots.id", index=True)
    number: int
    key: str = Field(unique=True)
    fence: int
    status: AttemptStatus = Field(default=AttemptStatus.prepared, sa_type=text_of(AttemptStatus))
    version: int = 0
    first_task: int = 0
    reason: str = ""
    recall: Recall | None = Field(default=None, sa_type=text_of(Recall), description="It is being taken back, and why.")
    recall_reason: str = ""
    recalled_at: datetime | None = Field(
        default=None, sa_type=UTCDateTime, description="When it was first to be ended: taken back, or cancelled."
    )
    recalled_for: UUID | None = Field(default=None, description="The mission that needs its robot, when preempted.")
    robot_reference: str = Field(default="", description="The robot's own id of the order, stored before sending.")
    report_sequence: int = Field(
        default=-1,
        sa_column=Column(BigInteger().with_variant(Integer, "sqlite"), nullable=False),
        description="The newest report that was applied; older ones change nothing.",
    )
    created_at: datetime = Field(sa_type=UTCDateTime)
    sent_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    heard_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    asked_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UTCDateTime)


class Transition(SQLModel, table=True):
    """One change of status: who, when, why, and on what evidence."""

    __tablename__ = "transitions"
    __table_args__ = (UniqueConstraint("subject", "subject_id", "version"),)

    id: int | None = Field(
        default=None,
        sa_column=Column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    )
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    mission_id: UUID = Field(foreign_key="missions.id", index=True)
    subject: str = Field(description="mission or attempt")
    subject_id: UUID
    from_status: str | None = None
    to_status: str
    version: int
    who: str
    why: str
    evidence: dict[str, object] = Field(default_factory=dict, sa_column=Column(JSONColumn, nullable=False))
    at: datetime = Field(sa_type=UTCDateTime)


class TaskResult(SQLModel, table=True):
    """What became of one task in one attempt, with its typed reading."""

    __tablename__ = "task_results"

    attempt_id: UUID = Field(foreign_key="attempts.id", primary_key=True)
    position: int = Field(primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    mission_id: UUID = Field(foreign_key="missions.id", index=True)
    status: str
    heard_at: datetime | None = Field(
        default=None,
        sa_type=UTCDateTime,
        description="When we first heard of it under way: its timeout counts from here.",
    )
    started_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    value: float | None = None
    unit: str | None = None
    message: str = ""
    files: list[str] = Field(default_factory=list, sa_column=Column(JSONColumn, nullable=False))


class OutboxMessage(SQLModel, table=True):
    """A command that must still reach a robot; (attempt, command, number) exists once."""

    __tablename__ = "outbox"
    __table_args__ = (
        UniqueConstraint("attempt_id", "command", "number"),
        Index("ix_outbox_due", "status", "next_try_at"),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    robot_id: UUID = Field(foreign_key="robots.id", index=True)
    attempt_id: UUID = Field(foreign_key="attempts.id", index=True)
    command: Command = Field(sa_type=text_of(Command))
    number: int = Field(default=1, description="Counts the same command to one attempt: pause, resume, pause …")
    fence: int
    order: dict[str, object] | None = Field(default=None, sa_column=Column("order_json", JSONColumn, nullable=True))
    status: OutboxStatus = Field(default=OutboxStatus.pending, sa_type=text_of(OutboxStatus))
    tries: int = 0
    next_try_at: datetime = Field(sa_type=UTCDateTime)
    claimed_until: datetime | None = Field(default=None, sa_type=UTCDateTime)
    answer: str = ""
    created_at: datetime = Field(sa_type=UTCDateTime)
