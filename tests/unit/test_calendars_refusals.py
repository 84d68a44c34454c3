"""What is malformed or disputed is refused with the reason, and a rule without occurrences ends in bounded work."""

import math
from datetime import UTC, date, datetime, timedelta

import pytest

from fleet.errors import Invalid
from missions.calendars import check, elapsed, instant_of, occurrences, walk, zone_named
from missions.calendars.days import Days

BEGINS = datetime(2026, 1, 1, 9)


def _ask(rule, **more):
    given = {"dtstart": BEGINS, "timezone": "Europe/Berlin", "limit": 3} | more
    return occurrences(rule, **given)


MALFORMED = {
    "": "empty",
    "   ": "empty",
    "RRULE:": "empty",
    "FREQ=DAILY;": "form NAME=VALUE",
    "FREQ=DAILY;;COUNT=1": "form NAME=VALUE",
    "FREQ=": "form NAME=VALUE",
    "INTERVAL=2": "FREQ is missing",
    "FREQ=DALY": "not one of YEARLY",
    "FREQ=DAILY;FREQ=DAILY": "given twice",
    "FREQ=DAILY;BYEASTER=1": "not a part of RFC 5545",
    "FREQ=DAILY;X-MINE=1": "not a part of RFC 5545",
    "FREQ=DAILY; INTERVAL=2": "not a part of RFC 5545",
    "FREQ=DAILY;COUNT=2;UNTIL=20260101T000000Z": "exclude each other",
    "FREQ=DAILY;COUNT=0": "1 or more",
    "FREQ=DAILY;COUNT=-1": "1 or more",
    "FREQ=DAILY;COUNT=1.5": "1 or more",
    "FREQ=DAILY;INTERVAL=0": "1 or more",
    "FREQ=DAILY;INTERVAL=٣": "1 or more",
    f"FREQ=DAILY;COUNT={'9' * 5000}": "1 or more",
    "FREQ=DAILY;UNTIL=2026-01-01": "not a time such as",
    "FREQ=DAILY;UNTIL=20260230T000000Z": "does not exist",
    "FREQ=DAILY;UNTIL=20260101T240000": "does not exist",
    "FREQ=DAILY;BYHOUR=24": "not from 0 to 23",
    "FREQ=DAILY;BYHOUR=-1": "not a whole number from 0 to 23",
    "FREQ=DAILY;BYHOUR=1,": "not a whole number",
    "FREQ=DAILY;BYMINUTE=60": "not from 0 to 59",
    "FREQ=DAILY;BYSECOND=60": "leap seconds",
    "FREQ=DAILY;BYMONTH=0": "not from 1 to 12",
    "FREQ=DAILY;BYMONTH=-1": "not a whole number",
    "FREQ=YEARLY;BYMONTH=5L": "not a whole number",
    "FREQ=MONTHLY;BYMONTHDAY=0": "not from 1 to 31",
    "FREQ=MONTHLY;BYMONTHDAY=-32": "not from 1 to 31",
    "FREQ=YEARLY;BYYEARDAY=0": "not from 1 to 366",
    "FREQ=YEARLY;BYYEARDAY=367": "not from 1 to 366",
    "FREQ=YEARLY;BYWEEKNO=0": "not from 1 to 53",
    "FREQ=YEARLY;BYWEEKNO=54": "not from 1 to 53",
    "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=0": "not from 1 to 366",
    "FREQ=MONTHLY;BYDAY=0MO": "not a weekday",
    "FREQ=MONTHLY;BYDAY=54MO": "not a weekday",
    "FREQ=MONTHLY;BYDAY=MONDAY": "not a weekday",
    "FREQ=WEEKLY;WKST=1": "not one of MO",
    "FREQ=WEEKLY;BYDAY=1MO": "an ordinal in BYDAY",
    "FREQ=DAILY;BYDAY=1MO": "an ordinal in BYDAY",
    "FREQ=HOURLY;BYDAY=-1MO": "an ordinal in BYDAY",
    "FREQ=YEARLY;BYWEEKNO=2;BYDAY=1MO": "does not go with BYWEEKNO",
    "FREQ=MONTHLY;BYWEEKNO=2": "BYWEEKNO belongs to FREQ=YEARLY",
    "FREQ=DAILY;BYYEARDAY=2": "BYYEARDAY does not go with",
    "FREQ=WEEKLY;BYYEARDAY=2": "BYYEARDAY does not go with",
    "FREQ=MONTHLY;BYYEARDAY=2": "BYYEARDAY does not go with",
    "FREQ=WEEKLY;BYMONTHDAY=2": "BYMONTHDAY does not go with",
    "FREQ=MONTHLY;BYSETPOS=1": "needs another BYxxx",
    "RSCALE=CHINESE;FREQ=YEARLY": "RFC 7529",
    "FREQ=MONTHLY;SKIP=OMIT": "RFC 7529",
    "DTSTART:20260101T000000\nRRULE:FREQ=DAILY": "several lines",
    "FREQ=DAILY\r\nEXDATE:20260101": "several lines",
    "0 0 * *": "here are 4",
    "0 0 0 * * *": "no field for seconds",
    "@daily": "write 0 0 * * *",
    "@reboot": "write five fields",
    "60 * * * *": "not from 0 to 59",
    "* 24 * * *": "not from 0 to 23",
    "* * 0 * *": "not from 1 to 31",
    "* * 32 * *": "not from 1 to 31",
    "* * * 13 *": "not from 1 to 12",
    "* * * * 8": "not from 0 to 7",
    "* * * FOO *": "JAN to DEC",
    "* * L * *": "L, W, # and ?",
    "* * 15W * *": "L, W, # and ?",
    "* * * * 5#3": "L, W, # and ?",
    "* * ? * *": "L, W, # and ?",
    "* * * * 5L": "L, W, # and ?",
    "5/15 * * * *": "write 5-59/15",
    "*/0 * * * *": "a step is from 1",
    "*/61 * * * *": "a step is from 1",
    "* 22-2 * * *": "write 22-23,0-2",
    "* * * * SAT-SUN": "runs backwards",
    "* * * * 7-2": "write 0-2.",
    "1,*/5 * * * *": "does not go into a list",
    "1,,2 * * * *": "is not *",
    "-5 * * * *": "is not *",
    "a b c d e": "is not *",
    "every day": "here are 2",
    "F" * 20_000: "longer than 10,000",
}


