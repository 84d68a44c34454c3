"""Addresses that need no token: handed out to who has one, followed by whoever was given them."""

import asyncio
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import Parts, Reader, Uploader
from api.files import Stored, download
from api.problems import described
from fleet.organisations import Principal
from fleet.runtime import Runtime
from ingestion.addresses import Address, Proof, read_by, sender_by, to_read, to_send
from ingestion.catalogue import bag_of
from ingestion.models import Bag
from ingestion.uploads import write_part

router = APIRouter()

Expires = Annotated[int, Query(description="Seconds since 1970.")]
Signature = Annotated[str, Query(max_length=64)]


class AddressRead(BaseModel):
    """Where to read or write, without a token, until it expires."""

    path: str = Field(description="Of the file within its folder, or its name.")
    url: str
    expires_at: datetime


class PartCreate(BaseModel):
    """A part that is to come."""

    model_config = ConfigDict(extra="forbid")

    size: int = Field(ge=1, description="Bytes.")


@router.post("/v1/bags/{bag_id}/addresses", tags=["bags"], responses=described(401, 403, 404))
def give_addresses(bag_id: UUID, runtime: Parts, caller: Reader) -> list[AddressRead]:
    """Addresses from which the raw recording is read without a token for 15 minutes, one for each of its files."""
    with runtime.reading() as session:
        found = to_read(session, runtime.objects, bag_of(session, caller.organisation_id, bag_id))
    return [_read(runtime, address) for address in found]


@router.get(
    "/v1/bags/{bag_id}/content/{number}",
    tags=["bags"],
    response_class=Response,
    responses=described(304, 403, 404, 416),
)
def fetch_content(
    bag_id: UUID, number: int, expires: Expires, signature: Signature, runtime: Parts, request: Request
) -> Response:
    """A file of a raw recording, for the bearer of an address of ours. Understands Range, If-Range and If-None-Match."""
    with runtime.reading() as session:
        bag = session.get(Bag, bag_id)
    content = read_by(runtime.objects, bag, number, Proof(expires, signature, runtime.clock.now()))
    assert bag is not None
    # The files of a cut are made anew by a newer converter, under the hash that names the cut.
    made_at = bag.converted_at if bag.cut_of_id and bag.converted_at else bag.uploaded_at
    name = content.path.rpartition("/")[2]
    file = Stored(content.key, "application/octet-stream", name, f'"{content.sha256}"', made_at)
    return download(runtime.objects, file, request.headers)


@router.post(
    "/v1/uploads/{upload_id}/parts/{number}/address", tags=["uploads"], responses=described(401, 403, 404, 413, 422)
)
def give_part_address(
    upload_id: UUID, number: Annotated[int, Path(ge=1)], wanted: PartCreate, runtime: Parts, caller: Uploader
) -> AddressRead:
    """An address to PUT this part to without a token for 15 minutes; on S3 it leads to the store itself."""
    with runtime.transaction() as session:
        address = to_send(session, runtime.objects, caller, upload_id, (number, wanted.size))
    return _read(runtime, address)


@router.put(
    "/v1/uploads/{upload_id}/parts/{number}/content",
    tags=["uploads"],
    status_code=204,
    responses=described(403, 404, 408, 409, 413, 422),
    openapi_extra={"requestBody": {"content": {"application/octet-stream": {}}, "required": True}},
)
async def put_content(
    upload_id: UUID,
    number: Annotated[int, Path(ge=1)],
    expires: Expires,
    signature: Signature,
    request: Request,
    runtime: Parts,
) -> Response:
    """Send one part, as the bearer of an address of ours; it has just the bytes that were told for it."""
    declared = request.headers.get("content-length", "")
    part = (number, int(declared) if declared.isdecimal() else 0)
    proof = Proof(expires, signature, runtime.clock.now())
    sender = await asyncio.to_thread(_sender, runtime, upload_id, part, proof)
    async with request.app.state.parts_under_way[sender.organisation_id]:
        content = await request.body()
        await asyncio.to_thread(
            write_part,
            transaction=runtime.transaction,
            objects=runtime.objects,
            principal=sender,
            upload_id=upload_id,
            number=number,
            content=content,
        )
    return Response(status_code=204)


def _sender(runtime: Runtime, upload_id: UUID, part: tuple[int, int], proof: Proof) -> Principal:
    with runtime.reading() as session:
        return sender_by(session, runtime.objects, upload_id, part, proof)


def _read(runtime: Runtime, address: Address) -> AddressRead:
    base = runtime.settings.api_url.rstrip("/") if address.url.startswith("/") else ""
    return AddressRead(path=address.path, url=base + address.url, expires_at=address.expires_at)
