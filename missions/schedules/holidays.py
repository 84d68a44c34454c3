"""Calendars of holidays and closures (iCalendar) become windows of a site; a newer import takes the place of an older."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, delete, select

from fleet import changes
from fleet.clock import database_now
from fleet.errors import Invalid
from fleet.organisations import Site
from missions.calendars.ics import ImportedWindow, read
from missions.schedules.blackouts import IMPORTED, check_rule
from missions.schedules.models import Blackout, BlackoutKind
from missions.schedules.recurrence import iso

NAME_MAX = 100


@dataclass(frozen=True)
class _Made:
    who: str
    kind: BlackoutKind
    at: datetime


def import_calendar(
    session: Session,
    *,
    site: Site,
    calendar: str,
    content: str | bytes,
    who: str,
    kind: BlackoutKind = BlackoutKind.holiday,
) -> int:
    """Put the calendar's events in the place of those imported under the same name before; gives their number.

    The same calendar again changes nothing.

    Raises:
        Invalid: the name is empty or too long, or the calendar is malformed; then the earlier import stays.
    """
    if not re.fullmatch(rf"[^/\x00\ud800-\udfff]{{1,{NAME_MAX}}}", calendar):
        raise Invalid(f"Name the calendar with 1 to {NAME_MAX} characters, without a slash; it is {calendar!r:.120}.")
    session.get_one(Site, site.id, with_for_update=True)  # two imports at once come one after the other
    wanted = {_key(calendar, one): one for one in read(content, timezone=site.timezone)}
    earlier = (col(Blackout.site_id) == site.id, col(Blackout.calendar) == calendar)
    made = _Made(who, kind, database_now(session))
    new = [_row(site, calendar, key, one, made) for key, one in wanted.items()]
    for row in new:
        check_rule(row)
    known = session.exec(select(Blackout).where(*earlier)).all()
    if _content(known) == _content(new):
        return len(new)
    session.exec(delete(Blackout).where(*earlier))
    session.add_all(new)
    changes.record(
        session,
        organisation_id=site.organisation_id,
        subject="blackout",
        subject_id=site.id,
        kind="imported",
        fields={"calendar": calendar, "site": site.name, "count": len(new), "who": who},
    )
    return len(new)


def _key(calendar: str, window: ImportedWindow) -> str:
    occurrence = f"/{iso(window.recurrence_id)}" if window.recurrence_id else ""
    return f"{IMPORTED}{calendar}/{window.uid}{occurrence}".replace("\0", "")


def _row(site: Site, calendar: str, key: str, window: ImportedWindow, made: _Made) -> Blackout:
    return Blackout(
        organisation_id=site.organisation_id,
        site_id=site.id,
        key=key,
        name=window.name.replace("\0", ""),
        kind=made.kind,
        calendar=calendar,
        begins_at=window.begins_at,
        ends_at=window.ends_at,
        timezone=window.timezone,
        rule=window.rule,
        exdates=[iso(at) for at in window.exdates],
        made_by=made.who,
        created_at=made.at,
    )


def _content(rows: Iterable[Blackout]) -> dict[str, dict[str, object]]:
    return {row.key: row.model_dump(exclude={"id", "made_by", "created_at"}) for row in rows}