@pytest.mark.parametrize("rule", MALFORMED, ids=lambda rule: ascii(rule[:40]))
def test_a_malformed_rule_is_refused_with_the_reason(rule):
    with pytest.raises(Invalid, match="refused") as refused:
        _ask(rule)
    assert MALFORMED[rule] in refused.value.message


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("FREQ=DAILY;UNTIL=20261231", "UNTIL=20261231T235959"),
        ("0 6 */2 * MON", "crons disagree"),
        ("0 6 13 * */2", "crons disagree"),
        ("FREQ=YEARLY;INTERVAL=2;BYWEEKNO=1", "turn of the year"),
    ],
)
def test_a_disputed_meaning_is_refused_with_the_reason(rule, reason):
    with pytest.raises(Invalid) as refused:
        _ask(rule)
    assert reason in refused.value.message


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("FREQ=WEEKLY;BYDAY=MO;COUNT=3", "disputed"),  # 1 January 2026 is a Thursday
        ("FREQ=DAILY;COUNT=100001", "more than 100,000"),
        ("FREQ=SECONDLY", "less than 60 s apart"),
        ("FREQ=SECONDLY;INTERVAL=59", "less than 60 s apart"),
        ("FREQ=DAILY;BYSECOND=0,30", "less than 60 s apart"),
        ("FREQ=HOURLY;BYMINUTE=0,1;BYSECOND=0,59", "less than 60 s apart"),
    ],
)
def test_what_no_schedule_should_be_is_refused_at_creation_only(rule, reason):
    assert _ask(rule)
    with pytest.raises(Invalid) as refused:
        check(rule, dtstart=BEGINS, timezone="Europe/Berlin")
    assert reason in refused.value.message


