"""Charts, page and print at the edges: nothing recorded, very much recorded, and names that would break a layout."""

import io
from datetime import UTC, datetime, timedelta
from uuid import UUID
from xml.etree import ElementTree

import pypdf
import pytest

from missions.models import MissionStatus
from reports.charts import ROBOTS_SHOWN, charts
from reports.content import CareLine, FleetReport, HappeningLine, MissionLine, RobotLine, WorkSpan
from reports.render.html import html
from reports.render.pdf import MISSIONS_SHOWN, pdf

BEGIN = datetime(2026, 3, 1, 23, 0, tzinfo=UTC)
NASTY = [
    "$x_1$ \\frac{",
    "<b>&amp;</b> 'quoted' \"twice\"",
    "{{ 7*7 }} {% raw %}",
    "Prüfstand Ω ≤ 5 µm",
    "w" * 180,
]


@pytest.fixture
def robot():
    """A robot line by name."""

    def of(name, battery=0.5):
        return RobotLine(
            name=name,
            model="AMR",
            executing_hours=3.0,
            utilisation_fraction=0.125,
            succeeded=3,
            failed_attempts=1,
            activity="idle",
            battery_fraction=battery,
            observed_at=BEGIN,
            battery_low_events=0,
        )

    return of


@pytest.fixture
def report(robot):
    """A report with this many robots and missions, whose names are made by `name`."""

    def of(robots=0, missions=0, name="mission {}".format, **parts):
        shown = [f"amr-{number:03}" for number in range(robots)]
        lines = [
            MissionLine(
                id=UUID(int=number),
                name=name(number),
                status=MissionStatus.succeeded,
                robot=shown[number % robots] if robots else None,
                round=None,
                requested_by="ops",
                created_at=BEGIN,
                not_after_at=None,
                started_at=BEGIN,
                finished_at=BEGIN + timedelta(minutes=3),
                attempts=1,
                is_on_time=None,
                reason="",
            )
            for number in range(missions)
        ]
        spans = [
            WorkSpan(robot=one, status="SUCCEEDED", begins_at=BEGIN, ends_at=BEGIN + timedelta(hours=1))
            for one in shown
        ]
        values = {
            "organisation": "acme",
            "site": "north",
            "timezone": "Europe/Berlin",
            "period_from": BEGIN,
            "period_to": BEGIN + timedelta(days=1),
            "generated_at": BEGIN,
            "missions": lines,
            "work": spans,
            "robots": [robot(one) for one in shown],
            "failures": (),
            "happenings": (),
            "happenings_total": 0,
            "care": (),
        }
        return FleetReport(**{**values, **parts})

    return of


@pytest.fixture
def score():
    """A score of a robot's drive."""

    def of(name, hours):
        return CareLine(
            robot=name, rul_hours=hours, rul_lower_hours=0, rul_upper_hours=hours + 9, as_of=BEGIN, model="drive-rul v1"
        )

    return of


@pytest.fixture
def pages():
    """The text of each page of a PDF."""
    return lambda content: [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(content)).pages]


def test_an_empty_report_has_no_charts_and_still_both_layouts(report, pages):
    assert charts(report(), "svg") == {}
    assert "No mission ended or was open in this period." in html(report()).decode()
    assert "Nothing needs attention." in "".join(pages(pdf(report())))


def test_every_chart_is_a_picture_and_says_in_words_what_it_shows(report, score):
    drawn = charts(report(robots=2, missions=3, care=(score("amr-000", 12.0),)), "svg")
    assert list(drawn) == ["missions", "work", "utilisation", "battery", "care"]
    for chart in drawn.values():
        assert ElementTree.fromstring(chart.image).tag == "{http://www.w3.org/2000/svg}svg"
    assert drawn["missions"].says == "Succeeded: 3"
    assert drawn["utilisation"].says == "amr-000: 12%, amr-001: 12%"
    assert drawn["care"].says == "amr-000: 12 hours (0 to 21)"


def test_a_robot_without_a_reading_is_shown_as_such_and_not_as_empty(report, robot):
    shown = report().model_copy(update={"robots": (robot("amr-1", battery=None), robot("amr-2", battery=0.1))})
    assert charts(shown, "png")["battery"].says == "amr-1: no reading, amr-2: 10%"


def test_a_large_fleet_is_drawn_up_to_a_readable_number_and_listed_whole(report):
    shown = report(robots=ROBOTS_SHOWN + 5, missions=1)
    drawn = charts(shown, "svg")
    assert drawn["utilisation"].says.count("amr-") == ROBOTS_SHOWN
    assert f"amr-{ROBOTS_SHOWN + 4:03}" in html(shown).decode()


def test_a_long_list_runs_over_pages_that_are_numbered_and_says_where_the_rest_is(report, pages):
    shown = report(robots=1, missions=MISSIONS_SHOWN + 1)
    texts = pages(pdf(shown))
    assert len(texts) > 5
    for number, text in enumerate(texts, start=1):
        assert f"Page {number} of {len(texts)}" in text
    assert f"The first {MISSIONS_SHOWN} of {MISSIONS_SHOWN + 1}" in "".join(texts)
    assert f"The first {MISSIONS_SHOWN} of {MISSIONS_SHOWN + 1}" in html(shown).decode()


@pytest.mark.parametrize("name", NASTY)
def test_a_name_from_outside_is_shown_as_it_is_in_both_layouts(report, pages, name):
    from markupsafe import escape

    shown = report(robots=1, missions=1, name=lambda _: name)
    assert str(escape(name)) in html(shown).decode()
    assert "".join(name.split()) in "".join("".join(pages(pdf(shown))).split())


def test_a_robot_whose_name_looks_like_a_formula_of_the_chart_library_is_drawn(report, robot):
    shown = report().model_copy(update={"robots": (robot("$\\frac{1}{$"), robot("amr-2"))})
    assert "utilisation" in charts(shown, "svg")


def test_only_the_newest_events_are_listed_and_their_number_is_told(report):
    happening = HappeningLine(occurred_at=BEGIN, robot="amr-01", kind="battery_low", severity="warning")
    page = html(report(happenings=(happening,), happenings_total=90)).decode()
    assert "The newest 1 of 90." in page
    assert "Battery low" in page


def test_times_on_the_page_are_those_of_the_site(report):
    page = html(report(robots=1, missions=1)).decode()
    assert "2 Mar 00:00" in page
    assert "Times are those of the site (Europe/Berlin)" in page
