"""The occurrences of a rule: fixed local times are worked out on the wall, finer rules in elapsed time."""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache, partial
from itertools import chain, dropwhile, islice, takewhile
from math import gcd
from zoneinfo import ZoneInfo

from fleet.errors import Invalid
from missions.calendars.cron import Cron, read_cron
from missions.calendars.days import PERIODS, Days, each_day, periods, permits, permits_cron
from missions.calendars.elapsed import Pattern, picks, seconds_of_day, ticks
from missions.calendars.rules import TEXT_MAX, UNIT_S, Freq, Rule, read_rrule, refuse
from missions.calendars.zones import LAST_S, at, instant_of, resolved, seconds_from, seconds_of, zone_named

COUNT_MAX = 100_000
RESULT_MAX = 1_000_000
APART_S = 60
_LOOK = 1_000  # so many occurrences are looked at for two that are too close
_MARGIN = timedelta(days=2)  # more than any gap of local time
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class _Series:
    """A rule with its beginning: the local time it was given as, and the instant."""

    rule: Rule | Cron
    wall: datetime
    begins: datetime
    zone: ZoneInfo


def occurrences(  # noqa: PLR0913  the public signature that schedules, API and command line share
    rule: str,
    *,
    dtstart: datetime,
    timezone: str,
    after: datetime | None = None,
    before: datetime | None = None,
    limit: int | None = None,
    exdates: Iterable[datetime] = (),
    rdates: Iterable[datetime] = (),
) -> list[datetime]:
    """The occurrences strictly between `after` and `before`, at most `limit`, as aware UTC, ascending, each once.

    Args:
        rule: an RRULE (RFC 5545) with or without its prefix, or a five-field cron.
        dtstart: the first possible occurrence; like all times here naive (a local time of the zone) or aware.
        timezone: name of the IANA time zone in which the rule is meant.
        after: only later ones.
        before: only earlier ones.
        limit: at most so many.
        exdates: left out, also of `rdates`.
        rdates: added; they do not count for COUNT.

    Raises:
        Invalid: the rule is malformed or disputed, a value is wrong, or neither `before` nor `limit` ends the list.
    """
    series = _series(rule, dtstart, timezone)
    bound = None if before is None else instant_of(before, series.zone, "before")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise Invalid(f"limit must be a whole number of 0 or more, but is {limit!r:.80}.", limit=str(limit)[:80])
    if limit is None and bound is None and (isinstance(series.rule, Cron) or series.rule.is_endless):
        raise Invalid(f"The rule {rule[:200]!r} has no end; give limit or before.", rule=rule[:200])
    found: list[datetime] = []
    for instant in _merged(series, after, exdates, rdates):
        if len(found) == limit or (bound is not None and instant >= bound):
            break
        if len(found) == RESULT_MAX:
            raise Invalid(f"The rule {rule[:200]!r} gives more than {RESULT_MAX:,} occurrences; give a limit.")
        found.append(instant)
    return found


def walk(
    rule: str,
    dtstart: datetime,
    timezone: str,
    after: datetime | None = None,
    *,
    exdates: Iterable[datetime] = (),
    rdates: Iterable[datetime] = (),
) -> Iterator[datetime]:
    """The occurrences after an instant one by one, as `occurrences` gives them; it may never end.

    Years before `after` are skipped by arithmetic, unless COUNT makes it count.

    Raises:
        Invalid: as `occurrences`, at the call.
    """
    return _merged(_series(rule, dtstart, timezone), after, exdates, rdates)


def check(rule: str, *, dtstart: datetime, timezone: str) -> None:
    """Look at a rule before a schedule is made of it.

    Raises:
        Invalid: as `occurrences`; COUNT with a DTSTART that the rule does not give, or above 100,000; two occurrences
            less than 60 s apart.
    """
    series = _series(rule, dtstart, timezone)
    count = None if isinstance(series.rule, Cron) else series.rule.count
    if count is not None and count > COUNT_MAX:
        refuse(rule, f"COUNT={count} is more than {COUNT_MAX:,}; end it with UNTIL.")
    if count is not None and next(_plain(series, series.begins), None) != series.begins:
        refuse(
            rule,
            f"with COUNT, whether a first time that the rule does not give ({dtstart.isoformat()}) counts is disputed; "
            "begin at a time of the rule, or end it with UNTIL.",
        )
    last: datetime | None = None
    for instant in islice(_ruled(series, None), _LOOK if _can_crowd(series.rule) else 0):
        if last is not None and instant - last < APART_S * _SECOND:
            refuse(rule, f"{last.isoformat()} and {instant.isoformat()} are less than {APART_S} s apart.")
        last = instant


def _can_crowd(rule: Rule | Cron) -> bool:
    """Whether two occurrences may lie in one minute at all."""
    if isinstance(rule, Cron):
        return False
    if rule.freq is Freq.secondly:
        return rule.interval < APART_S and len(rule.seconds) != 1
    return len(rule.seconds) > 1