@pytest.mark.parametrize(
    "rule", ["FREQ=SECONDLY;INTERVAL=60", "FREQ=MINUTELY", "* * * * *", "FREQ=DAILY;COUNT=100000", "FREQ=YEARLY"]
)
def test_an_ordinary_schedule_is_let_through(rule):
    check(rule, dtstart=BEGINS, timezone="Europe/Berlin")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"timezone": "Europe/Berln"}, "Europe/Berlin"),
        ({"timezone": "berlin"}, "Europe/Berlin"),
        ({"timezone": "europe/berlin"}, "Europe/Berlin"),
        ({"timezone": "../../etc/passwd"}, "no time zone"),
        ({"timezone": "Europe"}, "no time zone"),
        ({"timezone": ""}, "no time zone"),
        ({"timezone": "\x00"}, "no time zone"),
        ({"timezone": None}, "no time zone"),
        ({"dtstart": date(2026, 1, 1)}, "dtstart must be a datetime"),
        ({"dtstart": "2026-01-01T00:00:00"}, "dtstart must be a datetime"),
        ({"dtstart": None}, "dtstart must be a datetime"),
        ({"dtstart": datetime(1, 1, 1)}, "years 1 to 9999"),
        ({"dtstart": datetime.max.replace(tzinfo=UTC)}, "years 1 to 9999"),
        ({"after": "2026-01-01"}, "after must be a datetime"),
        ({"before": 3}, "before must be a datetime"),
        ({"exdates": ["2026-01-01"]}, "exdate must be a datetime"),
        ({"exdates": None}, "exdates must be a list"),
        ({"rdates": BEGINS}, "rdates must be a list"),
        ({"timezone": ["UTC"]}, "no time zone"),
        ({"timezone": "right/Europe/Berlin"}, "did you mean Europe/Berlin"),
        ({"timezone": "posixrules"}, "no time zone"),
        ({"timezone": "localtime"}, "give one such as UTC"),  # each machine would understand it differently
        ({"rdates": [date(2026, 1, 1)]}, "rdate must be a datetime"),
        ({"limit": -1}, "limit must be"),
        ({"limit": math.nan}, "limit must be"),
        ({"limit": 2.0}, "limit must be"),
        ({"limit": True}, "limit must be"),
        ({"limit": "3"}, "limit must be"),
        ({"limit": None}, "give limit or before"),
    ],
)
def test_a_wrong_value_is_refused_with_the_value(more, reason):
    with pytest.raises(Invalid) as refused:
        _ask("FREQ=DAILY", **more)
    assert reason in refused.value.message


def test_a_rule_that_is_no_text_is_refused():
    with pytest.raises(Invalid, match="A rule is a text"):
        _ask(None)


def test_a_list_of_more_than_a_million_is_refused_instead_of_kept_in_memory(monkeypatch):
    monkeypatch.setattr("missions.calendars.recurrence.RESULT_MAX", 1000)
    with pytest.raises(Invalid, match="give a limit"):
        _ask("FREQ=SECONDLY", limit=None, before=datetime(9999, 1, 1))
    with pytest.raises(Invalid, match="end the rule by UNTIL"):
        _ask("FREQ=SECONDLY;BYMINUTE=1,2;COUNT=900000000", after=datetime(2027, 1, 1))


def test_a_limit_of_zero_gives_nothing():
    assert _ask("FREQ=DAILY", limit=0) == []


NEVER = [
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=MONTHLY;BYMONTH=4;BYMONTHDAY=31",
    "FREQ=MONTHLY;BYDAY=6MO",
    "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=7",
    "FREQ=DAILY;INTERVAL=7;BYDAY=SU",
    "FREQ=WEEKLY;INTERVAL=52;BYMONTH=1;BYDAY=MO;BYSETPOS=2",
    "FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=MINUTELY;INTERVAL=2;BYMINUTE=1,3,5,7,9",
    "FREQ=HOURLY;INTERVAL=24;BYHOUR=12",
    "FREQ=HOURLY;INTERVAL=21;BYDAY=TU;BYHOUR=5",
    "FREQ=SECONDLY;INTERVAL=86400;BYSECOND=1",
    "FREQ=SECONDLY;BYHOUR=1;BYSETPOS=2",
    "FREQ=SECONDLY;INTERVAL=99999999999999999;BYHOUR=3",
    "FREQ=DAILY;INTERVAL=99999999999999999;BYHOUR=3",
    "0 0 30 2 *",
    "* * 31 4,6,9,11 *",
]


