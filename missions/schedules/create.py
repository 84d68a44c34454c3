"""A schedule comes to be: what is asked for is checked against the site and the calendar, and written once per key."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, select

from fleet.clock import database_now
from fleet.errors import Conflict, Invalid, NotFound
from fleet.events import insert_new
from fleet.organisations import Site
from missions import calendars
from missions.create import check as check_mission
from missions.models import MissionCreate
from missions.schedules.models import MissionTemplate, Recurrence, Schedule, ScheduleCreate, ScheduleRevision
from missions.schedules.recurrence import times, wall
from missions.schedules.rows import next_look, revision_of, tell_schedule

NOT_IN_TEMPLATES = ("earliest_start_at", "not_after_at", "deadline_at")


def create(session: Session, *, site: Site, wanted: ScheduleCreate, who: str) -> Schedule:
    """The schedule of (organisation, `wanted.key`): a new one, active from now on, or the same one already there.

    Raises:
        Invalid: the rule, the zone, a time or a mission is wrong, or no time of the rule lies ahead; says which.
        NotFound: a mission names a robot that is not there.
        Conflict: the key has a schedule with other content.
    """
    same = (Schedule.organisation_id == site.organisation_id, Schedule.key == wanted.key)
    known = session.exec(select(Schedule).where(*same)).first()
    if known is not None:
        return _the_same(session, known, site, wanted)
    now = database_now(session)
    check(session, site=site, recurrence=wanted.recurrence, missions=wanted.missions, after=now)
    schedule = Schedule(
        organisation_id=site.organisation_id,
        site_id=site.id,
        name=wanted.name,
        key=wanted.key,
        decided_until_at=now,
        requested_by=who,
        created_at=now,
        updated_at=now,
    )
    if not insert_new(session, Schedule, schedule.model_dump(), on=["organisation_id", "key"]):
        return _the_same(session, session.exec(select(Schedule).where(*same)).one(), site, wanted)
    row = session.get_one(Schedule, schedule.id)
    session.add(revision_row(row, wanted.recurrence, wanted.missions, valid_from_at=now, who=who, made_at=now))
    session.flush()
    row.next_due_at = next_look(session, row)
    tell_schedule(session, row, "created", who=who)
    return row


def _the_same(session: Session, known: Schedule, site: Site, wanted: ScheduleCreate) -> Schedule:
    first = revision_of(session, known.id, 1)
    asked = _content(wanted.recurrence, wanted.missions)
    differs = {
        "recurrence": first.recurrence != asked.recurrence,
        "missions": first.missions != asked.missions,
        "site": known.site_id != site.id,
        "name": known.name != wanted.name and known.revision == 1,
    }
    differing = [part for part, does in differs.items() if does]
    if differing:
        raise Conflict(
            f"The key {wanted.key!r} has a schedule with another {' and '.join(differing)} already; revise that one, or "
            "choose another key.",
            key=wanted.key,
            schedule=str(known.id),
        )
    return known


def revision_row(
    schedule: Schedule,
    recurrence: Recurrence,
    missions: Sequence[MissionTemplate],
    *,
    valid_from_at: datetime,
    who: str,
    made_at: datetime,
) -> ScheduleRevision:
    """The row of the schedule's present revision with this content."""
    content = _content(recurrence, missions)
    return ScheduleRevision(
        schedule_id=schedule.id,
        number=schedule.revision,
        organisation_id=schedule.organisation_id,
        recurrence=content.recurrence,
        missions=content.missions,
        content_sha256=_sha256([content.recurrence, content.missions]),
        valid_from_at=valid_from_at,
        made_by=who,
        created_at=made_at,
    )


@dataclass(frozen=True)
class _Content:
    recurrence: dict[str, object]
    missions: list[dict[str, object]]


def _content(recurrence: Recurrence, missions: Sequence[MissionTemplate]) -> _Content:
    templates = [one.model_dump(mode="json", exclude={"key"}) for one in missions]
    return _Content(recurrence.model_dump(mode="json"), templates)


def _sha256(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check(
    session: Session, *, site: Site, recurrence: Recurrence, missions: Sequence[MissionTemplate], after: datetime
) -> None:
    """See that this could become a schedule of the site; nothing is written.

    Raises:
        Invalid, NotFound: as `create`.
    """
    calendars.check(recurrence.rule, dtstart=wall(recurrence.begins, of="begins"), timezone=recurrence.timezone)
    if not times(recurrence, after=after, limit=1):
        raise Invalid(
            f"The rule {recurrence.rule!r} from {recurrence.begins} in {recurrence.timezone} has no time after "
            f"{after.isoformat(timespec='seconds')}; choose a later end or another rule.",
            rule=recurrence.rule,
        )
    for number, template in enumerate(missions, start=1):
        _check_template(session, site, number, template)


def _check_template(session: Session, site: Site, number: int, template: MissionTemplate) -> None:
    fixed = [name for name in NOT_IN_TEMPLATES if getattr(template, name) is not None]
    if fixed:
        raise Invalid(
            f"Mission {number} {template.name!r} has {' and '.join(fixed)}; leave them empty, a scheduled mission has its "
            "time from the occurrence (see start_within_s).",
            mission=template.name,
        )
    try:
        check_mission(session, site=site, wanted=MissionCreate.model_validate(template.model_dump() | {"key": "-"}))
    except (Invalid, NotFound) as error:
        raise type(error)(f"Mission {number} {template.name!r}: {error.message}", **error.fields) from error
