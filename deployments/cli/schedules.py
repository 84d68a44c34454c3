"""`yardmaster schedules …` and `yardmaster blackouts …`."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar
from uuid import UUID

import typer

from deployments.cli.parts import AsJson, Organisation, Site, opened, show, show_json, who

if TYPE_CHECKING:
    from pydantic import BaseModel

Model = TypeVar("Model", bound="BaseModel")

app = typer.Typer(no_args_is_help=True)
blackouts = typer.Typer(no_args_is_help=True)
ScheduleName = Annotated[str, typer.Argument(help="Id, key or name of the schedule.")]
Occurrence = Annotated[str, typer.Argument(help="Its recurrence id, such as 2026-03-02T05:00:00Z.")]
Why = Annotated[str, typer.Option(help="The reason, kept with the change.")]


@app.command("list")
def list_schedules(organisation: Organisation = "demo", as_json: AsJson = False) -> None:
    """The schedules of an organisation and when each comes next."""
    from fleet.organisations import organisation_named
    from missions.schedules.upcoming import schedules_of

    with opened().reading() as session:
        found = schedules_of(session, organisation_named(session, organisation).id)
    if as_json:
        show_json([view.model_dump(mode="json") for view in found])
        return
    rows = [
        (
            view.id,
            view.name,
            view.status,
            view.site,
            view.recurrence.rule,
            *[_time(one.due_at) for one in view.next[:1]],
        )
        for view in found
    ]
    show("Schedules", ("id", "name", "status", "site", "rule", "next (UTC)"), rows)


@app.command("show")
def show_schedule(schedule: ScheduleName, organisation: Organisation = "demo") -> None:
    """Everything about one schedule, as JSON: its rule, its policies, its missions and what comes next."""
    from fleet.organisations import organisation_named
    from missions.schedules.upcoming import schedule_view

    with opened().reading() as session:
        owner = organisation_named(session, organisation)
        show_json(schedule_view(session, owner.id, schedule).model_dump(mode="json"))


@app.command("create")
def create(  # noqa: PLR0913  each one is an option of the command line
    name: Annotated[str, typer.Argument(help="What people call it.")],
    rule: Annotated[str, typer.Option(help="An RRULE such as FREQ=DAILY;BYHOUR=6, or a five-field cron.")],
    begins: Annotated[str, typer.Option(help="First possible local time, such as 2026-03-01T06:00:00.")],
    visit: Annotated[list[str], typer.Option(help="A station to visit and read; repeat it for more.")],
    organisation: Organisation = "demo",
    site: Site = "north-plant",
    timezone: Annotated[str | None, typer.Option(help="Name of the IANA time zone; default: the site's.")] = None,
    robot: Annotated[str | None, typer.Option(help="Only this robot; default: whichever fits best.")] = None,
    misfire: Annotated[str, typer.Option(help="Of late ones: skip, run_once, coalesce or all.")] = "run_once",
    overlap: Annotated[str, typer.Option(help="While one is under way: queue, skip or cancel_older.")] = "queue",
    grace: Annotated[float, typer.Option(help="Seconds that an occurrence may be late.")] = 300.0,
    jitter: Annotated[float, typer.Option(help="Seconds over which starts are spread.")] = 0.0,
    start_within: Annotated[float | None, typer.Option(help="Seconds within which its missions must begin.")] = None,
    skip_holidays: Annotated[bool, typer.Option(help="Leave out the site's imported holidays.")] = False,
    key: Annotated[str | None, typer.Option(help="Asking twice with one key makes one schedule.")] = None,
) -> None:
    """Ask for a round again and again; it shows when it comes next."""
    from fleet.organisations import organisation_named, site_named
    from missions.schedules.create import create as create_schedule
    from missions.schedules.models import ScheduleCreate
    from missions.schedules.upcoming import coming

    stops = [{"kind": kind, "station": at} for at in visit for kind in ("go_to", "reading")]
    recurrence = {
        "rule": rule,
        "begins": begins,
        "misfire": misfire,
        "overlap": overlap,
        "grace_s": grace,
        "jitter_s": jitter,
        "start_within_s": start_within,
        "skip_holidays": skip_holidays,
    }
    content: dict[str, object] = {
        "name": name,
        "key": key or f"cli/{name}",
        "missions": [{"name": name, "tasks": stops, "robot": robot}],
    }
    with opened().transaction() as session:
        place = site_named(session, organisation_named(session, organisation).id, site)
        content["recurrence"] = recurrence | {"timezone": timezone or place.timezone}
        wanted = _checked(ScheduleCreate, content)
        schedule = create_schedule(session, site=place, wanted=wanted, who=who())
        session.flush()
        typer.echo(f"{schedule.id} {schedule.status.value}")
        for one in coming(session, schedule):
            typer.echo(f"  {_time(one.due_at)} UTC")


@app.command("pause")
def pause(schedule: ScheduleName, why: Why = "", organisation: Organisation = "demo") -> None:
    """Start nothing of it until it is resumed."""
    _control(organisation, schedule, "pause", why)


@app.command("resume")
def resume(schedule: ScheduleName, why: Why = "", organisation: Organisation = "demo") -> None:
    """Let a paused schedule go on with what comes next."""
    _control(organisation, schedule, "resume", why)


@app.command("end")
def end(schedule: ScheduleName, why: Why = "", organisation: Organisation = "demo") -> None:
    """Make no occurrences any more; what has started goes on."""
    _control(organisation, schedule, "end", why)


def _control(organisation: str, name: str, wish: Literal["pause", "resume", "end"], why: str) -> None:
    from fleet.organisations import organisation_named
    from missions.schedules import control
    from missions.schedules.rows import schedule_of

    turn = {"pause": control.pause, "resume": control.resume, "end": control.end}[wish]
    with opened().transaction() as session:
        found = schedule_of(session, organisation_named(session, organisation).id, name)
        row = turn(session, schedule=found, who=who(), why=why)
        typer.echo(f"{row.id} is {row.status.value}")


@app.command("occurrences")
def list_occurrences(
    schedule: ScheduleName,
    organisation: Organisation = "demo",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Of each: to come and past.")] = 10,
    as_json: AsJson = False,
) -> None:
    """What comes next, and what became of the occurrences before, with the reasons."""
    from fleet.organisations import organisation_named
    from missions.schedules.rows import schedule_of
    from missions.schedules.upcoming import coming, past

    with opened().reading() as session:
        found = schedule_of(session, organisation_named(session, organisation).id, schedule)
        ahead, behind = coming(session, found, limit=limit), past(session, found, limit=limit)
    if as_json:
        show_json(
            {
                "next": [one.model_dump(mode="json") for one in ahead],
                "past": [one.model_dump(mode="json") for one in behind],
            }
        )
        return
    to_come = [
        (_time(one.recurrence_id), _time(one.due_at), "closed" if one.closed_by else "to come", one.closed_by)
        for one in reversed(ahead)
    ]
    was = [(_time(one.recurrence_id), _time(one.due_at), one.status, one.reason) for one in behind]
    show(f"Occurrences of {found.name}", ("recurrence id (UTC)", "due (UTC)", "status", "reason"), [*to_come, *was])


@app.command("cancel-occurrence")
def cancel_occurrence(
    schedule: ScheduleName, occurrence: Occurrence, why: Why = "", organisation: Organisation = "demo"
) -> None:
    """Leave out this occurrence only."""
    from fleet.organisations import organisation_named
    from missions.schedules import overrides
    from missions.schedules.rows import schedule_of

    with opened().transaction() as session:
        found = schedule_of(session, organisation_named(session, organisation).id, schedule)
        row = overrides.cancel_occurrence(
            session, schedule=found, recurrence_id=_instant(occurrence), who=who(), why=why
        )
        typer.echo(f"{_time(row.recurrence_id)} UTC is {row.status.value}")


@app.command("move-occurrence")
def move_occurrence(
    schedule: ScheduleName,
    occurrence: Occurrence,
    to: Annotated[str, typer.Argument(help="When it is to start instead, with its offset.")],
    organisation: Organisation = "demo",
) -> None:
    """Start this occurrence only at another time."""
    from fleet.organisations import organisation_named
    from missions.schedules import overrides
    from missions.schedules.rows import schedule_of

    with opened().transaction() as session:
        found = schedule_of(session, organisation_named(session, organisation).id, schedule)
        row = overrides.move_occurrence(
            session, schedule=found, recurrence_id=_instant(occurrence), to=_instant(to), who=who()
        )
        typer.echo(f"{_time(row.recurrence_id)} UTC is moved to {_time(row.due_at)} UTC")


@blackouts.command("list")
def list_blackouts(organisation: Organisation = "demo", as_json: AsJson = False) -> None:
    """The blackouts and holidays of an organisation's sites."""
    from sqlmodel import col, select

    from fleet.organisations import Site as SiteRow
    from fleet.organisations import organisation_named
    from missions.schedules.models import Blackout

    with opened().reading() as session:
        owner = organisation_named(session, organisation)
        query = select(Blackout, SiteRow.name).join(SiteRow, col(SiteRow.id) == Blackout.site_id)
        ours = query.where(Blackout.organisation_id == owner.id).order_by(col(Blackout.begins_at))
        found = session.exec(ours).all()
    if as_json:
        show_json([row.model_dump(mode="json") | {"site": site} for row, site in found])
        return
    rows = [
        (row.id, site, row.kind, row.name, _time(row.begins_at), _time(row.ends_at), row.rule, row.calendar)
        for row, site in found
    ]
    show("Blackouts", ("id", "site", "kind", "name", "begins (UTC)", "ends (UTC)", "rule", "calendar"), rows)


