"""The first glance at a report: its figures, and what deserves attention in sentences."""

from typing import Literal

from fleet.adapter import Frozen
from missions.models import MissionStatus
from reports.content import Care, FleetReport
from reports.words import percent, words

Tone = Literal["good", "watch", "bad", "plain"]


class Tile(Frozen):
    """One figure with its name and what it rests on."""

    name: str
    value: str
    detail: str
    tone: Tone


def tiles(report: FleetReport) -> list[Tile]:
    """The six figures on top."""
    low = sum(robot.battery_low_events for robot in report.robots)
    need = report.in_need()
    return [
        Tile(
            name="Missions done",
            value=f"{report.succeeded} of {report.ended}",
            detail=f"{len(report.missions) - report.ended} still open",
            tone="plain",
        ),
        Tile(
            name="Success",
            value=percent(report.success_fraction),
            detail="of the missions that ended",
            tone=_tone(report.success_fraction, good=0.9, watch=0.7),
        ),
        Tile(
            name="On time",
            value=percent(report.on_time_fraction),
            detail="started before their deadline" if report.on_time_fraction is not None else "no deadlines were set",
            tone=_tone(report.on_time_fraction, good=0.95, watch=0.8),
        ),
        Tile(
            name="Utilisation",
            value=percent(report.utilisation_fraction),
            detail=f"mean of {_counted(len(report.robots), 'robot')}",
            tone="plain",
        ),
        Tile(
            name="Low battery",
            value=str(low),
            detail="warnings in the period",
            tone="watch" if low else "good",
        ),
        Tile(
            name="Needs care",
            value=f"{len(need)} of {len(report.care)}",
            detail="drives that were scored" if report.care else "no drive was scored yet",
            tone="bad" if any(line.care is Care.now for line in need) else "watch" if need else "good",
        ),
    ]


def _tone(share: float | None, *, good: float, watch: float) -> Tone:
    if share is None:
        return "plain"
    return "good" if share >= good else "watch" if share >= watch else "bad"


def findings(report: FleetReport) -> list[str]:
    """What deserves attention, the most urgent first; a quiet period says so."""
    found = [
        f"{line.robot}: its drive is expected to last {line.rul_hours:.0f} more operating hours "
        f"(90 % interval {line.rul_lower_hours:.0f} to {line.rul_upper_hours:.0f} h): "
        + ("take it in for care now." if line.care is Care.now else "plan its care.")
        for line in report.in_need()
    ]
    if report.failures:
        top = report.failures[0]
        where = f" ({', '.join(top.robots)})" if top.robots else ""
        often = "once" if top.count == 1 else f"{top.count} times, more than anything else"
        found.append(f"{words(top.what)} {often}: {top.reason or 'no reason given'}{where}.")
    refused = report.by_status.get(MissionStatus.refused, 0)
    if refused:
        found.append(f"{_counted(refused, 'mission')} refused: no robot of the site can do what was asked.")
    return found or ["Nothing needs attention."]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
