"""Occurrences equal what a slow walk gives that applies the words of RFC 5545 to every day, hour, minute or second."""

import calendar
import re
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from fleet.errors import Invalid
from missions.calendars import occurrences, walk

DAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "Australia/Lord_Howe",  # half an hour of summer time
    "Antarctica/Troll",  # two hours
    "Africa/Casablanca",  # four changes a year
    "Pacific/Apia",  # without 30 December 2011
    "America/Sao_Paulo",  # changed at midnight, until 2019
    "Asia/Gaza",
]
EDGES = [
    datetime(2026, 3, 29),
    datetime(2026, 10, 25),
    datetime(2027, 3, 14),
    datetime(2026, 11, 1),
    datetime(2026, 4, 5),
    datetime(2011, 12, 29),
    datetime(2018, 11, 4),
    datetime(2024, 12, 30),
    datetime(2020, 12, 31),
    datetime(2028, 2, 28),
]
HORIZON = {
    "YEARLY": timedelta(days=6 * 366),
    "MONTHLY": timedelta(days=800),
    "WEEKLY": timedelta(days=300),
    "DAILY": timedelta(days=120),
    "HOURLY": timedelta(days=2),
    "MINUTELY": timedelta(hours=9),
    "SECONDLY": timedelta(hours=2),
}
STEP = {"HOURLY": timedelta(hours=1), "MINUTELY": timedelta(minutes=1), "SECONDLY": timedelta(seconds=1)}
SLOW = {"deadline": None, "suppress_health_check": list(HealthCheck), "phases": [Phase.explicit, Phase.generate]}
BRIEF = settings(max_examples=120, **SLOW)
LONG = settings(max_examples=800, **SLOW)


# The walk


def _parts(rule: str) -> dict[str, str]:
    return dict(part.split("=") for part in rule.split(";"))


def _ints(parts: dict[str, str], name: str) -> frozenset[int]:
    return _split(parts[name]) if name in parts else frozenset()


@lru_cache(maxsize=4096)
def _split(numbers: str) -> frozenset[int]:
    return frozenset(int(number) for number in numbers.split(","))


QUARTER = timedelta(minutes=15)


@lru_cache(maxsize=20_000)
def _quarters(day: date, zone: ZoneInfo) -> dict[datetime, datetime]:
    """Local time -> first instant, in the order of the instants, for every quarter of an hour around a day."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    found: dict[datetime, datetime] = {}
    for step in range(-40 * 4, 40 * 4):
        utc = midnight + step * QUARTER
        found.setdefault(utc.astimezone(zone).replace(tzinfo=None), utc)
    return found


def _instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first instant whose local time is `wall`; in a gap, by the offset of the last quarter of an hour before it."""
    rest = timedelta(minutes=wall.minute % 15, seconds=wall.second)
    quarters = _quarters(wall.date(), zone)
    if wall - rest in quarters:
        return quarters[wall - rest] + rest
    before = max(local for local in quarters if local < wall)
    return quarters[before] + (wall - before)


def _week_one(year: int, week_start: int) -> date:
    first = next(day for day in (date(year, 1, 1) + timedelta(days=n) for n in range(7)) if day.weekday() == week_start)
    return first - timedelta(days=7) if (first - date(year, 1, 1)).days >= 4 else first


@lru_cache(maxsize=4096)
def _alike(first: date, last: date, weekday: int) -> list[date]:
    return [day for day in _all_days(first, last) if day.weekday() == weekday]


def _is_nth(day: date, among: list[date], wanted: str) -> bool:
    ordinal, name = wanted[:-2], wanted[-2:]
    same = _alike(among[0], among[-1], DAYS.index(name))
    return (
        day in same if not ordinal else day in same and same.index(day) in {int(ordinal) - 1, len(same) + int(ordinal)}
    )


@lru_cache(maxsize=4096)
def _all_days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _month_of(day: date) -> list[date]:
    return _all_days(day.replace(day=1), day.replace(day=calendar.monthrange(day.year, day.month)[1]))


def _counts(number: int, size: int, wanted: frozenset[int]) -> bool:
    return number in wanted or number - 1 - size in wanted


