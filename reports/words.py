"""How values are said to a person: times in the site's zone, shares, durations."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from reports.content import FleetReport

NONE = "–"


def when(instant: datetime | None, zone: ZoneInfo) -> str:
    """Day and time at the site, such as `1 Mar 22:05`."""
    if instant is None:
        return NONE
    local = instant.astimezone(zone)
    return f"{local.day} {local:%b %H:%M}"


def exactly(instant: datetime, zone: ZoneInfo) -> str:
    """Day, time and zone, such as `1 March 2026, 22:05 CET`."""
    local = instant.astimezone(zone)
    return f"{local.day} {local:%B %Y, %H:%M %Z}"


def percent(fraction: float | None) -> str:
    """A share in per cent; one decimal below ten per cent."""
    if fraction is None:
        return NONE
    return f"{fraction:.0%}" if fraction >= 0.0995 or fraction == 0 else f"{fraction:.1%}"


def hours(value: float | None) -> str:
    """Hours, or minutes where it is less than two hours."""
    if value is None:
        return NONE
    return f"{value:.1f} h" if value >= 2 else f"{value * 60:.0f} min"


def duration(seconds: float | None) -> str:
    """A duration in its two largest units."""
    if seconds is None:
        return NONE
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def words(name: str) -> str:
    """A name of ours as words: `AWAITING_APPROVAL` is `Awaiting approval`."""
    return name.replace("_", " ").strip().lower().capitalize()


def period(report: FleetReport) -> str:
    """The period at the site: one date where it is a whole day, else from and to."""
    begins, ends = (at.astimezone(report.zone) for at in (report.period_from, report.period_to))
    is_whole_days = (begins.hour, begins.minute, ends.hour, ends.minute) == (0, 0, 0, 0)
    if not is_whole_days:
        return f"{begins.day} {begins:%B %Y, %H:%M} – {ends.day} {ends:%B %Y, %H:%M} {ends:%Z}"
    last = ends - timedelta(days=1)
    if last.date() == begins.date():
        return f"{begins.day} {begins:%B %Y}"
    return f"{begins.day} {begins:%B %Y} – {last.day} {last:%B %Y}"


def title(report: FleetReport) -> str:
    """The report's name."""
    return f"Fleet report {report.site}, {period(report)}"
