"""Learning from the lake, and the reports that tell what was learnt."""

from datetime import datetime, timedelta
from typing import Annotated

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_link_artifact, acreate_markdown_artifact, acreate_table_artifact
from prefect.runtime import flow_run
from pydantic import AwareDatetime, Field

from fleet.errors import Invalid
from fleet.organisations import organisation_named
from fleet.runtime import tracking_uri
from orchestration.artifacts import Progress
from orchestration.flows import edge
from orchestration.flows.forms import Name
from orchestration.work.learning import Learned, learn
from orchestration.work.places import place
from orchestration.work.reporting import Published, Wanted, publish_fleet_report

TRAIN_TIMEOUT_S = 3600.0
PUBLISH_TIMEOUT_S = 600.0
DAY = timedelta(days=1)
EARLIEST = 1970  # recordings on simulated time begin then
Row = dict[str, object]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]


@flow(name="train-rul")
async def train_rul(organisation: Name = "demo", seed: Seed = 7) -> Row:
    """Learn how many operating hours each drive has left, and score every robot.

    Args:
        organisation: Whose recordings and failures are learnt from.
        seed: The same data and seed give the same model.
    """
    await edge.looked_up(lambda session: organisation_named(session, organisation))  # refused at once, not by a child
    progress = await Progress.open("training-progress", "Trained, then scored")
    learned = await edge.in_child(learn, organisation, seed, timeout_s=TRAIN_TIMEOUT_S, told=progress.show)
    await progress.show(1, 1)
    get_run_logger().info("%s", learned.training["reason"])
    await acreate_table_artifact(_metrics(learned), key="training", description="What this training came to")
    await _show_model(learned)
    return {"robots_scored": learned.robots, **learned.training}


def _metrics(learned: Learned) -> list[Row]:
    shown = {**learned.training, "robots_scored": learned.robots}
    if learned.why_none:
        shown["why_no_robot_was_scored"] = learned.why_none
    return [{"what": name.replace("_", " "), "value": _rounded(value)} for name, value in shown.items()]


def _rounded(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else str(value)


async def _show_model(learned: Learned) -> None:
    found, store = learned.training, tracking_uri(edge.runtime().settings)
    name, version = found["model_name"], found["model_version"]
    page = f"#/experiments/{found['experiment_id']}/runs/{found['run_id']}"
    if store.startswith(("http://", "https://")):
        await acreate_link_artifact(
            f"{store.rstrip('/')}/{page}",
            key="model",
            link_text="Open the run in MLflow",
            description=f"{name} {version}",
        )
    else:  # MLflow's pages are opened on demand, so there is no address yet that a link could lead to
        text = f"Model **{name}** version **{version}**. Open MLflow with `yardmaster mlflow`, then go to `{page}`."
        await acreate_markdown_artifact(text, key="model", description=f"{name} {version}")


@flow(name="publish-report")
async def publish_report(
    organisation: Name = "demo",
    site: Name = "north-plant",
    period_from: AwareDatetime | None = None,
    period_to: AwareDatetime | None = None,
    key: str = "",
) -> Row:
    """Publish the fleet report of a site for customers to download.

    Args:
        organisation: Whose fleet.
        site: Which site.
        period_from: Begin of the period; empty: 24 hours before its end.
        period_to: End of the period; empty: the time for which this run was scheduled.
        key: Leave empty. The same key gives the same report, also when it is asked for twice.
    """
    await edge.looked_up(lambda session: place(session, organisation, site))  # refused at once, not by a child
    upto = period_to or flow_run.scheduled_start_time
    if upto.year < EARLIEST:
        raise Invalid(f"period_to: {upto.isoformat()} is before the year {EARLIEST}; choose a later end.")
    since = period_from or upto - DAY
    if since >= upto:
        raise Invalid(f"period_from: {since.isoformat()} is not before period_to ({upto.isoformat()}).")
    wanted = Wanted(organisation, site, since, upto, key or edge.run_id(), edge.who("publish-report"))
    report = await edge.in_child(publish_fleet_report, wanted, timeout_s=PUBLISH_TIMEOUT_S)
    await _show_report(report, since, upto)
    return {"report_id": report.report_id, "title": report.title, "formats": list(report.formats)}


async def _show_report(report: Published, since: datetime, upto: datetime) -> None:
    address = f"{edge.runtime().settings.api_url}/v1/reports/{report.report_id}"
    rows = [{"format": name, "address": f"{address}/files/{name}"} for name in report.formats]
    period = f"{report.title}, {since:%Y-%m-%d %H:%M} to {upto:%Y-%m-%d %H:%M} UTC"
    await acreate_table_artifact(rows, key="report-files", description=period)
    await acreate_link_artifact(address, key="report", link_text=report.title, description=period)
