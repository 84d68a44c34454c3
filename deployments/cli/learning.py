"""`yardmaster train`, `score` and `report publish`."""

from datetime import datetime, timedelta
from typing import Annotated

import typer

from deployments.cli.parts import Organisation, Site, opened, show, who

reports = typer.Typer(no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (train, score):
        app.command()(command)


@reports.callback()
def about() -> None:
    """Publish reports."""


def train(organisation: Organisation = "demo", seed: Annotated[int, typer.Option(help="Of the learner.")] = 7) -> None:
    """Train a model of remaining useful life.

    It is tracked and registered in MLflow, and becomes champion if it passes the gate.
    """
    from fleet.organisations import organisation_named
    from fleet.runtime import artifacts_dir, tracking_uri
    from ml.train import train as learn

    runtime = opened()
    with runtime.reading() as session:
        owner = organisation_named(session, organisation)
    result = learn(
        transaction=runtime.transaction,
        objects=runtime.objects,
        organisation_id=owner.id,
        tracking_uri=tracking_uri(runtime.settings),
        artifacts_dir=artifacts_dir(runtime.settings),
        seed=seed,
    )
    typer.echo(f"{result.model_name} version {result.model_version}: {result.reason}")
    typer.echo(
        f"Error {result.rmse_hours:.1f} h RMSE on lives it has not seen (a mean guess: {result.baseline_rmse_hours:.1f} h)"
    )


def score(organisation: Organisation = "demo") -> None:
    """How many hours each robot's drive will go on."""
    from fleet.organisations import organisation_named
    from fleet.runtime import tracking_uri
    from ml.score import score as judge

    runtime = opened()
    with runtime.reading() as session:
        owner = organisation_named(session, organisation)
    found = judge(
        transaction=runtime.transaction,
        objects=runtime.objects,
        organisation_id=owner.id,
        tracking_uri=tracking_uri(runtime.settings),
    )
    rows = [
        (row.robot_id, f"{row.rul_hours:.0f}", f"{row.rul_lower_hours:.0f} - {row.rul_upper_hours:.0f}")
        for row in found
    ]
    show("Remaining useful life in operating hours", ("robot", "expected", "90 % interval"), rows)


@reports.command("publish")
def publish(
    organisation: Organisation = "demo",
    site: Site = "north-plant",
    hours: Annotated[float, typer.Option(min=0.1, help="How far back the period reaches.")] = 24.0,
    until: Annotated[datetime | None, typer.Option(help="End of the period, UTC; default: now.")] = None,
    key: Annotated[str | None, typer.Option(help="Publishing twice with one key makes one report.")] = None,
) -> None:
    """Publish the fleet report of a site as HTML, PDF, CSV and Parquet."""
    from datetime import UTC

    from fleet.organisations import organisation_named, site_named
    from reports.publish import publish as issue

    runtime = opened()
    with runtime.reading() as session:
        owner = organisation_named(session, organisation)
        place = site_named(session, owner.id, site)
    end = until.replace(tzinfo=UTC) if until else runtime.clock.now()
    report = issue(
        transaction=runtime.transaction,
        objects=runtime.objects,
        organisation_id=owner.id,
        site_id=place.id,
        period_from=end - timedelta(hours=hours),
        period_to=end,
        key=key or f"cli/{end.isoformat(timespec='seconds')}",
        who=who(),
    )
    typer.echo(f"{report.title}: {report.id}")
    for form, object_key in sorted(report.files.items()):
        typer.echo(f"  {form}: {object_key}")
