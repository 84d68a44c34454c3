"""The charts of a report (the door to matplotlib): drawn without a display, the same bytes each time.

Colours are those of Okabe and Ito, which people with colour blindness tell apart; every bar also carries its value.
"""

import io
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from missions.models import MISSION_TERMINAL, MissionStatus
from reports.content import CARE_NOW_HOURS, CARE_SOON_HOURS, Care, FleetReport
from reports.words import hours, percent, words

INK, MUTED, RULE = "#1b2733", "#5b6b7a", "#dfe5ea"
GREEN, VERMILION, GREY, PURPLE, ORANGE, BLUE, SKY = (
    "#009e73",
    "#d55e00",
    "#9aa5b1",
    "#cc79a7",
    "#e69f00",
    "#0072b2",
    "#56b4e9",
)
STATUS_COLOURS = {
    "SUCCEEDED": GREEN,
    "FAILED": VERMILION,
    "REJECTED": VERMILION,
    "REFUSED": PURPLE,
    "CANCELED": GREY,
    "EXPIRED": ORANGE,
}
CARE_COLOURS = {Care.now: VERMILION, Care.soon: ORANGE, Care.later: GREEN}
PAGE_IN = {"svg": 10.0, "png": 7.0}  # the width of text on the page, so that letters have one size in all charts
GUTTER_IN = 0.3
ROW_IN = 0.32
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "ytick.major.size": 0,
    "text.parse_math": False,  # a dollar in a robot's name is a dollar
    "svg.fonttype": "path",
    "svg.hashsalt": "yardmaster",
}
ROBOTS_SHOWN = 40


@dataclass(frozen=True)
class Chart:
    """One drawn chart; `says` is its content in words, for those who do not see it."""

    title: str
    says: str
    image: bytes
    width_in: float
    height_in: float


Drawing = Callable[[Axes, FleetReport], str]


def charts(report: FleetReport, form: Literal["svg", "png"]) -> dict[str, Chart]:
    """The charts of the report by name; one that would be empty is left out."""
    full, half = PAGE_IN[form], (PAGE_IN[form] - GUTTER_IN) / 2
    robots = min(len(report.robots), ROBOTS_SHOWN)
    drawn: dict[str, Chart] = {}
    if report.missions:
        drawn["missions"] = _draw(report, "Missions by outcome", _missions, (full, len(report.by_status)), form)
    if report.work:
        drawn["work"] = _draw(report, "Who worked when", _work, (full, robots), form)
    if report.robots:
        drawn["utilisation"] = _draw(report, "Utilisation by robot", _utilisation, (half, robots), form)
        drawn["battery"] = _draw(report, "Battery, newest reading", _battery, (half, robots), form)
    if report.care:
        rows = min(len(report.care), ROBOTS_SHOWN)
        drawn["care"] = _draw(report, "Expected operating hours to failure", _care, (full, rows), form)
    return drawn


def _draw(report: FleetReport, title: str, draw: Drawing, size: tuple[float, int], form: str) -> Chart:
    """Draw with `size`: the width in inches, and how many rows it has."""
    width, rows = size
    height = 0.75 + ROW_IN * max(rows, 2)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        says = draw(axes, report)
        axes.set_ylim(max(rows, 2) - 0.45, -0.55)  # the first row on top, and rows of one height in every chart
        out = io.BytesIO()
        # Without a date in the file the same report gives the same bytes.
        figure.savefig(out, format=form, dpi=200, metadata={"Date": None} if form == "svg" else {"Software": None})
    return Chart(title, says, out.getvalue(), width, height)


def _missions(axes: Axes, report: FleetReport) -> str:
    counts = report.by_status
    bars = axes.barh(
        [words(status.value) for status in counts],
        list(counts.values()),
        color=[_status_colour(status) for status in counts],
        height=0.62,
    )
    axes.bar_label(bars, padding=4, color=INK, fontweight="bold")
    _rows(axes, "missions")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return ", ".join(f"{words(status.value)}: {count}" for status, count in counts.items())


def _status_colour(status: MissionStatus) -> str:
    return STATUS_COLOURS.get(status.value, BLUE if status in MISSION_TERMINAL else SKY)


