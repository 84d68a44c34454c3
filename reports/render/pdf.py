"""The report as a PDF to print or send (the door to reportlab): A4, page numbers, the same bytes for the same report."""

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import matplotlib
from reportlab.lib.colors import HexColor, white
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Flowable,
    Frame,
    Image,
    KeepTogether,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
)

from ml.labels import RUL_CAP_HOURS
from reports import words
from reports.charts import Chart, charts
from reports.content import FleetReport
from reports.render.numbered import NumberedCanvas
from reports.summary import Tile, findings, tiles

INK, MUTED, RULE, BRAND = HexColor("#1b2733"), HexColor("#5b6b7a"), HexColor("#dfe5ea"), HexColor("#12344d")
TONES = {
    "good": HexColor("#00795a"),
    "watch": HexColor("#e69f00"),
    "bad": HexColor("#d55e00"),
    "plain": HexColor("#0072b2"),
}
MARGIN = 16 * mm
WIDTH = A4[0] - 2 * MARGIN
BAND = 34 * mm
MISSIONS_SHOWN = 500
CELL_MAX_CHARACTERS = 400  # no row may be taller than a page; the CSV and Parquet files have the whole text
FIGURE_MAX_HEIGHT = A4[1] - 70 * mm  # nor a chart with its title

BODY = ParagraphStyle("body", fontName="Yard", fontSize=9, leading=12.5, textColor=INK)
CELL = ParagraphStyle("cell", parent=BODY, fontSize=7.6, leading=9.8, splitLongWords=1)
RIGHT = ParagraphStyle("right", parent=CELL, alignment=2)
HEAD = ParagraphStyle("head", parent=CELL, fontName="Yard-Bold", textColor=MUTED)
HEAD_RIGHT = ParagraphStyle("head-right", parent=HEAD, alignment=2)
SECTION = ParagraphStyle("section", parent=BODY, fontName="Yard-Bold", fontSize=12.5, leading=16, spaceAfter=3)
NOTE = ParagraphStyle("note", parent=BODY, fontSize=8.2, leading=11, textColor=MUTED, spaceAfter=4)
CAPTION = ParagraphStyle("caption", parent=BODY, fontName="Yard-Bold", fontSize=9, spaceBefore=4)
FIGURE = ParagraphStyle("figure", parent=BODY, fontName="Yard-Bold", fontSize=15, leading=18)
SMALL = ParagraphStyle("small", parent=BODY, fontSize=7.2, leading=9, textColor=MUTED)


def pdf(report: FleetReport) -> bytes:
    """The document; text from outside is escaped, its glyphs are embedded (DejaVu Sans)."""
    _fonts()
    out = io.BytesIO()
    document = BaseDocTemplate(
        out,
        pagesize=A4,
        title=words.title(report),
        author="Yardmaster",
        subject=f"{report.organisation}, {report.site}",
        lang="en",
        invariant=1,
    )
    first = Frame(MARGIN, 18 * mm, WIDTH, A4[1] - 18 * mm - BAND - 4 * mm, 0, 0, 0, 0)
    later = Frame(MARGIN, 18 * mm, WIDTH, A4[1] - 18 * mm - 16 * mm, 0, 0, 0, 0)
    document.addPageTemplates(
        [
            PageTemplate(
                "first", [first], onPage=lambda canvas, _: _band(canvas, report), autoNextPageTemplate="later"
            ),
            PageTemplate("later", [later]),
        ]
    )
    footer = f"{report.organisation} · {report.site} · {words.period(report)}"
    document.build(_story(report), canvasmaker=lambda *args, **options: NumberedCanvas(footer, *args, **options))
    return out.getvalue()


@cache
def _fonts() -> None:
    # The fonts of matplotlib's wheel: free, with far more scripts than PDF's built-in ones, and always there.
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    pdfmetrics.registerFont(TTFont("Yard", folder / "DejaVuSans.ttf"))
    pdfmetrics.registerFont(TTFont("Yard-Bold", folder / "DejaVuSans-Bold.ttf"))
    pdfmetrics.registerFontFamily("Yard", normal="Yard", bold="Yard-Bold", italic="Yard", boldItalic="Yard-Bold")