@blackouts.command("add")
def add_blackout(  # noqa: PLR0913  each one is an option of the command line
    name: Annotated[str, typer.Argument(help="What people call it.")],
    begins: Annotated[str, typer.Option(help="Local time of the site, such as 2026-12-24T14:00:00.")],
    ends: Annotated[str, typer.Option(help="Local time at which it is over.")],
    organisation: Organisation = "demo",
    site: Site = "north-plant",
    rule: Annotated[str, typer.Option(help="An RRULE or a cron, when it recurs.")] = "",
    holiday: Annotated[bool, typer.Option("--holiday", help="Only for schedules that skip holidays.")] = False,
    key: Annotated[str | None, typer.Option(help="Adding twice with one key makes one blackout.")] = None,
) -> None:
    """Let nothing start at a site in a window, once or again and again."""
    from fleet.organisations import organisation_named, site_named
    from missions.schedules import blackouts as rows
    from missions.schedules.models import BlackoutCreate

    kind = "holiday" if holiday else "blackout"
    content = {"name": name, "key": key or f"cli/{name}", "begins": begins, "ends": ends, "rule": rule, "kind": kind}
    wanted = _checked(BlackoutCreate, content)
    with opened().transaction() as session:
        place = site_named(session, organisation_named(session, organisation).id, site)
        row = rows.add(session, site=place, wanted=wanted, who=who())
        typer.echo(f"{row.id} {row.kind.value} from {_time(row.begins_at)} to {_time(row.ends_at)} UTC")


