"""Bags: recordings that came in and what became of them."""

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, field_validator

from api.deps import Parts, Reader
from api.pages import Listing, Wanted, page_of
from api.problems import described
from fleet.events import Severity
from ingestion import recordings
from ingestion.catalogue import Sought, bag_of, topics_of
from ingestion.cuts import cuts_of
from ingestion.models import Bag, BagStatus
from ingestion.recordings import RecordingView
from reports.meanwhile import Happened, happened

router = APIRouter(tags=["bags"])


class BagRead(BaseModel):
    """A recording, addressed by its content."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    filename: str
    size: int = Field(description="Bytes.")
    sha256: str
    robot_name: str
    mission_id: UUID | None
    status: BagStatus = Field(
        description="stored: not yet converted, error says why where that was tried; refused: nothing could be read."
    )
    messages: int
    topics: int
    recorded_on: date | None
    started_at: datetime | None
    finished_at: datetime | None
    cut_of_id: UUID | None = Field(description="The recording that it is a span of.")
    cut_event_id: UUID | None = Field(description="The event around which it was cut out.")
    uploaded_at: datetime
    converted_at: datetime | None
    error: str | None


class TopicRead(BaseModel):
    """A topic of a recording and how regularly it was recorded."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    type: str
    definition: str = Field(description="Where it comes from: recorded, or assumed from a distribution.")
    rows: int
    rejected: int = Field(description="Messages that do not fit the definition.")
    started_at: datetime | None
    finished_at: datetime | None
    reason: str | None = Field(description="Why it could not be decoded and is kept raw.")
    media: int = Field(description="Files of pictures or clouds.")
    bytes: int = Field(description="As recorded.")
    rate_hz: float | None = Field(description="One message in the median interval.")
    gaps: int = Field(description="Intervals of more than five medians.")
    longest_gap_s: float | None
    duplicates: int = Field(description="Messages that equal the one before them, time included.")
    log_time_regressions: int = Field(description="Messages earlier than one recorded before them.")
    stamp_regressions: int
    unstamped: int = Field(description="Headers without a time.")
    skew_median_s: float | None = Field(description="log_time less the header's stamp.")
    skew_largest_s: float | None
    errors: list[str] = Field(description="The different warnings and errors of its diagnostics.")

    @field_validator("errors", mode="before")
    @classmethod
    def _lines(cls, errors: str) -> list[str]:
        return errors.splitlines()


class EventRead(BaseModel):
    """Something that happened to the robot while it recorded."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    kind: str
    severity: Severity
    occurred_at: datetime
    alert_id: UUID | None = Field(None, description="The alert that it opened.")
    alert: str | None = Field(None, description="What that alert says.")
    mission_id: UUID | None = Field(None, description="The mission that the robot was on.")
    mission: str | None = Field(None, description="What that mission is called.")

    @classmethod
    def of(cls, happened: Happened) -> "EventRead":
        """An event with the alert that it opened and the mission its robot was on."""
        told: dict[str, object] = {}
        if happened.alert is not None:
            told |= {"alert_id": happened.alert.id, "alert": happened.alert.message}
        if happened.mission is not None:
            told |= {"mission_id": happened.mission.mission_id, "mission": happened.mission.name}
        return cls.model_validate(happened.event).model_copy(update=told)


class BagDetails(BagRead):
    """A recording with its topics and what happened meanwhile."""

    contents: list[TopicRead] = Field(description="Its topics by name; empty until it is converted.")
    events: list[EventRead] = Field(description="In the order of time, 200 at most.")
    recordings: list[RecordingView] = Field(description="What began it: triggers and requests that it is the bag of.")
    cuts: list[BagRead] = Field(description="What was cut out of it, oldest first, 200 at most.")


@router.get("/v1/bags", responses=described(401, 403, 422))
def list_bags(runtime: Parts, caller: Reader, place: Wanted, sought: Annotated[Sought, Depends()]) -> Listing[BagRead]:
    """The recordings of your organisation, newest first; those that are all of what is asked for."""
    with runtime.reading() as session:
        bags, following = page_of(session, Bag, caller, place, *sought.conditions(caller.organisation_id))
        return Listing(items=[BagRead.model_validate(bag) for bag in bags], next=following)


@router.get("/v1/bags/{bag_id}", responses=described(401, 403, 404, 422))
def show_bag(bag_id: UUID, runtime: Parts, caller: Reader) -> BagDetails:
    """One recording: its topics, how regularly each was recorded, and what happened to the robot meanwhile."""
    with runtime.reading() as session:
        bag = bag_of(session, caller.organisation_id, bag_id)
        return BagDetails(
            **BagRead.model_validate(bag).model_dump(),
            contents=[TopicRead.model_validate(topic) for topic in topics_of(session, bag)],
            events=[EventRead.of(one) for one in happened(session, bag)],
            recordings=recordings.views(session, recordings.of_bag(session, bag)),
            cuts=[BagRead.model_validate(cut) for cut in cuts_of(session, bag)],
        )
