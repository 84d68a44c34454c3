"""Uploads the site's bags through the platform's API, in parts; the local file goes when that says it may."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import structlog
from pydantic import BaseModel, ValidationError

from fleet.adapters.simulated.journal import Journal, OutgoingBag
from fleet.errors import Invalid, NotFound, Rejected, Unavailable
from fleet.transport import Answer, Transport

log = structlog.get_logger(__name__)

LOOKS_EVERY_S = 0.3
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
# The content or its description is wrong, which trying again does not change; anything else may pass later.
REFUSED_FOR_GOOD = frozenset({400, 409, 413, 422})


class Opened(BaseModel):
    """The platform's answer to a new upload."""

    id: str
    part_max_bytes: int
    status: str = "open"


class Custody(BaseModel):
    """The platform's answer to whether it has a bag."""

    safe_to_delete: bool


class Uploader:
    """Sends the bags that the journal names, one at a time, oldest first."""

    def __init__(self, transport: Transport, journal: Journal, folder: Path) -> None:
        """`transport` carries the platform's address and the device token; `folder` holds the files."""
        self._transport, self._journal, self._folder = transport, journal, folder
        self._tries = 0

    async def run(self) -> None:
        """Upload for ever."""
        while True:
            bag = await asyncio.to_thread(self._journal.waiting_bag)
            is_done = bag is not None and await self.upload(bag)
            if bag is not None and not is_done:
                await asyncio.sleep(min(FIRST_PAUSE_S * 2.0 ** min(self._tries - 1, 10), LONGEST_PAUSE_S))
            elif bag is None:
                await asyncio.sleep(LOOKS_EVERY_S)

    async def upload(self, bag: OutgoingBag) -> bool:
        """True when the bag is off our hands: taken, or refused for good. The same content twice is one bag there."""
        path = self._folder / f"{bag.name}.mcap"
        try:
            await self._send(bag, path)
        except (Unavailable, Invalid, NotFound) as error:
            self._tries += 1
            if self._tries == 1:
                log.warning("bag is not taken", bag=bag.name, why=error.message)
            return False
        except Rejected as error:
            log.error("bag is refused", bag=bag.name, why=error.message)
            await asyncio.to_thread(self._journal.end_bag, bag.name, "refused")
            return True
        self._tries = 0
        log.info("bag uploaded", bag=bag.name)
        await asyncio.to_thread(self._journal.end_bag, bag.name, "uploaded")
        path.unlink(missing_ok=True)
        return True

    async def _send(self, bag: OutgoingBag, path: Path) -> None:
        size, sha256 = await asyncio.to_thread(_measure, path)
        wanted: dict[str, object] = {"filename": path.name, "size": size, "sha256": sha256, "robot": bag.robot}
        if bag.trigger:
            wanted["trigger"] = json.loads(bag.trigger)
        if bag.mission_id:
            wanted["mission_id"] = bag.mission_id
        opened = await self._announce(wanted)
        if opened.status != "complete":
            await self._send_parts(opened, path, size)
        await self._confirm(sha256)

    async def _send_parts(self, opened: Opened, path: Path, size: int) -> None:
        for number, offset in enumerate(range(0, size, opened.part_max_bytes), start=1):
            part = await asyncio.to_thread(_read, path, offset, opened.part_max_bytes)
            await self._call("PUT", f"/v1/uploads/{opened.id}/parts/{number}", body=part)
        await self._call("POST", f"/v1/uploads/{opened.id}/complete")

    async def _confirm(self, sha256: str) -> None:
        """The platform says that the original may be deleted; before that the bag is waiting still."""
        answer = await self._call("GET", f"/v1/bags/by-sha256/{sha256}")
        try:
            is_safe = Custody.model_validate_json(answer.body).safe_to_delete
        except ValidationError as error:
            raise Invalid(f"GET /v1/bags/by-sha256 gave an answer that is not understood: {error}") from error
        if not is_safe:
            raise Unavailable(f"The platform does not have all of the bag {sha256}; it is sent again.")

    async def _announce(self, wanted: dict[str, object]) -> Opened:
        """The upload; a recording of a mission that the other side does not know is worth more than the link to it."""
        try:
            return await self._open(wanted)
        except NotFound as error:
            if "mission_id" not in wanted:
                raise
            log.info("bag is sent without its mission", mission=wanted["mission_id"], why=error.message)
        return await self._open({name: value for name, value in wanted.items() if name != "mission_id"})

    async def _open(self, wanted: dict[str, object]) -> Opened:
        answer = await self._call("POST", "/v1/uploads", content=wanted)
        try:
            return Opened.model_validate_json(answer.body)
        except ValidationError as error:
            raise Invalid(f"POST /v1/uploads gave an answer that is not understood: {error}") from error

    async def _call(self, method: str, path: str, *, content: Any = None, body: bytes | None = None) -> Answer:
        answer = await self._transport.call(method, path, content=content, body=body)
        if answer.status in REFUSED_FOR_GOOD:
            raise Rejected(f"{method} {path} was refused with {answer.status}: {_start(answer.body)}")
        if answer.status == 404:
            raise NotFound(f"{method} {path} answered 404: {_start(answer.body)}")
        if answer.status >= 300:
            raise Unavailable(f"{method} {path} answered {answer.status}: {_start(answer.body)}")
        return answer


def _start(body: bytes) -> str:
    return body[:300].decode(errors="replace")


def _measure(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)
