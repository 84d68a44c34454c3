"""Rules that go by elapsed time (hourly and finer, cron with an open hour): instants whose local fields match.

The search goes from permitted day to permitted day and, in a day, over the fewer of its matching seconds and its steps.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from itertools import groupby
from math import gcd
from zoneinfo import ZoneInfo

from missions.calendars.days import Days
from missions.calendars.zones import DAY_S, LAST_S, Stretches, offsets

EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
# A search gives up after so many looks without a hit, a day for ten: more than 400 years of days (the calendar's cycle),
# and more than any step below a day takes to meet every second that it can meet.
LOOKS_MAX = 1_500_000
LOOKS_OF_A_DAY = 10
UNCHOSEN_MAX = 200_000


@dataclass(frozen=True, slots=True)
class Pattern:
    """Windows of `width` seconds every `period` seconds from `origin` on (seconds since 1970), days and local seconds.

    `seconds` are the permitted seconds of a local day, ascending; None: all. `positions` choose among the hits of a window;
    without one of `weekdays` (Monday 0; empty: all) no day is permitted.
    """

    origin: int
    period: int
    width: int
    days: Days
    seconds: tuple[int, ...] | None
    positions: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()


@lru_cache(maxsize=64)
def seconds_of_day(hours: frozenset[int], minutes: frozenset[int], seconds: frozenset[int]) -> tuple[int, ...] | None:
    """The local seconds of a day with these fields, ascending; empty sets permit all, and None is returned for all."""
    if not (hours or minutes or seconds):
        return None
    return tuple(
        hour * 3600 + minute * 60 + second
        for hour in sorted(hours or range(24))
        for minute in sorted(minutes or range(60))
        for second in sorted(seconds or range(60))
    )


def ticks(pattern: Pattern, zone: ZoneInfo, begin: int) -> Iterator[int]:
    """The instants of a pattern from `begin` on, ascending, as seconds since 1970."""
    if not _can_choose(pattern, zone, begin) or not _can_meet(pattern, zone, begin):
        return iter(())
    window = max(0, (begin - pattern.origin) // pattern.period)
    found = _matching(pattern, zone, pattern.origin + window * pattern.period)
    chosen = _chosen(pattern, found) if pattern.positions else found
    return (tick for tick in chosen if tick >= begin)


def _can_choose(pattern: Pattern, zone: ZoneInfo, begin: int) -> bool:
    """Whether a window can have as many hits as one of the positions needs.

    A change of the clock may repeat each, unless it is by whole windows.
    """
    if not pattern.positions:
        return True
    hits = pattern.width
    if pattern.seconds is not None:
        is_by_windows = len({offset % pattern.width for offset in offsets(zone, begin)}) == 1
        hits = min(hits, (1 if is_by_windows else 2) * len({second % pattern.width for second in pattern.seconds}))
    return min(map(abs, pattern.positions)) <= hits


def _can_meet(pattern: Pattern, zone: ZoneInfo, begin: int) -> bool:
    """Whether steps and local seconds of a week meet at all: both keep their remainder by what divides step and week."""
    common = gcd(pattern.period, 7 * DAY_S)
    if pattern.seconds is None or common <= pattern.width:
        return True
    seconds = {second % common for second in pattern.seconds}
    # The week of the clock begins with a Monday, 1970 with a Thursday.
    days = [(weekday - 3) * DAY_S for weekday in pattern.weekdays or range(7)]
    wanted = {(day + second - pattern.origin) % common for day in days for second in seconds}
    return any((local - offset) % common < pattern.width for offset in offsets(zone, begin) for local in wanted)


def _chosen(pattern: Pattern, found: Iterator[int]) -> Iterator[int]:
    unchosen = 0
    for _, group in groupby(found, key=lambda tick: (tick - pattern.origin) // pattern.period):
        hits = list(group)
        picked = sorted({*picks(pattern.positions, len(hits))})
        yield from (hits[index] for index in picked)
        unchosen = 0 if picked else unchosen + len(hits)
        if unchosen > UNCHOSEN_MAX:
            return


def picks(positions: frozenset[int], size: int) -> Iterator[int]:
    """The places, from 0, that BYSETPOS takes of so many."""
    places = (position - 1 if position > 0 else size + position for position in positions)
    return (place for place in places if 0 <= place < size)


def _matching(pattern: Pattern, zone: ZoneInfo, begin: int) -> Iterator[int]:
    stretches = Stretches(zone)
    now, looks = begin, 0
    while looks < LOOKS_MAX and (now := _in_window(pattern, now)) <= LAST_S:
        offset, until = stretches.offset_and_end(now)
        today = (now + offset) // DAY_S
        day = pattern.days.following(today + EPOCH_ORDINAL)
        if day is None:
            return
        looks += LOOKS_OF_A_DAY
        if day > today + EPOCH_ORDINAL:
            target = (day - EPOCH_ORDINAL) * DAY_S - offset
            now = target if target <= until else max(until, target - 2 * DAY_S)
            continue
        end = min((today + 1) * DAY_S - offset, until)
        hits, cost = _within(pattern, now, end, offset)
        looks += cost
        for tick in hits:
            looks = 0
            yield tick
        now = end


def _in_window(pattern: Pattern, now: int) -> int:
    """The first instant from `now` on that lies in a window."""
    inside = (now - pattern.origin) % pattern.period
    return now if inside < pattern.width else now - inside + pattern.period


def _within(pattern: Pattern, begin: int, end: int, offset: int) -> tuple[Iterator[int], int]:
    """The hits of a part of one local day with one offset, and how many looks they take."""
    midnight = begin - (begin + offset) % DAY_S
    windows = (end - begin) // pattern.period + 1
    if pattern.seconds is None:
        return _steps(pattern, begin, end), windows
    first = bisect_left(pattern.seconds, begin - midnight)
    last = bisect_left(pattern.seconds, end - midnight)
    if last - first <= windows or pattern.width == pattern.period:
        instants = (midnight + pattern.seconds[place] for place in range(first, last))
        return (tick for tick in instants if (tick - pattern.origin) % pattern.period < pattern.width), last - first
    return _by_windows(pattern, begin, end, midnight), windows


def _steps(pattern: Pattern, begin: int, end: int) -> Iterator[int]:
    for start in range(_in_window(pattern, begin), end, pattern.period):
        start_of_window = start - (start - pattern.origin) % pattern.period
        yield from range(start, min(start_of_window + pattern.width, end))


def _by_windows(pattern: Pattern, begin: int, end: int, midnight: int) -> Iterator[int]:
    """From second to second while they lie in a window, and from there to the next window."""
    seconds = pattern.seconds or ()
    place = bisect_left(seconds, begin - midnight)
    while place < len(seconds) and (tick := midnight + seconds[place]) < end:
        inside = (tick - pattern.origin) % pattern.period
        if inside < pattern.width:
            yield tick
            place += 1
        else:
            place = bisect_left(seconds, tick - inside + pattern.period - midnight, place)
