"""The commands of `yardmaster`, group by group."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from deployments.cli import (
    accounts,
    bags,
    calendar,
    catalogue,
    database,
    gateways,
    holds,
    learning,
    missions,
    platform,
    processes,
    recording_policy,
    robots,
    schedules,
    watch,
)
from deployments.cli.refusals import told


class TellingGroup(TyperGroup):
    """A group that names the value it refuses; Typer alone names only the option and what that wants."""

    def invoke(self, ctx: Any) -> Any:
        """As Typer's."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as refused:
            errors = getattr(refused.__cause__, "errors", None)  # of pydantic, which only a refusal imports
            if errors is not None:
                refused.message += f" (it is {errors()[0]['input']!r:.120})"
            raise


app = typer.Typer(
    name="yardmaster",
    cls=TellingGroup,
    help="Schedules and dispatches missions to robot fleets, keeps what they record, learns from it and reports.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # boxes would double the time of --help
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(missions.app, name="missions", help="Ask for missions, look at them, command them.")
app.add_typer(robots.app, name="robots", help="The fleet: how robots are, how they are reached, what they expose.")
app.add_typer(gateways.app, name="gateways", help="Processes near the robots that hold their links.")
app.add_typer(accounts.app, name="accounts", help="Manufacturers' clouds, and links that gateways open.")
app.add_typer(bags.app, name="bags", help="Recordings: inspect, convert, verify, find, cut, take in.")
catalogue.register(bags.app)
watch.register(bags.app)
app.add_typer(recording_policy.app, name="recording-policy", help="What robots record by themselves, and now.")
app.add_typer(calendar.app, name="calendar", help="Rules of recurrence, right through clock changes.")
app.add_typer(
    schedules.app, name="schedules", help="Rounds again and again: ask for them, change them, see what comes."
)
app.add_typer(holds.app, name="holds", help="Keep robots from being given missions, and let them go again.")
app.add_typer(schedules.blackouts, name="blackouts", help="Times at which nothing starts at a site.")
app.add_typer(database.app, name="db", help="Our own database: migrate, seed, check.")
app.add_typer(learning.reports, name="report", help="Publish reports.")
for part in (platform, learning, processes):
    part.register(app)


@app.callback()
def choose_folder(
    var: Annotated[
        Path | None, typer.Option(help="Folder of the installation (default: YARDMASTER_VAR_DIR, or var).")
    ] = None,
) -> None:
    """Every command works on the installation in one folder."""
    if var is not None:
        from fleet.settings import set_environment

        set_environment({"YARDMASTER_VAR_DIR": str(var.resolve())})


def run() -> None:
    """Run one command; what we raise on purpose becomes one sentence on standard error and exit code 2."""
    with told():
        app()
