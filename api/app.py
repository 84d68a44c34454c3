"""The HTTP application: routes, errors, limits and documentation put together around a runtime."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from api import description, docs, problems
from api.deps import Doorman
from api.edge import BODY_SECONDS, BodyLimit, Edge
from api.express import Express
from api.group_commit import deliveries
from api.group_commit import missions as mission_writer
from api.link import Exchange
from api.link import router as link_router
from api.reception import Reception
from api.routes import (
    addresses,
    bags,
    blackouts,
    cuts,
    gateways,
    health,
    holds,
    missions,
    recording_policies,
    recordings,
    reports,
    requests,
    robots,
    schedules,
    uploads,
    webhooks,
)
from fleet.runtime import Runtime

JSON_MAX_BYTES = 1_000_000
DESCRIPTION = """
Yardmaster schedules missions to robots, takes in what they report, and publishes reports.

Every request but webhooks and health carries the header "Authorization: Bearer <token>"; the token names your
organisation, and you see what belongs to it. Whatever is not yours is answered like what does not exist: 404.

Asking twice is harmless: missions and requests carry a key of yours, uploads their SHA-256, webhooks their id.

Instants are UTC (RFC 3339), units are SI: metres, radians, seconds, fractions of 1. Errors are problems of RFC 9457
(application/problem+json): decide by "code", show "detail" to people. 503 may succeed later; 4xx will not by itself.
"""


def create_app(runtime: Runtime) -> FastAPI:
    """The application over the parts of `runtime`; its writer threads live from its start-up to its shutdown."""
    app = FastAPI(
        title="Yardmaster",
        version="1",
        description=DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would be to the Host that the sender named, without TLS behind a proxy
    )
    app.state.runtime = runtime
    app.state.doorman = Doorman(runtime)
    problems.install(app)
    for room in (
        missions,
        schedules,
        blackouts,
        holds,
        robots,
        gateways,
        reports,
        recordings,
        bags,
        cuts,
        uploads,
        addresses,
        recording_policies,
        requests,
        webhooks,
        health,
    ):
        app.include_router(room.router)
    app.include_router(link_router)
    _add_docs(app)
    description.install(app)
    app.add_middleware(Express, state=app.state)
    app.add_middleware(
        BodyLimit,
        limit_of=partial(_limit_of, runtime.settings.webhook_body_max_bytes, runtime.settings.upload_max_bytes),
    )
    app.add_middleware(Edge, clock=runtime.clock)  # the last one added is the first one passed
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    writer, asked = deliveries(app.state.runtime.transaction), mission_writer(app.state.runtime.transaction)
    app.state.group_commit, app.state.missions = writer, asked
    app.state.reception = Reception(app.state.runtime, asked)
    app.state.letterbox = webhooks.Letterbox(app.state.runtime, writer)
    app.state.parts_under_way = uploads.parts_under_way()
    app.state.wholes_under_way = recordings.under_way()
    app.state.exchange = Exchange(app.state.runtime, writer)
    writer.start()
    asked.start()
    yield
    await app.state.exchange.close()
    await asyncio.gather(asyncio.to_thread(writer.stop), asyncio.to_thread(asked.stop))


def _limit_of(webhook_max_bytes: int, recording_max_bytes: int, path: str) -> tuple[int, float]:
    """How many bytes a body may have there, and how many seconds it may take."""
    if path.startswith("/v1/webhooks/"):
        return webhook_max_bytes, BODY_SECONDS
    if uploads.is_part(path):
        return uploads.PART_MAX_BYTES, uploads.PART_SECONDS
    if path.startswith(recordings.PREFIX):
        return recording_max_bytes, recordings.WHOLE_SECONDS
    if path == blackouts.IMPORTS:
        return blackouts.IMPORT_MAX_BYTES, BODY_SECONDS
    return JSON_MAX_BYTES, BODY_SECONDS


def _add_docs(app: FastAPI) -> None:
    @app.get("/docs", include_in_schema=False)
    def show_docs() -> HTMLResponse:
        headers = {"Content-Security-Policy": docs.POLICY, "Cache-Control": "private, max-age=60"}
        return HTMLResponse(docs.page(app.openapi()), headers=headers)
