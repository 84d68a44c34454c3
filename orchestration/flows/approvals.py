"""A mission that needs a person's yes: the run waits for it, and carries it out."""

from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.input import RunInput
from prefect.states import Completed
from pydantic import Field, model_validator
from sqlmodel import Session

from fleet.organisations import organisation_named
from missions import board, commands
from missions.models import MissionStatus
from orchestration import pictures
from orchestration.desk_approvals import mission_tag
from orchestration.flows import edge
from orchestration.flows.control import mission_id_of
from orchestration.flows.forms import Name
from orchestration.flows.questions import answer_to

WAIT = timedelta(days=28)


class Decision(StrEnum):
    """What a person decides."""

    approve = "approve"
    reject = "reject"


class Approval(RunInput):
    """The form that Resume opens."""

    decision: Decision = Field(description="Reject cancels the mission.")
    comment: str = Field("", max_length=500, description="Kept with the mission; to reject, say why.")
    your_name: str = Field("", max_length=100, description="Who decides; kept with the mission.")

    @model_validator(mode="after")
    def _says_why(self) -> "Approval":
        if self.decision is Decision.reject and not self.comment.strip():
            raise ValueError("to reject a mission, say why in the comment")
        return self

    @property
    def why(self) -> str:
        """What is kept with the mission."""
        verb = "approved" if self.decision is Decision.approve else "rejected"
        by = f" by {self.your_name.strip()}" if self.your_name.strip() else ""
        return f"{verb}{by}{': ' if self.comment.strip() else ''}{self.comment.strip()}"


@flow(name="approve-mission")
async def approve_mission(mission: Name, organisation: Name = "demo") -> State[Any]:
    """Wait until a person approves or rejects a mission, and carry that out; press Resume to decide.

    Args:
        mission: The mission's id, or its name when only one live mission has it.
        organisation: Whose mission.
    """

    def find(session: Session) -> tuple[UUID, board.MissionView]:
        owner = organisation_named(session, organisation)
        return owner.id, board.mission_view(session, owner.id, mission_id_of(session, owner.id, mission))

    organisation_id, view = await edge.looked_up(find)
    if view.status is not MissionStatus.awaiting_approval:
        return _not_needed(view)
    await _call_the_run_after(view)
    decided = await answer_to(pictures.question(view), Approval, run_id=UUID(edge.run_id()), wait=WAIT)
    return await _carried_out(organisation_id, view.id, decided)


async def _call_the_run_after(view: board.MissionView) -> None:
    name, tag = f"Approve {view.name}", mission_tag(view.id)
    async with get_client() as client:
        run = await client.read_flow_run(UUID(edge.run_id()))
        if tag not in run.tags:
            await client.update_flow_run(run.id, name=name, tags=[*run.tags, tag])


async def _carried_out(organisation_id: UUID, mission_id: UUID, decided: Approval) -> State[Any]:
    command: commands.CommandName = "approve" if decided.decision is Decision.approve else "cancel"
    who = edge.who("approve-mission")

    def decide(session: Session) -> tuple[board.MissionView, bool]:
        view = board.mission_view(session, organisation_id, mission_id)
        if view.status is not MissionStatus.awaiting_approval:
            return view, False
        commands.command(
            session, organisation_id=organisation_id, mission_id=mission_id, command=command, who=who, why=decided.why
        )
        return board.mission_view(session, organisation_id, mission_id), True

    view, is_carried_out = await edge.written(decide)
    if not is_carried_out:
        return _not_needed(view)
    get_run_logger().info("Mission %s: %s", view.name, decided.why)
    name = "Approved" if decided.decision is Decision.approve else "Rejected"
    return Completed(name=name, message=f"Mission {view.name!r} was {decided.why}.", data=pictures.mission_row(view))


def _not_needed(view: board.MissionView) -> State[Any]:
    return Completed(name="Not needed", message=f"Mission {view.name!r} waits for no approval: it is {view.status}.")