@pytest.mark.parametrize("rule", NEVER)
@pytest.mark.parametrize("begins", [datetime(1900, 1, 1), datetime(2026, 1, 1, 9)])
def test_a_rule_without_occurrences_gives_none_within_a_bounded_number_of_looks(rule, begins, monkeypatch):
    looks = 0
    following = Days.following

    def counted(days, ordinal):
        nonlocal looks
        looks += 1
        return following(days, ordinal)

    monkeypatch.setattr(Days, "following", counted)
    assert _ask(rule, dtstart=begins, after=datetime(2026, 6, 1)) == []
    assert looks <= elapsed.LOOKS_MAX // elapsed.LOOKS_OF_A_DAY


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=HOURLY;BYDAY=TH;BYHOUR=21;BYSETPOS=-206",
        "FREQ=HOURLY;BYMINUTE=0,30;BYSETPOS=5",
        "FREQ=HOURLY;BYMINUTE=45;BYHOUR=2;BYSETPOS=-2",  # clocks change by whole hours there
        "FREQ=MINUTELY;BYSETPOS=61,-62;BYSECOND=1",
    ],
)
def test_a_position_that_no_period_is_long_enough_for_is_not_searched(rule, monkeypatch):
    monkeypatch.setattr(Days, "following", lambda *_: pytest.fail("a day was looked at"))
    assert _ask(rule) == []


@pytest.mark.parametrize(
    ("rule", "first"),
    [
        ("FREQ=SECONDLY;INTERVAL=7;BYHOUR=1;BYMINUTE=1;BYSECOND=1", datetime(2026, 1, 5, 0, 1, 1)),
        ("FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO", datetime(2044, 2, 28, 23)),
        ("FREQ=DAILY", datetime(2026, 1, 1, 23)),
        ("FREQ=SECONDLY", datetime(2025, 12, 31, 23, 0, 1)),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", datetime(2028, 2, 28, 23)),
    ],
)
def test_a_first_time_long_ago_is_not_walked_from(rule, first):
    begins, after = datetime(1900, 1, 1), datetime(2026, 1, 1)
    assert next(walk(rule, begins, "Europe/Berlin", after)) == first.replace(tzinfo=UTC)


def test_a_long_count_is_counted_from_its_beginning_and_ends_where_it_should():
    begins = datetime(2026, 1, 1)
    last = begins + timedelta(minutes=99_999)
    found = occurrences("FREQ=MINUTELY;COUNT=100000", dtstart=begins, timezone="UTC", after=last - timedelta(minutes=2))
    assert found == [(last - timedelta(minutes=1)).replace(tzinfo=UTC), last.replace(tzinfo=UTC)]
    assert occurrences("FREQ=DAILY;COUNT=3", dtstart=begins, timezone="UTC", after=datetime(9000, 1, 1)) == []
    long = occurrences("FREQ=DAILY;COUNT=200000", dtstart=begins, timezone="UTC", after=datetime(2030, 1, 1), limit=1)
    assert long == [datetime(2030, 1, 2, tzinfo=UTC)]


def test_the_end_of_any_count_of_even_steps_is_worked_out_and_not_walked_to():
    begins, after = datetime(1926, 1, 1), datetime(2026, 1, 1)
    assert occurrences("FREQ=SECONDLY;COUNT=1000000000", dtstart=begins, timezone="UTC", after=after) == []
    last = begins + timedelta(seconds=3 * (2_000_000_000 - 1))
    rule = "FREQ=SECONDLY;INTERVAL=3;COUNT=2000000000;WKST=SU"
    assert occurrences(rule, dtstart=begins, timezone="UTC", after=last - timedelta(seconds=5)) == [
        (last - timedelta(seconds=3)).replace(tzinfo=UTC),
        last.replace(tzinfo=UTC),
    ]
    assert len(occurrences("FREQ=HOURLY;COUNT=999999999999", dtstart=begins, timezone="UTC", after=after, limit=3)) == 3


def test_a_long_count_in_a_few_hours_of_each_day_looks_at_these_hours_only(monkeypatch):
    looks = []
    bisect = elapsed.bisect_left
    monkeypatch.setattr(elapsed, "bisect_left", lambda *given: looks.append(1) or bisect(*given))
    rule = "FREQ=MINUTELY;BYHOUR=3;COUNT=60000"
    assert len(occurrences(rule, dtstart=datetime(2026, 1, 1), timezone="UTC")) == 60_000
    assert len(looks) < 70_000