def _series(rule: str, dtstart: datetime, timezone: str) -> _Series:
    zone, read = zone_named(timezone), _read(rule)
    if isinstance(dtstart, datetime) and dtstart.tzinfo is None and not read.is_elapsed:
        dtstart = dtstart.replace(fold=0)  # fixed local times happen at the first of two
    begins = instant_of(dtstart, zone, "dtstart").replace(microsecond=0)
    try:
        wall = dtstart.replace(microsecond=0, fold=0) if dtstart.tzinfo is None else begins.astimezone(zone)
        begins.astimezone(zone)
    except OverflowError:
        raise Invalid(f"dtstart {dtstart!s} lies outside the years 1 to 9999 in {timezone}.") from None
    return _Series(read, wall.replace(tzinfo=None, fold=0), begins, zone)


def _read(rule: object) -> Rule | Cron:
    if not isinstance(rule, str):
        raise Invalid(f"A rule is a text, an RRULE or a cron, but this is {rule!r:.80}.")
    if len(rule) > TEXT_MAX:
        refuse(rule, f"it is longer than {TEXT_MAX:,} characters.")
    return _read_text(rule)


@lru_cache(maxsize=1024)
def _read_text(rule: str) -> Rule | Cron:
    text = rule.strip()
    if len(text.splitlines()) > 1:
        refuse(rule, "it has several lines; give one RRULE or cron, and DTSTART, EXDATE and RDATE apart from it.")
    return read_rrule(text) if not text or "=" in text or ":" in text else read_cron(text)


def _merged(
    series: _Series, after: datetime | None, exdates: Iterable[datetime], rdates: Iterable[datetime]
) -> Iterator[datetime]:
    reached = None if after is None else instant_of(after, series.zone, "after")
    added, left_out = _all_of(rdates, series.zone, "rdate"), _all_of(exdates, series.zone, "exdate")
    return _each_once(_ruled(series, reached), sorted(added), left_out, reached)


def _all_of(times: Iterable[datetime], zone: ZoneInfo, name: str) -> set[datetime]:
    if not isinstance(times, Iterable):
        raise Invalid(f"{name}s must be a list of datetimes, but is {times!r:.80}.", value=str(times)[:80])
    return {instant_of(time, zone, name) for time in times}


def _each_once(
    ruled: Iterator[datetime], added: Sequence[datetime], left_out: set[datetime], reached: datetime | None
) -> Iterator[datetime]:
    last: datetime | None = None
    for instant in heapq.merge(ruled, (rdate for rdate in added if reached is None or rdate > reached)):
        if instant != last and instant not in left_out:
            yield instant
        last = instant


def _ruled(series: _Series, after: datetime | None) -> Iterator[datetime]:
    """What the rule itself gives after an instant, up to its COUNT or UNTIL."""
    rule = series.rule
    count, until = (None, None) if isinstance(rule, Cron) else (rule.count, rule.until)
    if count is not None and after is not None:
        return _counted(series, count, after)
    found = _plain(series, series.begins if after is None else max(after, series.begins))
    if after is not None:
        found = dropwhile(lambda instant: instant <= after, found)
    if until is not None:
        end = instant_of(until, series.zone, "UNTIL")
        found = takewhile(lambda instant: instant <= end, found)
    return islice(found, count)


def _counted(series: _Series, count: int, after: datetime) -> Iterator[datetime]:
    """Counting begins at DTSTART; what the count ends with is remembered, so that the next look may skip to `after`."""
    if count <= COUNT_MAX or _is_even(series.rule):
        last = _last_counted(series, count)
        found = _plain(series, max(after, series.begins)) if last is not None and after < last else iter(())
        return takewhile(lambda instant: last is not None and instant <= last, filter(after.__lt__, found))
    before = 0
    found = _plain(series, series.begins)
    for instant in found:
        if instant > after:
            return chain([instant], islice(found, count - before - 1))
        before += 1
        if before >= min(count, RESULT_MAX):
            break
    if before < count and before == RESULT_MAX:
        raise Invalid(
            f"More than {RESULT_MAX:,} of COUNT={count} occurrences lie before {after}; end the rule by UNTIL."
        )
    return iter(())


def _is_even(rule: Rule | Cron) -> bool:
    """Whether it is nothing but one step of elapsed time after another."""
    return (
        isinstance(rule, Rule)
        and rule.is_elapsed
        and rule == Rule(rule.freq, rule.interval, rule.count, week_start=rule.week_start)
    )


@lru_cache(maxsize=1024)
def _last_counted(series: _Series, count: int) -> datetime | None:
    if isinstance(series.rule, Rule) and _is_even(series.rule):
        last_s = seconds_of(series.begins) + (count - 1) * series.rule.interval * UNIT_S[series.rule.freq]
        return at(min(last_s, LAST_S))
    last = deque(islice(_plain(series, series.begins), count), maxlen=1)
    return last[0] if last else None


