"""Publishing a report in a heavy child: charts and PDF need libraries that the worker does not load."""

from dataclasses import dataclass
from datetime import datetime

from fleet.runtime import dagster_home, open_runtime
from orchestration.work.places import place


@dataclass(frozen=True)
class Published:
    """A report that lies in the object store."""

    report_id: str
    title: str
    formats: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """Which report: the fleet of one site in one period; `key` makes publishing twice one report."""

    organisation: str
    site: str
    period_from: datetime
    period_to: datetime
    key: str
    who: str


def publish_fleet_report(wanted: Wanted) -> Published:
    """Build, render and publish the fleet report of the site."""
    # Imported by the child that needs them: charts, PDF and Dagster cost memory that the worker must not pay.
    from orchestration.assets.events import report_publication  # noqa: PLC0415  see above
    from reports.publish import publish  # noqa: PLC0415  see above

    runtime = open_runtime()
    with runtime.reading() as session:
        organisation, site = place(session, wanted.organisation, wanted.site)
    row = publish(
        transaction=runtime.transaction,
        objects=runtime.objects,
        organisation_id=organisation.id,
        site_id=site.id,
        period_from=wanted.period_from,
        period_to=wanted.period_to,
        key=wanted.key,
        who=wanted.who,
    )
    address = f"{runtime.settings.api_url}/v1/reports/{row.id}"
    report_publication(dagster_home(runtime.settings), report=str(row.id), url=address)
    return Published(str(row.id), row.title, tuple(row.files))