def _band(canvas: Any, report: FleetReport) -> None:
    canvas.saveState()
    canvas.setFillColor(BRAND)
    canvas.rect(0, A4[1] - BAND, A4[0], BAND, stroke=0, fill=1)
    canvas.setFillColor(white)
    canvas.setFont("Yard", 8)
    canvas.drawString(MARGIN, A4[1] - 11 * mm, "YARDMASTER  ·  FLEET REPORT")
    canvas.setFont("Yard-Bold", 19)
    canvas.drawString(MARGIN, A4[1] - 20 * mm, report.site[:60])
    canvas.setFont("Yard", 9.5)
    canvas.drawString(MARGIN, A4[1] - 27 * mm, f"{words.period(report)}  ·  {report.organisation}"[:110])
    canvas.restoreState()


def _story(report: FleetReport) -> list[Flowable]:
    drawn = charts(report, "png")
    return [
        _tiles(tiles(report)),
        *_section("What deserves attention", [_text(f"• {finding}") for finding in findings(report)]),
        *_section("Missions and work", _figures(drawn, "missions", "work") or [_note("No missions.")], 65),
        *_section("Robots", [*_pair(drawn, "utilisation", "battery"), _robots(report)], 65),
        *_section("Predicted care", _care(report, drawn), 65),
        *_section("Failures and reasons", [_failures(report)]),
        *_section("Mission list", _missions(report)),
        Spacer(0, 6 * mm),
        _note(
            f"Times are those of the site ({report.timezone}). Made by Yardmaster on "
            f"{words.exactly(report.generated_at, report.zone)}."
        ),
    ]


def _section(title: str, parts: Sequence[Flowable], room_mm: float = 30) -> list[Flowable]:
    """A heading and its parts, on a new page where less than `room_mm` is left, so that it never stands alone."""
    return [CondPageBreak(room_mm * mm), Spacer(0, 5 * mm), Paragraph(escape(title), SECTION), *parts]


def _text(text: str) -> Paragraph:
    return Paragraph(escape(text), BODY)


def _note(text: str) -> Paragraph:
    return Paragraph(escape(text), NOTE)


def _figures(drawn: dict[str, Chart], *names: str) -> list[Flowable]:
    return [KeepTogether(_figure(drawn[name])) for name in names if name in drawn]


def _figure(chart: Chart, width: float = WIDTH) -> list[Flowable]:
    scale = min(width / chart.width_in, FIGURE_MAX_HEIGHT / chart.height_in)
    image = Image(io.BytesIO(chart.image), width=scale * chart.width_in, height=scale * chart.height_in)
    return [Paragraph(escape(chart.title), CAPTION), image]


def _pair(drawn: dict[str, Chart], left: str, right: str) -> list[Flowable]:
    """Two charts side by side, where both were drawn."""
    if left not in drawn or right not in drawn:
        return []
    width = (WIDTH - 3 * mm) / 2
    cells = [[_figure(drawn[left], width), "", _figure(drawn[right], width)]]
    pair = Table(cells, colWidths=[width, 3 * mm, width])
    pair.setStyle([("LEFTPADDING", (0, 0), (-1, -1), 0), ("RIGHTPADDING", (0, 0), (-1, -1), 0)])
    return [pair]


def _tiles(shown: Sequence[Tile]) -> Table:
    cells = [
        [
            Paragraph(escape(tile.name), SMALL),
            Paragraph(escape(tile.value), FIGURE),
            Paragraph(escape(tile.detail), SMALL),
        ]
        for tile in shown
    ]
    tones = [("LINEABOVE", (place, 0), (place, 0), 2.5, TONES[tile.tone]) for place, tile in enumerate(shown)]
    table = Table([cells], colWidths=[WIDTH / len(shown)] * len(shown))
    table.setStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LEFTPADDING", (0, 0), (-1, -1), 5),
            ("RIGHTPADDING", (0, 0), (-1, -1), 3),
            ("BOX", (0, 0), (-1, -1), 0.5, RULE),
            ("INNERGRID", (0, 0), (-1, -1), 0.5, RULE),
            *tones,
        ]
    )
    return table


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]], shares: Sequence[float], numbers: set[int]) -> Table:
    """A table over the full width; `shares` of it by column, `numbers` are the columns set to the right."""
    body = [
        [Paragraph(escape(_cut(text)), RIGHT if at in numbers else CELL) for at, text in enumerate(row)] for row in rows
    ]
    top = [Paragraph(escape(text), HEAD_RIGHT if at in numbers else HEAD) for at, text in enumerate(heads)]
    table = Table([top, *body], colWidths=[WIDTH * share / sum(shares) for share in shares], repeatRows=1)
    table.setStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("VALIGN", (0, 0), (-1, 0), "BOTTOM"),
            ("LINEBELOW", (0, 0), (-1, 0), 1.2, RULE),
            ("LINEBELOW", (0, 1), (-1, -1), 0.4, RULE),
            ("LEFTPADDING", (0, 0), (-1, -1), 2),
            ("RIGHTPADDING", (0, 0), (-1, -1), 7),
            ("TOPPADDING", (0, 0), (-1, -1), 2.5),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
        ]
    )
    return table


