"""iCalendar files (RFC 5545) of holidays and closures, read into windows of a site."""

import re
import warnings
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from itertools import islice
from threading import Lock
from typing import Any, NoReturn
from zoneinfo import ZoneInfo, available_timezones

import icalendar
from icalendar.timezone import tzp
from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from fleet.errors import Invalid, TooLarge
from missions.calendars.recurrence import check, walk
from missions.calendars.zones import instant_of, zone_named

SIZE_MAX = 5_000_000
EVENTS_MAX = 10_000
_READ = ("UID", "DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE", "RECURRENCE-ID", "STATUS", "SEQUENCE")
_ONCE = ("UID", "DTSTART", "DTEND", "DURATION", "RRULE", "RECURRENCE-ID", "STATUS", "SEQUENCE", "SUMMARY")
_EDGE = re.compile(r"^(BEGIN|END):(VCALENDAR|VEVENT)\s*$", re.IGNORECASE | re.MULTILINE)
_MALFORMED = (
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    ArithmeticError,
    RecursionError,
)  # what parsing raises
_DAY = timedelta(days=1)
_PARSING = Lock()  # the library keeps described zones for the whole process


@dataclass(frozen=True, slots=True)
class ImportedWindow:
    """One event, or one changed or added occurrence of it (then `recurrence_id` is set and `rule` is empty).

    `begins_at` and `ends_at` are aware UTC; with a rule they are those of its DTSTART, and the rule is meant in `timezone`.
    A whole day lasts from local midnight to local midnight of the site. Occurrences that are left out, cancelled or
    changed are in `exdates`.
    """

    uid: str
    name: str
    begins_at: datetime
    ends_at: datetime
    timezone: str
    is_all_day: bool = False
    rule: str = ""
    exdates: tuple[datetime, ...] = ()
    recurrence_id: datetime | None = None


def read(content: str | bytes, *, timezone: str) -> tuple[ImportedWindow, ...]:
    """The windows of a calendar, by UID and beginning; whole days and floating times are of the zone `timezone`.

    Cancelled events, and those without any length (reminders), are left out.

    Raises:
        TooLarge: more than 5 MB or 10,000 events.
        Invalid: it is no complete calendar, or an event is malformed; the sentence names its UID and what is wrong.
    """
    site = zone_named(timezone)
    events = [_Event(part, site, number) for number, part in enumerate(_components(content), 1)]
    newest: dict[tuple[str, datetime | None], _Event] = {}
    for event in sorted(events, key=lambda one: one.sequence):  # stable: of equal ones the last in the file
        newest[event.uid, event.recurrence_id] = event
    found = list(islice(_windows(newest), EVENTS_MAX + 1))
    if len(found) > EVENTS_MAX:
        raise TooLarge(f"The calendar has more than {EVENTS_MAX:,} events and added dates; split it.")
    return tuple(sorted(found, key=lambda one: (one.uid, one.begins_at, one.recurrence_id is not None)))


def _components(content: str | bytes) -> list[icalendar.Component]:
    raw = content.encode() if isinstance(content, str) else bytes(content)  # never text: the library opens it as a path
    raw = raw.removeprefix(BOM_UTF8)
    if len(raw) > SIZE_MAX:
        raise TooLarge(f"The calendar has {len(raw):,} bytes; at most {SIZE_MAX:,} are read.", size=len(raw))
    edges = [(found[1].upper(), found[2].upper()) for found in _EDGE.finditer(raw.decode("utf-8", "replace"))]
    counts = {edge: edges.count(edge) for edge in set(edges)}
    for name in ("VCALENDAR", "VEVENT"):
        begun, ended = counts.get(("BEGIN", name), 0), counts.get(("END", name), 0)
        if begun != ended or (name == "VCALENDAR" and not begun):
            raise Invalid(
                f"This is no complete iCalendar: {begun} BEGIN:{name} and {ended} END:{name}; export it again."
            )
    if counts.get(("BEGIN", "VEVENT"), 0) > EVENTS_MAX:
        raise TooLarge(f"The calendar has more than {EVENTS_MAX:,} events; split it.")
    try:
        with _PARSING, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the library, about names of zones that it understands all the same
            tzp.use_default()  # forgets the zones that earlier calendars described, perhaps of another customer
            calendars = icalendar.Calendar.from_ical(raw, multiple=True)
        return [event for calendar in calendars for event in calendar.walk("VEVENT")]
    except _MALFORMED as error:
        raise Invalid(f"This is no iCalendar: {str(error)[:200]}.") from None