def _day_passes(day: date, parts: dict[str, str], *, in_month: bool) -> bool:
    year = _all_days(date(day.year, 1, 1), date(day.year, 12, 31))
    month = _month_of(day)
    tests = {
        "BYMONTH": lambda: day.month in _ints(parts, "BYMONTH"),
        "BYMONTHDAY": lambda: _counts(day.day, len(month), _ints(parts, "BYMONTHDAY")),
        "BYYEARDAY": lambda: _counts((day - year[0]).days + 1, len(year), _ints(parts, "BYYEARDAY")),
        "BYDAY": lambda: any(_is_nth(day, month if in_month else year, one) for one in parts["BYDAY"].split(",")),
    }
    return all(test() for name, test in tests.items() if name in parts)


def _in_week_number(day: date, year: int, parts: dict[str, str]) -> bool:
    start = DAYS.index(parts.get("WKST", "MO"))
    first, following = _week_one(year, start), _week_one(year + 1, start)
    weeks = (following - first).days // 7
    return first <= day < following and _counts((day - first).days // 7 + 1, weeks, _ints(parts, "BYWEEKNO"))


def _completed(parts: dict[str, str], start: datetime) -> dict[str, str]:
    made = dict(parts)
    days = {"BYMONTHDAY", "BYYEARDAY", "BYDAY"} & parts.keys()
    if parts["FREQ"] == "YEARLY" and not days:
        if "BYWEEKNO" in parts:
            made["BYDAY"] = DAYS[start.weekday()]
        else:
            made.setdefault("BYMONTH", str(start.month))
            made["BYMONTHDAY"] = str(start.day)
    if parts["FREQ"] == "MONTHLY" and not days:
        made["BYMONTHDAY"] = str(start.day)
    if parts["FREQ"] == "WEEKLY" and not days:
        made["BYDAY"] = DAYS[start.weekday()]
    for name, value in (("BYHOUR", start.hour), ("BYMINUTE", start.minute), ("BYSECOND", start.second)):
        made.setdefault(name, str(value))
    return made


def _periods(parts: dict[str, str], start: datetime, end: date):
    """The days of each period, permitted or not, with the year that names it."""
    freq, interval, day = parts["FREQ"], int(parts.get("INTERVAL", 1)), start.date()
    if freq == "YEARLY":
        weekly = "BYWEEKNO" in parts
        for year in range(day.year - weekly, end.year + 2, interval):
            days = _all_days(date(year, 1, 1) - timedelta(days=7), date(year, 12, 31) + timedelta(days=7))
            yield [one for one in days if (_in_week_number(one, year, parts) if weekly else one.year == year)]
    elif freq == "MONTHLY":
        for number in range(day.year * 12 + day.month - 1, end.year * 12 + end.month + 1, interval):
            yield _month_of(date(number // 12, number % 12 + 1, 1))
    elif freq == "WEEKLY":
        while DAYS[day.weekday()] != parts.get("WKST", "MO"):
            day -= timedelta(days=1)
        while day <= end:
            yield _all_days(day, day + timedelta(days=6))
            day += timedelta(days=7 * interval)
    else:
        while day <= end:
            yield [day]
            day += timedelta(days=interval)


def _chosen(parts: dict[str, str], found: list) -> list:
    wanted = _ints(parts, "BYSETPOS")
    return [one for place, one in enumerate(found, 1) if not wanted or _counts(place, len(found), wanted)]


def _fixed(rule: str, start: datetime, zone: ZoneInfo, end: datetime) -> list[datetime]:
    given_parts = _parts(rule)
    parts = _completed(given_parts, start)
    in_month = parts["FREQ"] == "MONTHLY" or "BYMONTH" in parts
    walls: list[datetime] = []
    for days in _periods(parts, start, end.date() + timedelta(days=2)):
        passing = [day for day in days if _day_passes(day, parts, in_month=in_month)]
        times = [
            datetime(day.year, day.month, day.day, hour, minute, second)
            for day in passing
            for hour in sorted(_ints(parts, "BYHOUR"))
            for minute in sorted(_ints(parts, "BYMINUTE"))
            for second in sorted(_ints(parts, "BYSECOND"))
        ]
        walls += _chosen(given_parts, times)
    return sorted({_instant(wall, zone) for wall in walls if wall >= start})


def _elapsed(rule: str, start: datetime, zone: ZoneInfo, end: datetime) -> list[datetime]:
    parts = _parts(rule)
    unit = STEP[parts["FREQ"]]
    begin = _instant(start, zone)
    fine, here = begin, unit
    if unit > timedelta(minutes=1) and "BYMINUTE" in parts:
        fine, here = begin - timedelta(minutes=start.minute), timedelta(minutes=1)
    if unit > timedelta(seconds=1) and "BYSECOND" in parts:
        fine, here = fine - timedelta(seconds=start.second), timedelta(seconds=1)
    width = (
        timedelta(hours=1) if "BYMINUTE" in parts and unit > timedelta(minutes=1) else max(here, timedelta(seconds=1))
    )
    if here == timedelta(seconds=1) and width < unit:
        width = timedelta(minutes=1)
    width = width if here < unit else here
    found: list[datetime] = []
    period = fine
    while period.replace(tzinfo=None) <= end + timedelta(days=2):
        set_of_period, instant = [], period
        while instant < period + (width if here < unit else here):
            local = instant.astimezone(zone)
            fields = {"BYHOUR": local.hour, "BYMINUTE": local.minute, "BYSECOND": local.second}
            is_time = all(value in _ints(parts, name) for name, value in fields.items() if name in parts)
            if is_time and _day_passes(local.date(), parts, in_month=False):
                set_of_period.append(instant)
            instant += here
        found += _chosen(parts, set_of_period)
        period += unit * int(parts.get("INTERVAL", 1))
    return found


def _walked(rule: str, start: datetime, timezone: str, end: datetime) -> list[datetime]:
    zone = ZoneInfo(timezone)
    walked = _elapsed if _parts(rule)["FREQ"] in STEP else _fixed
    begin, last = _instant(start, zone), _instant(end, zone)
    return [instant for instant in walked(rule, start, zone, end) if begin <= instant < last]


# Rules to try


def _some(low: int, high: int, *, back: bool = False, most: int = 3) -> st.SearchStrategy[str]:
    numbers = st.integers(low, high)
    if back:
        numbers = numbers | numbers.map(lambda number: -number)
    return st.lists(numbers, min_size=1, max_size=most, unique=True).map(lambda found: ",".join(map(str, found)))


def _weekdays(*, ordinals: int) -> st.SearchStrategy[str]:
    day = st.sampled_from(DAYS)
    if ordinals:
        numbers = st.integers(1, ordinals) | st.integers(-ordinals, -1) | st.just("")
        day = st.builds("{}{}".format, numbers, day)
    return st.lists(day, min_size=1, max_size=4, unique=True).map(",".join)


@st.composite
def rules(draw, freqs: list[str], *, positions: bool = True) -> str:
    freq = draw(st.sampled_from(freqs))
    optional = {
        "BYMONTH": _some(1, 12),
        "BYHOUR": _some(0, 23) | _some(1, 3),
        "BYMINUTE": _some(0, 59) | st.just("0,30"),
        "BYSECOND": _some(0, 59, most=2),
    }
    if freq != "WEEKLY":
        optional["BYMONTHDAY"] = _some(1, 31, back=True, most=6)
    if freq == "YEARLY" or freq in STEP:
        optional["BYYEARDAY"] = _some(1, 366, back=True, most=6)
    if freq == "YEARLY":
        optional["BYWEEKNO"] = _some(1, 53, back=True)
    taken = draw(st.lists(st.sampled_from(sorted(optional)), max_size=3, unique=True))
    parts = {name: draw(optional[name]) for name in taken}
    if draw(st.booleans()):
        by_ordinal = {"YEARLY": 0 if "BYWEEKNO" in parts else 53, "MONTHLY": 5}.get(freq, 0)
        parts["BYDAY"] = draw(_weekdays(ordinals=by_ordinal))
    if "BYWEEKNO" not in parts and draw(st.booleans()):
        parts["INTERVAL"] = str(draw(st.integers(1, 5) | st.sampled_from([7, 12, 25, 60, 90])))
    if draw(st.booleans()):
        parts["WKST"] = draw(st.sampled_from(DAYS))
    if positions and any(name.startswith("BY") for name in parts) and draw(st.booleans()):
        parts["BYSETPOS"] = draw(_some(1, 5, back=True))
    return ";".join([f"FREQ={freq}", *(f"{name}={value}" for name, value in parts.items())])


STARTS = st.builds(
    lambda edge, days, seconds: edge + timedelta(days=days, seconds=seconds),
    st.sampled_from(EDGES),
    st.integers(-2, 1),
    st.integers(0, 86_399) | st.sampled_from([0, 5400, 7200, 9000, 9000, 10800]),
)


def _compare(rule: str, start: datetime, timezone: str, skipped: float, counted: int) -> None:
    horizon = HORIZON[_parts(rule)["FREQ"]]
    expected = _walked(rule, start, timezone, start + horizon)
    assert occurrences(rule, dtstart=start, timezone=timezone, before=start + horizon) == expected
    after = start + skipped * horizon
    later = [instant for instant in expected if instant > _instant(after.replace(microsecond=0), ZoneInfo(timezone))]
    found = occurrences(
        rule, dtstart=start, timezone=timezone, after=after.replace(microsecond=0), before=start + horizon
    )
    assert found == later
    if len(expected) >= counted:
        assert occurrences(f"{rule};COUNT={counted}", dtstart=start, timezone=timezone) == expected[:counted]
        until = expected[counted - 1]
        ended = f"{rule};UNTIL={until:%Y%m%dT%H%M%SZ}"
        assert occurrences(ended, dtstart=start, timezone=timezone) == expected[:counted]


COARSE = rules(["YEARLY", "MONTHLY", "WEEKLY", "DAILY"])
FINE = rules(["HOURLY", "MINUTELY", "SECONDLY"])
MORE = {"start": STARTS, "timezone": st.sampled_from(ZONES), "skipped": st.floats(0, 1), "counted": st.integers(1, 5)}


@settings(BRIEF, max_examples=40)
@given(rule=COARSE, **MORE)
def test_fixed_local_times_are_those_of_a_walk_over_every_day(rule, start, timezone, skipped, counted):
    _compare(rule, start, timezone, skipped, counted)


@settings(BRIEF, max_examples=8)
@given(rule=FINE, **MORE)
def test_finer_rules_are_those_of_a_walk_in_elapsed_time(rule, start, timezone, skipped, counted):
    _compare(rule, start, timezone, skipped, counted)


@pytest.mark.proof
@LONG
@given(rule=COARSE, **MORE)
def test_hundreds_of_rules_of_fixed_local_times_are_those_of_a_walk(rule, start, timezone, skipped, counted):
    _compare(rule, start, timezone, skipped, counted)


@pytest.mark.proof
@settings(LONG, max_examples=60)
@given(rule=FINE, **MORE)
def test_dozens_of_finer_rules_are_those_of_a_walk(rule, start, timezone, skipped, counted):
    _compare(rule, start, timezone, skipped, counted)


@settings(BRIEF, max_examples=12)
@given(rule=COARSE, start=STARTS)
def test_dateutil_agrees_in_utc_where_it_is_right(rule, start):
    assume("BYWEEKNO" not in rule)  # wrong there at the turn of the year
    assume(not re.search("WEEKLY.*BYSETPOS", rule))  # wrong there in the first week
    named = _parts(rule).get("BYDAY", "").split(",")
    assume(len({len(day) > 2 for day in named}) == 1)  # it takes "MO,1TU" for a Monday that is the first Tuesday
    before = start + HORIZON[_parts(rule)["FREQ"]]
    theirs = rrulestr(f"{rule};UNTIL={before:%Y%m%dT%H%M%S}", dtstart=start)
    expected = [moment.replace(tzinfo=UTC) for moment in theirs if moment < before]
    assert occurrences(rule, dtstart=start, timezone="UTC", before=before) == expected


# Cron


@st.composite
def crons(draw) -> str:
    def field(low: int, high: int):
        number = st.integers(low, high)
        ranged = st.tuples(number, number).map(sorted).map(lambda pair: f"{pair[0]}-{pair[1]}")
        return st.just("*") | number.map(str) | ranged | _some(low, high)

    hour = field(0, 23) | st.sampled_from(["*/2", "*/5", "1-5/2", "2", "3"])
    minute = field(0, 59) | st.sampled_from(["*/15", "0", "30"])
    return " ".join([draw(one) for one in (minute, hour, field(1, 31), field(1, 12), field(0, 7))])


def _field_values(text: str, low: int, high: int) -> set[int]:
    values = set()
    for piece in text.split(","):
        span, _, step = piece.partition("/")
        first, _, last = (f"{low}-{high}" if span == "*" else span).partition("-")
        values |= set(range(int(first), int(last or first) + 1, int(step or 1)))
    return values


def _cron_walked(cron: str, start: datetime, timezone: str, end: datetime) -> list[datetime]:
    minute, hour, monthday, month, weekday = cron.split()
    zone = ZoneInfo(timezone)
    begin, last = _instant(start, zone), _instant(end, zone)

    def is_day(day: date) -> bool:
        by_monthday = day.day in _field_values(monthday, 1, 31)
        by_weekday = day.isoweekday() % 7 in {number % 7 for number in _field_values(weekday, 0, 7)}
        either = monthday != "*" and weekday != "*"
        days = by_monthday or by_weekday if either else by_monthday and by_weekday
        return days and day.month in _field_values(month, 1, 12)

    minutes, hours = _field_values(minute, 0, 59), _field_values(hour, 0, 23)
    if "*" in hour or "/" in hour:
        every = (begin - timedelta(seconds=begin.second) + n * timedelta(minutes=1) for n in range(86_400))
        locals_ = ((instant, instant.astimezone(zone)) for instant in every if begin <= instant < last)
        return [i for i, wall in locals_ if wall.minute in minutes and wall.hour in hours and is_day(wall.date())]
    walls = [
        datetime(day.year, day.month, day.day, one, other)
        for day in _all_days(start.date() - timedelta(days=2), end.date() + timedelta(days=2))
        if is_day(day)
        for one in hours
        for other in minutes
    ]
    return sorted({i for i in (_instant(wall, zone) for wall in walls if wall >= start) if begin <= i < last})


@settings(BRIEF, max_examples=30)
@given(cron=crons(), start=STARTS, timezone=st.sampled_from(ZONES))
def test_a_cron_is_that_of_a_walk(cron, start, timezone):
    end = start + timedelta(days=12)
    expected = _cron_walked(cron, start, timezone, end)
    assert occurrences(cron, dtstart=start, timezone=timezone, before=end) == expected


# Properties that need no oracle


@settings(BRIEF, max_examples=30)
@given(
    rule=COARSE | FINE,
    start=STARTS,
    timezone=st.sampled_from(ZONES),
    gone=st.lists(st.integers(0, 9), max_size=4),
    extra=st.lists(STARTS, max_size=3),
)
def test_exdates_leave_out_and_rdates_add_and_nothing_else_changes(rule, start, timezone, gone, extra):
    plain = occurrences(rule, dtstart=start, timezone=timezone, limit=10)
    exdates = [plain[place] for place in gone if place < len(plain)]
    before = plain[-1] + timedelta(seconds=1) if plain else start + timedelta(days=9)
    found = occurrences(rule, dtstart=start, timezone=timezone, before=before, exdates=exdates, rdates=extra)
    zone = ZoneInfo(timezone)
    last = before if before.tzinfo else _instant(before, zone)
    added = {instant for instant in (_instant(one, zone) for one in extra) if instant < last}
    assert found == sorted((set(plain) | added) - set(exdates))


@settings(BRIEF, max_examples=30)
@given(rule=COARSE | FINE, start=STARTS, timezone=st.sampled_from(ZONES), place=st.integers(0, 8))
def test_a_walk_from_any_occurrence_goes_on_with_the_next(rule, start, timezone, place):
    plain = occurrences(rule, dtstart=start, timezone=timezone, limit=10)
    assume(len(plain) == 10)
    walked = walk(rule, start, timezone, plain[place])
    assert [next(walked) for _ in plain[place + 1 :]] == plain[place + 1 :]


WORDS = st.sampled_from(
    [
        *(*DAYS, *"0123456789", *"*/-,;=:#?LW \n", "FREQ", "BYDAY", "COUNT", "UNTIL", "INTERVAL", "BYSETPOS", "BYHOUR"),
        *("DAILY", "SECONDLY", "YEARLY", "RRULE:", "20261231T000000Z", "99999999999999999999", "-1", "٣", "é", "\x00"),
    ]
)


@settings(BRIEF, max_examples=400)
@given(text=st.text(max_size=40) | st.lists(WORDS, max_size=14).map("".join))
def test_a_hostile_text_is_refused_or_understood_and_nothing_else(text):
    with suppress(Invalid):
        assert len(occurrences(text, dtstart=datetime(2026, 1, 1), timezone="Europe/Berlin", limit=3)) <= 3
