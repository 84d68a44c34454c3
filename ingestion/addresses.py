"""Addresses that need no token for a quarter of an hour: to read a recording, or to send one part of an upload.

On S3 they lead to the store itself, so the bytes do not pass through us; on a local store they lead to our API.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlmodel import Session

from fleet.clock import database_now
from fleet.errors import Forbidden, Invalid, NotFound, TooLarge
from fleet.objectstore import ObjectStore
from fleet.organisations import Principal, PrincipalKind
from ingestion import parts, storing
from ingestion.folders import listed
from ingestion.models import Bag, Upload
from ingestion.uploads import MOST_PARTS, PART_MAX_BYTES, check_total, open_upload

GOOD_FOR_S = 900


@dataclass(frozen=True)
class Address:
    """Where to read or write; `path` is that of the file within its folder, `url` without host where we serve it."""

    path: str
    url: str
    expires_at: datetime


def to_read(session: Session, objects: ObjectStore, bag: Bag) -> list[Address]:
    """Where each file of a stored recording is read; one without a folder has one.

    Raises:
        NotFound: its content is gone from the store.
    """
    expires_at = _expiry(session)
    files = {bag.filename: bag.object_key}
    if storing.is_folder(bag.object_key):
        files = storing.members(objects, bag.object_key)
    found = []
    for number, (path, key) in enumerate(files.items()):
        signature = objects.sign(bag.object_key, expires_at=expires_at, purpose=_reading(number))
        ours = f"/v1/bags/{bag.id}/content/{number}?expires={int(expires_at.timestamp())}&signature={signature}"
        found.append(Address(path, objects.presigned(key, seconds=GOOD_FOR_S) or ours, expires_at))
    return found


@dataclass(frozen=True)
class Content:
    """A file of a recording: its path within the folder, where it lies, and what is in it."""

    path: str
    key: str
    sha256: str


def read_by(objects: ObjectStore, bag: Bag | None, number: int, proof: "Proof") -> Content:
    """File `number` of a recording, for the bearer of an address that `to_read` made.

    Raises:
        Forbidden: the address is not ours or no longer good; nothing tells whether there is such a recording.
        NotFound: it is a cut that was made anew since, with fewer files, or its content is gone from the store.
    """
    proof.check(objects, bag.object_key if bag else "nothing", purpose=_reading(number))
    assert bag is not None
    if not storing.is_folder(bag.object_key):
        return Content(bag.filename, bag.object_key, bag.sha256)
    files = list(listed(objects.read(bag.object_key)).items())
    if number >= len(files):
        raise NotFound(f"{bag.filename} has {len(files)} files now; ask for its addresses anew.", bag=str(bag.id))
    path, sha256 = files[number]
    return Content(path, storing.beside(bag.object_key, path), sha256)


def to_send(
    session: Session, objects: ObjectStore, principal: Principal, upload_id: UUID, part: tuple[int, int]
) -> Address:
    """Where a part (number, bytes) of an upload is put.

    Raises:
        NotFound: no such upload in the organisation.
        Conflict: the upload is complete or has failed.
        Invalid, TooLarge: a number or a size that no part has, or addresses for more bytes in all than were announced.
    """
    number, size = part
    if not 1 <= number <= MOST_PARTS or size < 1:
        raise Invalid(f"Part {number} of {size} bytes is none; they count from 1 and are not empty.", field="size")
    upload = open_upload(session, principal, upload_id)
    limit = min(PART_MAX_BYTES, upload.size)
    if size > limit:
        raise TooLarge(f"Part {number} would have {size} bytes, at most {limit} fit.", limit=limit)
    # On S3 nobody counts what is put there, so what may be put is counted here.
    check_total(upload, {**upload.parts, **upload.promised}, number, size)
    upload.promised = {**upload.promised, str(number): size}
    upload.active_at = database_now(session)
    session.add(upload)
    expires_at, key = _expiry(session), parts.key(upload, number)
    signature = objects.sign(key, expires_at=expires_at, purpose=_putting(size))
    ours = f"/v1/uploads/{upload.id}/parts/{number}/content?expires={int(expires_at.timestamp())}&signature={signature}"
    return Address("", objects.presigned(key, seconds=GOOD_FOR_S, put_bytes=size) or ours, expires_at)


def sender_by(
    session: Session, objects: ObjectStore, upload_id: UUID, part: tuple[int, int], proof: "Proof"
) -> Principal:
    """In whose name a part is sent by the bearer of an address that `to_send` made.

    Raises:
        Forbidden: as of `read_by`.
    """
    upload = session.get(Upload, upload_id)
    number, size = part
    proof.check(objects, parts.key(upload, number) if upload else "nothing", purpose=_putting(size))
    if upload is None:
        raise NotFound(f"There is no upload {upload_id}.")
    kind, _, name = upload.uploaded_by.partition(":")
    return Principal(PrincipalKind(kind), name, upload.organisation_id)


@dataclass(frozen=True)
class Proof:
    """What an address of ours carries, and what time it is."""

    expires: int
    signature: str
    now: datetime

    def check(self, objects: ObjectStore, key: str, *, purpose: str = "") -> None:
        """The signature is ours, for this key, and still good.

        Raises:
            Forbidden: it is not.
        """
        try:
            expires_at = datetime.fromtimestamp(self.expires, UTC)
        except (OverflowError, ValueError, OSError):
            expires_at = datetime.min.replace(tzinfo=UTC)
        is_late = expires_at <= self.now or not self.expires > 0
        if is_late or not objects.is_signed(key, expires_at=expires_at, signature=self.signature, purpose=purpose):
            raise Forbidden("This address is not ours or no longer good; ask for a new one.")


def _reading(number: int) -> str:
    return f"read {number}"


def _putting(size: int) -> str:
    return f"put {size}"


def _expiry(session: Session) -> datetime:
    return database_now(session).replace(microsecond=0) + timedelta(seconds=GOOD_FOR_S)
