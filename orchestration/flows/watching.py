"""Runs that watch missions to their end: what their page shows meanwhile, and the state that they end in."""

from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from missions import board
from missions.models import MissionStatus
from orchestration import pictures
from orchestration.flows import edge
from orchestration.pictures import Picture
from orchestration.run_page import RunPage

ENDINGS = {MissionStatus.succeeded: Completed, MissionStatus.canceled: Cancelled}
HARMLESS = {MissionStatus.succeeded, MissionStatus.canceled}


async def mission_shown(organisation_id: UUID, mission_id: UUID, *, wait: bool) -> State[Any]:
    """The state for the run that asked for the mission: as the mission ended, or at once when nobody is to `wait`."""
    if wait:
        return mission_ending(await mission_ended(organisation_id, mission_id))
    view = await edge.looked_up(lambda session: board.mission_view(session, organisation_id, mission_id))
    return await asked_for("mission", view.name, view.id, pictures.of_mission(view))


async def round_shown(organisation_id: UUID, round_id: UUID, *, wait: bool) -> State[Any]:
    """The state for the run that asked for the round: as its missions ended, or at once when nobody is to `wait`."""
    if wait:
        return round_ending(await round_ended(organisation_id, round_id))
    view = await edge.looked_up(lambda session: board.round_view(session, organisation_id, round_id))
    return await asked_for("round", view.name, view.id, pictures.of_round(view))


async def mission_ended(organisation_id: UUID, mission_id: UUID) -> board.MissionView:
    """The mission as it is when it has ended; until then the run's page shows how it goes on."""
    page = RunPage(UUID(edge.run_id()), "mission")
    async for _ in edge.looks():
        view = await edge.looked_up(lambda session: board.mission_view(session, organisation_id, mission_id))
        await page.show(pictures.of_mission(view))
        if view.is_finished:
            return view
    raise AssertionError


async def round_ended(organisation_id: UUID, round_id: UUID) -> board.RoundView:
    """The round as it is when all its missions have ended; until then the run's page shows how they go on."""
    page = RunPage(UUID(edge.run_id()), "round")
    told: set[UUID] = set()
    async for _ in edge.looks():
        view = await edge.looked_up(lambda session: board.round_view(session, organisation_id, round_id))
        for mission in view.missions:
            if mission.is_finished and mission.id not in told:
                told.add(mission.id)
                get_run_logger().info("%s: %s (%s)", mission.name, mission.status, mission.reason)
        await page.show(pictures.of_round(view))
        if view.is_finished:
            return view
    raise AssertionError


def mission_ending(view: board.MissionView) -> State[Any]:
    """The state of a run that watched the mission to its end, named as the mission's: Succeeded, Failed, Expired …"""
    message = f"Mission {view.name!r} ended {view.status}: {(view.reason or 'no reason was given').removesuffix('.')}."
    return ENDINGS.get(view.status, Failed)(
        name=pictures.state_name(view.status), message=message, data=pictures.mission_row(view)
    )


def round_ending(view: board.RoundView) -> State[Any]:
    """The state of a run that watched the round to its end.

    Failed when a mission failed, expired or was refused, also when others succeeded (then it is called Partly
    succeeded): somebody should look. Cancelled when all were cancelled.
    """
    statuses = {status for status, count in view.counts.items() if count}
    kind = Completed if statuses <= HARMLESS else Failed
    if statuses == {MissionStatus.canceled}:
        kind = Cancelled
    data = {"round_id": str(view.id), "missions": len(view.missions), "counts": pictures.told(view)}
    return kind(name=pictures.ending_name(view), message=pictures.told(view), data=data)


async def asked_for(key: str, name: str, identity: UUID, picture: Picture) -> State[Any]:
    """The state of a run that only asks and does not wait; its page shows what was asked for."""
    await acreate_markdown_artifact(picture.text, key=key)
    message = f"{key.capitalize()} {name!r} is asked for (id {identity}); nobody waits for its end."
    return Completed(name="Asked for", message=message, data={"id": str(identity)})
