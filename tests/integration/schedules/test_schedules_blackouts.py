"""Windows of a site: what may not start in them, and where they come from."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from sqlmodel import col, select

from fleet.errors import Conflict, Invalid, NotFound
from missions.schedules import blackouts
from missions.schedules.holidays import import_calendar
from missions.schedules.models import Blackout

HOLIDAYS = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//test//EN
BEGIN:VEVENT
UID:ash-monday
SUMMARY:Rose Monday
DTSTART;VALUE=DATE:20260302
DTEND;VALUE=DATE:20260303
END:VEVENT
BEGIN:VEVENT
UID:summer
SUMMARY:Works closed
DTSTART;VALUE=DATE:20260803
DTEND;VALUE=DATE:20260815
END:VEVENT
END:VCALENDAR
"""


def _import(timetable, content: str = HOLIDAYS, *, calendar: str = "state", **news: object) -> int:
    with timetable.runtime.transaction() as session:
        return import_calendar(
            session, site=timetable.world.site, calendar=calendar, content=content, who="user:ops", **news
        )


def _windows(timetable, begins: datetime, ends: datetime) -> list[str]:
    site = timetable.world.site.id
    with timetable.runtime.reading() as session:
        found = blackouts.windows(session, [site], begins, ends)[site]
    return [f"{one.name}: {one.begins_at:%d %H:%M} to {one.ends_at:%d %H:%M}" for one in found]


def _closed(timetable) -> dict[object, object]:
    with timetable.runtime.reading() as session:
        return blackouts.blackout_until(session, [timetable.world.site.id], timetable.clock.now())


def test_an_occurrence_in_a_blackout_is_skipped_and_names_it(timetable):
    schedule = timetable.create()
    timetable.blackout(begins="2026-03-02T00:30:00", ends="2026-03-02T01:30:00")  # Berlin: 23:30 to 00:30 UTC
    for _ in range(3):
        timetable.fire_after(hours=1)
    assert timetable.said(schedule) == ["23:00 fired", "00:00 skipped", "01:00 queued"]
    assert timetable.rows(schedule)[1].reason == "The blackout 'shutdown' of the site."


def test_a_window_begins_at_its_first_instant_and_is_over_at_its_last(timetable):
    schedule = timetable.create(overlap="cancel_older")
    timetable.blackout(begins="2026-03-02T00:00:00", ends="2026-03-02T01:00:00")  # 23:00 to 00:00 UTC
    for _ in range(2):
        timetable.fire_after(hours=1)
    assert timetable.said(schedule) == ["23:00 skipped", "00:00 fired"]


def test_a_nightly_blackout_ends_at_its_hour_also_when_the_clocks_change(timetable):
    timetable.blackout(begins="2026-03-01T22:00:00", ends="2026-03-02T06:00:00", rule="FREQ=DAILY")
    assert _windows(timetable, datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 30, 12, tzinfo=UTC)) == [
        "shutdown: 28 21:00 to 29 04:00",  # 22:00 CET to 06:00 CEST, seven hours
        "shutdown: 29 20:00 to 30 04:00",
    ]


def test_an_hourly_blackout_closes_both_of_the_two_hours_alike(timetable):
    timetable.blackout(begins="2026-03-01T23:00:00", ends="2026-03-01T23:30:00", rule="FREQ=HOURLY")
    assert _windows(timetable, datetime(2026, 10, 25, 0, tzinfo=UTC), datetime(2026, 10, 25, 2, tzinfo=UTC)) == [
        "shutdown: 25 00:00 to 25 00:30",  # 02:00 CEST
        "shutdown: 25 01:00 to 25 01:30",  # 02:00 CET
    ]


def test_an_exception_of_a_recurring_blackout_is_open(timetable):
    timetable.blackout(
        begins="2026-03-01T22:00:00", ends="2026-03-02T06:00:00", rule="FREQ=DAILY", exdates=["2026-03-05T22:00:00"]
    )
    assert _windows(timetable, datetime(2026, 3, 5, 12, tzinfo=UTC), datetime(2026, 3, 6, 12, tzinfo=UTC)) == []


def test_a_site_is_closed_until_the_end_of_the_blackout_that_lasts_longest(timetable):
    assert _closed(timetable) == {}
    timetable.blackout(key="a", name="short", begins="2026-03-01T22:30:00", ends="2026-03-01T23:30:00")
    timetable.blackout(
        key="b", name="night", begins="2026-02-01T22:30:00", ends="2026-02-02T02:00:00", rule="0 23 * * *"
    )
    timetable.blackout(key="c", name="feast", kind="holiday", begins="2026-03-01T00:00:00", ends="2026-03-05T00:00:00")
    # 23:00 in Berlin: the nightly one began at 23:00 and lasts three and a half hours.
    assert _closed(timetable) == {timetable.world.site.id: (datetime(2026, 3, 2, 1, 30, tzinfo=UTC), "night")}


def test_a_removed_blackout_keeps_nothing_out(timetable):
    timetable.blackout(begins="2026-03-01T22:30:00", ends="2026-03-01T23:30:00")
    with timetable.runtime.transaction() as session:
        row = session.exec(select(Blackout)).one()
        blackouts.remove(session, organisation_id=row.organisation_id, blackout_id=row.id, who="user:ops")
    assert _closed(timetable) == {}
    with timetable.runtime.transaction() as session, pytest.raises(NotFound):
        blackouts.remove(session, organisation_id=row.organisation_id, blackout_id=row.id, who="user:ops")
    assert timetable.changes("blackout") == ["added", "removed"]


