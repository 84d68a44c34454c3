"""Missions from Prefect: request one, or a round of many, and watch them. The database stays the truth about them."""

from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from sqlmodel import Session

from fleet.errors import Invalid
from fleet.organisations import stations_of
from missions import create
from missions.models import MissionCreate
from orchestration.flows import edge
from orchestration.flows.forms import MissionForm, Name, RoundTemplate, inspection_missions, with_key
from orchestration.flows.watching import mission_shown, round_shown
from orchestration.work.places import place

Asked = TypeVar("Asked", bound=MissionCreate)


@flow(name="request-mission", flow_run_name="{mission.name}")
async def request_mission(
    mission: MissionForm, organisation: Name = "demo", site: Name = "north-plant", wait_until_done: bool = True
) -> State[Any]:
    """Ask for one mission; a robot that can do it is found by itself.

    Args:
        mission: What is to be done, stop by stop.
        organisation: Whose robots.
        site: Where.
        wait_until_done: Stay until the mission has ended; cancelling this run then cancels the mission.
    """
    wanted, who = with_key(mission, edge.run_id(), 0), edge.who("request-mission")

    def ask(session: Session) -> tuple[UUID, UUID]:
        owner, found = place(session, organisation, site)
        return owner.id, create.create(session, site=found, wanted=wanted, who=who).id

    organisation_id, mission_id = await edge.written(ask)
    get_run_logger().info("Mission %s is asked for (id %s)", mission.name, mission_id)
    return await mission_shown(organisation_id, mission_id, wait=wait_until_done)


@flow(name="request-round", flow_run_name="{name}")
async def request_round(
    missions: list[MissionForm] | None = None,
    name: Name = "Inspection round",
    template: RoundTemplate = RoundTemplate.listed,
    organisation: Name = "demo",
    site: Name = "north-plant",
    wait_until_done: bool = True,
) -> State[Any]:
    """Ask for many missions at once and watch them to their end.

    Args:
        missions: The missions of the round; leave empty when a template makes them.
        name: What the round is called.
        template: Take the missions listed above, or make one for every inspection point of the site.
        organisation: Whose robots.
        site: Where.
        wait_until_done: Stay until every mission has ended; cancelling this run then cancels what is left of the round.
    """
    run_id, who = edge.run_id(), edge.who("request-round")

    def ask(session: Session) -> tuple[UUID, UUID]:
        owner, found = place(session, organisation, site)
        forms = listed_or_made(session, found.id, missions or [], template)
        wanted = [with_key(mission, run_id, index) for index, mission in enumerate(forms)]
        return owner.id, create.create_round(session, site=found, name=name, key=run_id, missions=wanted, who=who).id

    organisation_id, round_id = await edge.written(ask)
    get_run_logger().info("Round %s is asked for (id %s)", name, round_id)
    return await round_shown(organisation_id, round_id, wait=wait_until_done)


def listed_or_made(
    session: Session, site_id: UUID, listed: Sequence[Asked], template: RoundTemplate
) -> Sequence[Asked | MissionForm]:
    """The missions of a form: those listed, and those that the template makes for the site.

    Raises:
        Invalid: there are none.
    """
    if template is RoundTemplate.inspection:
        return [*listed, *inspection_missions(list(stations_of(session, site_id).values()))]
    if not listed:
        raise Invalid(
            f"missions: the round has none; list some, or take the template {RoundTemplate.inspection.value!r}."
        )
    return listed
