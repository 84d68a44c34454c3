"""The missions of a report as tables for other programs: CSV and Parquet with the same columns."""

import csv
import io

import pyarrow as pa
import pyarrow.parquet as pq

from reports.content import FleetReport, MissionLine

_INSTANT = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        ("mission_id", pa.string()),
        ("name", pa.string()),
        ("status", pa.string()),
        ("robot", pa.string()),
        ("round", pa.string()),
        ("requested_by", pa.string()),
        ("created_at", _INSTANT),
        ("not_after_at", _INSTANT),
        ("started_at", _INSTANT),
        ("finished_at", _INSTANT),
        ("duration_s", pa.float64()),
        ("attempts", pa.int32()),
        ("is_on_time", pa.bool_()),
        ("reason", pa.string()),
    ]
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def parquet(report: FleetReport) -> bytes:
    """One row a mission; instants are UTC, site and period are in the file's metadata."""
    about = {
        "site": report.site,
        "timezone": report.timezone,
        "period_from": report.period_from.isoformat(),
        "period_to": report.period_to.isoformat(),
    }
    table = pa.Table.from_pylist([_row(line) for line in report.missions], schema=SCHEMA.with_metadata(about))
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()


def csv_text(report: FleetReport) -> bytes:
    """One line a mission, RFC 4180, UTF-8 with a byte order mark so that spreadsheets read it; instants are ISO UTC."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(SCHEMA.names)
    for line in report.missions:
        row = _row(line)
        writer.writerow([_cell(row[name]) for name in SCHEMA.names])
    return out.getvalue().encode("utf-8-sig")


def _row(line: MissionLine) -> dict[str, object]:
    values = line.model_dump(exclude={"id", "status"})
    return {**values, "mission_id": str(line.id), "status": line.status.value, "duration_s": line.duration_s}


def _cell(value: object) -> str:
    if value is None:
        return ""
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    # A spreadsheet would run a name that begins like a formula (OWASP, CSV injection).
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text
