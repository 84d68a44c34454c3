"""The published reports of an organisation: what there is, and where its files lie. Light: imports no renderer."""

from dataclasses import dataclass
from uuid import UUID

from sqlmodel import Session, col, select

from fleet.errors import NotFound
from reports.models import Report

MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "pdf": "application/pdf",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}


@dataclass(frozen=True)
class ReportFile:
    """One file of a report: where it lies, what it is, and what it is called when it is downloaded."""

    key: str
    media_type: str
    filename: str


def reports_of(session: Session, organisation_id: UUID, *, limit: int = 100) -> list[Report]:
    """The organisation's reports, newest first."""
    query = select(Report).where(Report.organisation_id == organisation_id)
    return list(session.exec(query.order_by(col(Report.published_at).desc(), col(Report.id).desc()).limit(limit)))


def report_of(session: Session, organisation_id: UUID, report_id: UUID) -> Report:
    """One report of the organisation.

    Raises:
        NotFound: it has none of that id; another organisation's is not told apart from none.
    """
    row = session.get(Report, report_id)
    if row is None or row.organisation_id != organisation_id:
        raise NotFound(f"There is no report {report_id}.", report=str(report_id))
    return row


def file_of(report: Report, file_format: str) -> ReportFile:
    """The report's file in this format.

    Raises:
        NotFound: it was not published in that format; names those it was.
    """
    key = report.files.get(file_format)
    if key is None:
        raise NotFound(
            f"The report has no {file_format!r} file; it has {', '.join(sorted(report.files))}.", format=file_format
        )
    name = f"{report.kind}-report-{report.period_from:%Y-%m-%d}-{str(report.id)[-6:]}.{file_format}"
    return ReportFile(key, MEDIA_TYPES[file_format], name)
