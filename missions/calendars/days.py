"""The days that a rule permits, period by period; there are 28 kinds of years, so each is worked out once."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from datetime import date
from functools import lru_cache, partial
from typing import NamedTuple

from missions.calendars.cron import Cron
from missions.calendars.rules import Freq, Rule

LAST_YEAR = 9999
LAST_ORDINAL = date.max.toordinal()
# The calendar repeats after 400 years: 4,800 months, 20,871 weeks, 146,097 days.
PERIODS = {Freq.yearly: 400, Freq.monthly: 4_800, Freq.weekly: 20_871, Freq.daily: 146_097}


class Day(NamedTuple):
    """What the parts of a rule ask about a day; `offset` counts from 1 January of the year it is seen from."""

    offset: int
    month: int
    monthday: int
    of_month: int
    yearday: int
    of_year: int
    weekday: int


class _Kind(NamedTuple):
    """What two years have in common that have the same calendar, and the same days of the year beside them."""

    is_leap: bool
    weekday: int
    after_leap: bool = False
    before_leap: bool = False


def _kind(year: int) -> _Kind:
    return _Kind(_is_leap(year), date(year, 1, 1).weekday(), _is_leap(year - 1), _is_leap(year + 1))


@lru_cache(maxsize=28)
def _calendar(kind: _Kind) -> tuple[Day, ...]:
    """The days of a year of that kind, with a week of the years before and after."""
    year = next(year for year in range(2000, 2040) if _kind(year) == kind)
    first = date(year, 1, 1).toordinal()
    return tuple(_day(date.fromordinal(first + offset), offset) for offset in range(-7, 365 + kind.is_leap + 7))


def _day(day: date, offset: int) -> Day:
    first = date(day.year, day.month, 1)
    after = date(day.year + day.month // 12, day.month % 12 + 1, 1)
    return Day(
        offset=offset,
        month=day.month,
        monthday=day.day,
        of_month=(after - first).days,
        yearday=day.timetuple().tm_yday,
        of_year=date(day.year, 12, 31).timetuple().tm_yday,
        weekday=day.weekday(),
    )


def _either_end(number: int, size: int) -> tuple[int, int]:
    """A position counted from the front, and the same from the back."""
    return number, number - size - 1


def _is_weekday(rule: Rule, day: Day, *, in_month: bool) -> bool:
    number, size = (day.monthday, day.of_month) if in_month else (day.yearday, day.of_year)
    front, back = (number - 1) // 7 + 1, -((size - number) // 7 + 1)
    return any((ordinal, day.weekday) in rule.weekdays for ordinal in (0, front, back))


def permits(rule: Rule, day: Day) -> bool:
    """Whether all parts about days but BYWEEKNO permit a day; ordinals count in the month where months are meant."""
    in_month = rule.freq is Freq.monthly or bool(rule.months)
    return (
        (not rule.months or day.month in rule.months)
        and (not rule.monthdays or not rule.monthdays.isdisjoint(_either_end(day.monthday, day.of_month)))
        and (not rule.yeardays or not rule.yeardays.isdisjoint(_either_end(day.yearday, day.of_year)))
        and (not rule.weekdays or _is_weekday(rule, day, in_month=in_month))
    )


def permits_cron(cron: Cron, day: Day) -> bool:
    """Whether a cron permits a day."""
    is_monthday, is_weekday = day.monthday in cron.monthdays, day.weekday in cron.weekdays
    return day.month in cron.months and (is_monthday or is_weekday if cron.is_either else is_monthday and is_weekday)


class Days:
    """The permitted days, as ordinals, for filters that look at each day by itself."""

    def __init__(self, is_permitted: Callable[[Day], bool]) -> None:
        """`is_permitted` is asked once for each day of the 14 calendars."""
        self._is_permitted = is_permitted
        self._calendars: dict[tuple[bool, int], tuple[int, ...]] = {}
        self._year, self._first = 0, LAST_ORDINAL + 1
        self._offsets: tuple[int, ...] = ()

    def following(self, ordinal: int) -> int | None:
        """The first permitted day from that day on; None: there is none up to the year 9999."""
        if not 1 <= ordinal <= LAST_ORDINAL:
            return None
        year = date.fromordinal(ordinal).year if not 0 <= ordinal - self._first < 365 else self._year
        for candidate in range(year, min(year + 42, LAST_YEAR + 1)):  # every calendar comes again within 40 years
            self._look_at(candidate)
            place = bisect_left(self._offsets, ordinal - self._first)
            if place < len(self._offsets):
                return self._first + self._offsets[place]
        return None

    def _look_at(self, year: int) -> None:
        if year != self._year:
            first = date(year, 1, 1)
            self._year, self._first = year, first.toordinal()
            self._offsets = self._of(is_leap=_is_leap(year), weekday=first.weekday())

    def _of(self, *, is_leap: bool, weekday: int) -> tuple[int, ...]:
        key = (is_leap, weekday)
        if key not in self._calendars:
            days = _calendar(_Kind(is_leap, weekday))[7:-7]
            self._calendars[key] = tuple(day.offset for day in days if self._is_permitted(day))
        return self._calendars[key]


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def periods(rule: Rule, begins: date, reached: int) -> Iterator[tuple[int, ...]]:
    """The permitted days of each period of a rule of days and coarser, from DTSTART's period on, as ordinals.

    Periods that end before the ordinal `reached` are left out, by arithmetic.
    """
    if rule.freq is Freq.yearly:
        return _years(rule, begins, reached)
    if rule.freq is Freq.monthly:
        return _months(rule, begins, reached)
    if rule.freq is Freq.weekly:
        return _weeks(rule, begins, reached)
    return each_day(Days(partial(permits, rule)), begins.toordinal(), rule.interval, reached)


def _stepped(begin: int, step: int, reached: int) -> int:
    """The first of begin, begin + step, ... that is not before `reached`."""
    return begin + max(0, -((begin - reached) // step)) * step


def _years(rule: Rule, begins: date, reached: int) -> Iterator[tuple[int, ...]]:
    begin = max(begins.year - 1, 1) if rule.weeks else begins.year  # the first week may belong to the year before
    sets: dict[_Kind, tuple[int, ...]] = {}
    reached_year = date.fromordinal(max(reached, 1)).year - bool(rule.weeks)
    for year in range(_stepped(begin, rule.interval, reached_year), LAST_YEAR + 1, rule.interval):
        first = date(year, 1, 1)
        kind = _kind(year)
        if kind not in sets:
            sets[kind] = _year_set(rule, kind)
        yield tuple(first.toordinal() + offset for offset in sets[kind])


def _year_set(rule: Rule, kind: _Kind) -> tuple[int, ...]:
    days = _calendar(kind)
    if not rule.weeks:
        return tuple(day.offset for day in days[7:-7] if permits(rule, day))
    length = 365 + kind.is_leap
    first = _first_week(kind.weekday, rule.week_start)
    count = (length + _first_week((kind.weekday + length) % 7, rule.week_start) - first) // 7
    numbers = {week if week > 0 else count + 1 + week for week in rule.weeks}
    return tuple(
        day.offset
        for day in days
        if 0 <= (day.offset - first) // 7 < count and (day.offset - first) // 7 + 1 in numbers and permits(rule, day)
    )


def _first_week(weekday: int, week_start: int) -> int:
    """Where week 1 begins, counted from 1 January: the first week with at least four days in the year."""
    begin = -((weekday - week_start) % 7)
    return begin if 7 + begin >= 4 else begin + 7


def _months(rule: Rule, begins: date, reached: int) -> Iterator[tuple[int, ...]]:
    look = date.fromordinal(max(reached, 1))
    begin = _stepped(begins.year * 12 + begins.month - 1, rule.interval, look.year * 12 + look.month - 1)
    sets: dict[tuple[bool, int, int], tuple[int, ...]] = {}
    for number in range(begin, (LAST_YEAR + 1) * 12, rule.interval):
        year, month = number // 12, number % 12 + 1
        first = date(year, 1, 1)
        kind = (_is_leap(year), first.weekday(), month)
        if kind not in sets:
            days = _calendar(_Kind(kind[0], kind[1]))[7:-7]
            sets[kind] = tuple(day.offset for day in days if day.month == month and permits(rule, day))
        yield tuple(first.toordinal() + offset for offset in sets[kind])


def _weeks(rule: Rule, begins: date, reached: int) -> Iterator[tuple[int, ...]]:
    begin = begins.toordinal() - (begins.weekday() - rule.week_start) % 7
    step = 7 * rule.interval
    offsets = sorted((weekday - rule.week_start) % 7 for _, weekday in rule.weekdays)
    for week in range(_stepped(begin, step, reached - 6), LAST_ORDINAL + 1, step):
        days = (week + offset for offset in offsets if 1 <= week + offset <= LAST_ORDINAL)
        yield tuple(day for day in days if not rule.months or date.fromordinal(day).month in rule.months)


def each_day(permitted: Days, begin: int, step: int, reached: int) -> Iterator[tuple[int, ...]]:
    """Every so many days from an ordinal on, one for each period; those that are not permitted are empty."""
    day = _stepped(begin, step, reached)
    while (found := permitted.following(day)) is not None:
        day = _stepped(begin, step, found)
        yield (day,) if day == found else ()
        if day == found:
            day += step
