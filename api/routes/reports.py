"""Reports: what was published, and its files to download."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from api.deps import Parts, Reader
from api.files import Stored, download
from api.pages import Listing, Wanted, page_of
from api.problems import described
from fleet.organisations import Principal
from fleet.runtime import Runtime
from reports.catalogue import file_of, report_of
from reports.models import Report

router = APIRouter(tags=["reports"])


class ReportRead(BaseModel):
    """A published report; it never changes."""

    id: UUID
    kind: str
    key: str
    title: str
    period_from: datetime
    period_to: datetime
    published_at: datetime
    files: dict[str, str] = Field(description="Format -> address to download it from, with your token.")


@router.get("/v1/reports", responses=described(401, 403, 422))
def list_reports(runtime: Parts, caller: Reader, place: Wanted) -> Listing[ReportRead]:
    """The reports of your organisation, newest first."""
    with runtime.reading() as session:
        rows, following = page_of(session, Report, caller, place)
    return Listing(items=[_read(row) for row in rows], next=following)


@router.get("/v1/reports/{report_id}", responses=described(401, 403, 404))
def show_report(report_id: UUID, runtime: Parts, caller: Reader) -> ReportRead:
    """One report."""
    with runtime.reading() as session:
        return _read(report_of(session, caller.organisation_id, report_id))


@router.get(
    "/v1/reports/{report_id}/files/{file_format}",
    response_class=Response,
    responses=described(304, 401, 403, 404, 416),
)
def fetch_file(report_id: UUID, file_format: str, runtime: Parts, caller: Reader, request: Request) -> Response:
    """The file of a report: html, pdf, csv or parquet. Understands Range, If-Range and If-None-Match."""
    return download(runtime.objects, _file(runtime, caller, report_id, file_format), request.headers)


@router.head("/v1/reports/{report_id}/files/{file_format}", response_class=Response, include_in_schema=False)
def describe_file(report_id: UUID, file_format: str, runtime: Parts, caller: Reader, request: Request) -> Response:
    """The headers of the file, without it."""
    file = _file(runtime, caller, report_id, file_format)
    return download(runtime.objects, file, request.headers, with_body=False)


def _file(runtime: Runtime, caller: Principal, report_id: UUID, file_format: str) -> Stored:
    with runtime.reading() as session:
        report = report_of(session, caller.organisation_id, report_id)
    file = file_of(report, file_format)
    return Stored(
        key=file.key,
        media_type=file.media_type,
        filename=file.filename,
        etag=f'"{report.id}-{file_format}"',  # a published report never changes, so its name is its version
        modified_at=report.published_at,
    )


def _read(report: Report) -> ReportRead:
    addresses = {name: f"/v1/reports/{report.id}/files/{name}" for name in sorted(report.files)}
    return ReportRead(**report.model_dump(exclude={"files"}), files=addresses)
