"""Uploads: a recording comes in in parts, which may be sent again, and becomes a bag."""

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlmodel import Session

from api.deps import Parts, Uploader
from api.problems import described
from api.strict import StrictRoute
from fleet.organisations import Principal
from fleet.robots import robot_named
from fleet.runtime import Runtime
from ingestion import recordings
from ingestion.folders import Piece
from ingestion.models import Bag, Upload, UploadStatus
from ingestion.quotas import Limits
from ingestion.recordings import TriggerTold
from ingestion.storing import is_stored
from ingestion.uploads import complete, start, upload_of, write_part
from missions.board import mission_view

router = APIRouter(tags=["uploads"], route_class=StrictRoute)

PART_MAX_BYTES = 8 << 20
PART_SECONDS = 300.0
# Each part under way is held in memory, so this many times PART_MAX_BYTES is what an organisation's uploads take of it.
PARTS_AT_ONCE = 8
_PART_PATH = re.compile(r"/v1/uploads/[^/]+/parts/[^/]+(/content)?")


class FileCreate(BaseModel):
    """One file of a recording that is a folder."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(description="Within the folder, with / between its parts.")
    size: int = Field(ge=0, description="Bytes.")
    sha256: str = Field(description="SHA-256 in hexadecimal.")


class UploadCreate(BaseModel):
    """The recording that is to come: a file, a zip or zstd of it, or the files of a folder."""

    model_config = ConfigDict(extra="forbid")

    filename: str = Field(description="Plain name of the file, such as run.mcap, run.bag, run.db3, or of the folder.")
    size: int = Field(ge=0, description="Bytes of the whole file.")
    sha256: str = Field(
        description="SHA-256 in hexadecimal, of the whole file, or of the list of a folder's files: "
        "'<sha256>  <path>' a line, sorted by path."
    )
    robot: str | None = Field(None, description="Name of the robot that recorded it.")
    mission_id: UUID | None = Field(None, description="The mission during which it was recorded.")
    files: list[FileCreate] = Field(
        default_factory=list,
        description="Of a folder, such as metadata.yaml and its splits; the parts then hold them one behind the other, "
        "in the order of their paths.",
    )
    trigger: TriggerTold | None = Field(None, description="The trigger that began it; it needs `robot`.")

    @model_validator(mode="after")
    def _trigger_is_of_a_robot(self) -> Self:
        if self.trigger is not None and self.robot is None:
            raise ValueError("a trigger needs the name of its robot")
        return self


class UploadRead(BaseModel):
    """An upload and what has come of it."""

    id: UUID
    status: UploadStatus
    part_max_bytes: int = Field(description="No part may be larger.")
    parts: dict[str, int] = Field(description="Part number -> bytes, of the parts that have arrived.")
    bag_id: UUID | None
    error: str | None


class Completed(BaseModel):
    """The bag that the upload became."""

    bag_id: UUID


def limits_of(runtime: Runtime) -> Limits:
    """What this installation takes of one recording and of one organisation."""
    chosen = runtime.settings
    return Limits(chosen.upload_max_bytes, chosen.stored_max_bytes, chosen.uploads_open_max)


def is_part(path: str) -> bool:
    """Whether this is the path of a part, whose body may be large."""
    return _PART_PATH.fullmatch(path) is not None


def parts_under_way() -> defaultdict[UUID, asyncio.Semaphore]:
    """The bound on parts held in memory by organisation, so that nobody's slow robots hold up another's."""
    return defaultdict(lambda: asyncio.Semaphore(PARTS_AT_ONCE))


@router.post("/v1/uploads", status_code=201, responses=described(401, 403, 404, 409, 413, 422, 429, 507))
def start_upload(wanted: UploadCreate, runtime: Parts, caller: Uploader, response: Response) -> UploadRead:
    """Announce a recording. Announced again while it is open, the same upload is given with the parts it has.

    One of a trigger that is stored already is given as complete: nothing is left to send.
    """
    is_there = partial(is_stored, runtime.objects)
    with runtime.transaction() as session:
        if wanted.mission_id is not None:
            mission_view(session, caller.organisation_id, wanted.mission_id)  # NotFound unless it is theirs
        upload = _begun(session, caller, wanted, limits_of(runtime), is_there)
    response.headers["Location"] = f"/v1/uploads/{upload.id}"
    return _read(upload)


@router.get("/v1/uploads/{upload_id}", responses=described(401, 403, 404))
def show_upload(upload_id: UUID, runtime: Parts, caller: Uploader) -> UploadRead:
    """Which parts have arrived, to go on after an interruption."""
    with runtime.reading() as session:
        return _read(upload_of(session, caller, upload_id))


@router.put(
    "/v1/uploads/{upload_id}/parts/{number}",
    status_code=204,
    responses=described(401, 403, 404, 408, 409, 413, 422),
    openapi_extra={"requestBody": {"content": {"application/octet-stream": {}}, "required": True}},
)
async def put_part(
    upload_id: UUID,
    number: Annotated[int, Path(ge=1, description="From 1, in the order of the file.")],
    request: Request,
    runtime: Parts,
    caller: Uploader,
) -> Response:
    """Send one part as raw bytes; the same part again replaces it. Parts may come in any order."""
    async with request.app.state.parts_under_way[caller.organisation_id]:
        content = await request.body()
        await asyncio.to_thread(
            write_part,
            transaction=runtime.transaction,
            objects=runtime.objects,
            principal=caller,
            upload_id=upload_id,
            number=number,
            content=content,
        )
    return Response(status_code=204)


@router.post("/v1/uploads/{upload_id}/complete", responses=described(401, 403, 404, 409, 422))
def complete_upload(upload_id: UUID, runtime: Parts, caller: Uploader) -> Completed:
    """All parts are sent: size and SHA-256 are verified, and the recording is queued for conversion.

    Completing again gives the same bag; so does another upload of the same content.
    """
    bag = complete(transaction=runtime.transaction, objects=runtime.objects, principal=caller, upload_id=upload_id)
    return Completed(bag_id=bag.id)


def _begun(
    session: Session,
    caller: Principal,
    wanted: UploadCreate,
    limits: Limits,
    is_there: Callable[[str, int], bool],
) -> Upload:
    """The upload to send parts to; of a trigger whose recording is stored already, the one that brought it.

    Where the store has lost its bytes since, they are taken again.
    """
    fields = wanted.model_dump(exclude={"trigger", "files"})
    fields["files"] = [Piece(file.path, file.size, file.sha256) for file in wanted.files]
    if wanted.trigger is None or wanted.robot is None:
        return start(session, principal=caller, limits=limits, **fields)
    robot = robot_named(session, caller.organisation_id, wanted.robot)
    recording = recordings.announced(session, robot, wanted.trigger, who=str(caller))
    before = recordings.finished_upload(session, recording, sha256=wanted.sha256)
    if before is not None and before.bag_id is not None:
        bag = session.get_one(Bag, before.bag_id)
        before = before if is_there(bag.object_key, bag.size) else None
    upload = before or start(session, principal=caller, limits=limits, **fields)
    recordings.arriving(session, recording, upload)
    return upload


def _read(upload: Upload) -> UploadRead:
    return UploadRead(**upload.model_dump(), part_max_bytes=PART_MAX_BYTES)
