"""`yardmaster calendar …`."""

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from deployments.cli.parts import AsJson, show, show_json

app = typer.Typer(no_args_is_help=True)
LIMIT = 10


@app.callback()
def _group() -> None:
    """Recurrence rules, apart from any schedule."""


@app.command("occurrences")
def list_occurrences(  # noqa: PLR0913  one option for each argument of missions.calendars.occurrences
    rule: Annotated[str, typer.Option(help="An RRULE such as FREQ=DAILY;BYHOUR=6, or a five-field cron.")],
    dtstart: Annotated[str, typer.Option(help="First possible local time, such as 2026-03-29T02:30:00.")],
    timezone: Annotated[str, typer.Option(help="Name of the IANA time zone, such as Europe/Berlin.")],
    limit: Annotated[int | None, typer.Option(help=f"At most so many; {LIMIT} without --before.")] = None,
    after: Annotated[str | None, typer.Option(help="Only later ones; a local time, or with an offset.")] = None,
    before: Annotated[str | None, typer.Option(help="Only earlier ones.")] = None,
    exdate: Annotated[list[str] | None, typer.Option(help="Left out; may be given again.")] = None,
    rdate: Annotated[list[str] | None, typer.Option(help="Added; may be given again.")] = None,
    as_json: AsJson = False,
) -> None:
    """When a rule occurs: as instants in UTC, and in local time."""
    from missions.calendars import occurrences

    found = occurrences(
        rule,
        dtstart=_moment("--dtstart", dtstart),
        timezone=timezone,
        after=None if after is None else _moment("--after", after),
        before=None if before is None else _moment("--before", before),
        limit=LIMIT if limit is None and before is None else limit,
        exdates=[_moment("--exdate", text) for text in exdate or []],
        rdates=[_moment("--rdate", text) for text in rdate or []],
    )
    if as_json:
        show_json([_utc(instant) for instant in found])
        return
    zone = ZoneInfo(timezone)
    rows = [(_utc(instant), instant.astimezone(zone).isoformat(" ")) for instant in found]
    show(f"{rule} in {timezone}", ("UTC", "local"), rows)


def _moment(option: str, text: str) -> datetime:
    """A local time, or an instant where an offset is given."""
    from fleet.errors import Invalid

    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Invalid(f"{option} {text!r} is no time; write one such as 2026-03-29T02:30:00.", value=text) from None
    if len(text.strip()) <= len("2026-W13-1"):
        raise Invalid(f"{option} {text!r} is only a date; write a time too, such as {text}T00:00:00.", value=text)
    return moment


def _utc(instant: datetime) -> str:
    return f"{instant.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"