def test_the_same_blackout_twice_is_one_and_another_under_its_key_a_conflict(timetable):
    times = {"begins": "2026-03-01T22:30:00", "ends": "2026-03-01T23:30:00"}
    timetable.blackout(**times)
    timetable.blackout(**times)
    with pytest.raises(Conflict, match="another name already"):
        timetable.blackout(**times, name="other")
    assert timetable.changes("blackout") == ["added"]


@pytest.mark.parametrize(
    ("news", "sentence"),
    [
        ({"ends": "2026-03-01T22:00:00"}, "must end after it begins"),
        ({"ends": "2028-03-01T22:00:00"}, "within 366 days"),
        ({"ends": "later"}, "ends: 'later'"),
        ({"timezone": "Mars/Olympus"}, "no time zone"),
        ({"rule": "FREQ=SOMETIMES"}, "SOMETIMES"),
        ({"rule": "* * * * * *"}, "fields"),
        ({"rule": "FREQ=SECONDLY"}, "less than 60 s apart"),
        ({"rule": "FREQ=MINUTELY", "ends": "2026-03-05T00:00:00"}, "lie upon each other"),
        ({"exdates": ["never"]}, "exdates: 'never'"),
        ({"key": "calendar:x"}, "choose another"),
    ],
)
def test_a_wrong_blackout_is_refused_and_nothing_is_written(timetable, news, sentence):
    times = {"begins": "2026-03-01T22:30:00", "ends": "2026-03-01T23:30:00"}
    with pytest.raises(Invalid, match=sentence):
        timetable.blackout(**(times | news))
    assert timetable.changes("blackout") == []


def test_a_schedule_that_skips_holidays_leaves_out_the_imported_days(timetable):
    assert _import(timetable) == 2
    # 2 March in Berlin is from 23:00 UTC of the day before up to 23:00 UTC.
    keeping = timetable.create("0 */6 * * *", key="keeping", skip_holidays=True, overlap="cancel_older")
    working = timetable.create("0 */6 * * *", key="working", overlap="cancel_older")
    for _ in range(27):
        timetable.fire_after(hours=1)
    assert timetable.said(working) == ["00:00 fired", "06:00 fired", "12:00 fired", "18:00 fired", "00:00 fired"]
    assert timetable.said(keeping) == [
        "00:00 skipped",
        "06:00 skipped",
        "12:00 skipped",
        "18:00 skipped",
        "00:00 fired",
    ]
    assert timetable.rows(keeping)[0].reason == "The holiday 'Rose Monday' of the site."


def test_a_newer_import_takes_the_place_of_the_older_and_the_same_again_changes_nothing(timetable):
    _import(timetable)
    _import(timetable)
    assert timetable.changes("blackout") == ["imported"]
    assert _import(timetable, HOLIDAYS.replace("ash-monday", "moved").replace("20260303", "20260304")) == 2
    with timetable.runtime.reading() as session:
        keys = session.exec(select(Blackout.key).order_by(col(Blackout.key))).all()
    assert keys == ["calendar:state/moved", "calendar:state/summer"]


def test_a_blackout_that_cannot_be_read_closes_its_site_and_no_other(timetable):
    timetable.blackout(begins="2026-03-01T22:00:00", ends="2026-03-01T23:00:00", rule="FREQ=DAILY")
    with timetable.runtime.transaction() as session:
        session.exec(select(Blackout)).one().timezone = "Europe/Atlantis"
    now = datetime(2026, 3, 3, 12, tzinfo=UTC)
    site, other = timetable.world.site.id, uuid4()
    with timetable.runtime.reading() as session:
        found = blackouts.blackout_until(session, [site, other], now)
    assert list(found) == [site]
    assert found[site][0] > now
    assert "Europe/Atlantis" in found[site][1]


def test_a_broken_calendar_leaves_the_earlier_import_as_it_is(timetable):
    _import(timetable)
    with pytest.raises(Invalid, match="END:VCALENDAR"):
        _import(timetable, HOLIDAYS.replace("END:VCALENDAR", ""))
    assert len(_windows(timetable, datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))) == 2


@pytest.mark.parametrize("calendar", ["Feiertage 2026", "Works holidays (DE), 80x", "Schließtage"])
def test_a_calendar_is_called_as_people_call_it(timetable, calendar):
    assert _import(timetable, calendar=calendar) == 2


@pytest.mark.parametrize("calendar", ["", "a/b", "a\0b", "a\ud800b", "a" * 101])
def test_a_name_that_no_calendar_can_have_is_refused(timetable, calendar):
    with pytest.raises(Invalid, match="Name the calendar"):
        _import(timetable, calendar=calendar)


def test_of_a_long_outage_the_newest_occurrence_outside_the_blackouts_is_caught_up_with(timetable):
    schedule = timetable.create("*/5 * * * *", misfire="run_once", grace_s=0, overlap="cancel_older")
    timetable.blackout(begins="2026-03-09T00:00:00", ends="2026-03-15T00:00:00")
    timetable.clock.step(10 * 86_400 + 60)  # eleven March, in the middle of the blackout
    while timetable.fire():
        pass
    (fired,) = [row for row in timetable.rows(schedule) if row.status.value == "fired"]
    assert fired.recurrence_id == datetime(2026, 3, 8, 22, 55, tzinfo=UTC)
    assert timetable.counted(schedule).total() == 10 * 288
