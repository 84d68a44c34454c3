"""Blackouts: windows of a site in which nothing starts, made by hand or imported from a calendar of holidays."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, ConfigDict, Field

from api.deps import Operator, Parts, Reader
from api.pages import Listing, Wanted, page_of
from api.problems import described
from api.strict import StrictRoute
from fleet.organisations import site_named
from missions.calendars.ics import SIZE_MAX
from missions.schedules import blackouts
from missions.schedules.holidays import import_calendar as take_in
from missions.schedules.models import Blackout, BlackoutCreate, BlackoutKind

router = APIRouter(tags=["blackouts"], route_class=StrictRoute)

IMPORTS = "/v1/blackouts/imports"
IMPORT_MAX_BYTES = SIZE_MAX + 1  # one more, so that the calendar's own refusal tells of it


class BlackoutWanted(BlackoutCreate):
    """A blackout of one of your sites."""

    site: str = Field(description="Name of the site.")


class BlackoutRead(BaseModel):
    """A blackout; with a rule, its times are those of the first one."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    site_id: UUID
    key: str
    name: str
    kind: BlackoutKind
    calendar: str
    begins_at: datetime
    ends_at: datetime
    timezone: str
    rule: str
    exdates: list[str]
    made_by: str
    created_at: datetime


class Imported(BaseModel):
    """What an import took in."""

    calendar: str
    count: int = Field(description="Windows of this calendar that the site has now.")


@router.get("/v1/blackouts", responses=described(401, 403, 422))
def list_blackouts(runtime: Parts, caller: Reader, place: Wanted) -> Listing[BlackoutRead]:
    """The blackouts and holidays of your sites, newest first."""
    with runtime.reading() as session:
        rows, following = page_of(session, Blackout, caller, place)
        return Listing(items=[BlackoutRead.model_validate(row) for row in rows], next=following)


@router.post("/v1/blackouts", status_code=201, responses=described(401, 403, 404, 409, 422))
def add_blackout(wanted: BlackoutWanted, runtime: Parts, caller: Operator) -> BlackoutRead:
    """Let nothing start at a site in a window, once or again and again. The same `key` again is the same blackout."""
    with runtime.transaction() as session:
        site = site_named(session, caller.organisation_id, wanted.site)
        asked = BlackoutCreate.model_validate(wanted.model_dump(exclude={"site"}))
        return BlackoutRead.model_validate(blackouts.add(session, site=site, wanted=asked, who=str(caller)))


@router.delete("/v1/blackouts/{blackout_id}", responses=described(401, 403, 404))
def remove_blackout(blackout_id: UUID, runtime: Parts, caller: Operator) -> BlackoutRead:
    """Remove a blackout: what it kept from starting may start."""
    with runtime.transaction() as session:
        row = blackouts.remove(
            session, organisation_id=caller.organisation_id, blackout_id=blackout_id, who=str(caller)
        )
        return BlackoutRead.model_validate(row)


@router.post(IMPORTS, responses=described(401, 403, 404, 413, 422))
def import_calendar(
    content: Annotated[bytes, Body(media_type="text/calendar", description="An iCalendar file.")],
    site: Annotated[str, Query(description="Name of the site.")],
    calendar: Annotated[str, Query(description="Its name; a newer import of that name takes its place.")],
    runtime: Parts,
    caller: Operator,
    kind: BlackoutKind = BlackoutKind.holiday,
) -> Imported:
    """Take in a calendar of holidays or closures, in the place of what was imported under that name before."""
    with runtime.transaction() as session:
        place = site_named(session, caller.organisation_id, site)
        count = take_in(session, site=place, calendar=calendar, content=content, who=str(caller), kind=kind)
    return Imported(calendar=calendar, count=count)
