"""What a run's page tells of a converted bag: a pure picture of its manifest and catalogue rows, as Markdown."""

from collections.abc import Sequence

from ingestion.lake import Manifest
from ingestion.models import BagTopic
from orchestration.markdown import Row, cell, table_text
from reports.meanwhile import Happened

ROWS_SHOWN = 100
LONGEST_TEXT = 200


def bag_page(manifest: Manifest, topics: Sequence[BagTopic], events: Sequence[Happened], timeline: str) -> str:
    """The page of one bag: when what was recorded, how well, what was warned of, what happened, what is missing."""
    span = f", {manifest.started_at:%Y-%m-%d %H:%M:%S} to {manifest.finished_at:%H:%M:%S} UTC" if timeline else ""
    told = f"Robot {cell(manifest.robot)}{span}: {manifest.messages} messages on {len(manifest.topics)} topics."
    errors: list[Row] = [
        {"topic": _short(topic.name), "warning or error": error}
        for topic in topics
        for error in topic.errors.splitlines()
    ]
    return "\n\n".join(
        [
            f"## {cell(manifest.filename)}: {manifest.status.value}",
            told,
            *([f"```text\n{timeline}\n```"] if timeline else []),
            *_section("Topics", [_topic(topic) for topic in topics]),
            *_section("Warned of", errors),
            *_section("Events", [_event(event) for event in events]),
            *_section("Not as it should be", _missing(manifest)),
        ]
    )


def _section(title: str, rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    more = [f"and {len(rows) - ROWS_SHOWN} more"] if len(rows) > ROWS_SHOWN else []
    return [f"### {title}", table_text(rows[:ROWS_SHOWN]), *more]


def _topic(topic: BagTopic) -> Row:
    return {
        "topic": _short(topic.name),
        "type": _short(topic.type),
        "rows": topic.rows,
        "rejected": topic.rejected,
        "per second": _rounded(topic.rate_hz),
        "gaps": topic.gaps,
        "longest, s": _rounded(topic.longest_gap_s),
        "duplicates": topic.duplicates,
        "back in time": topic.log_time_regressions + topic.stamp_regressions,
        "skew, s": _rounded(topic.skew_median_s),
        "not decoded": _short(topic.reason or ""),
    }


def _event(happened: Happened) -> Row:
    event, mission = happened.event, happened.mission
    return {
        "at": f"{event.occurred_at:%H:%M:%S}",
        "what": event.kind,
        "severity": event.severity,
        "alert": _short(happened.alert.message) if happened.alert else "",
        "mission": f"{_short(mission.name)} ({mission.mission_id})" if mission else "",
        "id, for cut-bag": str(event.id),
    }


def _missing(manifest: Manifest) -> list[Row]:
    refused = [("refused", manifest.reason)] if manifest.reason else []
    lost = [("lost", f"{lost.bytes} bytes at {lost.offset}: {lost.reason}") for lost in manifest.lost]
    repaired = [("repaired", repair) for repair in manifest.repairs]
    return [{"what": what, "told": _short(told)} for what, told in (*refused, *lost, *repaired)]


def _short(text: str) -> str:
    """A text of a recording, which may be of any length."""
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def _rounded(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
