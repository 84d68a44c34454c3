"""Recordings by their content: sent whole in one request, and asked for by the robot that would like to delete its own."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import contextmanager_in_threadpool
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from api.deps import Custodian, Parts, Uploader
from api.edge import BODY_SECONDS
from api.problems import described
from api.routes.uploads import Completed, limits_of
from fleet.errors import TooMany
from fleet.objectstore import CHUNK_BYTES
from fleet.organisations import Principal
from fleet.runtime import Runtime
from ingestion.catalogue import bag_by_content
from ingestion.models import Bag, BagStatus
from ingestion.storing import is_stored
from ingestion.uploads import receiving, start, upload_of
from missions.board import mission_view

router = APIRouter(tags=["bags"])

WHOLE_SECONDS = 6 * 3600.0
# Each holds a connection, and on S3 a block of 50 MB.
WHOLE_AT_ONCE = 4
PREFIX = "/v1/bags/by-sha256/"
Sha256 = Annotated[str, Path(pattern="^[0-9a-fA-F]{64}$", description="SHA-256 of the recording in hexadecimal.")]


class Custody(BaseModel):
    """What has become of a recording; `safe_to_delete` is what a robot decides by."""

    bag_id: UUID
    size: int = Field(description="Bytes.")
    status: BagStatus
    stored: bool = Field(description="All of its bytes lie in the object store; their hash was verified.")
    converted: bool = Field(description="It is Parquet, the whole of it or a part.")
    safe_to_delete: bool = Field(description="Whoever sent it may delete the original.")


def under_way() -> defaultdict[UUID, asyncio.Semaphore]:
    """The bound on whole recordings that come in at once, by organisation."""
    return defaultdict(lambda: asyncio.Semaphore(WHOLE_AT_ONCE))


@router.put(
    "/v1/bags/by-sha256/{sha256}",
    status_code=201,
    responses=described(401, 403, 404, 408, 409, 411, 413, 422, 429, 507),
    openapi_extra={"requestBody": {"content": {"application/octet-stream": {}}, "required": True}},
)
async def put_recording(  # noqa: PLR0913  each one is a parameter of the request
    sha256: Sha256,
    request: Request,
    runtime: Parts,
    caller: Uploader,
    filename: Annotated[str, Query(description="Plain name of the file.")],
    robot: Annotated[str | None, Query(description="Name of the robot that recorded it.")] = None,
    mission_id: Annotated[UUID | None, Query(description="The mission during which it was recorded.")] = None,
) -> Completed:
    """Send a whole recording as the body, with its Content-Length; the same content again is the same bag.

    Interrupted, nothing of it is stored; large ones over weak links come better in parts (`POST /v1/uploads`).
    """
    room = request.app.state.wholes_under_way[caller.organisation_id]
    if room.locked():
        raise TooMany(f"{WHOLE_AT_ONCE} recordings come in already; send this one when one of them is there.")
    size = _length(request)
    wanted = {"filename": filename, "size": size, "sha256": sha256, "robot": robot, "mission_id": mission_id}
    async with room:
        upload_id = await asyncio.to_thread(_start, runtime, caller, wanted)
        come_in = receiving(
            transaction=runtime.transaction, objects=runtime.objects, principal=caller, upload_id=upload_id
        )
        async with contextmanager_in_threadpool(come_in) as take:
            async for piece in _pieces(request):
                await asyncio.to_thread(take, piece)
        return Completed(bag_id=await asyncio.to_thread(_bag_id, runtime, caller, upload_id))


@router.get(PREFIX + "{sha256}", responses=described(401, 403, 404, 422))
def show_custody(sha256: Sha256, runtime: Parts, caller: Custodian) -> Custody:
    """Whether a recording of this content is stored and converted, and whether its original may be deleted."""
    return _custody(runtime, caller, sha256)


@router.head(PREFIX + "{sha256}", include_in_schema=False)
def is_safe(sha256: Sha256, runtime: Parts, caller: Custodian) -> Response:
    """200 when the original may be deleted, 404 when not."""
    return Response(status_code=200 if _custody(runtime, caller, sha256).safe_to_delete else 404)


def _custody(runtime: Runtime, caller: Principal, sha256: str) -> Custody:
    with runtime.reading() as session:
        bag = bag_by_content(session, caller.organisation_id, sha256.lower())
    # A row is made only once its content was hashed on the way into the store; content may still be lost later.
    stored = is_stored(runtime.objects, bag.object_key, bag.size)
    return Custody(
        bag_id=bag.id,
        size=bag.size,
        status=bag.status,
        stored=stored,
        converted=_is_converted(bag),
        safe_to_delete=stored,
    )


def _is_converted(bag: Bag) -> bool:
    return bag.status not in {BagStatus.stored, BagStatus.refused}


def _length(request: Request) -> int:
    declared = request.headers.get("content-length", "")
    if not declared.isdecimal():
        raise HTTPException(HTTPStatus.LENGTH_REQUIRED, "A whole recording needs its Content-Length; parts do not.")
    return int(declared)


def _start(runtime: Runtime, caller: Principal, wanted: dict[str, object]) -> UUID:
    with runtime.transaction() as session:
        if isinstance(wanted["mission_id"], UUID):
            mission_view(session, caller.organisation_id, wanted["mission_id"])  # NotFound unless it is theirs
        return start(session, principal=caller, limits=limits_of(runtime), **wanted).id  # type: ignore[arg-type]


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """The body in pieces of about CHUNK_BYTES; a sender that is silent for too long is given up."""
    stream, gathered = aiter(request.stream()), bytearray()
    while True:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                gathered += await anext(stream)
        except StopAsyncIteration:
            break
        except TimeoutError:
            said = f"Nothing of the body came for {BODY_SECONDS:.0f} seconds."
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, said, headers={"Connection": "close"}) from None
        if len(gathered) >= CHUNK_BYTES:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


def _bag_id(runtime: Runtime, caller: Principal, upload_id: UUID) -> UUID:
    with runtime.reading() as session:
        bag_id = upload_of(session, caller, upload_id).bag_id
    assert bag_id is not None
    return bag_id
