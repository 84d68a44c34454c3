"""Every error leaves as a problem of RFC 9457 (application/problem+json); nothing of our inside leaves with it."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError, StatementError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from fleet.errors import Invalid, Unavailable, YardmasterError

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
ERRORS_MAX = 20
# On every response that does not set them itself.
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Fault(BaseModel):
    """One wrong value of a request."""

    where: str = Field(description="Path to the value, such as body.tasks.0.kind.")
    what: str


class Problem(BaseModel):
    """What went wrong, for people and machines (RFC 9457)."""

    type: str = Field(description="urn:yardmaster:problem: and the code.")
    title: str
    status: int
    detail: str = Field(description="What was wrong, with which value, and what to do.")
    code: str = Field(description="Stable word to decide by: not_found, conflict, invalid, unauthorized …")
    instance: str = Field(description="Path of the request.")
    errors: list[Fault] = Field(default_factory=list, description="Each wrong value, when several were found.")
    fields: dict[str, Any] = Field(default_factory=dict, description="The values the detail speaks of.")


def described(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The error statuses of a route for OpenAPI; api/description says what each looks like."""
    return {code: {"description": HTTPStatus(code).phrase} for code in codes}


def problem(
    request_path: str,
    status: int,
    detail: str,
    *,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> JSONResponse:
    """The response for one problem; `more` adds `errors` or `fields`."""
    phrase = HTTPStatus(status).phrase
    code = code or phrase.lower().replace(" ", "_")
    content = Problem(
        type=f"urn:yardmaster:problem:{code}",
        title=phrase,
        status=status,
        detail=detail,
        code=code,
        instance=request_path,
        **(more or {}),
    )
    body = content.model_dump(mode="json", exclude_defaults=True)
    return JSONResponse(body, status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def install(app: FastAPI) -> None:
    """Answer every error of `app` as a problem."""
    app.add_exception_handler(YardmasterError, _on_ours)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(OperationalError, _on_database)
    app.add_exception_handler(InterfaceError, _on_database)
    app.add_exception_handler(StatementError, _on_statement)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_anything)


def problem_of(request_path: str, error: YardmasterError) -> JSONResponse:
    """The response for one of our own errors."""
    headers = {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="yardmaster"'
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "2"
    fields = {name: value if isinstance(value, int | float) else str(value) for name, value in error.fields.items()}
    more = {"fields": fields} if fields else None
    return problem(request_path, error.status, error.message, code=error.code, headers=headers, more=more)


async def _on_ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, YardmasterError)
    return problem_of(request.url.path, error)


async def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = [
        Fault(where=".".join(str(step) for step in fault["loc"]), what=str(fault["msg"]))
        for fault in error.errors()[:ERRORS_MAX]
    ]
    first = faults[0]
    detail = f"{first.where}: {first.what}" + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else "")
    return problem(request.url.path, 422, detail, code="invalid", more={"errors": faults})


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    detail = error.detail
    if error.status_code == HTTPStatus.NOT_FOUND:
        detail = f"There is nothing at {request.url.path}; /docs lists what there is."
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.method} is not possible here; /docs lists what is."
    return problem(request.url.path, error.status_code, detail, headers=error.headers)


async def _on_database(request: Request, error: Exception) -> JSONResponse:
    log.error("database does not answer", path=request.url.path, error=str(getattr(error, "orig", error)))
    away = Unavailable("The database does not answer now; try again in a moment.")
    return problem_of(request.url.path, away)


async def _on_statement(request: Request, error: Exception) -> JSONResponse:
    """What no column takes is the sender's fault; what the database refused for any other reason is ours."""
    if isinstance(error, DBAPIError) and not isinstance(error, DataError):
        return await _on_anything(request, error)
    log.info("value not stored", path=request.url.path, error=str(getattr(error, "orig", error)))
    told = "A value is beyond what can be stored, such as an instant outside the years 1 to 9999 or a NUL character."
    return problem_of(request.url.path, Invalid(told))


async def _on_disconnect(request: Request, _error: Exception) -> JSONResponse:
    # Nobody is there to read it; it only ends the request without a trace in the log.
    return problem(request.url.path, 400, "The connection was closed before the request was complete.")


async def _on_anything(request: Request, error: Exception) -> JSONResponse:
    log.error("unforeseen error", method=request.method, path=request.url.path, exc_info=error)
    detail = "Something went wrong on our side; it is in the log with this time and path."
    return problem(request.url.path, 500, detail, headers=SECURITY_HEADERS)
