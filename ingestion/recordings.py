"""Recordings that somebody asked for or that a trigger began on a robot, and the bag that each became.

(robot, trigger) exists once: a robot that lost the answer announces the same trigger again and gets the same row, and the
bag that it has become is never replaced by another.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict
from pydantic import Field as Value
from sqlalchemy import Column, Index, UniqueConstraint
from sqlmodel import Field, Session, SQLModel, col, select

from fleet import changes
from fleet.clock import database_now
from fleet.database import JSONColumn, UTCDateTime, new_id, text_of
from fleet.errors import Conflict, Invalid
from fleet.events import Event, insert_new
from fleet.organisations import Principal
from fleet.robots import Robot, robot_named
from ingestion.models import Bag, Upload, UploadStatus
from ingestion.recording_policies import policy_of
from ingestion.recording_policy import EVERY_TOPIC, After, Before, Chosen, Plain, Topics, Trigger
from ingestion.statuses import TriggerKind

VALID = timedelta(hours=1)  # for so long a robot is told of a request; what it shows later is not what was asked for


class Recording(SQLModel, table=True):
    """One trigger of one robot and, when it has come, the bag of it."""

    __tablename__ = "recordings"
    __table_args__ = (UniqueConstraint("robot_id", "trigger_id"), Index("ix_recordings_upload_id", "upload_id"))

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    robot_id: UUID = Field(foreign_key="robots.id")
    trigger_id: str = Field(description="The robot's word for it, or of the request; the same again is the same one.")
    kind: TriggerKind = Field(sa_type=text_of(TriggerKind))
    event_key: str | None = Field(
        default=None, description="The key of the event that began it, as its robot tells it."
    )
    policy: str = Field(default="", description="The version of the policy that the robot followed, as night@3.")
    triggered_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    before_s: float | None = None
    after_s: float | None = None
    topics: list[dict[str, object]] = Field(default_factory=list, sa_column=Column(JSONColumn, nullable=False))
    why: str = ""
    asked_by: str
    asked_at: datetime = Field(sa_type=UTCDateTime)
    expires_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    upload_id: UUID | None = None
    bag_id: UUID | None = Field(default=None, foreign_key="bags.id", index=True)
    stored_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    lost_at: datetime | None = Field(
        default=None, sa_type=UTCDateTime, description="When what had come of it was removed."
    )
    lost_why: str = Field(default="", sa_column_kwargs={"server_default": ""})


class RecordingWanted(BaseModel):
    """A recording that somebody wants of a robot now; what is left out is as in the robot's policy."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    key: Plain = Value(description="Asking again with the same key gives the same recording.")
    why: Plain = Value(description="For those who find it later.")
    kind: TriggerKind = Value(
        TriggerKind.request, description="For what it is asked: programs that found an anomaly ask for one of it."
    )
    before_s: Before | None = None
    after_s: After | None = None
    topics: Chosen | None = None


