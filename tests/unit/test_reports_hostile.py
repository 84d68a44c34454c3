"""Reports of a large fleet, and of manufacturers who write without end: every one can be rendered, none runs anything."""

import csv
import io
from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pypdf
import pytest

from missions.models import MissionStatus
from reports.content import Care, CareLine, FailureLine, FleetReport, MissionLine, RobotLine, WorkSpan
from reports.render.html import html
from reports.render.pdf import CELL_MAX_CHARACTERS, pdf
from reports.render.tables import csv_text, parquet
from reports.words import period, when

BEGIN = datetime(2026, 3, 1, 23, 0, tzinfo=UTC)
ENDLESS = {"words": "the wheel slipped " * 5000, "one word": "x" * 50_000, "lines": "a\n" * 20_000}


@pytest.fixture
def mission():
    """A failed mission with this reason or name."""

    named = {"robot": "amr-01", "round": None, "requested_by": "user:ops"}

    def of(number: int = 0, **said) -> MissionLine:
        return MissionLine(
            id=UUID(int=number),
            status=MissionStatus.failed,
            created_at=BEGIN,
            not_after_at=None,
            started_at=BEGIN,
            finished_at=BEGIN + timedelta(minutes=5),
            attempts=1,
            is_on_time=None,
            **named | {"name": f"mission {number}", "reason": ""} | said,
        )

    return of


@pytest.fixture
def robot():
    """A robot line by name."""

    def of(name: str) -> RobotLine:
        return RobotLine(
            name=name,
            model="AMR",
            executing_hours=1.0,
            utilisation_fraction=0.1,
            succeeded=1,
            failed_attempts=0,
            activity="idle",
            battery_fraction=0.5,
            observed_at=BEGIN,
            battery_low_events=0,
        )

    return of


@pytest.fixture
def report():
    """A report of one day with these parts and nothing else."""

    def of(**parts) -> FleetReport:
        empty = {"missions": (), "work": (), "robots": (), "failures": (), "happenings": (), "care": ()}
        about = {"organisation": "acme", "site": "north", "timezone": "Europe/Berlin", "happenings_total": 0}
        times = {"period_from": BEGIN, "period_to": BEGIN + timedelta(days=1), "generated_at": BEGIN}
        return FleetReport(**empty | about | times | parts)

    return of


@pytest.fixture
def text_of():
    """The text on all pages of a PDF."""
    return lambda content: "\n".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(content)).pages)


@pytest.mark.parametrize("reason", ENDLESS.values(), ids=ENDLESS.keys())
def test_a_reason_without_end_does_not_keep_the_report_from_being_printed(report, mission, text_of, reason: str):
    long = report(missions=(mission(1, reason=reason), mission(2, reason="the last line")))
    assert "the last line" in " ".join(text_of(pdf(long)).split())
    assert pq.read_table(io.BytesIO(parquet(long)))["reason"][0].as_py() == reason


@pytest.mark.parametrize("reason", ENDLESS.values(), ids=ENDLESS.keys())
def test_a_cause_of_failure_without_end_is_cut_in_print(report, text_of, reason: str):
    line = FailureLine(what="attempt failed", reason=reason, count=3, robots=tuple(f"amr-{n:03}" for n in range(500)))
    told = text_of(pdf(report(failures=(line,))))
    assert "…" in told


def test_a_text_that_just_fits_is_not_cut(report, mission, text_of):
    fits, cut = "y" * CELL_MAX_CHARACTERS, "z" * (CELL_MAX_CHARACTERS + 1)
    told = text_of(pdf(report(missions=(mission(1, reason=fits), mission(2, reason=cut)))))
    assert (told.count("y"), told.count("z")) >= (CELL_MAX_CHARACTERS, CELL_MAX_CHARACTERS - 1)
    assert "…" in told


@pytest.mark.parametrize("count", [28, 300])
def test_a_fleet_of_any_size_gets_its_report(report, robot, text_of, count: int):
    robots = tuple(robot(f"amr-{number:03}") for number in range(count))
    work = tuple(
        WorkSpan(robot=one.name, status="SUCCEEDED", begins_at=BEGIN, ends_at=BEGIN + timedelta(hours=1))
        for one in robots
    )
    care = tuple(
        CareLine(robot=one.name, rul_hours=5, rul_lower_hours=1, rul_upper_hours=9, as_of=BEGIN, model="m v1")
        for one in robots
    )
    told = text_of(pdf(report(robots=robots, work=work, care=care)))
    assert f"amr-{count - 1:03}" in told


def test_a_drive_at_its_very_end_is_drawn(report):
    line = CareLine(robot="r", rul_hours=0, rul_lower_hours=0, rul_upper_hours=0, as_of=BEGIN, model="m v1")
    assert line.care is Care.now
    assert b"data:image/svg" in html(report(care=(line,)))
    assert pdf(report(care=(line,))).startswith(b"%PDF")


@pytest.mark.parametrize(
    "name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x")', "=cmd|' /C'!A0"]
)
def test_no_cell_begins_like_a_formula_in_any_column(report, mission, name: str):
    said = mission(1, name=name, reason=name, robot=name, round=name, requested_by=name)
    (row,) = csv.DictReader(io.StringIO(csv_text(report(missions=(said,))).decode("utf-8-sig"), newline=""))
    for column in ("name", "reason", "robot", "round", "requested_by"):
        assert row[column] == f"'{name}"
    assert pq.read_table(io.BytesIO(parquet(report(missions=(said,)))))["name"][0].as_py() == name


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=alert(1)>", "</style><script>1</script>", "{{7*7}}", "javascript:1"]
)
def test_a_page_runs_nothing_that_a_name_says(report, mission, robot, name: str):
    page = html(report(missions=(mission(1, name=name, reason=name),), robots=(robot(name),), site=name)).decode()
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "49" not in page[page.index("<h1>") : page.index("</h1>")]


def test_five_thousand_missions_are_all_in_the_tables_and_told_of_in_print(report, mission, text_of):
    many = report(missions=tuple(mission(number) for number in range(5000)))
    assert pq.read_table(io.BytesIO(parquet(many))).num_rows == 5000
    assert csv_text(many).count(b"\r\n") == 5001
    assert "The first 500 of 5000" in " ".join(text_of(pdf(many)).split())


@pytest.mark.parametrize(
    ("begin", "hours", "told"),
    [
        (datetime(2026, 3, 28, 23, tzinfo=UTC), 23, "29 March 2026"),
        (datetime(2026, 10, 24, 22, tzinfo=UTC), 25, "25 October 2026"),
        (datetime(2026, 3, 28, 23, tzinfo=UTC), 24, "29 March 2026, 00:00 – 30 March 2026, 01:00 CEST"),
    ],
)
def test_a_day_on_which_the_clocks_change_is_still_a_day(report, begin: datetime, hours: int, told: str):
    day = report(period_from=begin, period_to=begin + timedelta(hours=hours), generated_at=begin)
    assert period(day) == told
    assert told.split(",")[0] in html(day).decode()
    assert pdf(day).startswith(b"%PDF")


def test_the_two_half_past_two_of_autumn_read_alike_and_keep_their_order():
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    berlin = ZoneInfo("Europe/Berlin")
    assert when(first, berlin) == when(first + timedelta(hours=1), berlin) == "25 Oct 02:30"
    assert when(first + timedelta(hours=2), berlin) == "25 Oct 03:30"
