"""RRULE texts (RFC 5545 3.3.10) read into a value; what is malformed or disputed is refused with the reason."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NoReturn

from fleet.errors import Invalid

WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
TEXT_MAX = 10_000


class Freq(StrEnum):
    """The period of a rule."""

    yearly = "YEARLY"
    monthly = "MONTHLY"
    weekly = "WEEKLY"
    daily = "DAILY"
    hourly = "HOURLY"
    minutely = "MINUTELY"
    secondly = "SECONDLY"


UNIT_S = {Freq.hourly: 3600, Freq.minutely: 60, Freq.secondly: 1}


@dataclass(frozen=True, slots=True)
class Rule:
    """A recurrence rule; an empty set of values permits every value.

    `weekdays` holds (ordinal, weekday) with ordinal 0 for every one and Monday 0; `until` is naive (a local time) or UTC.
    """

    freq: Freq
    interval: int = 1
    count: int | None = None
    until: datetime | None = None
    months: frozenset[int] = frozenset()
    weeks: frozenset[int] = frozenset()
    yeardays: frozenset[int] = frozenset()
    monthdays: frozenset[int] = frozenset()
    weekdays: frozenset[tuple[int, int]] = frozenset()
    hours: frozenset[int] = frozenset()
    minutes: frozenset[int] = frozenset()
    seconds: frozenset[int] = frozenset()
    positions: frozenset[int] = frozenset()
    week_start: int = 0

    @property
    def is_elapsed(self) -> bool:
        """Whether it goes by elapsed time (hourly and finer) instead of local times."""
        return self.freq in UNIT_S

    @property
    def is_endless(self) -> bool:
        """Whether neither COUNT nor UNTIL ends it."""
        return self.count is None and self.until is None


@dataclass(frozen=True, slots=True)
class _Range:
    """The values of one BYxxx part: `lowest` to `highest`, negative ones too if they count from the end."""

    field: str
    lowest: int
    highest: int
    counts_back: bool = False


_RANGES = {
    "BYMONTH": _Range("months", 1, 12),
    "BYWEEKNO": _Range("weeks", 1, 53, counts_back=True),
    "BYYEARDAY": _Range("yeardays", 1, 366, counts_back=True),
    "BYMONTHDAY": _Range("monthdays", 1, 31, counts_back=True),
    "BYHOUR": _Range("hours", 0, 23),
    "BYMINUTE": _Range("minutes", 0, 59),
    "BYSECOND": _Range("seconds", 0, 59),
    "BYSETPOS": _Range("positions", 1, 366, counts_back=True),
}
_NUMBER = re.compile(r"[+-]?[0-9]{1,3}", re.ASCII)
_COUNT = re.compile(r"[0-9]{1,18}", re.ASCII)
_WEEKDAY = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)", re.ASCII)
_UNTIL = re.compile(r"([0-9]{8})(?:T([0-9]{6})(Z?))?", re.ASCII)


def refuse(rule: str, reason: str) -> NoReturn:
    """Refuse a rule.

    Raises:
        Invalid: always; the sentence quotes the rule and gives the reason.
    """
    raise Invalid(f"The rule {rule[:200]!r} is refused: {reason}", rule=rule[:200], reason=reason)


def read_rrule(text: str) -> Rule:
    """The value of an RRULE text, with or without `RRULE:`, in upper or lower case.

    Raises:
        Invalid: it is malformed, or its meaning is disputed (docs/decisions/0010-recurrence.md).
    """
    parts = _parts(text)
    if "FREQ" not in parts:
        refuse(text, "FREQ is missing; begin with one such as FREQ=DAILY.")
    values: dict[str, object] = {}
    for name, value in parts.items():
        if name in _RANGES:
            values[_RANGES[name].field] = _numbers(text, name, value)
        else:
            field, read = _READERS[name]
            values[field] = read(text, name, value)
    rule = Rule(**values)  # type: ignore[arg-type]  # each reader gives what its field holds
    _refuse_combinations(text, rule)
    return rule


def _parts(text: str) -> dict[str, str]:
    body = text.strip().upper().removeprefix("RRULE:")
    if not body:
        refuse(text, "it is empty; give an RRULE such as FREQ=DAILY or a cron such as 0 6 * * 1-5.")
    parts: dict[str, str] = {}
    for part in body.split(";"):
        name, equals, value = part.partition("=")
        if not equals or not value:
            refuse(text, f"{part[:60]!r} is not a part of the form NAME=VALUE.")
        if name in {"RSCALE", "SKIP"}:
            refuse(text, f"{name} (RFC 7529) is not supported; only the Gregorian calendar is.")
        if name not in _RANGES and name not in _READERS:
            refuse(text, f"{name[:40]!r} is not a part of RFC 5545; FREQ, INTERVAL, COUNT, UNTIL, BYxxx and WKST are.")
        if name in parts:
            refuse(text, f"{name} is given twice.")
        parts[name] = value
    return parts


def _numbers(text: str, name: str, value: str) -> frozenset[int]:
    allowed = _RANGES[name]
    numbers = set()
    for number in value.split(","):
        if not _NUMBER.fullmatch(number) or (number[0] in "+-" and not allowed.counts_back):
            refuse(text, f"{name}={number[:40]} is not a whole number from {allowed.lowest} to {allowed.highest}.")
        size = abs(int(number)) if allowed.counts_back else int(number)
        if not allowed.lowest <= size <= allowed.highest:
            back = f" or -{allowed.highest} to -{allowed.lowest}" if allowed.counts_back else ""
            leap = " (leap seconds are not scheduled)" if name == "BYSECOND" and size == 60 else ""
            refuse(text, f"{name}={number} is not from {allowed.lowest} to {allowed.highest}{back}{leap}.")
        numbers.add(int(number))
    return frozenset(numbers)


def _freq(text: str, name: str, value: str) -> Freq:
    if value not in set(Freq):
        refuse(text, f"{name}={value[:40]} is not one of {', '.join(Freq)}.")
    return Freq(value)


def _positive(text: str, name: str, value: str) -> int:
    if not _COUNT.fullmatch(value) or int(value) == 0:
        refuse(text, f"{name}={value[:40]} is not a whole number of 1 or more.")
    return int(value)


def _weekdays(text: str, name: str, value: str) -> frozenset[tuple[int, int]]:
    days = set()
    for day in value.split(","):
        found = _WEEKDAY.fullmatch(day)
        ordinal = int(found[1] or 0) if found else 0
        if not found or (found[1] and not 1 <= abs(ordinal) <= 53):
            refuse(text, f"{name}={day[:40]} is not a weekday such as MO, or 1MO to 53MO, -1MO to -53MO.")
        days.add((ordinal, WEEKDAYS.index(found[2])))
    return frozenset(days)


def _week_start(text: str, name: str, value: str) -> int:
    if value not in WEEKDAYS:
        refuse(text, f"{name}={value[:40]} is not one of {', '.join(WEEKDAYS)}.")
    return WEEKDAYS.index(value)


def _until(text: str, name: str, value: str) -> datetime:
    found = _UNTIL.fullmatch(value)
    if not found:
        refuse(text, f"{name}={value[:40]} is not a time such as 20261231T230000Z (UTC) or 20261231T230000 (local).")
    if found[2] is None:
        refuse(
            text,
            f"{name}={value} is a date, while the occurrences have a time: whether that day still counts is "
            f"disputed. Write the last instant, such as {name}={value}T235959.",
        )
    try:
        return datetime.fromisoformat(f"{found[1]}T{found[2]}{found[3]}")
    except ValueError:
        refuse(text, f"{name}={value} does not exist in the calendar.")


_READERS: dict[str, tuple[str, Callable[[str, str, str], object]]] = {
    "FREQ": ("freq", _freq),
    "INTERVAL": ("interval", _positive),
    "COUNT": ("count", _positive),
    "UNTIL": ("until", _until),
    "BYDAY": ("weekdays", _weekdays),
    "WKST": ("week_start", _week_start),
}


def _refuse_combinations(text: str, rule: Rule) -> None:
    freq = rule.freq
    has_ordinal = any(ordinal for ordinal, _ in rule.weekdays)
    by_parts = (rule.months, rule.weeks, rule.yeardays, rule.monthdays, rule.weekdays, rule.hours, rule.minutes)
    reasons = {
        "COUNT and UNTIL exclude each other; give one.": rule.count is not None and rule.until is not None,
        f"BYWEEKNO belongs to FREQ=YEARLY, not {freq}.": bool(rule.weeks) and freq is not Freq.yearly,
        "weeks of which second or third year BYWEEKNO with INTERVAL means is disputed at the turn of the year; "
        "write one rule for each year.": bool(rule.weeks) and rule.interval > 1,
        f"BYYEARDAY does not go with FREQ={freq}; use YEARLY.": bool(rule.yeardays)
        and freq in {Freq.daily, Freq.weekly, Freq.monthly},
        "BYMONTHDAY does not go with FREQ=WEEKLY; use MONTHLY or DAILY.": bool(rule.monthdays) and freq is Freq.weekly,
        f"an ordinal in BYDAY (such as 1MO) does not go with FREQ={freq}; use MONTHLY or YEARLY.": has_ordinal
        and freq not in {Freq.monthly, Freq.yearly},
        "an ordinal in BYDAY (such as 1MO) does not go with BYWEEKNO.": has_ordinal and bool(rule.weeks),
        "BYSETPOS needs another BYxxx part to choose from.": bool(rule.positions)
        and not any((*by_parts, rule.seconds)),
    }
    for reason, applies in reasons.items():
        if applies:
            refuse(text, reason)
