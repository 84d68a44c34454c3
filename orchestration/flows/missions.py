"""Missions from Prefect: request one, request a round, tell one what to do. The database stays the truth about them."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_table_artifact
from sqlmodel import Session, col, select

from fleet.clock import SystemClock
from fleet.errors import Invalid, NotFound, Rejected
from fleet.organisations import organisation_named, stations_of
from missions import board, commands, create
from missions.models import MISSION_TERMINAL, Mission, MissionStatus
from orchestration.artifacts import Progress
from orchestration.flows import edge
from orchestration.flows.forms import (
    MissionCommand,
    MissionForm,
    Name,
    Reason,
    RoundTemplate,
    inspection_missions,
    with_key,
)
from orchestration.work.places import place

OBEYED_S = 60.0
OBEYED = {
    MissionCommand.pause: {MissionStatus.paused},
    MissionCommand.resume: set(MissionStatus) - {MissionStatus.paused},
    MissionCommand.cancel: set(MISSION_TERMINAL),
    MissionCommand.approve: set(MissionStatus) - {MissionStatus.awaiting_approval},
    MissionCommand.retry: set(MissionStatus),
}
Row = dict[str, object]


@flow(name="request-mission", flow_run_name="{mission.name}")
async def request_mission(
    mission: MissionForm, organisation: Name = "demo", site: Name = "north-plant", wait_until_done: bool = True
) -> Row:
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
    view = await _until_done(organisation_id, mission_id, wait_until_done)
    await acreate_table_artifact([_row(view)], key="mission", description=f"Mission {view.name}: {view.status}")
    if wait_until_done and view.status != MissionStatus.succeeded:
        raise Rejected(f"Mission {view.name!r} ended {view.status}: {view.reason or 'no reason was given'}.")
    return _row(view)


async def _until_done(organisation_id: UUID, mission_id: UUID, wait: bool) -> board.MissionView:
    async for _ in edge.looks():
        view = await edge.looked_up(lambda session: board.mission_view(session, organisation_id, mission_id))
        if not wait or view.status in MISSION_TERMINAL:
            return view
    raise AssertionError


@flow(name="request-round", flow_run_name="{name}")
async def request_round(
    missions: list[MissionForm] | None = None,
    name: Name = "Inspection round",
    template: RoundTemplate = RoundTemplate.listed,
    organisation: Name = "demo",
    site: Name = "north-plant",
    wait_until_done: bool = True,
) -> Row:
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
        forms = _forms(session, found.id, missions or [], template)
        wanted = [with_key(mission, run_id, index) for index, mission in enumerate(forms)]
        return owner.id, create.create_round(session, site=found, name=name, key=run_id, missions=wanted, who=who).id

    organisation_id, round_id = await edge.written(ask)
    get_run_logger().info("Round %s is asked for (id %s)", name, round_id)
    view = await _until_round_done(organisation_id, round_id, wait_until_done)
    counts = {str(status): count for status, count in view.counts.items() if count}
    told = ", ".join(f"{count} {status.lower()}" for status, count in counts.items())
    await acreate_table_artifact(
        [_row(mission) for mission in view.missions], key="round", description=f"Round {name}: {told}"
    )
    return {"round_id": str(round_id), "missions": len(view.missions), "counts": counts}


def _forms(
    session: Session, site_id: UUID, listed: list[MissionForm], template: RoundTemplate
) -> Sequence[MissionForm]:
    if template is RoundTemplate.inspection:
        listed = [*listed, *inspection_missions(list(stations_of(session, site_id).values()))]
    if not listed:
        raise Invalid(
            f"missions: the round has none; list some, or take the template {RoundTemplate.inspection.value!r}."
        )
    return listed


async def _until_round_done(organisation_id: UUID, round_id: UUID, wait: bool) -> board.RoundView:
    progress = await Progress.open("round-progress", "Missions of the round that have ended")
    told: set[UUID] = set()
    async for _ in edge.looks():
        view = await edge.looked_up(lambda session: board.round_view(session, organisation_id, round_id))
        for mission in view.missions:
            if mission.is_finished and mission.id not in told:
                told.add(mission.id)
                get_run_logger().info("%s: %s (%s)", mission.name, mission.status, mission.reason)
        await progress.show(len(told), len(view.missions))
        if not wait or view.is_finished:
            return view
    raise AssertionError


@flow(name="control-mission", flow_run_name="{command} {mission}")
async def control_mission(
    mission: Name, command: MissionCommand, reason: Reason = "asked for by an operator", organisation: Name = "demo"
) -> Row:
    """Pause, resume, cancel, approve or retry a mission, and see whether its robot obeyed.

    Args:
        mission: The mission's id, or its name when only one live mission has it.
        command: What it is told.
        reason: Why; it is kept with the mission.
        organisation: Whose mission.
    """
    who = edge.who("control-mission")

    def tell(session: Session) -> tuple[UUID, UUID]:
        owner = organisation_named(session, organisation)
        found = _mission_id(session, owner.id, mission, is_over=command is MissionCommand.retry)
        told = commands.command(
            session, organisation_id=owner.id, mission_id=found, command=command.value, who=who, why=reason
        )
        return owner.id, told.id

    organisation_id, mission_id = await edge.written(tell)
    view = await _until_obeyed(organisation_id, mission_id, command)
    has_obeyed = view.status in OBEYED[command]
    text = "done" if has_obeyed else f"told; not obeyed within {OBEYED_S:g} s, it stays wanted"
    await acreate_table_artifact([_row(view)], key="mission", description=f"{command} {view.name}: {text}")
    get_run_logger().info("%s %s: %s", command, view.name, text)
    return {**_row(view), "obeyed": has_obeyed}


def _mission_id(session: Session, organisation_id: UUID, named: str, *, is_over: bool) -> UUID:
    """The mission of that id, or the one of that name that is live (to retry: that is over; the newest)."""
    try:
        return UUID(named)
    except ValueError:
        over = col(Mission.status).in_(MISSION_TERMINAL)
        query = (
            select(Mission.id)
            .where(Mission.organisation_id == organisation_id, Mission.name == named, over if is_over else ~over)
            .order_by(col(Mission.id).desc())
        )
    found = session.exec(query).all()
    if not found:
        state = "that is over" if is_over else "that is still live"
        raise NotFound(f"mission: there is no mission {named!r} {state}; give its id or another name.")
    if len(found) > 1 and not is_over:
        raise Invalid(f"mission: {len(found)} live missions are called {named!r}; give one id of {found}.")
    return found[0]


async def _until_obeyed(organisation_id: UUID, mission_id: UUID, command: MissionCommand) -> board.MissionView:
    until = SystemClock().now() + timedelta(seconds=OBEYED_S)
    async for _ in edge.looks():
        view = await edge.looked_up(lambda session: board.mission_view(session, organisation_id, mission_id))
        if view.status in OBEYED[command] or SystemClock().now() > until:
            return view
    raise AssertionError


def _row(view: board.MissionView) -> Row:
    return {
        "mission": view.name,
        "status": str(view.status),
        "robot": view.robot or "",
        "attempts": len(view.attempts),
        "reason": view.reason,
        "id": str(view.id),
    }
