"""Holiday calendars: what programs write into iCalendar files, and what nobody should."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.errors import Invalid, TooLarge
from missions.calendars import ics
from missions.calendars.ics import read

HEAD = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\n"
OWN_ZONE = """BEGIN:VTIMEZONE
TZID:{name}
BEGIN:STANDARD
DTSTART:19701025T030000
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:19700329T020000
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
END:DAYLIGHT
END:VTIMEZONE
"""


def _file(*events: str, zone: str = "") -> str:
    body = "".join(f"BEGIN:VEVENT\n{event}\nEND:VEVENT\n" for event in events)
    return HEAD + f"{zone}{body}END:VCALENDAR\n".replace("\n", "\r\n")


def _read(*events: str, zone: str = "", timezone: str = "Europe/Berlin"):
    return read(_file(*events, zone=zone), timezone=timezone)


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "hours"), [("20260329", 23), ("20261025", 25), ("20260701", 24)], ids=["spring", "autumn", "summer"]
)
def test_a_whole_day_lasts_from_midnight_to_midnight_at_the_site(day, hours):
    (window,) = _read(f"UID:a\nSUMMARY:Holiday\nDTSTART;VALUE=DATE:{day}")
    assert (window.name, window.is_all_day, window.timezone) == ("Holiday", True, "Europe/Berlin")
    assert window.ends_at - window.begins_at == timedelta(hours=hours)


@pytest.mark.parametrize("end", ["", "DTEND;VALUE=DATE:20261225", "DTEND;VALUE=DATE:20261226", "DURATION:P1D"])
def test_one_day_is_one_day_in_each_way_of_writing_it(end):
    (window,) = _read(f"UID:a\nDTSTART;VALUE=DATE:20261225\n{end}".strip())
    assert (window.begins_at, window.ends_at) == (_at("2026-12-24T23:00"), _at("2026-12-25T23:00"))
    assert window.name == "a"


@pytest.mark.parametrize(
    ("times", "begins", "ends", "timezone"),
    [
        ("DTSTART:20260701T080000\nDTEND:20260701T100000", "2026-07-01T06:00", "2026-07-01T08:00", "Europe/Berlin"),
        ("DTSTART:20260701T080000Z\nDURATION:PT90M", "2026-07-01T08:00", "2026-07-01T09:30", "UTC"),
        (
            "DTSTART;TZID=America/New_York:20260701T080000\nDURATION:P1D",
            "2026-07-01T12:00",
            "2026-07-02T12:00",
            "America/New_York",
        ),
        (
            "DTSTART;TZID=Europe/Berlin:20261024T120000\nDURATION:P1D",
            "2026-10-24T10:00",
            "2026-10-25T11:00",
            "Europe/Berlin",
        ),
        (
            "DTSTART;TZID=Romance Standard Time:20260701T080000\nDURATION:PT1H",
            "2026-07-01T06:00",
            "2026-07-01T07:00",
            "Europe/Paris",
        ),
        (
            "DTSTART;TZID=/mozilla.org/20050126_1/Europe/Oslo:20260701T080000\nDURATION:PT1H",
            "2026-07-01T06:00",
            "2026-07-01T07:00",
            "Europe/Oslo",
        ),
    ],
    ids=["floating", "utc", "zone", "a day over the change", "windows", "prefix"],
)
def test_times_are_understood_in_their_zone(times, begins, ends, timezone):
    (window,) = _read(f"UID:a\n{times}")
    assert (window.begins_at, window.ends_at) == (_at(begins), _at(ends))
    assert window.timezone in {timezone, "Europe/Berlin"}


@pytest.mark.parametrize("name", ["Romance Standard Time", "/x.org/2005/Europe/Paris"])
def test_a_known_zone_that_the_calendar_also_describes_is_the_known_one(name):
    (window,) = _read(
        f"UID:a\nDTSTART;TZID={name}:20260701T080000\nDURATION:PT1H\nRRULE:FREQ=DAILY",
        zone=OWN_ZONE.format(name=name),
        timezone="Asia/Tokyo",
    )
    assert (window.timezone, window.rule) == ("Europe/Paris", "FREQ=DAILY")


def test_a_zone_of_the_calendars_own_is_the_sites_where_it_tells_the_same_time():
    event = "UID:a\nDTSTART;TZID=Our plant:20260701T080000\nDURATION:PT1H\nRRULE:FREQ=DAILY"
    (window,) = _read(event, zone=OWN_ZONE.format(name="Our plant"))
    assert (window.begins_at, window.timezone) == (_at("2026-07-01T06:00"), "Europe/Berlin")
    with pytest.raises(Invalid, match=r"'a'.*Our plant.*IANA"):
        _read(event, zone=OWN_ZONE.format(name="Our plant"), timezone="Asia/Tokyo")


def test_a_zone_described_in_one_calendar_is_unknown_in_the_next():
    event = "UID:a\nDTSTART;TZID=Mine:20260701T080000\nDURATION:PT1H"
    _read(event, zone=OWN_ZONE.format(name="Mine"))
    with pytest.raises(Invalid, match="'Mine' is neither"):
        _read(event)


def test_occurrences_that_are_left_out_cancelled_or_changed_are_not_the_rules():
    windows = _read(
        "UID:a\nDTSTART:20260701T080000\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=9\nEXDATE:20260702T080000",
        "UID:a\nRECURRENCE-ID:20260703T080000\nDTSTART:20260703T120000\nDURATION:PT2H",
        "UID:a\nRECURRENCE-ID:20260704T080000\nDTSTART:20260704T080000\nSTATUS:CANCELLED",
        "UID:b\nDTSTART:20260701T080000\nDURATION:PT1H\nSTATUS:cancelled",
    )
    assert [(one.uid, one.rule, one.recurrence_id) for one in windows] == [
        ("a", "FREQ=DAILY;COUNT=9", None),
        ("a", "", _at("2026-07-03T06:00")),
    ]
    assert windows[0].exdates == tuple(_at(f"2026-07-0{day}T06:00") for day in (2, 3, 4))
    assert windows[1].begins_at == _at("2026-07-03T10:00")


def test_a_day_left_out_of_an_event_with_a_time_is_its_occurrence_of_that_day():
    event = "UID:a\nDTSTART;TZID=America/New_York:20260701T200000\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=9"
    (window,) = _read(f"{event}\nEXDATE;VALUE=DATE:20260702")
    assert window.exdates == (_at("2026-07-03T00:00"),)


def test_a_calendar_may_begin_with_a_byte_order_mark():
    text = "\ufeff" + _file("UID:a\nDTSTART;VALUE=DATE:20260701")
    assert [one.uid for one in read(text.encode(), timezone="UTC")] == ["a"]
    assert [one.uid for one in read(text, timezone="UTC")] == ["a"]


def test_added_dates_and_periods_are_windows_of_their_own():
    windows = _read(
        "UID:a\nDTSTART:20260701T080000\nDTEND:20260701T090000\nRDATE:20260705T080000,20260706T080000\n"
        "RDATE;VALUE=PERIOD:20260707T080000Z/PT3H\nEXDATE:20260706T080000"
    )
    assert [(one.begins_at, one.ends_at) for one in windows] == [
        (_at("2026-07-01T06:00"), _at("2026-07-01T07:00")),
        (_at("2026-07-05T06:00"), _at("2026-07-05T07:00")),
        (_at("2026-07-07T08:00"), _at("2026-07-07T11:00")),
    ]


def test_a_first_day_that_its_rule_does_not_give_is_kept_beside_it():
    windows = _read("UID:a\nDTSTART;VALUE=DATE:20260101\nRRULE:FREQ=WEEKLY;BYDAY=MO")
    assert [(one.rule, one.recurrence_id) for one in windows] == [
        ("FREQ=WEEKLY;BYDAY=MO", None),
        ("", windows[0].begins_at),
    ]


@pytest.mark.parametrize(
    "until", ["20300101", "20300101T120000Z", "20300101T235959Z", "20300101T000000", "20291231T230000Z"]
)  # the last is its midnight in Berlin
def test_a_series_of_whole_days_ends_by_its_date(until):
    (window,) = _read(f"UID:a\nDTSTART;VALUE=DATE:20260101\nRRULE:FREQ=YEARLY;UNTIL={until}")
    assert window.rule == "FREQ=YEARLY;UNTIL=20300101T000000"


def test_of_two_versions_of_an_event_the_newer_counts():
    new, old = "UID:a\nSEQUENCE:2\nDTSTART;VALUE=DATE:20260102", "UID:a\nSEQUENCE:1\nDTSTART;VALUE=DATE:20260101"
    (window,) = _read(new, old)
    assert window.begins_at == _at("2026-01-01T23:00")


def test_a_reminder_without_length_is_left_out():
    assert _read("UID:a\nDTSTART:20260701T080000") == ()


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ("SUMMARY:Nameless\nDTSTART:20260701T080000", "'Nameless'.*no UID"),
        ("UID:a", "'a'.*DTSTART is missing"),
        ("UID:a\nDTSTART:2026", "'a'.*DTSTART cannot be read"),
        ("UID:a\nDTSTART:20260701T080000\nDTSTART:20260702T080000", "'a'.*more than once"),
        ("UID:a\nDTSTART;TZID=Mars/Base:20260701T080000", "'a'.*Mars/Base"),
        ("UID:a\nDTSTART;TZID=right/Europe/Berlin:20260701T080000", "'a'.*right/Europe/Berlin"),
        ('UID:a\nX-NOTE;OF="me:20260701\nDTSTART:20260701T080000', "'a'.*: a line cannot be read"),
        ("UID:a\nDTSTART:20260701T080000\nDTEND:20260630T080000", "'a'.*before it begins"),
        ("UID:a\nDTSTART:20260701T080000\nDTEND;VALUE=DATE:20260702", "'a'.*is a date"),
        ("UID:a\nDTSTART:20260701T080000\nDURATION:-PT1H", "'a'.*DURATION"),
        ("UID:a\nDTSTART:20260701T080000\nDURATION:soon", "'a'.*DURATION"),
        ("UID:a\nDTSTART:20260701T080000\nDURATION:PT1H\nRRULE:FREQ=SOMETIMES", "'a'.*RRULE"),
        ("UID:a\nDTSTART:20260701T080000\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=0", "'a'.*COUNT"),
        ("UID:a\nDTSTART:20260701T080000\nDURATION:PT1H\nRRULE:weekly", "'a'.*RRULE cannot be read"),
        ("UID:a\nDTSTART;VALUE=DATE:00010101", "'a'.*years 1 to 9999"),
        ("UID:a\nDTSTART:20260701T080000\nDURATION:PT1H\nRRULE:FREQ=DAILY;UNTIL=20260801", "'a'.*disputed"),
        ("UID:a\nDTSTART:20260701T080000\nDURATION:PT1H\nRRULE:FREQ=SECONDLY", "'a'.*60 s apart"),
        ("UID:a\nDTSTART:20260701T080000\nDURATION:PT1H\nRRULE:FREQ=DAILY\nRRULE:FREQ=WEEKLY", "'a'.*more than once"),
        ("UID:a\nDTSTART:20260701T080000\nEXRULE:FREQ=DAILY", "'a'.*EXRULE"),
        ("UID:a\nDTSTART:20260701T080000\nRECURRENCE-ID;RANGE=THISANDFUTURE:20260701T080000", "'a'.*RANGE"),
        ("UID:a\nDTSTART:20260701T080000\nDURATION:P99999999D", "'a'.*years 1 to 9999"),
    ],
)
def test_a_malformed_event_is_refused_by_its_uid_with_what_is_wrong(event, reason):
    with pytest.raises(Invalid, match=reason):
        _read("UID:good\nDTSTART;VALUE=DATE:20260101", event)


@pytest.mark.parametrize(
    "content",
    [
        *("", b"", "garbage", b"\xff\xfe\x00", "BEGIN:VCALENDAR", "/etc/passwd", "[]"),
        _file("UID:a\nDTSTART:20260701T080000").replace("END:VEVENT\r\n", ""),
        _file("UID:a\nDTSTART:20260701T080000").replace("END:VCALENDAR\r\n", ""),
        _file("UID:a\nnonsense"),
        HEAD + "BEGIN:VTIMEZONE\r\nTZID:x\r\nEND:VTIMEZONE\r\nEND:VCALENDAR\r\n",
    ],
    ids=lambda content: ascii(content[:12]),
)
def test_what_is_no_complete_calendar_is_refused(content):
    with pytest.raises(Invalid):
        read(content, timezone="Europe/Berlin")


def test_a_calendar_without_events_has_no_windows():
    assert read(HEAD + "END:VCALENDAR\r\n", timezone="Europe/Berlin") == ()


def test_too_much_is_refused_before_it_is_read(monkeypatch):
    with pytest.raises(TooLarge, match="bytes"):
        read(b"x" * (ics.SIZE_MAX + 1), timezone="Europe/Berlin")
    monkeypatch.setattr(ics, "EVENTS_MAX", 2)
    with pytest.raises(TooLarge, match="more than 2 events"):
        _read(*(f"UID:{number}\nDTSTART;VALUE=DATE:20260101" for number in range(3)))
    with pytest.raises(TooLarge, match="added dates"):
        _read("UID:a\nDTSTART;VALUE=DATE:20260101\nRDATE;VALUE=DATE:20260102,20260103,20260104")


LINES = st.sampled_from(
    [
        *("DTSTART:20260701T080000", "DTSTART;VALUE=DATE:20260701", "DTSTART;TZID=Europe/Berlin:20260701T080000"),
        *(
            "DTEND:20260701T090000Z",
            "DTEND;VALUE=DATE:20260702",
            "DURATION:P1W",
            "DURATION:PT0S",
            "DTSTART:00010101T000000Z",
        ),
        *(
            "RRULE:FREQ=DAILY",
            "RRULE:FREQ=YEARLY;BYDAY=1MO",
            "RRULE:",
            "EXDATE:20260702T080000",
            "EXDATE;VALUE=DATE:2026",
        ),
        *(
            "RDATE:20260703T080000Z",
            "RDATE;VALUE=PERIOD:20260703T080000Z/20260703T090000Z",
            "RECURRENCE-ID:20260702T080000",
        ),
        *(
            "RECURRENCE-ID;VALUE=DATE:20260702",
            "SEQUENCE:x",
            "SEQUENCE:3",
            "STATUS:CANCELLED",
            "SUMMARY;X=:\\n",
            "UID:b",
        ),
        *("DTSTART;TZID=:20260701T080000", "DTSTART;VALUE=TIME:080000", 'DTSTART;TZID="a:b":20260701T080000', "X"),
        *(
            "BEGIN:VALARM",
            "END:VALARM",
            "RDATE;VALUE=TIME:080000",
            "DTEND;VALUE=PERIOD:20260703T080000Z/PT1H",
            "DURATION:",
        ),
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(lines=st.lists(LINES, max_size=7))
def test_whatever_a_file_holds_it_gives_windows_or_the_reason(lines):
    try:
        windows = _read("\n".join(["UID:a", *lines]))
    except Invalid:
        return
    assert all(one.begins_at < one.ends_at for one in windows)
