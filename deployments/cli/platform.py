"""`yardmaster up`, `demo`, `simulate` and `doctor`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from deployments.local import Platform

PortBase = Annotated[
    int | None, typer.Option(help="Use this port and the three after it; default: the usual ones, or free ones.")
]
Robots = Annotated[int, typer.Option(min=1, max=200, help="How many robots the simulated site has.")]
Speed = Annotated[float, typer.Option(min=0.1, max=1000, help="Simulated seconds per second.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (up, demo, simulate, doctor):
        app.command()(command)


def up(
    port_base: PortBase = None,
    robots: Robots = 4,
    speed: Speed = 20.0,
    site: Annotated[bool, typer.Option(help="With the simulated site, or without.")] = True,
) -> None:
    """The whole platform on this machine, until Ctrl-C.

    Prefect server, worker and desk, dispatcher, API, a gateway and a simulated site, all on loopback.
    """
    from deployments.local import Wanted, launched
    from fleet.settings import read_settings

    var = read_settings().var_dir
    wanted = Wanted(var, port_base, robots, {"speed": speed} if site else None)
    try:
        with launched(wanted, say=typer.echo) as platform:
            typer.echo(_addresses(platform))
            while True:
                platform.supervisor.check()
                time.sleep(0.5)
    except KeyboardInterrupt:
        typer.echo("Stopped; nothing is left running.")


def _addresses(platform: "Platform") -> str:
    from deployments.local import own_command, shown

    var, command = platform.var, f"{own_command()} --var {shown(platform.var)}"
    return "\n".join(
        (
            "",
            "Yardmaster is up. Ctrl-C stops it.",
            f"  Prefect pages        {platform.prefect_url}",
            f"  API documentation    {platform.api_url}/docs",
            f"  Simulated site       {platform.site_url}",
            f"  Its robots           ROS 2 in DDS domain {platform.links.domain}{_vehicle(platform)}",
            f"  Tokens               {shown(var / 'tokens.json')}",
            f"  Logs                 {shown(var / 'logs')}",
            f"  Open MLflow          {command} mlflow",
            f"  Open Dagster         {command} dagster",
            f"  Missions             {command} missions list",
            "",
        )
    )


def _vehicle(platform: "Platform") -> str:
    url = platform.links.mqtt_url
    return f"; the last one VDA 5050 at {url}" if url else "; none VDA 5050: mosquitto is not installed"


def demo(
    bags: Annotated[
        Path | None, typer.Option(exists=True, help="Real recordings (a file or a folder) to take in too.")
    ] = None,
    port_base: PortBase = None,
    speed: Speed = 20.0,
) -> None:
    """One night at a simulated site, end to end.

    Every stage is checked by what it left behind; exit code 0 only if all held.
    """
    from deployments.demo.run import run
    from fleet.settings import read_settings

    raise typer.Exit(run(read_settings().var_dir / "demo", bags=bags, port_base=port_base, speed=speed))


def simulate(
    options: Annotated[
        Path | None, typer.Option(exists=True, help="JSON with every option, secrets too (mode 600).")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Where the site's cloud listens on loopback.")] = 8100,
    robots: Robots = 4,
    speed: Speed = 20.0,
    seed: Annotated[int, typer.Option(help="The same seed and orders give the same night.")] = 7,
    domain: Annotated[
        int | None, typer.Option(min=0, max=232, help="The robots speak ROS 2 in this DDS domain, on loopback.")
    ] = None,
) -> None:
    """Only the simulated site: its cloud and its robots. Secrets come from --options, or from tokens.json."""
    from pydantic import ValidationError

    from fleet.adapters.simulated.site import SiteOptions, serve
    from fleet.errors import Invalid
    from fleet.logs import configure_logs
    from fleet.settings import read_settings

    settings = read_settings()
    configure_logs(level=settings.log_level, form=settings.log_format)
    if options is not None:
        try:
            wanted = SiteOptions.model_validate_json(options.read_bytes())
        except ValidationError as error:  # without the values: secrets are among them
            wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise Invalid(f"{options} holds no options of a site: {wrong}") from None
        serve(wanted)
        return
    from deployments.access import access_of
    from deployments.links import Links

    access = access_of(settings.var_dir)
    serve(
        SiteOptions(
            port=port,
            robots=robots,
            speed=speed,
            seed=seed,
            api_url=settings.api_url,
            device_token=access.device_token,
            webhook_url=f"{settings.api_url}/v1/webhooks/{access.account_id}",
            webhook_secret=access.webhook_secret,
            credential=access.credential,
            bags_dir=settings.var_dir / "site",
            ros2_url="" if domain is None else Links(domain).ros2_url,
        )
    )


def doctor() -> None:
    """What may keep the platform from working.

    Looks at Python, the disk, the ports, the broker, the database, the servers and the robots' links; exit code 1
    when something needs care.
    """
    from deployments.cli.parts import show
    from deployments.doctor import examine
    from fleet.settings import read_settings

    findings = examine(read_settings())
    show("Doctor", ("what", "found", "advice"), [(row.what, row.found, row.advice or "fine") for row in findings])
    raise typer.Exit(1 if any(row.advice for row in findings) else 0)