@blackouts.command("remove")
def remove_blackout(
    blackout: Annotated[UUID, typer.Argument(help="Id of the blackout, as `blackouts list` shows it.")],
    organisation: Organisation = "demo",
) -> None:
    """Remove a blackout: what it kept from starting may start."""
    from fleet.organisations import organisation_named
    from missions.schedules import blackouts as rows

    with opened().transaction() as session:
        owner = organisation_named(session, organisation)
        row = rows.remove(session, organisation_id=owner.id, blackout_id=blackout, who=who())
        typer.echo(f"{row.name} is removed")


@blackouts.command("import")
def import_calendar(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="An iCalendar file (.ics).")],
    calendar: Annotated[str, typer.Option(help="Its name; a newer import of that name takes its place.")],
    organisation: Organisation = "demo",
    site: Site = "north-plant",
    closed: Annotated[bool, typer.Option("--closed", help="Nothing at all starts on these days.")] = False,
) -> None:
    """Take in a calendar of holidays, or of days on which a site is closed."""
    from fleet.organisations import organisation_named, site_named
    from missions.schedules.holidays import import_calendar as take_in
    from missions.schedules.models import BlackoutKind

    kind = BlackoutKind.blackout if closed else BlackoutKind.holiday
    with opened().transaction() as session:
        place = site_named(session, organisation_named(session, organisation).id, site)
        count = take_in(session, site=place, calendar=calendar, content=file.read_bytes(), who=who(), kind=kind)
    typer.echo(f"{calendar}: {count} windows")


def _checked(model: type[Model], content: object) -> Model:
    from pydantic import ValidationError

    from fleet.errors import Invalid, complaints

    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise Invalid("; ".join(complaints(error))) from None


def _instant(text: str) -> datetime:
    """The instant that `text` says.

    Raises:
        Invalid: it is none, or without an offset.
    """
    from fleet.errors import Invalid

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Invalid(f"{text!r} is no instant; write it like 2026-03-02T05:00:00Z.", value=text)
    return found


def _time(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")