def _windows(newest: dict[tuple[str, datetime | None], "_Event"]) -> Iterator[ImportedWindow]:
    changed: dict[str, list[datetime]] = {}
    for uid, recurrence_id in newest:
        if recurrence_id is not None:
            changed.setdefault(uid, []).append(recurrence_id)
    for event in newest.values():
        if not event.is_cancelled:
            try:
                yield from event.windows(changed.get(event.uid, ()))
            except OverflowError:
                event.refuse("it lies outside the years 1 to 9999")


class _Event:
    """One VEVENT with its times understood; whatever is wrong is refused with its UID."""

    def __init__(self, part: icalendar.Component, site: ZoneInfo, number: int) -> None:
        self._part, self._site = part, site
        self.uid = str(part.get("UID") or "").strip()
        if not self.uid:
            name = str(part.get("SUMMARY") or "")
            raise Invalid(f"Event {number} of the calendar ({name[:60]!r}) has no UID; export the calendar again.")
        self._refuse_broken()
        self.is_cancelled = str(part.get("STATUS") or "").upper() == "CANCELLED"
        self.sequence = int(part.get("SEQUENCE") or 0)
        self._begin = self._given("DTSTART")
        if self._begin is None:
            self.refuse("DTSTART is missing")
        self._is_all_day = not isinstance(self._begin, datetime)
        recurrence_id = self._given("RECURRENCE-ID")
        self.recurrence_id = None if recurrence_id is None else self._instant(recurrence_id)

    def refuse(self, reason: str) -> NoReturn:
        """Refuse the event.

        Raises:
            Invalid: always.
        """
        raise Invalid(
            f"The event {self.uid[:200]!r} of the calendar: {reason.rstrip('.')}.", uid=self.uid[:200], reason=reason
        )

    def windows(self, changed: Iterable[datetime]) -> Iterator[ImportedWindow]:
        """The event itself and its added dates, without the occurrences that other events change."""
        begins, ends = self._instant(self._begin), self._ends()
        if ends <= begins:
            return
        left_out = {self._instant(self._timed(moment)) for moment in self._list("EXDATE")} | set(changed)
        base = ImportedWindow(
            uid=self.uid,
            name=str(self._part.get("SUMMARY") or "")[:200] or self.uid[:200],
            begins_at=begins,
            ends_at=ends,
            timezone=self._zone_name(),
            is_all_day=self._is_all_day,
            recurrence_id=self.recurrence_id,
        )
        rule = self._rule()
        if self.recurrence_id is not None:
            yield base
            return
        if rule:
            yield replace(base, rule=rule, exdates=tuple(sorted(left_out)))
        if begins not in left_out and not self._is_given(rule, base):
            yield replace(base, recurrence_id=begins) if rule else base
        yield from self._added(base, left_out)

    def _added(self, base: ImportedWindow, left_out: set[datetime]) -> Iterator[ImportedWindow]:
        for added in self._list("RDATE"):
            begin, end = added if isinstance(added, tuple) else (added, None)
            begins = self._instant(begin)
            ends = self._later(begin, self._length()) if end is None else self._period_end(begins, end)
            if begins not in left_out and begins != base.begins_at and ends > begins:
                yield replace(base, begins_at=begins, ends_at=ends, recurrence_id=begins)

    def _is_given(self, rule: str, base: ImportedWindow) -> bool:
        """Whether the rule gives DTSTART, which calendars show in any case."""
        if not rule:
            return False
        try:
            check(rule, dtstart=self._wall(), timezone=base.timezone)
            first = next(walk(rule, self._wall(), base.timezone), None)
        except Invalid as error:
            self.refuse(error.message)
        return first == base.begins_at

    def _refuse_broken(self) -> None:
        for name, problem in self._part.errors:
            if name is None or str(name).upper() in _READ:
                self.refuse(f"{name or 'a line'} cannot be read: {str(problem)[:200]}")
        for name in _ONCE:
            if isinstance(self._part.get(name), list):
                self.refuse(f"{name} is given more than once")
        if self._part.get("EXRULE") is not None:
            self.refuse("EXRULE is deprecated and not read; list the dates as EXDATE")
        recurrence_id = self._part.get("RECURRENCE-ID")
        if recurrence_id is not None and "RANGE" in recurrence_id.params:
            self.refuse(
                "RECURRENCE-ID with RANGE changes a whole series from a day on; end one series and begin another"
            )

    def _given(self, name: str) -> Any:
        """The date or datetime of a property, if any; a name of a zone that nobody knows is refused."""
        held = self._part.get(name)
        if held is None:
            return None
        moment = getattr(held, "dt", None)
        if not isinstance(moment, date):
            self.refuse(f"{name} is no date and no date with time")
        return self._in_known_zone(moment, held.params.get("TZID"))

    def _list(self, name: str) -> Iterator[Any]:
        held = self._part.get(name)
        for listed in [] if held is None else held if isinstance(held, list) else [held]:
            for one in listed.dts:
                moment, zone = one.dt, listed.params.get("TZID") or one.params.get("TZID")
                if isinstance(moment, tuple):
                    yield self._in_known_zone(moment[0], zone), moment[1]
                elif isinstance(moment, date):
                    yield self._in_known_zone(moment, zone)
                else:
                    self.refuse(f"{name} holds {str(moment)[:60]!r}, which is no date")

    def _in_known_zone(self, moment: date, tzid: str | None) -> date:
        if not isinstance(moment, datetime):
            return moment
        known = _iana(tzid)
        if known and not isinstance(moment.tzinfo, ZoneInfo):
            return moment.replace(tzinfo=ZoneInfo(known))
        if moment.tzinfo is None and tzid:
            self.refuse(f"its time zone {tzid[:80]!r} is neither an IANA zone nor described in the calendar")
        if isinstance(moment.tzinfo, ZoneInfo):
            self._refuse_no_zone(moment.tzinfo)
        return moment

    def _refuse_no_zone(self, zone: ZoneInfo) -> None:
        try:
            zone_named(zone.key)
        except Invalid as error:  # of the machine's own files, such as localtime
            self.refuse(error.message)

    def _instant(self, moment: date) -> datetime:
        """The instant of a date (its midnight at the site), a floating time (of the site) or an aware time."""
        wall = moment if isinstance(moment, datetime) else datetime.combine(moment, time.min)
        return instant_of(wall, self._site, f"The event {self.uid[:200]!r} of the calendar: the time")

    def _timed(self, moment: Any) -> Any:
        """A day that is left out of an event with a time means the time of that day."""
        if isinstance(moment, datetime) or not isinstance(moment, date) or self._is_all_day:
            return moment
        return datetime.combine(moment, self._begin.timetz())

    def _wall(self) -> datetime:
        if isinstance(self._begin, datetime):
            return self._begin.replace(tzinfo=None) if isinstance(self._begin.tzinfo, ZoneInfo | None) else self._begin
        return datetime.combine(self._begin, time.min)

    def _ends(self) -> datetime:
        end = self._given("DTEND")
        if end is None:
            return self._later(self._begin, self._length())
        if isinstance(end, datetime) == self._is_all_day:
            self.refuse("one of DTSTART and DTEND is a date, the other has a time")
        if self._instant(end) < self._instant(self._begin):
            self.refuse(f"it ends ({end}) before it begins ({self._begin})")
        if self._is_all_day and end == self._begin:  # forbidden, and yet many programs write a single day so
            return self._later(self._begin, _DAY)
        return self._instant(end)

    def _length(self) -> timedelta:
        """How long each occurrence is; a date without an end is its day, a time without one has no length."""
        end = self._given("DTEND")
        if end is not None:
            days: timedelta = end - self._begin if self._is_all_day else timedelta()
            return max(days, _DAY) if self._is_all_day else self._instant(end) - self._instant(self._begin)
        held = self._part.get("DURATION")
        if held is None:
            return _DAY if self._is_all_day else timedelta()
        length = getattr(held, "dt", None)
        if not isinstance(length, timedelta) or length < timedelta():
            self.refuse("DURATION is no length of time")
        return length

    def _later(self, moment: date, length: timedelta) -> datetime:
        """Days are counted on the calendar, times in elapsed time (RFC 5545 3.3.6)."""
        if not isinstance(moment, datetime):
            return self._instant(moment + timedelta(days=max(1, length.days)))
        days = timedelta(days=length.days)
        return self._instant(moment + days) + (length - days)

    def _period_end(self, begins: datetime, end: date | timedelta) -> datetime:
        return begins + end if isinstance(end, timedelta) else self._instant(end)

    def _rule(self) -> str:
        held = self._part.get("RRULE")
        if held is None:
            return ""
        rule = str(held.to_ical().decode())
        if not rule:
            self.refuse("RRULE cannot be read; it has no part such as FREQ=YEARLY")
        if self._is_all_day:
            rule = re.sub(r"UNTIL=([0-9]{8})(T[0-9]{6}Z?)?", self._last_day, rule)
        return rule

    def _last_day(self, until: re.Match[str]) -> str:
        """A whole day ends its series by its date; some programs write its midnight in UTC instead."""
        date_of_it = until[1]
        if until[2] and until[2].endswith("Z"):
            with suppress(ValueError, OverflowError):
                local = datetime.fromisoformat(until[1] + until[2]).astimezone(self._site)
                date_of_it = f"{local:%Y%m%d}" if local.time() == time.min else date_of_it
        return f"UNTIL={date_of_it}T000000"

    def _zone_name(self) -> str:
        """The zone in which a rule is meant; a zone of the calendar's own is taken for the site's if it is the same."""
        zone = self._begin.tzinfo if isinstance(self._begin, datetime) else None
        if zone is None:
            return self._site.key
        if isinstance(zone, ZoneInfo) and zone.key:
            return zone.key
        if self._part.get("RRULE") is not None and not _alike(zone, self._site, self._begin):
            self.refuse(
                f"its rule is meant in a zone of the calendar's own ({self._part['DTSTART'].params.get('TZID')!s:.80}); "
                "use an IANA zone"
            )
        return self._site.key


@lru_cache(maxsize=256)
def _iana(tzid: str | None) -> str | None:
    """The IANA zone that a TZID means: its name, also behind a prefix such as /mozilla.org/2005/, or that of Windows."""
    parts = (tzid or "").split("/")
    names = available_timezones() if len(parts) > 1 else frozenset()
    named = (name for start in range(len(parts)) if (name := "/".join(parts[start:])) in names)
    return next(named, WINDOWS_TO_OLSON.get(tzid or ""))


def _alike(zone: tzinfo, site: ZoneInfo, begin: datetime) -> bool:
    """Whether both zones tell the same time every day for two years."""
    days = (begin.astimezone(UTC) + number * _DAY for number in range(731))
    return all(day.astimezone(zone).utcoffset() == day.astimezone(site).utcoffset() for day in days)
