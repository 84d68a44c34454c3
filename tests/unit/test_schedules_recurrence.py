"""How the texts of a schedule become times, and what is refused."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from fleet.errors import Invalid
from missions.schedules.models import MissionTemplate, Recurrence, ScheduleCreate
from missions.schedules.recurrence import has_time, iso, times, wall

BEGIN = datetime(2026, 3, 28, 12, tzinfo=UTC)


@pytest.fixture
def recurrence():
    """A daily 02:30 in Berlin with these changes."""

    def make(**news: object) -> Recurrence:
        daily = {"rule": "FREQ=DAILY", "begins": "2026-03-28T02:30:00", "timezone": "Europe/Berlin"}
        return Recurrence.model_validate(daily | news)

    return make


@pytest.mark.parametrize("text", ["2026-03-28T02:30:00", "2026-03-28T02:30", "2026-03-28 02:30", "20260328T023000"])
def test_a_local_time_is_understood_as_people_write_it(text):
    assert wall(text, of="begins") == datetime(2026, 3, 28, 2, 30)


def test_a_time_with_an_offset_keeps_it():
    assert wall("2026-03-28T02:30:00Z", of="begins") == datetime(2026, 3, 28, 2, 30, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "soon", "2026-03-28", "2026-W13-6", "2026-02-30T00:00:00", "28.03.2026 02:30"])
def test_what_is_no_time_is_refused_with_the_field_and_an_example(text):
    with pytest.raises(Invalid, match=r"begins: .* is no local time; write it like 2026-03-01T06:00:00"):
        wall(text, of="begins")


@pytest.mark.parametrize("text", ["1899-12-31T23:59:59", "3000-01-01T00:00:00", "0001-01-01T00:00:00"])
def test_years_that_nobody_means_are_refused(text):
    with pytest.raises(Invalid, match="years 1900 to 2999"):
        wall(text, of="rdates")


def test_times_lie_after_the_one_and_not_after_the_other_bound(recurrence):
    first, second = datetime(2026, 3, 29, 1, 30, tzinfo=UTC), datetime(2026, 3, 30, 0, 30, tzinfo=UTC)
    assert times(recurrence(), after=BEGIN, until=second) == [first, second]
    assert times(recurrence(), after=first, until=second) == [second]
    assert times(recurrence(), after=first, until=second - timedelta(microseconds=1)) == []


def test_exceptions_and_additions_are_local_times_of_the_zone(recurrence):
    rule = recurrence(exdates=["2026-03-30T02:30:00"], rdates=["2026-03-30T18:00:00"])
    assert times(rule, after=BEGIN, limit=2)[1] == datetime(2026, 3, 30, 16, tzinfo=UTC)


def test_an_instant_is_a_time_of_the_rule_or_not(recurrence):
    at = datetime(2026, 3, 30, 0, 30, tzinfo=UTC)
    assert has_time(recurrence(), at)
    assert not has_time(recurrence(), at + timedelta(seconds=1))


def test_an_occurrence_is_named_by_its_instant_in_utc():
    assert iso(datetime(2026, 3, 30, 2, 30, tzinfo=timezone(timedelta(hours=2)))) == "2026-03-30T00:30:00Z"


@pytest.mark.parametrize(
    "news",
    [
        {"grace_s": -1},
        {"grace_s": float("nan")},
        {"jitter_s": 3601},
        {"catch_up_max": 0},
        {"catch_up_max": 101},
        {"misfire": "sometimes"},
        {"overlap": "never"},
        {"start_within_s": 0},
        {"rule": ""},
        {"rule": "x" * 1001},
        {"exdates": ["2026-03-30T02:30:00"] * 1001},
        {"timezone": "Europe/Berlin\0"},
        {"surprise": 1},
    ],
)
def test_values_out_of_range_are_refused(recurrence, news):
    with pytest.raises(ValidationError):
        recurrence(**news)


def test_a_template_needs_no_key_and_a_schedule_needs_missions(recurrence):
    template = MissionTemplate.model_validate({"name": "m", "tasks": [{"station": "gate"}]})
    assert template.key == ""
    with pytest.raises(ValidationError, match="missions"):
        ScheduleCreate(name="s", key="s", recurrence=recurrence(), missions=[])
