"""Both changes of the clock: hand-worked nights, and the rules that hold in every time zone there is."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest

from missions.calendars import occurrences

BERLIN = "Europe/Berlin"
HOUR = timedelta(hours=1)
YEARS = (1995, 2011, 2026, 2037)
SAMPLE = [
    *("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Antarctica/Troll", "Africa/Casablanca"),
    *("Pacific/Apia", "America/Sao_Paulo", "Asia/Gaza", "America/St_Johns", "Asia/Kathmandu", "Pacific/Kiritimati"),
]


def _utc(*texts: str) -> list[datetime]:
    return [datetime.fromisoformat(f"{text}+00:00") for text in texts]


def _in(timezone: str, rule: str, dtstart: str, before: str, **more) -> list[datetime]:
    begins, ends = datetime.fromisoformat(dtstart), datetime.fromisoformat(before)
    return occurrences(rule, dtstart=begins, timezone=timezone, before=ends, **more)


@pytest.mark.parametrize("rule", ["FREQ=DAILY", "30 2 * * *", "FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR,SA,SU"])
def test_a_local_time_in_the_gap_is_taken_by_the_offset_before_it(rule):
    found = _in(BERLIN, rule, "2026-03-28T02:30", "2026-03-31")
    assert found == _utc("2026-03-28T01:30", "2026-03-29T01:30", "2026-03-30T00:30")


@pytest.mark.parametrize("rule", ["FREQ=DAILY", "30 2 * * *", "RRULE:freq=weekly;byday=sa,su,mo"])
def test_a_local_time_that_comes_twice_is_taken_once_the_first(rule):
    found = _in(BERLIN, rule, "2026-10-24T02:30", "2026-10-27")
    assert found == _utc("2026-10-24T00:30", "2026-10-25T00:30", "2026-10-26T01:30")


def test_two_local_times_that_become_one_instant_are_one_occurrence():
    found = _in(BERLIN, "FREQ=DAILY;BYHOUR=2,3;BYMINUTE=30;COUNT=4", "2026-03-28T02:30", "2026-04-30")
    assert found == _utc("2026-03-28T01:30", "2026-03-28T02:30", "2026-03-29T01:30", "2026-03-30T00:30")


def test_local_times_around_a_gap_are_given_in_the_order_of_their_instants():
    found = _in(BERLIN, "FREQ=DAILY;BYHOUR=2,3;BYMINUTE=15,45", "2026-03-29T00:00", "2026-03-29T12:00")
    assert found == _utc("2026-03-29T01:15", "2026-03-29T01:45")
    crossed = _in(BERLIN, "45 2 * * *", "2026-03-29T00:00", "2026-03-29T12:00", rdates=[datetime(2026, 3, 29, 3, 15)])
    assert crossed == _utc("2026-03-29T01:15", "2026-03-29T01:45")
    mixed = _in(BERLIN, "FREQ=DAILY;BYHOUR=2,3;BYMINUTE=15,45;BYSETPOS=2,3", "2026-03-29T00:00", "2026-03-29T12:00")
    assert mixed == _utc("2026-03-29T01:15", "2026-03-29T01:45")


@pytest.mark.parametrize("rule", ["FREQ=HOURLY", "0 * * * *", "0 */1 * * *", "FREQ=MINUTELY;BYMINUTE=0"])
@pytest.mark.parametrize(
    ("timezone", "day", "count"),
    [
        (BERLIN, "2026-03-29", 23),
        (BERLIN, "2026-10-25", 25),
        (BERLIN, "2026-06-01", 24),
        ("America/New_York", "2026-03-08", 23),
        ("America/New_York", "2026-11-01", 25),
        ("Antarctica/Troll", "2026-03-29", 22),
        ("Antarctica/Troll", "2026-10-25", 26),
        ("America/Sao_Paulo", "2018-11-04", 23),
        ("Asia/Tokyo", "2026-03-29", 24),
    ],
)
def test_an_hourly_rule_has_as_many_occurrences_as_the_day_has_hours(rule, timezone, day, count):
    begins = datetime.fromisoformat(day)
    found = occurrences(rule, dtstart=begins, timezone=timezone, before=begins + timedelta(days=1))
    assert len(found) == count
    assert {later - earlier for earlier, later in pairwise(found)} == {HOUR}


def test_every_two_hours_of_elapsed_time_meets_other_local_hours_after_the_change():
    found = _in(BERLIN, "FREQ=HOURLY;INTERVAL=2", "2026-10-25T00:00", "2026-10-25T08:00")
    local = [instant.astimezone(ZoneInfo(BERLIN)).hour for instant in found]
    assert local == [0, 2, 3, 5, 7]


def test_a_cron_with_step_hours_goes_by_the_local_hour_and_fires_in_both_of_a_double_one():
    autumn = _in(BERLIN, "30 */2 * * *", "2026-10-25T00:00", "2026-10-25T08:00")
    assert autumn == _utc(
        "2026-10-24T22:30", "2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T03:30", "2026-10-25T05:30"
    )
    spring = _in(BERLIN, "30 */2 * * *", "2026-03-29T00:00", "2026-03-29T08:00")
    assert spring == _utc("2026-03-28T23:30", "2026-03-29T02:30", "2026-03-29T04:30")


def test_half_an_hour_of_summer_time_loses_and_doubles_nothing_of_elapsed_hours():
    found = _in("Australia/Lord_Howe", "FREQ=HOURLY", "2026-04-05T00:00", "2026-04-05T06:00")
    local = [f"{instant.astimezone(ZoneInfo('Australia/Lord_Howe')):%H:%M}" for instant in found]
    assert local == ["00:00", "01:00", "01:30", "02:30", "03:30", "04:30", "05:30"]


def test_the_day_that_samoa_left_out_becomes_the_one_after_and_happens_once():
    found = _in("Pacific/Apia", "FREQ=DAILY", "2011-12-28T10:00", "2012-01-02")
    assert found == _utc("2011-12-28T20:00", "2011-12-29T20:00", "2011-12-30T20:00", "2011-12-31T20:00")
    hours = _in("Pacific/Apia", "FREQ=HOURLY", "2011-12-29T12:00", "2011-12-31T12:00")
    assert len(hours) == 24
    assert hours[-1] - hours[0] == 23 * HOUR


def test_a_first_time_in_the_gap_begins_behind_it_and_keeps_its_wall_time_for_the_next_days():
    found = _in(BERLIN, "FREQ=DAILY;COUNT=2", "2026-03-29T02:30", "2026-04-30")
    assert found == _utc("2026-03-29T01:30", "2026-03-30T00:30")


@pytest.mark.parametrize("rule", ["FREQ=WEEKLY;BYDAY=SA;BYHOUR=23;BYMINUTE=0", "0 23 * * SAT"])
def test_a_local_time_before_the_first_that_a_gap_moves_onto_it_is_none(rule):
    # That Saturday has no 23:00: it becomes 00:00 of the Sunday, at which this begins.
    found = _in("America/Scoresbysund", rule, "2051-03-26T00:00", "2051-04-03")
    assert found == _utc("2051-04-02T00:00")


def test_an_aware_first_time_is_taken_for_its_wall_time_in_the_zone():
    begins = datetime(2026, 3, 28, 7, tzinfo=UTC)
    found = occurrences("FREQ=DAILY", dtstart=begins, timezone=BERLIN, limit=2)
    assert found == _utc("2026-03-28T07:00", "2026-03-29T06:00")


def test_until_in_utc_and_until_on_the_wall_differ_by_the_offset():
    utc = _in(BERLIN, "FREQ=DAILY;UNTIL=20260703T060000Z", "2026-07-01T08:00", "2026-08-01")
    wall = _in(BERLIN, "FREQ=DAILY;UNTIL=20260703T075959", "2026-07-01T08:00", "2026-08-01")
    assert (len(utc), len(wall)) == (3, 2)


ZONES = sorted(available_timezones() - {"localtime"})  # which is no zone but what a machine is set to


def _hold_in(timezone: str, years) -> None:
    zone = ZoneInfo(timezone)
    for year in years:
        begin, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
        hours = occurrences("FREQ=HOURLY", dtstart=begin, timezone=timezone, before=end)
        assert hours == [begin + number * HOUR for number in range(len(hours))]
        assert begin + len(hours) * HOUR == end
        offsets = [instant.astimezone(zone).utcoffset() for instant in hours]
        changed = {
            (instant.astimezone(zone) + timedelta(days=days)).date()
            for instant, before, after in zip(hours, offsets, offsets[1:], strict=False)
            if before != after
            for days in (-1, 0, 1)
        }
        for day in sorted(day for day in changed if date(year, 1, 3) < day < date(year, 12, 28)):
            _holds_on(day, timezone, zone)


def _holds_on(day: date, timezone: str, zone: ZoneInfo) -> None:
    """Each half hour of the wall, by the definition: the first of two instants, in a gap that of the offset before."""
    begin = datetime(day.year, day.month, day.day)
    halves = [begin + number * HOUR / 2 for number in range(48)]
    rule = f"FREQ=DAILY;COUNT=1;BYHOUR={','.join(map(str, range(24)))};BYMINUTE=0,30"
    found = occurrences(
        rule.replace("COUNT=1;", ""), dtstart=begin, timezone=timezone, before=begin + timedelta(days=1)
    )
    last = (begin + timedelta(days=1)).replace(tzinfo=zone).astimezone(UTC)
    expected = {wall.replace(tzinfo=zone).astimezone(UTC) for wall in halves}  # PEP 495: fold 0 is just that
    assert found == sorted(instant for instant in expected if instant < last)
    cron = occurrences("0,30 * * * *", dtstart=begin, timezone=timezone, before=begin + timedelta(days=1))
    first = begin.replace(tzinfo=zone).astimezone(UTC)
    minutes = (first + number * timedelta(minutes=1) for number in range(int((last - first).total_seconds()) // 60))
    assert cron == [instant for instant in minutes if instant.astimezone(zone).minute in {0, 30}]


@pytest.mark.parametrize("timezone", SAMPLE)
def test_the_edges_of_a_year_are_right_in_a_zone(timezone):
    _hold_in(timezone, (2011, 2026))


@pytest.mark.proof
@pytest.mark.parametrize("timezone", ZONES)
def test_the_edges_of_many_years_are_right_in_every_zone(timezone):
    _hold_in(timezone, YEARS)


@pytest.mark.proof
@pytest.mark.parametrize("timezone", ZONES)
def test_no_zone_changes_its_offset_twice_within_three_days(timezone):
    zone = ZoneInfo(timezone)
    last = None
    begin = datetime(1900, 1, 1, tzinfo=UTC)
    offset = begin.astimezone(zone).utcoffset()
    for number in range(2 * 365 * 138):
        instant = begin + number * 12 * HOUR
        now = instant.astimezone(zone).utcoffset()
        if now != offset:
            assert last is None or instant - last > timedelta(days=3)
            last, offset = instant, now


def test_each_occurrence_of_the_long_night_is_left_out_by_its_own_local_time():
    long = {"dtstart": datetime(2026, 10, 25), "timezone": "Europe/Berlin"}
    hours = occurrences("FREQ=HOURLY;COUNT=6", **long)
    for hour in hours:
        local = hour.astimezone(ZoneInfo("Europe/Berlin")).replace(tzinfo=None)  # its fold tells the second 02:00
        assert occurrences("FREQ=HOURLY;COUNT=6", **long, exdates=[local]) == [one for one in hours if one != hour]


def test_a_first_time_with_fold_is_the_second_in_elapsed_time_and_the_first_on_the_wall():
    second = {"dtstart": datetime(2026, 10, 25, 2, 30, fold=1), "timezone": "Europe/Berlin", "limit": 1}
    assert occurrences("FREQ=HOURLY", **second) == [datetime(2026, 10, 25, 1, 30, tzinfo=UTC)]
    assert occurrences("FREQ=DAILY", **second) == [datetime(2026, 10, 25, 0, 30, tzinfo=UTC)]
    gap = second | {"dtstart": datetime(2026, 3, 29, 2, 30, fold=1)}
    assert occurrences("FREQ=HOURLY", **gap) == [datetime(2026, 3, 29, 1, 30, tzinfo=UTC)]
