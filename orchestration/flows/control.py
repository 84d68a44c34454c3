"""Telling missions and rounds what to do: the path that is always open, whatever became of the run that asked for them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed
from sqlmodel import Session, col, select

from fleet.clock import SystemClock
from fleet.errors import Conflict, Invalid, NotFound
from fleet.organisations import organisation_named
from missions import board, commands
from missions.models import ATTEMPT_TERMINAL, MISSION_TERMINAL, Desired, Mission, MissionStatus, Recall, Round
from orchestration import pictures
from orchestration.flows import edge
from orchestration.flows.forms import MissionCommand, Name, Reason, RoundCommand, TaskNumber
from orchestration.run_page import RunPage

OBEYED_S = 60.0
GOES_ON = "Running"
NAMED_MAX = 20  # ids in a message
WITH_ROBOT = {MissionStatus.assigned, MissionStatus.running}
DISOBEYS = {  # where a mission is as long as what it was told has not been done
    MissionCommand.pause: WITH_ROBOT,
    MissionCommand.resume: {MissionStatus.paused},
    MissionCommand.cancel: set(MissionStatus) - MISSION_TERMINAL,
    MissionCommand.approve: {MissionStatus.awaiting_approval},
}


@flow(name="control-mission", flow_run_name="{command} {mission}")
async def control_mission(
    mission: Name,
    command: MissionCommand,
    reason: Reason = "asked for by an operator",
    task: TaskNumber | None = None,
    organisation: Name = "demo",
) -> State[Any]:
    """Pause, resume, cancel, approve, retry, skip a task of, or abandon a mission, and see whether its robot obeyed.

    Args:
        mission: The mission's id, or its name when only one live mission has it.
        command: What it is told. Abandon: its robot is lost and a person knows that it no longer has the order.
        reason: Why; it is kept with the mission.
        task: To skip: the number of the task as the mission's page shows it, from 0; empty: the one it is at.
        organisation: Whose mission.
    """
    who = edge.who("control-mission")

    def tell(session: Session) -> tuple[UUID, UUID]:
        owner = organisation_named(session, organisation)
        found = mission_id_of(session, owner.id, mission, is_over=command is MissionCommand.retry)
        told = commands.command(
            session, organisation_id=owner.id, mission_id=found, command=command.value, who=who, why=reason, task=task
        )
        return owner.id, told.id

    organisation_id, mission_id = await edge.written(tell)
    view = await _until_obeyed(organisation_id, mission_id, command)
    name = "Done" if has_obeyed(view, command) and not _has_no_effect(view, command) else "Told"
    text = f"{command} {view.name}: it is {view.status}."
    if _has_no_effect(view, command):
        text += f" It is being cancelled, so {command} has no effect; retry makes a new one when it has ended."
    elif name == "Told":
        text += f" The robot has not obeyed within {OBEYED_S:g} s; it is told until it does."
    get_run_logger().info(text)
    return Completed(name=name, message=text, data=pictures.mission_row(view))


@flow(name="control-round", flow_run_name="{command} {round}")
async def control_round(
    round: Name, command: RoundCommand, reason: Reason = "asked for by an operator", organisation: Name = "demo"
) -> State[Any]:
    """Pause, resume or cancel everything that is left of a round.

    Args:
        round: The round's id, or its name: then the newest of that name.
        command: What its missions are told.
        reason: Why; it is kept with every mission.
        organisation: Whose round.
    """
    who = edge.who("control-round")

    def tell(session: Session) -> tuple[UUID, UUID, list[str]]:
        owner = organisation_named(session, organisation)
        found = _round_id(session, owner.id, round)
        live = (Mission.round_id == found, col(Mission.status).not_in(MISSION_TERMINAL))
        left = session.exec(select(Mission).where(*live).order_by(col(Mission.id))).all()
        return owner.id, found, [name for one in left if (name := _told(session, one, command, who, reason))]

    organisation_id, round_id, told = await edge.written(tell)
    view = await edge.looked_up(lambda session: board.round_view(session, organisation_id, round_id))
    await RunPage(UUID(edge.run_id()), "round").show(replace(pictures.of_round(view), state=GOES_ON))
    text = f"{command} {view.name}: {len(told)} of its {len(view.missions)} missions were told ({pictures.told(view)})."
    get_run_logger().info(text)
    return Completed(name="Told" if told else "Nothing left", message=text)


def _told(session: Session, mission: Mission, command: RoundCommand, who: str, why: str) -> str:
    if mission.desired is Desired.cancel and command is not RoundCommand.cancel:
        return ""  # it would have no effect
    try:
        commands.command(
            session,
            organisation_id=mission.organisation_id,
            mission_id=mission.id,
            command=command.value,
            who=who,
            why=why,
        )
    except Conflict:
        return ""  # it ended
    return mission.name


def mission_id_of(session: Session, organisation_id: UUID, named: str, *, is_over: bool = False) -> UUID:
    """The mission of that id, or the one of that name that is live (with `is_over`: that has ended; the newest).

    Raises:
        NotFound: none is called so.
        Conflict: those called so are all over (with `is_over`: none is).
        Invalid: several live ones are; names their ids.
    """
    try:
        return UUID(named)
    except ValueError:
        same = (Mission.organisation_id == organisation_id, Mission.name == named)
    newest = select(Mission).where(*same).order_by(col(Mission.id).desc())
    over = col(Mission.status).in_(MISSION_TERMINAL)
    found = session.exec(newest.where(over if is_over else ~over).limit(NAMED_MAX)).all()
    if not found:
        raise _none_of(session.exec(newest.limit(1)).first(), named)
    if len(found) > 1 and not is_over:
        ids = ", ".join(str(mission.id) for mission in found)
        more = " or more" if len(found) == NAMED_MAX else ""
        raise Invalid(f"mission: {len(found)}{more} live missions are called {named!r}; give one id of: {ids}.")
    return found[0].id


def _none_of(newest: Mission | None, named: str) -> NotFound | Conflict:
    if newest is None:
        return NotFound(f"mission: there is no mission {named!r}; give its id or another name.")
    if newest.status in MISSION_TERMINAL:
        return Conflict(
            f"mission: {named!r} has ended ({newest.status}: {newest.reason}); there is no mission of that name that is "
            "still live. If it did not succeed, retry makes a new one.",
            mission=str(newest.id),
        )
    return Conflict(
        f"mission: {named!r} is {newest.status}; there is no mission of that name that is over.", mission=str(newest.id)
    )


def _round_id(session: Session, organisation_id: UUID, named: str) -> UUID:
    try:
        return UUID(named)
    except ValueError:
        same = (Round.organisation_id == organisation_id, Round.name == named)
        found = session.exec(select(Round.id).where(*same).order_by(col(Round.id).desc())).first()
    if found is None:
        raise NotFound(f"round: there is no round {named!r}; give its id or another name.")
    return found


async def _until_obeyed(organisation_id: UUID, mission_id: UUID, command: MissionCommand) -> board.MissionView:
    until = SystemClock().now() + timedelta(seconds=OBEYED_S)
    page = RunPage(UUID(edge.run_id()), "mission")
    async for _ in edge.looks():
        view = await edge.looked_up(lambda session: board.mission_view(session, organisation_id, mission_id))
        await page.show(replace(pictures.of_mission(view), state=GOES_ON))
        if has_obeyed(view, command) or _has_no_effect(view, command) or SystemClock().now() > until:
            return view
    raise AssertionError


def has_obeyed(view: board.MissionView, command: MissionCommand) -> bool:
    """Whether what the mission was told is done: a skip when its robot has left the task, if it was at it (pure)."""
    if command is MissionCommand.skip:
        return not any(one.recall is Recall.skip and one.status not in ATTEMPT_TERMINAL for one in view.attempts)
    return view.status not in DISOBEYS.get(command, ())


def _has_no_effect(view: board.MissionView, command: MissionCommand) -> bool:
    """Whether the command changes nothing, because the mission is being cancelled."""
    is_canceling = view.desired is Desired.cancel and not view.is_finished
    return is_canceling and command.value in commands.NO_EFFECT_BESIDE_CANCEL