def _plain(series: _Series, reached: datetime) -> Iterator[datetime]:
    """What the rule gives from an instant on, not before its beginning, as if it had no end."""
    if series.rule.is_elapsed:
        return map(at, ticks(_pattern(series), series.zone, seconds_from(reached)))
    # A local time before DTSTART's is none, also where a gap moves it behind that.
    walls = (wall for wall in _walls(series, reached) if wall >= series.wall)
    instants = _instants(walls, series.zone)
    return (instant for instant in instants if instant >= reached)


def _pattern(series: _Series) -> Pattern:
    rule, wall = series.rule, series.wall
    begins = seconds_of(series.begins)
    if isinstance(rule, Cron):
        days = Days(partial(permits_cron, rule))
        return Pattern(begins - begins % 60, 60, 60, days, seconds_of_day(rule.hours, rule.minutes, frozenset({0})))
    wall = series.begins.astimezone(series.zone)
    unit = UNIT_S[rule.freq]
    width = 1
    seconds = rule.seconds
    if rule.freq is Freq.hourly and rule.minutes:
        width, seconds = 3600, seconds or frozenset({wall.second})
    elif rule.freq is not Freq.secondly and rule.seconds:
        width = 60
    into = (wall.minute * 60 if width == 3600 else 0) + (wall.second if width > 1 else 0)
    return Pattern(
        origin=begins - into,
        period=unit * rule.interval,
        width=width,
        days=Days(partial(permits, rule)),
        seconds=seconds_of_day(rule.hours, rule.minutes, seconds),
        positions=rule.positions,
        weekdays=frozenset(weekday for _, weekday in rule.weekdays),
    )


def _walls(series: _Series, reached: datetime) -> Iterator[datetime]:
    """The local times of a rule of days and coarser, ascending, from about an instant on."""
    rule = series.rule
    begins = series.wall.date()
    first = max(begins.toordinal(), reached.toordinal()) - _MARGIN.days
    if isinstance(rule, Cron):
        days = each_day(Days(partial(permits_cron, rule)), begins.toordinal(), 1, first)
        times = seconds_of_day(rule.hours, rule.minutes, frozenset({0})) or ()
        return _expanded(days, times, frozenset(), first, PERIODS[Freq.daily])
    rule = _filled(rule, series.wall)
    times = seconds_of_day(rule.hours, rule.minutes, rule.seconds) or ()
    patience = PERIODS[rule.freq] // gcd(rule.interval, PERIODS[rule.freq])  # then the calendar has come round
    return _expanded(periods(rule, begins, first), times, rule.positions, first, patience)


def _expanded(
    days: Iterator[tuple[int, ...]], times: Sequence[int], positions: frozenset[int], first: int, patience: int
) -> Iterator[datetime]:
    """Every time of every day, or those that BYSETPOS takes of each period, from the ordinal `first` on."""
    fruitless = 0
    for ordinals in days:
        size = len(ordinals) * len(times)
        skipped = sum(ordinal < first for ordinal in ordinals) * len(times)
        chosen: Iterable[int] = sorted({*picks(positions, size)}) if positions else range(size)
        if not chosen:
            fruitless += 1
            if fruitless > patience:
                return
            continue
        fruitless = 0
        for place in chosen if positions else range(skipped, size):
            yield datetime.fromordinal(ordinals[place // len(times)]) + times[place % len(times)] * _SECOND


def _filled(rule: Rule, wall: datetime) -> Rule:
    """The rule with what it leaves open taken from DTSTART."""
    has_day = bool(rule.monthdays or rule.weekdays or rule.yeardays)
    if rule.freq is Freq.weekly or rule.weeks:
        rule = rule if has_day else replace(rule, weekdays=frozenset({(0, wall.weekday())}))
    elif rule.freq is not Freq.daily and not has_day:
        months = rule.months or (frozenset({wall.month}) if rule.freq is Freq.yearly else frozenset())
        rule = replace(rule, months=months, monthdays=frozenset({wall.day}))
    return replace(
        rule,
        hours=rule.hours or frozenset({wall.hour}),
        minutes=rule.minutes or frozenset({wall.minute}),
        seconds=rule.seconds or frozenset({wall.second}),
    )


def _instants(walls: Iterator[datetime], zone: ZoneInfo) -> Iterator[datetime]:
    """The instants of ascending local times, ascending and each once.

    A local time in a gap becomes an instant behind the gap, where later local times may lie before it or on it: it waits
    until the walls have passed the local time that its instant has.
    """
    waiting: deque[tuple[datetime, datetime]] = deque()  # (local time of the instant, instant)
    last: datetime | None = None
    for wall in walls:
        try:
            instant = resolved(wall, zone)
            local = instant.astimezone(zone).replace(tzinfo=None, fold=0)
        except OverflowError:
            continue  # the last or first day of the calendar
        ready = []
        while waiting and waiting[0][0] <= wall:
            ready.append(waiting.popleft()[1])
        if local == wall:
            ready.append(instant)
        else:
            waiting.append((local, instant))
        for one in ready:
            if one != last:
                yield one
            last = one
    for _, one in waiting:
        if one != last:
            yield one
        last = one
