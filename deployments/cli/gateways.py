"""`yardmaster gateways …`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from deployments.cli.parts import AsJson, Organisation, Site, opened, show, show_json

if TYPE_CHECKING:
    from sqlmodel import Session

    from fleet.accounts import ManufacturerAccount

app = typer.Typer(no_args_is_help=True)
Accounts = Annotated[list[str], typer.Option("--account", "-a", help="An account it serves; repeat it for more.")]
Name = Annotated[str, typer.Argument(help="What people call the gateway.")]


@app.command("add")
def add(
    name: Name,
    account: Accounts,
    organisation: Organisation = "demo",
    site: Site = "north-plant",
    token_file: Annotated[
        Path | None, typer.Option(help="Write the token there (mode 600), not to the screen.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="A new token for one that is there; the old one is void.")
    ] = False,
) -> None:
    """Let a gateway dial in: it gets a token of its own, which is shown once."""
    from deployments.access import write_secret
    from fleet import gateways
    from fleet.organisations import organisation_named, site_named

    runtime = opened()
    now = runtime.clock.now()
    with runtime.transaction() as session:
        owner = organisation_named(session, organisation)
        served = [_push_account(session, owner.id, one) for one in account]
        if again:
            row = gateways.gateway_named(session, owner.id, name)
            token = gateways.renew_token(session, row, now=now)
            gateways.assign(session, row, served)
        else:
            _, token = gateways.add_gateway(session, site_named(session, owner.id, site), name, served, now=now)
    if token_file is not None:
        write_secret(token_file, token)
    typer.echo(f"{name} may dial in. Its token: {token_file or token}")


@app.command("list")
def list_gateways(organisation: Organisation = "demo", as_json: AsJson = False) -> None:
    """The gateways, whom they serve, and whether they are there."""
    from sqlmodel import select

    from fleet.gateways import Gateway
    from fleet.link_views import gateway_views
    from fleet.organisations import organisation_named

    with opened().reading() as session:
        owner = organisation_named(session, organisation)
        rows = session.exec(select(Gateway).where(Gateway.organisation_id == owner.id).order_by(Gateway.name)).all()
        found = gateway_views(session, rows)
    if as_json:
        show_json([view.model_dump(mode="json") for view in found])
        return
    cells = [
        (
            view.name,
            view.site,
            ", ".join(view.accounts),
            "revoked" if view.revoked_at else "there" if view.is_there else "away",
            view.robots,
            view.seen_at.isoformat(timespec="seconds") if view.seen_at else "never",
        )
        for view in found
    ]
    show("Gateways", ("name", "site", "accounts", "is", "robots", "seen"), cells)


@app.command("show")
def show_gateway(name: Name, organisation: Organisation = "demo", as_json: AsJson = False) -> None:
    """One gateway, and how well it hears each robot that it holds."""
    from sqlmodel import col, select

    from fleet.gateways import RobotLink, gateway_named
    from fleet.link_views import gateway_views, link_view
    from fleet.organisations import organisation_named
    from fleet.robots import Robot

    with opened().reading() as session:
        owner = organisation_named(session, organisation)
        row = gateway_named(session, owner.id, name)
        query = select(Robot).join(RobotLink, col(RobotLink.robot_id) == col(Robot.id))
        robots = session.exec(query.where(RobotLink.gateway_id == row.id).order_by(Robot.name)).all()
        view = gateway_views(session, [row])[0]
        links = [link_view(session, robot) for robot in robots]
    if as_json:
        told = [link.model_dump(mode="json", exclude={"endpoints"}) for link in links]
        show_json(view.model_dump(mode="json") | {"links": told})
        return
    cells = [
        (
            link.robot,
            link.address,
            "yes" if link.is_held else "no",
            link.hearing or "",
            " ".join(link.refusals) or link.why,
        )
        for link in links
    ]
    show(f"{view.name}: {'there' if view.is_there else 'away'}", ("robot", "address", "held", "heard", "remark"), cells)


@app.command("revoke")
def revoke(name: Name, organisation: Organisation = "demo") -> None:
    """Shut a gateway out: its token is void, its robots are free for other gateways."""
    from fleet import gateways
    from fleet.organisations import organisation_named

    runtime = opened()
    with runtime.transaction() as session:
        owner = organisation_named(session, organisation)
        row = gateways.gateway_named(session, owner.id, name)
        gateways.revoke(session, row, now=runtime.clock.now())
    typer.echo(f"{name} is revoked")


@app.command("run")
def run(
    url: Annotated[str, typer.Option(help="The platform's link, such as wss://yard.example/v1/link.")],
    token_file: Annotated[Path, typer.Option(help="File with the token that `gateways add` gave.")],
    journal: Annotated[Path, typer.Option(help="File in which this gateway remembers.")] = Path("gateway.db"),
    ca: Annotated[Path | None, typer.Option(help="Certificates to trust instead of the system's.")] = None,
) -> None:
    """Be a gateway, until Ctrl-C. It needs no database: only the robots' network and the way out to the platform."""
    from deployments.cli.processes import become

    more = ("--ca", str(ca)) if ca is not None else ()
    become("orchestration.gateway", "--url", url, "--token-file", str(token_file), "--journal", str(journal), *more)


def _push_account(session: "Session", organisation_id: UUID, name: str) -> "ManufacturerAccount":
    from fleet.accounts import account_named
    from fleet.adapters import push_manufacturers
    from fleet.errors import Invalid

    account = account_named(session, organisation_id, name)
    if account.manufacturer not in push_manufacturers():
        known = ", ".join(sorted(push_manufacturers()))
        raise Invalid(f"The account {name!r} is of {account.manufacturer}, which no gateway serves; only {known} are.")
    return account
