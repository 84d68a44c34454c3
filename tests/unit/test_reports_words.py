"""How values are said to a person, and what the first glance tells."""

from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from missions.models import MissionStatus
from reports import words
from reports.content import Care, CareLine, FailureLine, FleetReport, MissionLine, RobotLine
from reports.summary import findings, tiles

BERLIN = ZoneInfo("Europe/Berlin")
BEGIN = datetime(2026, 3, 28, 23, 0, tzinfo=UTC)


@pytest.fixture
def report():
    """A report with these parts, over one Berlin day (the one of 23 hours)."""

    def of(**parts):
        empty = dict.fromkeys(("missions", "work", "robots", "failures", "happenings", "care"), ())
        about = {"organisation": "acme", "site": "north", "timezone": "Europe/Berlin", "happenings_total": 0}
        times = {"period_from": BEGIN, "period_to": BEGIN + timedelta(hours=23), "generated_at": BEGIN}
        return FleetReport(**{**empty, **about, **times, **parts})

    return of


@pytest.fixture
def mission():
    """A mission with this status."""

    def of(status, **fields):
        line = {
            "id": UUID(int=1), "name": "m", "status": status, "robot": None, "round": None, "requested_by": "ops",
            "created_at": BEGIN, "not_after_at": None, "started_at": None, "finished_at": None, "attempts": 1,
            "is_on_time": None, "reason": "",
        }  # fmt: skip
        return MissionLine(**{**line, **fields})

    return of


@pytest.fixture
def drive():
    """A score of a drive."""

    def of(hours, lower, robot="amr-01"):
        return CareLine(
            robot=robot,
            rul_hours=hours,
            rul_lower_hours=lower,
            rul_upper_hours=hours + 5,
            as_of=BEGIN,
            model="drive-rul v1",
        )

    return of


def test_an_instant_is_shown_in_the_time_of_the_site():
    assert words.when(datetime(2026, 3, 29, 1, 30, tzinfo=UTC), BERLIN) == "29 Mar 03:30"  # summer time has begun
    assert words.when(None, BERLIN) == "–"
    assert words.exactly(datetime(2026, 3, 29, 0, 30, tzinfo=UTC), BERLIN) == "29 March 2026, 01:30 CET"


@pytest.mark.parametrize(
    ("fraction", "said"),
    [(None, "–"), (0.0, "0%"), (0.004, "0.4%"), (0.076, "7.6%"), (0.0996, "10%"), (0.5, "50%"), (1.0, "100%")],
)
def test_shares_have_a_decimal_only_where_it_tells_something(fraction, said):
    assert words.percent(fraction) == said


@pytest.mark.parametrize(
    ("value", "said"), [(None, "–"), (0.1, "6 min"), (1.5, "90 min"), (2.0, "2.0 h"), (47.26, "47.3 h")]
)
def test_hours_below_two_are_said_in_minutes(value, said):
    assert words.hours(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "–"), (0, "0 s"), (59.6, "1 min 00 s"), (75, "1 min 15 s"), (3600, "1 h 00 min"), (90061, "25 h 01 min")],
)
def test_durations_show_their_two_largest_units(seconds, said):
    assert words.duration(seconds) == said


def test_a_day_at_the_site_is_named_by_its_date_also_when_it_has_23_hours(report):
    assert words.period(report()) == "29 March 2026"
    assert words.title(report()) == "Fleet report north, 29 March 2026"


def test_several_days_and_parts_of_days_are_named_by_both_ends(report):
    assert words.period(report(period_to=BEGIN + timedelta(hours=23 + 48))) == "29 March 2026 – 31 March 2026"
    part = report(period_from=BEGIN + timedelta(hours=1))
    assert words.period(part) == "29 March 2026, 01:00 – 30 March 2026, 00:00 CEST"


def test_a_mission_that_never_started_has_no_duration(mission):
    started = {"started_at": BEGIN, "finished_at": BEGIN + timedelta(seconds=90)}
    assert mission(MissionStatus.succeeded, **started).duration_s == 90.0
    assert mission(MissionStatus.refused, finished_at=BEGIN).duration_s is None


def test_open_missions_do_not_count_against_success(report, mission):
    lines = [mission(status) for status in (MissionStatus.succeeded, MissionStatus.running, MissionStatus.failed)]
    shown = report(missions=tuple(lines))
    assert shown.success_fraction == 0.5
    assert [tile.value for tile in tiles(shown)][:3] == ["1 of 2", "50%", "–"]
    assert tiles(shown)[0].detail == "1 still open"


def test_nothing_ended_gives_no_rate_rather_than_zero(report):
    empty = report()
    assert (empty.success_fraction, empty.on_time_fraction, empty.utilisation_fraction) == (None, None, None)
    assert findings(empty) == ["Nothing needs attention."]


@pytest.mark.parametrize(
    ("hours", "lower", "care"), [(7.9, 0.0, Care.now), (30.0, 23.9, Care.soon), (40.0, 24.0, Care.later)]
)
def test_advice_follows_from_the_expected_hours_and_the_lower_bound(drive, hours, lower, care):
    assert drive(hours, lower).care is care


def test_drives_that_need_care_are_told_before_failures(report, drive):
    failures = (FailureLine(what="attempt failed", reason="path blocked", count=3, robots=("amr-01", "amr-02")),)
    shown = report(care=(drive(5, 0), drive(47, 40, "amr-02")), failures=failures)
    first, second = findings(shown)
    assert first.startswith("amr-01: its drive is expected to last 5 more operating hours")
    assert first.endswith("take it in for care now.")
    assert second == "Attempt failed 3 times, more than anything else: path blocked (amr-01, amr-02)."
    assert tiles(shown)[5].tone == "bad"


def test_utilisation_is_the_mean_of_the_robots(report):
    robots = tuple(
        RobotLine(
            name=name, model="", executing_hours=1, utilisation_fraction=share, succeeded=0, failed_attempts=0,
            activity=None, battery_fraction=None, observed_at=None, battery_low_events=2,
        )
        for name, share in (("amr-01", 0.2), ("amr-02", 0.4))
    )  # fmt: skip
    shown = report(robots=robots)
    assert shown.utilisation_fraction == pytest.approx(0.3)
    assert (tiles(shown)[3].detail, tiles(shown)[4].value) == ("mean of 2 robots", "4")
