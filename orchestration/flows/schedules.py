"""Recurring rounds: make one, pause, resume, revise, end it. The database keeps them; Prefect shows what comes next."""

from datetime import datetime
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed
from sqlmodel import Session

from fleet.errors import Invalid
from fleet.organisations import Site, organisation_named
from missions.calendars import zone_named
from missions.models import MissionCreate
from missions.schedules import control
from missions.schedules.create import create
from missions.schedules.models import MissionTemplate, Recurrence, Schedule, ScheduleCreate, ScheduleStatus
from missions.schedules.revise import revise
from missions.schedules.rows import recurrence_of, revision_of, schedule_of
from missions.schedules.upcoming import ScheduleView, schedule_view
from orchestration.flows import edge
from orchestration.flows.forms import Name, Reason, RecurrenceForm, RoundTemplate, RuleText, ScheduleCommand
from orchestration.flows.missions import listed_or_made
from orchestration.markdown import table_text
from orchestration.work.places import place

TURNS = {
    ScheduleCommand.pause: control.pause,
    ScheduleCommand.resume: control.resume,
    ScheduleCommand.end: control.end,
}


@flow(name="create-schedule", flow_run_name="Schedule {name}")
async def create_schedule(
    when: RecurrenceForm,
    name: Name,
    missions: list[MissionTemplate] | None = None,
    template: RoundTemplate = RoundTemplate.listed,
    organisation: Name = "demo",
    site: Name = "north-plant",
) -> State[Any]:
    """Ask for a round again and again, in local time; the run shows when it comes next.

    Args:
        when: The rule, its time zone, and what becomes of late and overlapping occurrences.
        name: What the schedule is called.
        missions: The missions of every occurrence; leave empty when a template makes them.
        template: Take the missions listed above, or make one for every inspection point of the site.
        organisation: Whose robots.
        site: Where.
    """
    who, key, asked_at = edge.who("create-schedule"), edge.run_id(), edge.asked_at()

    def make(session: Session) -> ScheduleView:
        owner, found = place(session, organisation, site)
        wanted = ScheduleCreate(
            name=name,
            key=key,
            recurrence=filled_in(when, found, asked_at),
            missions=[_template(one) for one in listed_or_made(session, found.id, missions or [], template)],
        )
        return schedule_view(session, owner.id, create(session, site=found, wanted=wanted, who=who).id)

    return await _shown("Created", await edge.written(make))


@flow(name="control-schedule", flow_run_name="{command} {schedule}")
async def control_schedule(
    schedule: Name,
    command: ScheduleCommand,
    rule: RuleText = "",
    missions: list[MissionTemplate] | None = None,
    reason: Reason = "asked for by an operator",
    organisation: Name = "demo",
) -> State[Any]:
    """Pause, resume, revise or end a schedule; what it has started goes on.

    Args:
        schedule: The schedule's name or id.
        command: What it is told. Nothing of a pause is caught up with; an end is for good.
        rule: To revise: the new rule (RRULE or cron) from now on; empty: as it is.
        missions: To revise: the new missions from now on; empty: as they are.
        reason: Why; it is kept with the schedule.
        organisation: Whose schedule.
    """
    who = edge.who("control-schedule")
    is_revision = command is ScheduleCommand.revise
    if is_revision != bool(rule or missions):
        raise Invalid(
            f"{command}: give a rule or missions to revise a schedule, and to nothing else; rule is {rule!r}."
        )

    def tell(session: Session) -> ScheduleView:
        owner = organisation_named(session, organisation)
        found = schedule_of(session, owner.id, schedule)
        if is_revision:
            revise(session, schedule=found, recurrence=_ruled(session, found, rule), missions=missions, who=who)
        else:
            TURNS[command](session, schedule=found, who=who, why=reason)
        return schedule_view(session, owner.id, found.id)

    view = await edge.written(tell)
    return await _shown("Revised" if is_revision else str(view.status).capitalize(), view)


def filled_in(form: RecurrenceForm, site: Site, asked_at: datetime) -> Recurrence:
    """The recurrence of a form: where it is silent, the site's time zone, and the minute in which the form was sent.

    Raises:
        Invalid: there is no such time zone.
    """
    zone = form.timezone or site.timezone
    begins = form.begins or f"{asked_at.astimezone(zone_named(zone)):%Y-%m-%dT%H:%M:00}"
    return Recurrence.model_validate(form.model_dump() | {"timezone": zone, "begins": begins})


def _template(wanted: MissionCreate) -> MissionTemplate:
    return MissionTemplate.model_validate(wanted.model_dump())


def _ruled(session: Session, schedule: Schedule, rule: str) -> Recurrence | None:
    if not rule:
        return None
    now = recurrence_of(revision_of(session, schedule.id, schedule.revision))
    return Recurrence.model_validate(now.model_dump() | {"rule": rule})


async def _shown(name: str, view: ScheduleView) -> State[Any]:
    await acreate_markdown_artifact(schedule_text(view), key="schedule")
    ahead = f"next {_local(view, view.next[0].due_at)}" if view.next else "nothing comes next"
    message = f"Schedule {view.name!r} (id {view.id}, revision {view.revision}) is {view.status}; {ahead}."
    get_run_logger().info(message)
    return Completed(name=name, message=message, data={"id": str(view.id), "status": view.status.value})


def schedule_text(view: ScheduleView) -> str:
    """The schedule as Markdown: its rule, and when it comes next, in local time and in UTC."""
    rows = [
        {
            "local time": _local(view, one.due_at),
            "UTC": f"{one.due_at:%Y-%m-%d %H:%M:%S}",
            "": f"left out: {one.closed_by}" if one.closed_by else "moved" if one.is_moved else "",
        }
        for one in view.next
    ]
    none = "Nothing." if view.status is ScheduleStatus.active else f"Nothing: it is {view.status}."
    rule = {"rule": view.recurrence.rule, "time zone": view.recurrence.timezone, "begins": view.recurrence.begins}
    policy = {"late": view.recurrence.misfire.value, "overlap": view.recurrence.overlap.value}
    return "\n\n".join(
        [
            table_text([{"schedule": view.name, "status": view.status.value, **rule, **policy, "id": str(view.id)}]),
            "### Comes next",
            table_text(rows) if rows else none,
        ]
    )


def _local(view: ScheduleView, instant: datetime) -> str:
    return f"{instant.astimezone(zone_named(view.recurrence.timezone)):%a %-d %b %Y %H:%M:%S %Z}"
