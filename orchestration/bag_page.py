"""What a run's page tells of a converted bag: a pure picture of its manifest and catalogue rows, as Markdown."""

from collections.abc import Sequence

from ingestion.lake import Manifest
from ingestion.models import BagTopic
from orchestration.markdown import Row, cell, table_text
from reports.meanwhile import Happened

ROWS_SHOWN = 100
FILES_SHOWN = 3
COUNTED = ("gaps", "longest gap (s)", "duplicates", "back in time", "not decoded")
LONGEST_TEXT = 200


def bag_page(
    manifest: Manifest, topics: Sequence[BagTopic], events: Sequence[Happened], timeline: str, *, root: str = ""
) -> str:
    """The page of one bag: when what was recorded, how well, what was warned of, what happened, what is missing.

    `root` is where its lake lies, in the words of the file system.
    """
    span = f", {_span(manifest)}" if timeline else ""
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
            *_topics([_topic(topic) for topic in topics]),
            *_section("Warned of", errors),
            *_section("Events", [_event(event) for event in events]),
            *_section("Not as it should be", _missing(manifest)),
            *_where(manifest, root),
        ]
    )


def _span(manifest: Manifest) -> str:
    begin, end = manifest.started_at, manifest.finished_at
    if begin is None or end is None:
        return ""
    ends_on = "" if end.date() == begin.date() else f"{end:%Y-%m-%d} "
    return f"{begin:%Y-%m-%d %H:%M:%S} to {ends_on}{end:%H:%M:%S} UTC"


def _topics(rows: Sequence[Row]) -> list[str]:
    """The topics with what is to be told of them: a column that is empty for all of them is told in one line."""
    empty = [name for name in COUNTED if not any(row[name] for row in rows)]
    shown = [{name: value for name, value in row.items() if name not in empty} for row in rows]
    section = _section("Topics", shown)
    return [*section, f"On none of them: {', '.join(empty)}."] if section and empty else section


def _where(manifest: Manifest, root: str) -> list[str]:
    """How the dataset is read on: its size, and the line with which DuckDB reads the topic with the most rows."""
    tables = [table for table in manifest.topics if table.files]
    if not tables:
        return []
    written = sum(file.bytes for file in manifest.files) + sum(table.media_bytes for table in tables)
    media = sum(table.media for table in tables)
    beside = f" and {media} pictures and clouds" if media else ""
    told = (
        f"{len(manifest.files)} Parquet file{'' if len(manifest.files) == 1 else 's'}{beside} of {_size(written)}, from a "
        f"recording of {_size(manifest.size)} with the SHA-256 `{manifest.sha256}`."
    )
    largest = max(tables, key=lambda table: table.rows)
    paths = ", ".join("'" + f"{root}{file.path}".replace("'", "''") + "'" for file in largest.files[:FILES_SHOWN])
    return ["### Read it", told, f"```sql\nSELECT * FROM read_parquet([{paths}])\n```"]


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


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
        "longest gap (s)": _rounded(topic.longest_gap_s),
        "duplicates": topic.duplicates,
        "back in time": topic.log_time_regressions + topic.stamp_regressions,
        "skew (s)": _rounded(topic.skew_median_s),
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
