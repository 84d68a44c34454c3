"""`yardmaster missions …`."""

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from deployments.cli.parts import AsJson, Organisation, Site, opened, show, show_json, who

if TYPE_CHECKING:
    from missions.commands import CommandName
    from missions.models import MissionCreate

app = typer.Typer(no_args_is_help=True)
MissionId = Annotated[UUID, typer.Argument(help="Id of the mission, as `missions list` shows it.")]
Why = Annotated[str, typer.Option(help="The reason, kept with the change.")]


@app.command("list")
def list_missions(
    organisation: Organisation = "demo",
    status: Annotated[str | None, typer.Option(help="Only this status, such as RUNNING.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: AsJson = False,
) -> None:
    """The newest missions."""
    from fleet.errors import Invalid
    from fleet.organisations import organisation_named
    from missions import board
    from missions.models import MissionStatus

    if status is not None and status.upper() not in {known.value for known in MissionStatus}:
        known = ", ".join(member.value for member in MissionStatus)
        raise Invalid(f"There is no status {status!r}; known: {known}.", status=status)
    wanted = MissionStatus(status.upper()) if status else None
    with opened().reading() as session:
        owner = organisation_named(session, organisation)
        found = board.missions_of(session, owner.id, status=wanted, limit=limit)
    if as_json:
        show_json([view.model_dump(mode="json") for view in found])
        return
    rows = [
        (view.id, view.name, view.status, view.robot, len(view.attempts), view.waiting_for or view.reason)
        for view in found
    ]
    show("Missions", ("id", "name", "status", "robot", "attempts", "reason"), rows)


@app.command("show")
def show_mission(mission: MissionId, organisation: Organisation = "demo") -> None:
    """Everything about one mission, as JSON: tasks, attempts, results, and who changed what, when and why."""
    from fleet.organisations import organisation_named
    from missions import board

    with opened().reading() as session:
        owner = organisation_named(session, organisation)
        show_json(board.mission_view(session, owner.id, mission).model_dump(mode="json"))


@app.command("request")
def request(  # noqa: PLR0913  each one is an option of the command line
    name: Annotated[str, typer.Argument(help="What people call it.")],
    visit: Annotated[list[str], typer.Option(help="A station to visit and read; repeat it for more.")],
    organisation: Organisation = "demo",
    site: Site = "north-plant",
    robot: Annotated[str | None, typer.Option(help="Only this robot; default: whichever fits best.")] = None,
    capability: Annotated[list[str] | None, typer.Option(help="What the robot must be able to do.")] = None,
    priority: Annotated[int, typer.Option(min=-100, max=100, help="Higher goes first.")] = 0,
    key: Annotated[str | None, typer.Option(help="Asking twice with one key makes one mission.")] = None,
) -> None:
    """Ask for a mission; the dispatcher gives it to a robot."""
    from uuid import uuid4

    from fleet.organisations import organisation_named, site_named
    from missions.create import create

    wanted = _wanted(name, visit, key or f"cli/{uuid4()}", robot, capability or [])
    wanted = wanted.model_copy(update={"priority": priority})
    with opened().transaction() as session:
        place = site_named(session, organisation_named(session, organisation).id, site)
        mission = create(session, site=place, wanted=wanted, who=who())
        typer.echo(f"{mission.id} {mission.status.value} {mission.reason}".rstrip())


def _wanted(name: str, visit: list[str], key: str, robot: str | None, capabilities: list[str]) -> "MissionCreate":
    from pydantic import ValidationError

    from fleet.adapter import TaskKind
    from fleet.errors import Invalid, complaints
    from missions.models import MissionCreate, TaskCreate

    try:
        stops = [TaskCreate(kind=kind, station=at) for at in visit for kind in (TaskKind.go_to, TaskKind.reading)]
        return MissionCreate(name=name, tasks=stops, key=key, robot=robot, required_capabilities=capabilities)
    except ValidationError as error:
        raise Invalid("; ".join(complaints(error))) from None


@app.command("cancel")
def cancel(mission: MissionId, why: Why = "asked for on the command line", organisation: Organisation = "demo") -> None:
    """End a mission; its robot stops."""
    _command(organisation, mission, "cancel", why)


@app.command("pause")
def pause(mission: MissionId, why: Why = "asked for on the command line", organisation: Organisation = "demo") -> None:
    """Hold a mission where it is."""
    _command(organisation, mission, "pause", why)


@app.command("resume")
def resume(mission: MissionId, why: Why = "asked for on the command line", organisation: Organisation = "demo") -> None:
    """Let a paused mission go on."""
    _command(organisation, mission, "resume", why)


@app.command("skip")
def skip(
    mission: MissionId,
    task: Annotated[
        int | None, typer.Option(min=0, help="Number of the task, from 0; default: the one it is at.")
    ] = None,
    why: Why = "asked for on the command line",
    organisation: Organisation = "demo",
) -> None:
    """Leave out a task of a mission; it goes on behind it."""
    _command(organisation, mission, "skip", why, task=task)


@app.command("abandon")
def abandon(
    mission: MissionId, why: Why = "asked for on the command line", organisation: Organisation = "demo"
) -> None:
    """Say that the lost robot of a mission no longer has its order; the robot is held until it is released."""
    _command(organisation, mission, "abandon", why)


@app.command("approve")
def approve(
    mission: MissionId, why: Why = "asked for on the command line", organisation: Organisation = "demo"
) -> None:
    """Let a mission begin that waits for a person's approval."""
    _command(organisation, mission, "approve", why)


@app.command("retry")
def retry(mission: MissionId, why: Why = "asked for on the command line", organisation: Organisation = "demo") -> None:
    """Ask again for a mission that ended without success; it begins where that one ended."""
    _command(organisation, mission, "retry", why)


def _command(organisation: str, mission: UUID, wish: "CommandName", why: str, *, task: int | None = None) -> None:
    from fleet.organisations import organisation_named
    from missions.commands import command

    with opened().transaction() as session:
        owner = organisation_named(session, organisation)
        row = command(
            session, organisation_id=owner.id, mission_id=mission, command=wish, who=who(), why=why, task=task
        )
        typer.echo(f"{row.id} is {row.status.value}, wanted: {row.desired.value}")
