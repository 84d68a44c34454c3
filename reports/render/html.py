"""The report as one HTML file that needs nothing else: no script, no address, styles and charts inside."""

import base64

from jinja2 import Environment, PackageLoader, StrictUndefined

from ml.labels import RUL_CAP_HOURS
from reports import words
from reports.charts import Chart, charts
from reports.content import FleetReport
from reports.summary import findings, tiles

MISSIONS_SHOWN = 500


def html(report: FleetReport) -> bytes:
    """UTF-8 text; everything that came from outside is escaped."""
    page = _environment().get_template("fleet.html")
    text = page.render(
        report=report,
        title=words.title(report),
        period=words.period(report),
        tiles=tiles(report),
        findings=findings(report),
        charts=charts(report, "svg"),
        shown=report.missions[:MISSIONS_SHOWN],
        cap_hours=RUL_CAP_HOURS,
    )
    return text.encode()


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        when=words.when,
        exactly=words.exactly,
        percent=words.percent,
        hours=words.hours,
        duration=words.duration,
        words=words.words,
        data_uri=_data_uri,
    )
    return environment


def _data_uri(chart: Chart) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(chart.image).decode()
