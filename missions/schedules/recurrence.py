"""The times of a schedule: its rule in its zone as instants, and the spread that jitter gives each of them."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from fleet.errors import Invalid
from missions.calendars import occurrences
from missions.schedules.models import Recurrence

MOMENT = timedelta(microseconds=1)  # the finest step of an instant
YEARS = range(1900, 3000)  # what people mean; elsewhere times with jitter or in other zones leave the calendar
LATEST = datetime(9999, 12, 30, tzinfo=UTC)


def wall(text: str, *, of: str) -> datetime:
    """The local time (or the instant, with an offset) that `text` says; `of` names the field for the error.

    Raises:
        Invalid: it is no time of ISO 8601, or only a date, or of a year that nobody means.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or "T" not in text.upper().replace(" ", "T"):
        raise Invalid(f"{of}: {text!r} is no local time; write it like 2026-03-01T06:00:00.", value=text)
    if found.year not in YEARS:
        raise Invalid(f"{of}: {text!r} lies outside the years {YEARS[0]} to {YEARS[-1]}.", value=text)
    return found


def times(
    recurrence: Recurrence, *, after: datetime, until: datetime | None = None, limit: int | None = None
) -> list[datetime]:
    """The instants of the rule later than `after` and not later than `until`, ascending; jitter is not in them.

    Raises:
        Invalid: the rule, the zone or a time is wrong.
    """
    return occurrences(
        recurrence.rule,
        dtstart=wall(recurrence.begins, of="begins"),
        timezone=recurrence.timezone,
        after=after,
        before=LATEST if until is None else min(until + MOMENT, LATEST),
        limit=limit,
        exdates=tuple(wall(text, of="exdates") for text in recurrence.exdates),
        rdates=tuple(wall(text, of="rdates") for text in recurrence.rdates),
    )


def has_time(recurrence: Recurrence, instant: datetime) -> bool:
    """Whether the rule gives exactly this instant."""
    return times(recurrence, after=instant - MOMENT, until=instant, limit=1) == [instant]


def spread(recurrence: Recurrence, schedule_id: UUID, revision: int) -> Callable[[datetime], datetime]:
    """What gives each recurrence id its due instant: up to `jitter_s` later, always the same for the same one."""

    def due_at(recurrence_id: datetime) -> datetime:
        if not recurrence.jitter_s:
            return recurrence_id
        name = f"{schedule_id}/{revision}/{iso(recurrence_id)}".encode()
        share = int.from_bytes(hashlib.sha256(name).digest()[:8]) / 2**64
        return recurrence_id + timedelta(seconds=share * recurrence.jitter_s)

    return due_at


def iso(instant: datetime) -> str:
    """The instant as text in UTC, such as 2026-03-01T05:00:00Z: how an occurrence is named."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