@pytest.mark.parametrize("rule", ["FREQ=DAILY", "FREQ=HOURLY", "*/5 * * * *", "FREQ=YEARLY;BYWEEKNO=1"])
def test_nothing_comes_after_the_last_instant_of_the_calendar(rule):
    assert _ask(rule, after=datetime.max.replace(tzinfo=UTC)) == []


def test_the_end_of_the_calendar_ends_every_rule():
    begins = datetime(9999, 12, 29, 12)
    assert len(occurrences("FREQ=DAILY", dtstart=begins, timezone="Europe/Berlin", limit=9)) == 3
    assert len(occurrences("FREQ=HOURLY;INTERVAL=6", dtstart=begins, timezone="Europe/Berlin", limit=9)) <= 9
    assert occurrences("FREQ=YEARLY", dtstart=begins, timezone="Europe/Berlin", limit=9) == [
        datetime(9999, 12, 29, 11, tzinfo=UTC)
    ]


def test_rules_the_other_programs_get_wrong():
    turn = occurrences("FREQ=YEARLY;BYWEEKNO=1;BYDAY=MO,SU", dtstart=datetime(2024, 12, 1), timezone="UTC", limit=3)
    assert [f"{day:%Y-%m-%d}" for day in turn] == ["2024-12-30", "2025-01-05", "2025-12-29"]
    last = occurrences("FREQ=YEARLY;BYWEEKNO=53;BYDAY=FR", dtstart=datetime(2020, 1, 1), timezone="UTC", limit=2)
    assert [f"{day:%Y-%m-%d}" for day in last] == ["2021-01-01", "2027-01-01"]
    begins = datetime(2026, 1, 1)  # a Thursday: the first of its week was the Monday before
    week = occurrences("FREQ=WEEKLY;BYDAY=MO,TH;BYSETPOS=1", dtstart=begins, timezone="UTC", limit=1)
    assert week == [datetime(2026, 1, 5, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("rule", "days"),
    [
        (
            "BYWEEKNO=1;BYYEARDAY=366",
            ["1984-12-31", "1996-12-31", "2008-12-31"],
        ),  # by ISO 8601 in week 1 of the next year
        ("BYWEEKNO=1;BYYEARDAY=365", ["1985-12-31", "1986-12-31", "1990-12-31"]),
        ("BYWEEKNO=53;BYYEARDAY=-366", ["1988-01-01", "2016-01-01", "2044-01-01"]),  # in week 53 of the year before
    ],
)
def test_a_day_of_the_year_in_a_week_of_the_next_or_the_last_year_is_that_of_its_own_year(rule, days):
    by_day = f"FREQ=YEARLY;{rule};BYDAY=MO,TU,WE,TH,FR,SA,SU"
    found = occurrences(by_day, dtstart=datetime(1984, 1, 2), timezone="UTC", limit=3)
    assert [f"{day:%Y-%m-%d}" for day in found] == days


def test_either_day_of_a_cron_matches_when_both_are_restricted():
    found = occurrences("0 0 13 * fri", dtstart=datetime(2026, 2, 10), timezone="UTC", limit=4)
    assert [instant.day for instant in found] == [13, 20, 27, 6]
    sundays = [occurrences(f"0 0 * * {day}", dtstart=BEGINS, timezone="UTC", limit=5) for day in ("0", "7", "Sun")]
    assert sundays[0] == sundays[1] == sundays[2]


def test_an_exdate_leaves_out_an_rdate_and_an_rdate_may_lie_before_the_first_time():
    extra = [datetime(2025, 12, 24, 9), datetime(2026, 1, 2, 12)]
    found = _ask("FREQ=DAILY", rdates=extra, exdates=[extra[1], datetime(2026, 1, 1, 8, tzinfo=UTC)])
    assert [f"{instant:%m-%d %H}" for instant in found] == ["12-24 08", "01-02 08", "01-03 08"]


def test_zones_and_instants_are_given_to_others():
    assert zone_named("Europe/Berlin").key == "Europe/Berlin"
    assert instant_of(datetime(2026, 3, 29, 2, 30), "Europe/Berlin") == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
