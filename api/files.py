"""Downloads: a stored file streamed in pieces, with ranges (RFC 9110 section 14) and validators (section 13)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from urllib.parse import quote

import structlog
from starlette.datastructures import Headers
from starlette.responses import Response, StreamingResponse

from fleet.errors import NotFound
from fleet.objectstore import CHUNK_BYTES, ObjectStore

log = structlog.get_logger(__name__)

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.ASCII)
# A report's HTML carries its styles and charts in itself; nothing is fetched and nothing runs.
DOCUMENT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; frame-ancestors 'none'; sandbox"
)


@dataclass(frozen=True)
class Stored:
    """A file that never changes: where it lies, what it is, what it is called."""

    key: str
    media_type: str
    filename: str
    etag: str
    modified_at: datetime


@dataclass(frozen=True)
class Span:
    """Bytes `first` up to and without `end`."""

    first: int
    end: int


def download(objects: ObjectStore, file: Stored, asked: Headers, *, with_body: bool = True) -> Response:
    """The file, the asked range of it (206), or that it has not changed (304). `with_body` False answers a HEAD.

    Raises:
        NotFound: the store has no such file.
    """
    headers = _headers(file)
    if _matches(asked.get("if-none-match"), file.etag):
        return Response(status_code=304, headers=headers)
    size = _size(objects, file)
    span = _span(asked, file, size) if with_body else None
    if span is not None and span.first >= span.end:
        return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{size}"})
    headers |= {"Content-Disposition": _disposition(file), "Content-Type": file.media_type}
    if span is not None:
        headers["Content-Range"] = f"bytes {span.first}-{span.end - 1}/{size}"
    sent = span or Span(0, size)
    headers["Content-Length"] = str(sent.end - sent.first)
    if not with_body:
        return Response(headers=headers)
    return StreamingResponse(
        _pieces(objects, file.key, sent), status_code=200 if span is None else 206, headers=headers
    )


def _size(objects: ObjectStore, file: Stored) -> int:
    try:
        return objects.size(file.key)
    except NotFound:
        log.error("a published file is gone from the store", key=file.key)
        raise NotFound(f"{file.filename} is no longer stored; ask for the report to be published anew.") from None


def _headers(file: Stored) -> dict[str, str]:
    return {
        "ETag": file.etag,
        "Last-Modified": format_datetime(file.modified_at, usegmt=True),
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",  # kept by the one who fetched it, asked again each time: tokens are revoked
        "Content-Security-Policy": DOCUMENT_POLICY,
    }


def _disposition(file: Stored) -> str:
    kind = "inline" if file.media_type.startswith(("text/html", "application/pdf")) else "attachment"
    return f"{kind}; filename*=UTF-8''{quote(file.filename, safe='')}"


def _matches(given: str | None, etag: str) -> bool:
    if given is None:
        return False
    return given.strip() == "*" or etag in {one.strip().removeprefix("W/") for one in given.split(",")}


def _span(asked: Headers, file: Stored, size: int) -> Span | None:
    """The asked range; None for the whole: none asked, another unit, several, nonsense, or an If-Range that fails."""
    found = _RANGE.fullmatch(asked.get("range", "").replace(" ", ""))
    if found is None or found.groups() == ("", ""):
        return None
    condition = asked.get("if-range")
    if condition is not None and condition not in {file.etag, format_datetime(file.modified_at, usegmt=True)}:
        return None
    first, last = found.groups()
    if first == "":
        return Span(max(size - int(last), 0), size)
    if last and int(last) < int(first):
        return None  # RFC 9110 14.1.1: invalid, to be ignored
    return Span(int(first), min(int(last) + 1, size) if last else size)


def _pieces(objects: ObjectStore, key: str, span: Span) -> Iterator[bytes]:
    with objects.open(key) as source:
        source.seek(span.first)
        left = span.end - span.first
        while left > 0 and (piece := source.read(min(left, CHUNK_BYTES))):
            left -= len(piece)
            yield piece
