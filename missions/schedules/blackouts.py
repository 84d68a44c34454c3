"""Windows of a site in which nothing may start (blackouts), or that schedules may leave out (holidays)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlmodel import Session, col, or_, select

from missions.calendars import occurrences
from missions.schedules.models import Blackout, BlackoutKind
from missions.schedules.recurrence import MOMENT, wall


@dataclass(frozen=True)
class Window:
    """From `begins_at` up to but not at `ends_at`."""

    name: str
    kind: BlackoutKind
    begins_at: datetime
    ends_at: datetime


def windows(session: Session, site_ids: Iterable[UUID], begins: datetime, ends: datetime) -> dict[UUID, list[Window]]:
    """The windows of each site that touch the time from `begins` up to `ends`, by their beginning."""
    found: dict[UUID, list[Window]] = {site_id: [] for site_id in site_ids}
    touching = (Blackout.begins_at < ends, or_(Blackout.ends_at > begins, Blackout.rule != ""))
    for row in session.exec(select(Blackout).where(col(Blackout.site_id).in_(found), *touching)).all():
        found[row.site_id] += _windows_of(row, begins, ends)
    return {site_id: sorted(ones, key=lambda one: (one.begins_at, one.ends_at)) for site_id, ones in found.items()}


def window_at(closed: Sequence[Window], at: datetime) -> Window | None:
    """The window around that instant which ends last, if any."""
    around = [one for one in closed if one.begins_at <= at < one.ends_at]
    return max(around, key=lambda one: one.ends_at, default=None)


def blackout_until(session: Session, site_ids: Iterable[UUID], now: datetime) -> dict[UUID, tuple[datetime, str]]:
    """Sites where nothing may start now: until when, and the name of the blackout that lasts longest."""
    found = windows(session, site_ids, now, now + MOMENT)
    closed = {
        site_id: window_at([w for w in ones if w.kind is BlackoutKind.blackout], now) for site_id, ones in found.items()
    }
    return {site_id: (window.ends_at, window.name) for site_id, window in closed.items() if window is not None}


def _windows_of(row: Blackout, begins: datetime, ends: datetime) -> list[Window]:
    if not row.rule:
        return [Window(row.name, row.kind, row.begins_at, row.ends_at)]
    # Whole hours around, so that the windows of now are worked out once an hour and not at every look.
    first = begins.replace(minute=0, second=0, microsecond=0)
    last = ends.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    recurring = _Recurring(row.rule, row.begins_at, row.ends_at, row.timezone, tuple(row.exdates))
    spans = _spans(recurring, first, last)
    return [Window(row.name, row.kind, *span) for span in spans if span[0] < ends and span[1] > begins]


@dataclass(frozen=True)
class _Recurring:
    rule: str
    begins_at: datetime
    ends_at: datetime
    timezone: str
    exdates: tuple[str, ...]


@lru_cache(maxsize=4096)
def _spans(of: _Recurring, first: datetime, last: datetime) -> tuple[tuple[datetime, datetime], ...]:
    """Each lasts as long on the wall clock as the first, so that a night ends at its hour also when clocks change."""
    zone = ZoneInfo(of.timezone)
    begins = of.begins_at.astimezone(zone).replace(tzinfo=None)
    length = of.ends_at.astimezone(zone).replace(tzinfo=None) - begins
    starts = occurrences(
        of.rule,
        dtstart=begins,
        timezone=of.timezone,
        after=first - length - timedelta(days=2),  # no change of a clock is longer
        before=last,
        exdates=tuple(wall(text, of="exdates") for text in of.exdates),
    )
    ends = [(at.astimezone(zone).replace(tzinfo=None) + length).replace(tzinfo=zone).astimezone(UTC) for at in starts]
    return tuple((begin, end) for begin, end in zip(starts, ends, strict=True) if end > first)
