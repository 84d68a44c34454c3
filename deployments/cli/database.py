"""`yardmaster db …`."""

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)


@app.command("migrate")
def migrate() -> None:
    """Bring the database to the newest migration, forward only."""
    from deployments.schema import migrate as bring_up
    from fleet.runtime import open_runtime

    runtime = open_runtime()
    bring_up(runtime.engine)
    typer.echo("The database is up to date.")


@app.command("seed")
def seed(
    site_url: Annotated[str, typer.Option(help="Where the site's cloud answers.")] = "http://127.0.0.1:8100",
    robots: Annotated[int, typer.Option(min=1, max=1000, help="How many robots the site has.")] = 4,
    domain: Annotated[
        int | None, typer.Option(min=0, max=232, help="Command the robots over ROS 2 in this DDS domain.")
    ] = None,
    mqtt_url: Annotated[str, typer.Option(help="With --domain: the last robot over VDA 5050 and this broker.")] = "",
) -> None:
    """Migrate, then make the organisation "demo" with its site, robots, account and tokens; again is harmless."""
    from deployments.access import read_access, write_access
    from deployments.links import Links
    from deployments.schema import migrate as bring_up
    from deployments.seed import seed as plant
    from fleet.adapters.simulated import site_map
    from fleet.runtime import open_runtime

    runtime = open_runtime()
    bring_up(runtime.engine)
    folder = runtime.settings.var_dir
    with runtime.transaction() as session:
        known = read_access(folder)
        fleet = site_map.robots(robots)
        links = None if domain is None else Links(domain, mqtt_url)
        now = runtime.clock.now()
        access = plant(session, now=now, site_url=site_url, robots=fleet, known=known, links=links)
    path = write_access(folder, access)
    typer.echo(f"Organisation {access.organisation!r} with site {access.site!r} is there; the tokens are in {path}.")


@app.command("check")
def check() -> None:
    """Whether the database answers, is at the newest migration and is undamaged; exit code 2 when not."""
    from deployments.cli.parts import opened
    from deployments.schema import damage
    from fleet.errors import Unavailable

    found = damage(opened().engine)
    if found:
        raise Unavailable("The database is damaged: " + "; ".join(found) + ". Restore it from a backup.")
    typer.echo("The database answers, is up to date and undamaged.")
