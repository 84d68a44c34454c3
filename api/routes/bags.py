"""Bags: recordings that came in and what became of them."""

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from api.deps import Parts, Reader
from api.pages import Listing, Wanted, page_of
from api.problems import described
from ingestion.models import Bag, BagStatus

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
    status: BagStatus = Field(description="stored: not yet converted; refused: nothing could be read, see error.")
    messages: int
    topics: int
    recorded_on: date | None
    started_at: datetime | None
    finished_at: datetime | None
    uploaded_at: datetime
    converted_at: datetime | None
    error: str | None


@router.get("/v1/bags", responses=described(401, 403, 422))
def list_bags(
    runtime: Parts,
    caller: Reader,
    place: Wanted,
    robot: Annotated[str | None, Query(description="Only bags of the robot of this name.")] = None,
    status: Annotated[BagStatus | None, Query(description="Only bags that got this far.")] = None,
) -> Listing[BagRead]:
    """The recordings of your organisation, newest first."""
    conditions = []
    if robot is not None:
        conditions.append(Bag.robot_name == robot)
    if status is not None:
        conditions.append(Bag.status == status)
    with runtime.reading() as session:
        bags, following = page_of(session, Bag, caller, place, *conditions)
        return Listing(items=[BagRead.model_validate(bag) for bag in bags], next=following)
