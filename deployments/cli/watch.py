"""`yardmaster bags watch`: recordings put into a folder are taken into the platform."""

from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.parts import Organisation, opened

if TYPE_CHECKING:
    from fleet.runtime import Runtime
    from ingestion.watching import Doors


def register(bags: typer.Typer) -> None:
    """Add this command to `yardmaster bags`."""
    bags.command("watch")(watch)


def watch(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Where recordings are put.")],
    robot: Annotated[str | None, typer.Option("--robot", "-r", help="Name of the robot that recorded them.")] = None,
    organisation: Organisation = "demo",
    settle_s: Annotated[
        float, typer.Option("--settle", min=0.0, help="Seconds for which size and time of change must rest.")
    ] = 10.0,
    every_s: Annotated[float, typer.Option("--every", min=0.05, help="Seconds between two looks.")] = 2.0,
    is_once: Annotated[
        bool, typer.Option("--once", help="End when everything that can be taken is; 1 when not all could.")
    ] = False,
) -> None:
    """Upload what is put into a folder once it rests; it is moved to done/, or to refused/ with the reason, until Ctrl-C."""
    from ingestion.watching import Watch, alone

    runtime = opened()
    doors = _doors(runtime, organisation, robot)
    with alone(folder), suppress(KeyboardInterrupt):
        seen = Watch(folder, doors, runtime.clock, settle_s=settle_s)
        while True:
            for taken in seen.turn():
                typer.echo(f"{taken.name}: {'refused: ' + taken.reason if taken.reason else taken.sha256}")
            if is_once and not seen.is_waiting:
                raise typer.Exit(1 if seen.left else 0)
            Event().wait(every_s)


def _doors(runtime: "Runtime", organisation: str, robot: str | None) -> "Doors":
    from fleet.organisations import Principal, PrincipalKind, organisation_named
    from fleet.robots import robot_named
    from ingestion.quotas import Limits
    from ingestion.watching import Doors

    chosen = runtime.settings
    with runtime.reading() as session:
        owner = organisation_named(session, organisation).id
        if robot is not None:
            robot_named(session, owner, robot)
    return Doors(
        transaction=runtime.transaction,
        objects=runtime.objects,
        principal=Principal(PrincipalKind.system, "watch", owner),
        limits=Limits(chosen.upload_max_bytes, chosen.stored_max_bytes, chosen.uploads_open_max),
        robot=robot,
    )
