"""Five-field cron texts (POSIX crontab, with steps and names) read into a value; what is disputed is refused."""

import re
from dataclasses import dataclass

from missions.calendars.rules import refuse

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_PIECE = re.compile(r"(\*|([0-9]{1,3}|[A-Z]{3})(?:-([0-9]{1,3}|[A-Z]{3}))?)(?:/([0-9]{1,4}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Field:
    """The values of one field; `is_open`: it is `*`; `has_star`: it begins with `*`; `has_step`: it steps."""

    values: frozenset[int]
    is_open: bool
    has_star: bool
    has_step: bool


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron rule: weekdays with Monday 0; either of both days matches when both are restricted."""

    minutes: frozenset[int]
    hours: frozenset[int]
    monthdays: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    is_either: bool
    is_elapsed: bool


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    lowest: int
    highest: int
    names: tuple[str, ...] = ()


_MINUTE, _HOUR, _MONTHDAY = _Kind("minute", 0, 59), _Kind("hour", 0, 23), _Kind("day of the month", 1, 31)
_MONTH, _WEEKDAY = _Kind("month", 1, 12, MONTHS), _Kind("day of the week", 0, 7, DAYS)


def read_cron(text: str) -> Cron:
    """The value of a five-field cron.

    Raises:
        Invalid: it is malformed, or its meaning is disputed (docs/decisions/0010-recurrence.md).
    """
    texts = text.upper().split()
    if text.strip().startswith("@"):
        instead = _MACROS.get(text.strip().lower(), "five fields such as 0 6 * * *")
        refuse(text, f"macros are not taken; write {instead}.")
    if len(texts) != 5:
        seconds = " Cron has no field for seconds; leave it out." if len(texts) == 6 else ""
        refuse(text, f"a cron has five fields (minute hour day month weekday), here are {len(texts)}.{seconds}")
    kinds = (_MINUTE, _HOUR, _MONTHDAY, _MONTH, _WEEKDAY)
    minute, hour, monthday, month, weekday = (
        _field(text, value, kind) for value, kind in zip(texts, kinds, strict=True)
    )
    for one, other in ((monthday, weekday), (weekday, monthday)):
        if one.has_star and not one.is_open and not other.is_open:
            refuse(text, "with */n in one field of days and a value in the other, crons disagree; list the days.")
    return Cron(
        minutes=minute.values,
        hours=hour.values,
        monthdays=monthday.values,
        months=month.values,
        weekdays=frozenset((day + 6) % 7 for day in weekday.values),
        is_either=not monthday.is_open and not weekday.is_open,
        is_elapsed=hour.has_star or hour.has_step,
    )


def _field(text: str, value: str, kind: _Kind) -> Field:
    pieces = value.split(",")
    if len(pieces) > 1 and any(piece.startswith("*") for piece in pieces):
        refuse(text, f"{value[:60]!r} for the {kind.name}: * does not go into a list; write * or */n alone.")
    values: set[int] = set()
    for piece in pieces:
        values |= _values(text, piece, kind)
    step = int(value.partition("/")[2] or 1) if len(pieces) == 1 else 1
    star = value.startswith("*")
    return Field(frozenset(values), star and step == 1, star, "/" in value)


def _values(text: str, piece: str, kind: _Kind) -> set[int]:
    found = _PIECE.fullmatch(piece)
    where = f"{piece[:40]!r} for the {kind.name}"
    if not found:
        special = " L, W, # and ? are extensions that are not taken." if re.search(r"[LW#?]", piece) else ""
        refuse(text, f"{where} is not *, a value, a range a-b, or one of the latter with a step /n.{special}")
    first, last, step = found[2], found[3], int(found[4] or 1)
    highest = 6 if kind is _WEEKDAY else kind.highest
    if step == 0 or step > highest - kind.lowest + 1:
        refuse(
            text, f"{where}: a step is from 1 to {highest - kind.lowest + 1}; it begins anew in every hour or month."
        )
    if first is None:
        return set(range(kind.lowest, highest + 1, step))
    begin = _value(text, first, kind)
    if last is None:
        if found[4]:
            refuse(text, f"{where}: a step needs a range; write {first}-{highest}/{step}.")
        return {begin}
    end = _value(text, last, kind)
    if end < begin:
        front = f"{first}-{highest}," if begin <= highest else ""  # 7 is Sunday and so the first day too
        refuse(text, f"{where}: the range runs backwards; write {front}{kind.lowest}-{last}.")
    return set(range(begin, end + 1, step))


def _value(text: str, word: str, kind: _Kind) -> int:
    if word in kind.names:
        return kind.names.index(word) + kind.lowest
    if not word.isdigit() or not kind.lowest <= int(word) <= kind.highest:
        named = f" or {kind.names[0]} to {kind.names[-1]}" if kind.names else ""
        refuse(text, f"{word!r} for the {kind.name} is not from {kind.lowest} to {kind.highest}{named}.")
    return int(word)