def _utilisation(axes: Axes, report: FleetReport) -> str:
    robots = report.robots[:ROBOTS_SHOWN]
    shares = [robot.utilisation_fraction * 100 for robot in robots]
    bars = axes.barh([robot.name for robot in robots], shares, color=BLUE, height=0.62)
    labels = [f"{percent(robot.utilisation_fraction)}, {hours(robot.executing_hours)}" for robot in robots]
    axes.bar_label(bars, labels, padding=4, color=INK)
    axes.set_xlim(0, max(*shares, 1.0) * 1.4)
    _rows(axes, "share of the period spent on missions, %")
    return ", ".join(f"{robot.name}: {percent(robot.utilisation_fraction)}" for robot in robots)


def _battery(axes: Axes, report: FleetReport) -> str:
    robots = report.robots[:ROBOTS_SHOWN]
    shares = [100 * (robot.battery_fraction or 0.0) for robot in robots]
    said = ["no reading" if robot.battery_fraction is None else f"{robot.battery_fraction:.0%}" for robot in robots]
    colours = [VERMILION if share < 20 else ORANGE if share < 40 else GREEN for share in shares]
    names = [robot.name for robot in robots]
    axes.barh(names, [100.0] * len(names), color="#eef2f5", height=0.62)
    bars = axes.barh(names, shares, color=colours, height=0.62)
    axes.bar_label(bars, said, padding=4, color=INK)
    axes.set_xlim(0, 112)
    axes.set_xticks(range(0, 101, 20))
    _rows(axes, "charge, %")
    return ", ".join(f"{name}: {text}" for name, text in zip(names, said, strict=True))


def _work(axes: Axes, report: FleetReport) -> str:
    spans: dict[str, list[tuple[datetime, datetime, str]]] = defaultdict(list)
    for span in report.work:
        spans[span.robot].append((span.begins_at, span.ends_at, span.status))
    names = [robot.name for robot in report.robots[:ROBOTS_SHOWN]]
    for place, name in enumerate(names):
        mine = spans[name]
        axes.broken_barh(
            [(_days(begins), _days(ends) - _days(begins)) for begins, ends, _ in mine],
            (place - 0.31, 0.62),
            facecolors=[STATUS_COLOURS.get(status, SKY) for _, _, status in mine],
            edgecolor="white",
            linewidth=0.6,
        )
    axes.set_yticks(range(len(names)), names)
    locator = AutoDateLocator(tz=report.zone, maxticks=9)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(
        ConciseDateFormatter(locator, tz=report.zone)  # type: ignore[no-untyped-call]
    )
    axes.margins(x=0.02)
    _rows(axes, f"time at the site ({report.timezone})")
    statuses = sorted({span.status for span in report.work})
    _legend(axes, statuses)
    return ", ".join(f"{name}: {len(spans[name])} attempts" for name in names)


def _days(instant: datetime) -> float:
    """Matplotlib's measure of time."""
    return float(date2num(instant))  # type: ignore[no-untyped-call]


def _legend(axes: Axes, statuses: Sequence[str]) -> None:
    handles = [Patch(color=STATUS_COLOURS.get(status, SKY), label=words(status)) for status in statuses]
    axes.legend(
        handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(handles), frameon=False, fontsize=8
    )


def _care(axes: Axes, report: FleetReport) -> str:
    lines = report.care[:ROBOTS_SHOWN]
    for edge in (CARE_NOW_HOURS, CARE_SOON_HOURS):
        axes.axvline(edge, color=RULE, linewidth=1, zorder=0)
    for place, line in enumerate(lines):
        colour = CARE_COLOURS[line.care]
        axes.plot([line.rul_lower_hours, line.rul_upper_hours], [place, place], color=colour, linewidth=5, alpha=0.35)
        axes.plot(line.rul_hours, place, "o", color=colour, markersize=9)
        axes.annotate(
            f"{line.rul_hours:.0f} h",
            (line.rul_upper_hours, place),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=INK,
        )
    axes.set_yticks(range(len(lines)), [line.robot for line in lines])
    axes.set_xlim(0, max(1.0, *(line.rul_upper_hours for line in lines)) * 1.12)
    _rows(axes, "operating hours, with the 90 % interval")
    return ", ".join(
        f"{line.robot}: {line.rul_hours:.0f} hours ({line.rul_lower_hours:.0f} to {line.rul_upper_hours:.0f})"
        for line in lines
    )


def _rows(axes: Axes, label: str) -> None:
    """A quiet grid, and what the x axis measures."""
    axes.set_xlabel(label)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=RULE, linewidth=0.7)
    axes.tick_params(axis="x", length=0)
