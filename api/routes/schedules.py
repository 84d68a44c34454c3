"""Schedules: ask for a round again and again, change it, and move or cancel single occurrences."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlmodel import Session, select

from api.deps import Operator, Parts, Reader
from api.pages import Listing, Wanted, page_of
from api.problems import described
from api.strict import StrictRoute
from fleet.errors import Invalid
from fleet.organisations import Principal, site_named
from missions.models import Text
from missions.schedules import control, overrides
from missions.schedules.create import create
from missions.schedules.models import MissionTemplate, Recurrence, Schedule, ScheduleCreate, ScheduleStatus
from missions.schedules.revise import revise
from missions.schedules.rows import schedule_of
from missions.schedules.upcoming import (
    OccurrenceView,
    ScheduleView,
    Upcoming,
    coming,
    past,
    schedule_view,
    schedule_views,
)

router = APIRouter(tags=["schedules"], route_class=StrictRoute)


class ScheduleWanted(ScheduleCreate):
    """A recurring round at one of your sites."""

    site: str = Field(description="Name of the site.")


class ScheduleChange(BaseModel):
    """What is to be otherwise from now on; what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    name: Text | None = Field(None, min_length=1, max_length=200)
    recurrence: Recurrence | None = None
    missions: list[MissionTemplate] | None = Field(None, min_length=1, max_length=200)
    status: Literal["active", "paused"] | None = Field(None, description="`paused` stops it, `active` lets it go on.")
    why: Text = Field("", max_length=500, description="The reason, for those who read the history.")


class OccurrenceCommand(BaseModel):
    """What is wanted of one occurrence."""

    model_config = ConfigDict(extra="forbid")

    command: Literal["cancel", "move"]
    to: AwareDatetime | None = Field(None, description="With `move`: when it is to start instead.")
    why: Text = Field("", max_length=500, description="The reason, for those who read the history.")


class Occurrences(BaseModel):
    """What comes next, soonest first, and what was, newest first."""

    next: list[Upcoming]
    past: list[OccurrenceView]


@router.get("/v1/schedules", responses=described(401, 403, 422))
def list_schedules(
    runtime: Parts,
    caller: Reader,
    place: Wanted,
    status: Annotated[ScheduleStatus | None, Query(description="Only schedules that are so.")] = None,
) -> Listing[ScheduleView]:
    """The schedules of your organisation, newest first."""
    conditions = [] if status is None else [Schedule.status == status]
    with runtime.reading() as session:
        found, following = page_of(session, Schedule, caller, place, *conditions)
        return Listing(items=schedule_views(session, found), next=following)


@router.post("/v1/schedules", status_code=201, responses=described(401, 403, 404, 409, 422))
def create_schedule(wanted: ScheduleWanted, runtime: Parts, caller: Operator, response: Response) -> ScheduleView:
    """Ask for a recurring round. Asking again with the same `key` gives the same schedule (200 instead of 201)."""
    same = (Schedule.organisation_id == caller.organisation_id, Schedule.key == wanted.key)
    with runtime.transaction() as session:
        site = site_named(session, caller.organisation_id, wanted.site)
        known = session.exec(select(Schedule.id).where(*same)).first()
        asked = ScheduleCreate.model_validate(wanted.model_dump(exclude={"site"}))
        schedule = create(session, site=site, wanted=asked, who=str(caller))
        view = schedule_views(session, [schedule])[0]
    response.status_code = 201 if known is None else 200
    response.headers["Location"] = f"/v1/schedules/{schedule.id}"
    return view


@router.get("/v1/schedules/{schedule_id}", responses=described(401, 403, 404))
def show_schedule(schedule_id: UUID, runtime: Parts, caller: Reader) -> ScheduleView:
    """One schedule as it is now, with its next occurrences."""
    with runtime.reading() as session:
        return schedule_view(session, caller.organisation_id, schedule_id)


@router.patch("/v1/schedules/{schedule_id}", responses=described(401, 403, 404, 409, 422))
def change_schedule(schedule_id: UUID, wanted: ScheduleChange, runtime: Parts, caller: Operator) -> ScheduleView:
    """Revise, rename, pause or resume it from now on; what was decided stays as it is."""
    with runtime.transaction() as session:
        schedule = schedule_of(session, caller.organisation_id, schedule_id)
        if wanted.name is not None or wanted.recurrence is not None or wanted.missions is not None:
            revise(
                session,
                schedule=schedule,
                recurrence=wanted.recurrence,
                missions=wanted.missions,
                name=wanted.name,
                who=str(caller),
            )
        if wanted.status is not None:
            turn = control.pause if wanted.status == "paused" else control.resume
            turn(session, schedule=schedule, who=str(caller), why=wanted.why)
        return schedule_views(session, [schedule])[0]


@router.delete("/v1/schedules/{schedule_id}", responses=described(401, 403, 404))
def end_schedule(schedule_id: UUID, runtime: Parts, caller: Operator) -> ScheduleView:
    """End it: it makes no occurrences any more. What has started goes on, and its history stays."""
    with runtime.transaction() as session:
        schedule = schedule_of(session, caller.organisation_id, schedule_id)
        return schedule_views(session, [control.end(session, schedule=schedule, who=str(caller))])[0]


@router.get("/v1/schedules/{schedule_id}/occurrences", responses=described(401, 403, 404, 422))
def list_occurrences(
    schedule_id: UUID,
    runtime: Parts,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=500, description="How many of each at most.")] = 50,
) -> Occurrences:
    """What comes next, and what became of the occurrences before, with the reasons."""
    with runtime.reading() as session:
        schedule = schedule_of(session, caller.organisation_id, schedule_id)
        return Occurrences(next=coming(session, schedule, limit=limit), past=past(session, schedule, limit=limit))


@router.post("/v1/schedules/{schedule_id}/occurrences/{recurrence_id}", responses=described(401, 403, 404, 409, 422))
def command_occurrence(
    schedule_id: UUID, recurrence_id: AwareDatetime, wanted: OccurrenceCommand, runtime: Parts, caller: Operator
) -> OccurrenceView:
    """Cancel or move this occurrence only. It is named by its `recurrence_id`, such as 2026-03-02T05:00:00Z."""
    with runtime.transaction() as session:
        schedule = schedule_of(session, caller.organisation_id, schedule_id)
        return _commanded(session, schedule, recurrence_id, wanted, caller)


def _commanded(
    session: Session, schedule: Schedule, recurrence_id: datetime, wanted: OccurrenceCommand, caller: Principal
) -> OccurrenceView:
    who = str(caller)
    if (wanted.command == "move") != (wanted.to is not None):
        raise Invalid("`to` goes with the command `move`, and only with it.", command=wanted.command)
    if wanted.to is None:
        row = overrides.cancel_occurrence(
            session, schedule=schedule, recurrence_id=recurrence_id, who=who, why=wanted.why
        )
    else:
        row = overrides.move_occurrence(session, schedule=schedule, recurrence_id=recurrence_id, to=wanted.to, who=who)
    return OccurrenceView.model_validate(row)
