"""`yardmaster holds …`."""

from typing import Annotated
from uuid import UUID

import typer

from deployments.cli.parts import AsJson, Organisation, opened, show, show_json, who

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_holds(
    organisation: Organisation = "demo",
    released: Annotated[bool, typer.Option("--released", help="Also those that are released.")] = False,
    as_json: AsJson = False,
) -> None:
    """The holds that keep robots from being given missions."""
    from sqlmodel import col, select

    from fleet.organisations import organisation_named
    from missions.holds import Hold, views

    with opened().reading() as session:
        owner = organisation_named(session, organisation)
        query = select(Hold).where(Hold.organisation_id == owner.id).order_by(col(Hold.id).desc())
        rows = session.exec(query if released else query.where(col(Hold.released_at).is_(None))).all()
        found = views(session, rows)
    if as_json:
        show_json([view.model_dump(mode="json") for view in found])
        return
    cells = [
        (view.id, view.robot or view.site or "the fleet", view.meanwhile, view.reason, view.who, view.released_by)
        for view in found
    ]
    show("Holds", ("id", "holds", "meanwhile", "reason", "put by", "released by"), cells)


@app.command("put")
def put(  # noqa: PLR0913  each one is an option of the command line
    reason: Annotated[str, typer.Argument(help="Why, for those who wonder what a robot waits for.")],
    robot: Annotated[str | None, typer.Option(help="Hold this robot.")] = None,
    site: Annotated[str | None, typer.Option("--site", "-s", help="Hold all robots of this site.")] = None,
    fleet: Annotated[bool, typer.Option("--fleet", help="Hold all robots of the organisation.")] = False,
    meanwhile: Annotated[
        str, typer.Option(help="What becomes of missions under way: finish, pause or cancel.")
    ] = "finish",
    key: Annotated[str | None, typer.Option(help="Asking twice with one key makes one hold.")] = None,
    organisation: Organisation = "demo",
) -> None:
    """Give a robot, a site or the whole fleet nothing new until the hold is released."""
    from uuid import uuid4

    from pydantic import ValidationError

    from fleet.errors import Invalid, complaints
    from fleet.organisations import organisation_named
    from missions.holds import HoldWanted, hold

    scopes = [name for name, is_given in (("robot", robot), ("site", site), ("fleet", fleet)) if is_given]
    if len(scopes) != 1:
        raise Invalid(f"Hold one of --robot, --site and --fleet; given: {', '.join(scopes) or 'none'}.")
    asked = {"scope": scopes[0], "robot": robot, "site": site, "meanwhile": meanwhile, "reason": reason}
    try:
        wanted = HoldWanted.model_validate(asked | {"key": key or f"cli/{uuid4()}"})
    except ValidationError as error:
        raise Invalid("; ".join(complaints(error))) from None
    with opened().transaction() as session:
        owner = organisation_named(session, organisation)
        row = hold(session, organisation_id=owner.id, wanted=wanted, who=who())
        typer.echo(f"{row.id} {'is released' if row.released_at else 'holds'}: {row.reason}")


@app.command("release")
def release(
    hold: Annotated[UUID, typer.Argument(help="Id of the hold, as `holds list` shows it.")],
    organisation: Organisation = "demo",
) -> None:
    """Let what is held be given missions again; what the hold paused goes on."""
    from fleet.organisations import organisation_named
    from missions import holds

    with opened().transaction() as session:
        owner = organisation_named(session, organisation)
        row = holds.release(session, organisation_id=owner.id, hold_id=hold, who=who())
        typer.echo(f"{row.id} is released")