def _cut(text: str) -> str:
    return text if len(text) <= CELL_MAX_CHARACTERS else f"{text[: CELL_MAX_CHARACTERS - 1]}…"


def _robots(report: FleetReport) -> Flowable:
    rows = [
        [
            robot.name,
            f"{words.when(robot.observed_at, report.zone)}{f', {robot.activity}' if robot.activity else ''}",
            words.percent(robot.battery_fraction),
            str(robot.battery_low_events),
            words.hours(robot.executing_hours),
            words.percent(robot.utilisation_fraction),
            str(robot.succeeded),
            str(robot.failed_attempts),
        ]
        for robot in report.robots
    ]
    heads = ["Robot", "Last seen", "Battery", "Low battery", "On missions", "Utilisation", "Done", "Failed attempts"]
    return _grid(heads, rows, [2, 3, 1.3, 1.3, 1.6, 1.5, 1, 1.3], {2, 3, 4, 5, 6, 7})


def _care(report: FleetReport, drawn: dict[str, Chart]) -> list[Flowable]:
    if not report.care:
        return [_note("No drive was scored yet: train-rul runs once bags and failures of past drives are in.")]
    rows = [
        [
            line.robot,
            words.words(line.care.value),
            f"{line.rul_hours:.1f} h",
            f"{line.rul_lower_hours:.1f} – {line.rul_upper_hours:.1f} h",
            words.when(line.as_of, report.zone),
        ]
        for line in report.care
    ]
    about = (
        "Operating hours that each drive is expected to go on, learned from drives that failed before. The "
        "interval is as wide as it took to be right nine times in ten on drives that the model had not seen. "
        f"The estimate ends at {RUL_CAP_HOURS:.0f} h: a drive shown there has "
        f"at least that long. Model: {report.care[0].model}."
    )
    heads = ["Robot", "Advice", "Expected", "90 % interval", "Measured until"]
    return [_note(about), *_figures(drawn, "care"), _grid(heads, rows, [2, 2, 1.5, 2, 2], {2, 3})]


def _failures(report: FleetReport) -> Flowable:
    if not report.failures:
        return _note("Nothing failed in this period.")
    rows = [
        [
            str(line.count),
            words.words(line.what),
            line.reason or "no reason given",
            ", ".join(line.robots) or words.NONE,
        ]
        for line in report.failures
    ]
    return _grid(["Times", "What", "Reason", "Robots"], rows, [0.7, 1.7, 5, 2], {0})


def _missions(report: FleetReport) -> list[Flowable]:
    if not report.missions:
        return [_note("No mission ended or was open in this period.")]
    rows = [
        [
            line.name,
            words.words(line.status.value),
            line.robot or words.NONE,
            words.when(line.started_at, report.zone),
            words.duration(line.duration_s),
            str(line.attempts),
            line.reason,
        ]
        for line in report.missions[:MISSIONS_SHOWN]
    ]
    heads = ["Mission", "Status", "Robot", "Started", "Took", "Attempts", "Why"]
    table = _grid(heads, rows, [3, 1.5, 1.2, 1.7, 1.5, 1.4, 3.4], {4, 5})
    if len(report.missions) <= MISSIONS_SHOWN:
        return [table]
    return [
        _note(f"The first {MISSIONS_SHOWN} of {len(report.missions)}; all are in the CSV and Parquet files."),
        table,
    ]
