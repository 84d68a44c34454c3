"""Wall times and instants of a named time zone, and the stretches in which its offset stays the same."""

import difflib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from fleet.errors import Invalid

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_S = 86_400
LAST_S = int((datetime(9999, 12, 30, tzinfo=UTC) - EPOCH).total_seconds())  # later, local times leave the calendar
_SECOND = timedelta(seconds=1)
# Beside the zones in some systems' files: "localtime" is what the machine is set to, "right/" counts leap seconds.
_NO_ZONES = ("localtime", "posix/", "posixrules", "right/")
_SETTLED_YEAR = 2100  # from then on no zone's rules change any more from year to year


def zone_named(name: str) -> ZoneInfo:
    """The IANA time zone of that name.

    Raises:
        Invalid: there is none; the sentence names those that look alike.
    """
    return _zone_named(name if isinstance(name, str) else repr(name))


@lru_cache(maxsize=256)
def _zone_named(text: str) -> ZoneInfo:
    try:
        if text.startswith(_NO_ZONES):
            raise LookupError(text)
        return ZoneInfo(text)
    except (LookupError, ValueError, OSError):
        known = {zone.casefold(): zone for zone in available_timezones() if not zone.startswith(_NO_ZONES)}
        ends = [zone for key, zone in known.items() if key.endswith(f"/{text.casefold().replace(' ', '_')}")]
        near = [known[key] for key in difflib.get_close_matches(text.casefold()[:64], known, n=3, cutoff=0.6)]
        hint = f"did you mean {' or '.join((sorted(ends) or near)[:3])}?" if ends or near else "give one such as UTC."
        raise Invalid(f"There is no time zone {text[:80]!r}; {hint}", timezone=text[:80]) from None


def resolved(wall: datetime, zone: ZoneInfo) -> datetime:
    """The instant of a naive local time (RFC 5545 3.3.5): the first of two, and in a gap by the offset before it.

    Raises:
        OverflowError: the instant lies outside the years 1 to 9999.
    """
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)


def instant_of(value: datetime, timezone: str | ZoneInfo, name: str = "time") -> datetime:
    """The instant, aware UTC, of a naive local time of the zone or of an aware time.

    Of a local time that there is twice it is the first, and with fold=1 (PEP 495) the second.

    Raises:
        Invalid: it is no datetime, or lies outside the calendar.
    """
    zone = zone_named(timezone) if isinstance(timezone, str) else timezone
    if not isinstance(value, datetime):
        raise Invalid(
            f"{name} must be a datetime, naive local or aware, but is {value!r:.80} ({type(value).__name__}).",
            value=str(value)[:80],
        )
    try:
        if value.tzinfo is not None:
            return value.astimezone(UTC)
        first = resolved(value, zone)
        return (
            max(first, value.replace(tzinfo=zone).astimezone(UTC)) if value.fold else first
        )  # in a gap, fold=1 is earlier
    except (OverflowError, ValueError):
        raise Invalid(f"{name} {value!s} lies outside the years 1 to 9999 in UTC.", value=str(value)) from None


def at(seconds: int) -> datetime:
    """The instant so many seconds after 1970, aware UTC."""
    return EPOCH + seconds * _SECOND


def seconds_of(instant: datetime) -> int:
    """Whole seconds since 1970 of an aware instant, rounded down."""
    return (instant - EPOCH) // _SECOND


def seconds_from(instant: datetime) -> int:
    """Whole seconds since 1970 of an aware instant, rounded up."""
    return -((EPOCH - instant) // _SECOND)


def offset_s(seconds: int, zone: ZoneInfo) -> int:
    """Local minus UTC, in seconds, at an instant given as seconds since 1970."""
    offset = at(seconds).astimezone(zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def offsets(zone: ZoneInfo, begin: int) -> frozenset[int]:
    """The offsets that a zone has from an instant on, all of them; it may name some of the year before too."""
    return _offsets(zone, min(at(begin).year, _SETTLED_YEAR))


@lru_cache(maxsize=256)
def _offsets(zone: ZoneInfo, year: int) -> frozenset[int]:
    first = seconds_of(datetime(max(year, 2), 1, 1, tzinfo=UTC))
    last = seconds_of(datetime(_SETTLED_YEAR + 2, 1, 1, tzinfo=UTC))
    return frozenset(offset_s(seconds, zone) for seconds in range(first, last, 3 * DAY_S))


class Stretches:
    """The stretches of one zone in which local time runs evenly, looked up with rising instants.

    No zone changes its offset twice within three days (a test looks at every zone), so a day whose offset is the
    same at both ends has no change in it.
    """

    def __init__(self, zone: ZoneInfo) -> None:
        """Nothing is looked up yet."""
        self._zone = zone
        self._begins, self._known, self._offset = 0, 0, 0

    def offset_and_end(self, seconds: int) -> tuple[int, int]:
        """The offset at an instant, and an instant up to a day later until which it stays the same."""
        if not self._begins <= seconds < self._known:
            self._begins, self._known, self._offset = seconds, seconds + 1, offset_s(seconds, self._zone)
        if self._known < seconds + DAY_S:
            later = seconds + DAY_S
            self._known = later if offset_s(later, self._zone) == self._offset else self._change(seconds, later)
        return self._offset, self._known

    def _change(self, same: int, other: int) -> int:
        while other - same > 1:
            middle = (same + other) // 2
            if offset_s(middle, self._zone) == self._offset:
                same = middle
            else:
                other = middle
        return other