class TriggerTold(BaseModel):
    """What a robot tells of the trigger whose recording it uploads."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Plain = Value(description="The robot's own word for it, once for each trigger; of a request, its id.")
    kind: TriggerKind
    at: AwareDatetime = Value(description="When it happened, by the robot's clock; with its offset from UTC, or Z.")
    event: Plain | None = Value(None, description="Key of the event that it tells of the same thing.")
    policy: Plain | None = Value(None, description="The policy it followed, as name@version.")


class RecordingOrder(BaseModel):
    """A request as a robot is told of it."""

    kind: TriggerKind
    id: str = Value(description="The id of the trigger to upload the recording with.")
    before_s: float
    after_s: float
    topics: list[Topics]
    why: str


class RecordingView(BaseModel):
    """A recording, how far it is, and what it became."""

    id: UUID
    robot: str
    trigger: str
    kind: TriggerKind
    status: str = Value(
        description="asked, arriving, stored, lost: what had come was no whole recording and is gone, or expired: no robot "
        "began it within an hour."
    )
    event: str | None = Value(description="Key of the event that began it, as its robot tells it.")
    event_id: UUID | None = Value(description="That event, once it has been reported.")
    policy: str = Value(description="The version of the policy that the robot followed, as night@3.")
    why: str
    asked_by: str
    asked_at: datetime
    triggered_at: datetime | None
    bag_id: UUID | None
    stored_at: datetime | None
    lost_at: datetime | None
    lost_why: str = Value(description="What was removed when it was lost, why, and by whom.")


def ask(session: Session, robot: Robot, wanted: RecordingWanted, *, who: str) -> Recording:
    """The recording of (robot, `wanted.key`): a new one that the robot is told of, or the one that was asked for before.

    Raises:
        Invalid: neither a second before nor one after is wanted.
    """
    usual = _usual(session, robot, wanted.kind)
    before_s = usual.before_s if wanted.before_s is None else wanted.before_s
    after_s = usual.after_s if wanted.after_s is None else wanted.after_s
    if before_s + after_s <= 0:
        raise Invalid("before_s and after_s are both 0; nothing would be recorded.")
    now, topics = database_now(session), wanted.topics or usual.topics
    row = Recording(
        organisation_id=robot.organisation_id,
        robot_id=robot.id,
        trigger_id=trigger_of(wanted.key),
        kind=wanted.kind,
        before_s=before_s,
        after_s=after_s,
        topics=[chosen.model_dump(mode="json") for chosen in topics],
        why=wanted.why,
        asked_by=who,
        asked_at=now,
        expires_at=now + VALID,
    )
    return _entered(session, row, "asked")


def trigger_of(key: str) -> str:
    """The trigger's id of a request with this key."""
    return f"request/{key}"


def _usual(session: Session, robot: Robot, kind: TriggerKind) -> Trigger:
    version = policy_of(session, robot)
    own = version.policy.trigger(kind) if version else None
    return own or Trigger(on=kind, topics=EVERY_TOPIC)


def _entered(session: Session, row: Recording, kind: str) -> Recording:
    """The row of this trigger, locked; new or the one that was there."""
    if insert_new(session, Recording, row.model_dump(), on=["robot_id", "trigger_id"]):
        _tell(session, row, kind)
    same = (Recording.robot_id == row.robot_id, Recording.trigger_id == row.trigger_id)
    locked = select(Recording).where(*same).with_for_update().execution_options(populate_existing=True)
    return session.exec(locked).one()


def open_requests(session: Session, robot: Robot) -> list[RecordingOrder]:
    """What this robot shall record now, oldest first; it is told until the bag is stored, and begins each once."""
    query = select(Recording).where(
        Recording.robot_id == robot.id,
        col(Recording.bag_id).is_(None),
        col(Recording.expires_at) > database_now(session),
    )
    rows = session.exec(query.order_by(col(Recording.id)).limit(100)).all()
    return [
        RecordingOrder(
            kind=row.kind,
            id=row.trigger_id,
            before_s=row.before_s or 0.0,
            after_s=row.after_s or 0.0,
            topics=[Topics.model_validate(chosen) for chosen in row.topics],
            why=row.why,
        )
        for row in rows
    ]


def announced(session: Session, robot: Robot, told: TriggerTold, *, who: str) -> Recording:
    """The recording of this trigger, whose upload is about to begin; locked until the end of the transaction."""
    row = Recording(
        organisation_id=robot.organisation_id,
        robot_id=robot.id,
        trigger_id=told.id,
        kind=told.kind,
        asked_by=who,
        asked_at=database_now(session),
    )
    row = _entered(session, row, "announced")
    if row.bag_id is None:
        row.event_key, row.policy, row.triggered_at = told.event, told.policy or "", told.at
        session.add(row)
    return row


def finished_upload(session: Session, row: Recording, *, sha256: str) -> Upload | None:
    """The upload by which this recording was stored before; None when it was not.

    Raises:
        Conflict: it is stored with other content.
    """
    if row.bag_id is None:
        return None
    if session.get_one(Bag, row.bag_id).sha256 != sha256.lower():
        raise Conflict(
            f"The recording of {row.trigger_id!r} is stored already, with other content; it is kept as it is.",
            trigger=row.trigger_id,
            bag=str(row.bag_id),
        )
    upload = session.get(Upload, row.upload_id) if row.upload_id else None
    return upload if upload is not None and upload.status is UploadStatus.complete else None


