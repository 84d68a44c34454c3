"""Missions: ask for one, follow it, and say what is wanted of it now."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session, col, select

from api.deps import Operator, Parts, Reader
from api.group_commit import Answered
from api.pages import Listing, Wanted, page_of
from api.problems import described
from api.reception import Reception
from api.strict import StrictRoute
from fleet.robots import Robot
from missions import snapshot
from missions.board import MissionView, mission_view
from missions.commands import CommandName, command
from missions.models import Desired, Mission, MissionCreate, MissionStatus, Text

router = APIRouter(tags=["missions"], route_class=StrictRoute)


class MissionWanted(MissionCreate):
    """A mission at one of your sites."""

    site: Text = Field(description="Name of the site.")

    def mission(self) -> MissionCreate:
        """The mission without its site, which is checked already."""
        return MissionCreate.model_construct(**{name: getattr(self, name) for name in MissionCreate.model_fields})


class MissionListed(BaseModel):
    """A mission in a list; its attempts, tasks and history are in the mission itself."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    key: str
    status: MissionStatus
    desired: Desired
    reason: str
    waiting_for: str = Field("", description="Why it has no robot yet; empty when it waits for none.")
    priority: int
    robot: str | None = Field(None, description="Name of the robot of its newest attempt.")
    round_id: UUID | None
    requested_by: str
    created_at: datetime
    updated_at: datetime


class CommandWanted(BaseModel):
    """What is wanted of a mission now."""

    model_config = ConfigDict(extra="forbid")

    command: CommandName
    task: int | None = Field(None, description="With `skip`: position of the task, from 0; without: the one it is at.")
    why: Text = Field("", max_length=500, description="The reason, for those who read the mission's history.")


@router.get("/v1/missions", responses=described(401, 403, 422))
def list_missions(
    runtime: Parts,
    caller: Reader,
    place: Wanted,
    status: Annotated[MissionStatus | None, Query(description="Only missions that are there.")] = None,
    round_id: Annotated[UUID | None, Query(description="Only missions of this round.")] = None,
) -> Listing[MissionListed]:
    """The missions of your organisation, newest first."""
    conditions = []
    if status is not None:
        conditions.append(Mission.status == status)
    if round_id is not None:
        conditions.append(Mission.round_id == round_id)
    with runtime.reading() as session:
        missions, following = page_of(session, Mission, caller, place, *conditions)
        return Listing(items=_listed(session, missions), next=following)


def _listed(session: Session, missions: Sequence[Mission]) -> list[MissionListed]:
    ids = {mission.robot_id for mission in missions if mission.robot_id is not None}
    names = dict(session.exec(select(Robot.id, Robot.name).where(col(Robot.id).in_(ids))).all())
    waiting_for = snapshot.waiting_for(session, missions)
    return [
        MissionListed.model_validate(
            {
                **mission.model_dump(),
                "robot": names.get(mission.robot_id) if mission.robot_id else None,
                "waiting_for": waiting_for.get(mission.id, ""),
            }
        )
        for mission in missions
    ]


def _reception(request: Request) -> Reception:
    reception = request.app.state.reception
    assert isinstance(reception, Reception)
    return reception


@router.post(
    "/v1/missions", status_code=201, response_model=MissionView, responses=described(401, 403, 404, 409, 422, 503)
)
async def create_mission(
    wanted: MissionWanted, caller: Operator, reception: Annotated[Reception, Depends(_reception)]
) -> Response:
    """Ask for a mission. Asking again with the same `key` gives the same mission (200 instead of 201)."""
    return answer_to(await reception.ask(caller, wanted.site, wanted.mission()))


def answer_to(answered: Answered) -> Response:
    """The mission that was asked for, and where it is found."""
    return Response(
        answered.mission.model_dump_json(),
        status_code=201 if answered.is_new else 200,
        headers={"Location": f"/v1/missions/{answered.mission.id}"},
        media_type="application/json",
    )


@router.get("/v1/missions/{mission_id}", responses=described(401, 403, 404))
def show_mission(mission_id: UUID, runtime: Parts, caller: Reader) -> MissionView:
    """One mission with its attempts, tasks, results and history."""
    with runtime.reading() as session:
        return mission_view(session, caller.organisation_id, mission_id)


@router.post("/v1/missions/{mission_id}/commands", status_code=202, responses=described(401, 403, 404, 409, 422))
def command_mission(mission_id: UUID, wanted: CommandWanted, runtime: Parts, caller: Operator) -> MissionView:
    """Pause, resume, cancel, approve, skip a task, abandon or retry.

    `abandon` says that a lost robot no longer has the order: the robot is held until a person releases it.

    202: it is noted and pursued until the robot's own report agrees; the answer shows the mission as it is now.
    Retrying a mission that has ended answers with the new mission.
    """
    with runtime.transaction() as session:
        mission = command(
            session,
            organisation_id=caller.organisation_id,
            mission_id=mission_id,
            command=wanted.command,
            who=str(caller),
            why=wanted.why,
            task=wanted.task,
        )
        session.flush()
        return mission_view(session, caller.organisation_id, mission.id)
