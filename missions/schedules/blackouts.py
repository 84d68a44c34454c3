"""Windows of a site in which nothing may start (blackouts), or that schedules may leave out (holidays)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from uuid import UUID

import structlog
from sqlalchemy import bindparam
from sqlmodel import Session, col, or_, select

from fleet import changes
from fleet.clock import database_now
from fleet.errors import Conflict, Invalid, NotFound
from fleet.events import insert_new
from fleet.organisations import Site
from missions.calendars import check, instant_of, occurrences, zone_named
from missions.schedules.models import Blackout, BlackoutCreate, BlackoutKind
from missions.schedules.recurrence import MOMENT, wall

log = structlog.get_logger(__name__)

LONGEST = timedelta(days=366)
DEEPEST = 100
NEAR = timedelta(days=31)
IMPORTED = "calendar:"  # how the keys of imported windows begin, and no other's
ASKED = ("name", "kind", "begins_at", "ends_at", "timezone", "rule", "exdates")


@dataclass(frozen=True)
class Window:
    """From `begins_at` up to but not at `ends_at`."""

    name: str
    kind: BlackoutKind
    begins_at: datetime
    ends_at: datetime


def add(session: Session, *, site: Site, wanted: BlackoutCreate, who: str) -> Blackout:
    """The blackout of (site, `wanted.key`): a new one, or the same one already there.

    Raises:
        Invalid: a time, the zone or the rule is wrong, or it ends before it begins; says which.
        Conflict: the key has a blackout with other content.
    """
    row = _row(session, site, wanted, who)
    on = ["organisation_id", "site_id", "key"]
    if insert_new(session, Blackout, row.model_dump(), on=on):
        _tell(session, row, "added", who)
        return session.get_one(Blackout, row.id)
    same = (Blackout.organisation_id == site.organisation_id, Blackout.site_id == site.id, Blackout.key == wanted.key)
    known = session.exec(select(Blackout).where(*same)).one()
    differing = [name for name in ASKED if getattr(known, name) != getattr(row, name)]
    if differing:
        raise Conflict(
            f"The key {wanted.key!r} has a blackout with another {' and '.join(differing)} already; remove that one, or "
            "choose another key.",
            key=wanted.key,
            blackout=str(known.id),
        )
    return known


def remove(session: Session, *, organisation_id: UUID, blackout_id: UUID, who: str) -> Blackout:
    """The blackout, removed: what it kept from starting may start.

    Raises:
        NotFound: the organisation has none such.
    """
    row = session.get(Blackout, blackout_id)
    if row is None or row.organisation_id != organisation_id:
        raise NotFound(f"There is no blackout {blackout_id}.", blackout=str(blackout_id))
    session.delete(row)
    _tell(session, row, "removed", who)
    return row


def _row(session: Session, site: Site, wanted: BlackoutCreate, who: str) -> Blackout:
    if wanted.key.startswith(IMPORTED):
        raise Invalid(f"A key that begins with {IMPORTED!r} is an imported calendar's; choose another.", key=wanted.key)
    timezone = wanted.timezone or site.timezone
    begins_at = instant_of(wall(wanted.begins, of="begins"), timezone, "begins")
    ends_at = instant_of(wall(wanted.ends, of="ends"), timezone, "ends")
    if not begins_at < ends_at <= begins_at + LONGEST:
        raise Invalid(
            f"The window from {wanted.begins} to {wanted.ends} must end after it begins, within {LONGEST.days} days.",
            key=wanted.key,
        )
    row = Blackout(
        **wanted.model_dump(include={"name", "key", "kind", "rule", "exdates"}),
        organisation_id=site.organisation_id,
        site_id=site.id,
        begins_at=begins_at,
        ends_at=ends_at,
        timezone=timezone,
        made_by=who,
        created_at=database_now(session),
    )
    for text in wanted.exdates:
        wall(text, of="exdates")
    check_rule(row)
    return row


def check_rule(row: Blackout) -> None:
    """See that a recurring window recurs in a way that is bearable to look at.

    Raises:
        Invalid: the rule is wrong, or its windows lie too close or too deep upon each other.
    """
    if not row.rule:
        return
    dtstart = row.begins_at.astimezone(zone_named(row.timezone)).replace(tzinfo=None)
    check(row.rule, dtstart=dtstart, timezone=row.timezone)
    begun = occurrences(row.rule, dtstart=dtstart, timezone=row.timezone, before=row.ends_at, limit=DEEPEST + 1)
    if len(begun) > DEEPEST or row.ends_at - row.begins_at > LONGEST:
        raise Invalid(
            f"The windows of {row.name!r} by the rule {row.rule!r} last more than {LONGEST.days} days, or more than {DEEPEST} "
            "of them lie upon each other; make them shorter, or the rule rarer.",
            rule=row.rule,
        )


def _tell(session: Session, row: Blackout, kind: str, who: str) -> None:
    changes.record(
        session,
        organisation_id=row.organisation_id,
        subject="blackout",
        subject_id=row.id,
        kind=kind,
        fields={"name": row.name, "kind": row.kind.value, "who": who},
    )


def windows(session: Session, site_ids: Iterable[UUID], begins: datetime, ends: datetime) -> dict[UUID, list[Window]]:
    """The windows of each site that touch the time from `begins` up to `ends`, by their beginning."""
    found: dict[UUID, list[Window]] = {site_id: [] for site_id in site_ids}
    for row in _touching(session, found, begins, ends):
        found[row.site_id] += _windows_of(row, begins, ends)
    return {site_id: sorted(ones, key=lambda one: (one.begins_at, one.ends_at)) for site_id, ones in found.items()}


def closures(
    session: Session, site_id: UUID, instants: Sequence[datetime], *, with_holidays: bool
) -> dict[datetime, Window]:
    """Those of the instants at which the site is closed, each with the window that ends last."""
    if not instants:
        return {}
    first, last = min(instants), max(instants)
    rows = _touching(session, [site_id], first, last + MOMENT)
    rows = [row for row in rows if with_holidays or row.kind is BlackoutKind.blackout]
    if not rows:
        return {}
    if last - first <= NEAR:
        spans = [one for row in rows for one in _windows_of(row, first, last + MOMENT)]
        around = {at: window_at(spans, at) for at in instants}
    else:  # years may lie between them, and a great many windows that nobody asks for
        around = {
            at: window_at([one for row in rows for one in _windows_of(row, at, at + MOMENT)], at) for at in instants
        }
    return {at: window for at, window in around.items() if window is not None}


TOUCHING = select(Blackout).where(
    col(Blackout.site_id).in_(bindparam("ids", expanding=True)),
    col(Blackout.begins_at) < bindparam("ends"),
    or_(col(Blackout.ends_at) > bindparam("begins"), Blackout.rule != ""),
)


def _touching(session: Session, site_ids: Iterable[UUID], begins: datetime, ends: datetime) -> Sequence[Blackout]:
    return session.exec(TOUCHING, params={"ids": list(site_ids), "begins": begins, "ends": ends}).all()


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
    try:
        spans = _spans(_recurring(row), first, last)
    except Invalid as error:  # such as a time zone that is no more: this site stays closed, the others go on
        log.warning("a blackout cannot be read; its site stays closed", blackout=str(row.id), error=error.message)
        return [Window(f"{row.name} (cannot be read: {error.message})", row.kind, begins, last)]
    return [Window(row.name, row.kind, *span) for span in spans if span[0] < ends and span[1] > begins]


@dataclass(frozen=True)
class _Recurring:
    rule: str
    begins_at: datetime
    ends_at: datetime
    timezone: str
    exdates: tuple[str, ...]


def _recurring(row: Blackout) -> _Recurring:
    return _Recurring(row.rule, row.begins_at, row.ends_at, row.timezone, tuple(row.exdates))


@lru_cache(maxsize=4096)
def _spans(of: _Recurring, first: datetime, last: datetime) -> tuple[tuple[datetime, datetime], ...]:
    """Each lasts as long on the wall clock as the first, so that a night ends at its hour also when clocks change."""
    zone = zone_named(of.timezone)
    begins = of.begins_at.astimezone(zone).replace(tzinfo=None)
    length = of.ends_at.astimezone(zone).replace(tzinfo=None) - begins
    starts = occurrences(
        of.rule,
        dtstart=begins,
        timezone=of.timezone,
        after=first - length - timedelta(days=2),  # no change of a clock is longer
        before=last,
        exdates=tuple(map(datetime.fromisoformat, of.exdates)),
    )
    ends = [instant_of(_later(at.astimezone(zone).replace(tzinfo=None), length), zone) for at in starts]
    return tuple((begin, end) for begin, end in zip(starts, ends, strict=True) if end > first)


def _later(wall_time: datetime, length: timedelta) -> datetime:
    """What begins in the second of two hours alike also ends there, if it ends within."""
    return (wall_time + length).replace(fold=wall_time.fold)