def arriving(session: Session, row: Recording, upload: Upload) -> None:
    """Note by which upload it comes; one that is stored stays as it is."""
    if row.bag_id is None:
        row.upload_id, row.lost_at, row.lost_why = upload.id, None, ""
        session.add(row)


def stored(session: Session, upload: Upload, bag: Bag) -> None:
    """Note the bag of the recordings that came by this upload, if it is of triggers; once."""
    for row in _waiting(session, upload):
        row.bag_id, row.stored_at = bag.id, database_now(session)
        session.add(row)
        _tell(session, row, "stored")


def lost(session: Session, upload: Upload, *, who: str, why: str) -> None:
    """What came by this upload will not: its robot may send it again, and is asked to as long as a request of it is good."""
    for row in _waiting(session, upload):
        row.upload_id, row.lost_at, row.lost_why = None, database_now(session), f"{why} (by {who})"
        session.add(row)
        _tell(session, row, "lost", who=who, why=why)


def _waiting(session: Session, upload: Upload) -> Sequence[Recording]:
    """The recordings that come by this upload, locked; of two triggers at once the content may be the same."""
    query = select(Recording).where(Recording.upload_id == upload.id, col(Recording.bag_id).is_(None))
    return session.exec(query.order_by(col(Recording.id)).with_for_update()).all()


def _tell(session: Session, row: Recording, kind: str, **told: object) -> None:
    changes.record(
        session,
        organisation_id=row.organisation_id,
        subject="recording",
        subject_id=row.id,
        kind=kind,
        fields={"trigger": row.trigger_id, **told},
    )


def of_bag(session: Session, bag: Bag) -> Sequence[Recording]:
    """The recordings that this bag is of, oldest first."""
    return session.exec(
        select(Recording).where(Recording.bag_id == bag.id).order_by(col(Recording.id)).limit(100)
    ).all()


def views(session: Session, rows: Sequence[Recording]) -> list[RecordingView]:
    """These recordings as people see them, in their order."""
    now, ids = database_now(session), {row.robot_id for row in rows}
    robots = {robot.id: robot for robot in session.exec(select(Robot).where(col(Robot.id).in_(ids)))}
    events = _events(session, [(robots[row.robot_id], row.event_key) for row in rows if row.event_key])
    kept = {"id", "kind", "policy", "why", "asked_by", "asked_at", "triggered_at", "bag_id", "stored_at"}
    kept |= {"lost_at", "lost_why"}
    return [
        RecordingView(
            robot=robots[row.robot_id].name,
            trigger=row.trigger_id,
            event=row.event_key,
            event_id=events.get((row.robot_id, row.event_key)),
            status=_status(row, now),
            **row.model_dump(include=kept),
        )
        for row in rows
    ]


def _events(session: Session, told: Sequence[tuple[Robot, str]]) -> dict[tuple[UUID, str | None], UUID]:
    """The events by robot and its own key; intake puts the account that it heard them from before that key."""
    wanted = {
        (robot.organisation_id, f"{account}:{key}"): (robot.id, key)
        for robot, key in told
        for account in (robot.account_id, robot.link_account_id)
        if account is not None
    }
    owners, keys = {owner for owner, _ in wanted}, {key for _, key in wanted}
    query = select(Event).where(col(Event.organisation_id).in_(owners), col(Event.key).in_(keys))
    return {wanted[event.organisation_id, event.key]: event.id for event in session.exec(query)}


def _status(row: Recording, now: datetime) -> str:
    if row.bag_id is not None:
        return "stored"
    if row.upload_id is not None:
        return "arriving"
    if row.lost_at is not None:
        return "lost"
    return "expired" if row.expires_at is not None and row.expires_at <= now else "asked"


def robot_for(session: Session, caller: Principal, word: str) -> Robot:
    """The robot with this id or name within the caller's organisation: robots know their name only.

    Raises:
        NotFound: there is none.
    """
    try:
        row = session.get(Robot, UUID(word))
    except ValueError:
        row = None
    if row is not None and row.organisation_id == caller.organisation_id:
        return row
    return robot_named(session, caller.organisation_id, word)
