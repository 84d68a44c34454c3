"""Recordings on their way in: parts that may be sent again, then one content-addressed object and its bag.

Hashing and copying happen outside of any transaction; each step is harmless when it is done twice, so a sender that lost
the answer simply asks again.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from uuid import UUID

from sqlmodel import Session, col, select

from fleet import changes, requests
from fleet.clock import database_now
from fleet.database import new_id
from fleet.errors import Conflict, Invalid, NotFound, TooLarge
from fleet.events import insert_new
from fleet.objectstore import CHUNK_BYTES, ObjectStore
from fleet.organisations import Principal
from fleet.robots import robot_named
from ingestion import recordings
from ingestion.models import Bag, Upload, UploadStatus

PART_MAX_BYTES = 16 << 20
MOST_PARTS = 100_000
LONGEST_FILENAME = 255
UNKNOWN_ROBOT = "unknown"
Transaction = Callable[[], AbstractContextManager[Session]]


def start(  # noqa: PLR0913  the fields of one request, all by keyword
    session: Session,
    *,
    principal: Principal,
    filename: str,
    size: int,
    sha256: str,
    robot: str | None,
    mission_id: UUID | None,
    limit_bytes: int,
) -> Upload:
    """An upload to send parts to: a new one, or the open one of the same sender and content, with the parts it has.

    Raises:
        Invalid: a hash that is not SHA-256 in hexadecimal, a negative size, or a file name with a folder in it.
        TooLarge: more than `limit_bytes`.
        NotFound: no robot of that name in the organisation.
    """
    _check(filename, size, sha256, limit_bytes)
    if robot is not None:
        robot_named(session, principal.organisation_id, robot)
    sent_before = select(Upload).where(
        Upload.organisation_id == principal.organisation_id,
        Upload.sha256 == sha256.lower(),
        Upload.size == size,
        Upload.robot_name == robot,
        Upload.uploaded_by == str(principal),
        Upload.status == UploadStatus.open,
    )
    upload = session.exec(sent_before.order_by(col(Upload.id))).first()
    if upload is None:
        upload = Upload(
            organisation_id=principal.organisation_id,
            filename=filename,
            robot_name=robot,
            mission_id=mission_id,
            size=size,
            sha256=sha256.lower(),
            uploaded_by=str(principal),
            created_at=database_now(session),
        )
        session.add(upload)
        session.flush()
    return upload


def _check(filename: str, size: int, sha256: str, limit_bytes: int) -> None:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise Invalid(f"{sha256[:80]!r} is not a SHA-256 in hexadecimal (64 digits).", field="sha256")
    if not filename or len(filename) > LONGEST_FILENAME or re.search(r"[/\\\x00-\x1f]", filename) or filename == "..":
        raise Invalid(f"{filename[:80]!r} is not a plain file name.", field="filename")
    if size < 0:
        raise Invalid(f"The size is {size}; it must not be negative.", field="size")
    if size > limit_bytes:
        raise TooLarge(
            f"The recording has {size} bytes, at most {limit_bytes} are taken; record in splits.", limit=limit_bytes
        )


def write_part(
    *,
    transaction: Transaction,
    objects: ObjectStore,
    principal: Principal,
    upload_id: UUID,
    number: int,
    content: bytes,
) -> None:
    """Keep part `number` (from 1) of an upload; the same part again replaces it.

    Raises:
        NotFound: no such upload in the organisation.
        Conflict: the upload is complete or has failed.
        Invalid: a part number below 1 or an empty part.
        TooLarge: a part above PART_MAX_BYTES, or more bytes in all than the upload announced.
    """
    _check_part(number, content)
    with transaction() as session:
        upload = _open_upload(session, principal, upload_id)
        _check_total(upload, number, len(content))
    objects.put(_part_key(upload, number), content)
    with transaction() as session:
        upload = _open_upload(session, principal, upload_id)
        upload.parts = {**upload.parts, str(number): len(content)}
        session.add(upload)


def _check_part(number: int, content: bytes) -> None:
    if not 1 <= number <= MOST_PARTS:
        raise Invalid(f"Part number {number} is not between 1 and {MOST_PARTS}.", field="number")
    if not content:
        raise Invalid(f"Part {number} is empty.", field="content")
    if len(content) > PART_MAX_BYTES:
        raise TooLarge(f"Part {number} has {len(content)} bytes, at most {PART_MAX_BYTES} fit.", limit=PART_MAX_BYTES)


def _check_total(upload: Upload, number: int, size: int) -> None:
    total = size + sum(count for part, count in upload.parts.items() if part != str(number))
    if total > upload.size:
        raise TooLarge(
            f"With part {number} the upload would have {total} bytes; {upload.size} were announced.", limit=upload.size
        )


def upload_of(session: Session, principal: Principal, upload_id: UUID) -> Upload:
    """An upload of the principal's organisation.

    Raises:
        NotFound: there is none of this id, or it belongs to another organisation.
    """
    upload = session.get(Upload, upload_id, populate_existing=True, with_for_update=True)
    if upload is None or upload.organisation_id != principal.organisation_id:
        raise NotFound(f"There is no upload {upload_id}.", upload=str(upload_id))
    return upload


def _open_upload(session: Session, principal: Principal, upload_id: UUID) -> Upload:
    upload = upload_of(session, principal, upload_id)
    if upload.status is not UploadStatus.open:
        raise Conflict(
            f"The upload is {upload.status.value} and takes no more parts; start a new one.", status=upload.status.value
        )
    return upload


def _part_key(upload: Upload, number: int) -> str:
    return f"{upload.organisation_id}/uploads/{upload.id}/{number:06d}"


def complete(*, transaction: Transaction, objects: ObjectStore, principal: Principal, upload_id: UUID) -> Bag:
    """The bag that the parts make: verified, stored by its content, its conversion requested.

    Completing again gives the same bag; so does another upload of the same content within the organisation.

    Raises:
        NotFound: no such upload in the organisation.
        Conflict: the upload has failed before, or a part was replaced meanwhile or is gone.
        Invalid: parts are missing (the upload stays open), or the hash is another (it fails; the parts are kept).
    """
    with transaction() as session:
        upload = upload_of(session, principal, upload_id)
        if upload.bag_id is not None:
            return session.get_one(Bag, upload.bag_id)
        upload = _open_upload(session, principal, upload_id)
    _check_whole(upload)
    key = f"{upload.organisation_id}/bags/{upload.sha256}"
    try:
        _verify(transaction, objects, upload)
        _store(objects, upload, key)
    except (NotFound, FileNotFoundError):
        return _completed_meanwhile(transaction, principal, upload_id)
    with transaction() as session:
        bag = _enter(session, upload_of(session, principal, upload_id), key)
    for number in _numbers(upload):
        objects.delete(_part_key(upload, number))
    return bag


def _completed_meanwhile(transaction: Transaction, principal: Principal, upload_id: UUID) -> Bag:
    """The bag of an upload whose parts are gone, because another call completed it while this one read them."""
    with transaction() as session:
        upload = upload_of(session, principal, upload_id)
        if upload.bag_id is None:
            raise Conflict("A part of the upload is gone from the store; send all parts again and complete it.")
        return session.get_one(Bag, upload.bag_id)


def _numbers(upload: Upload) -> list[int]:
    return sorted(int(number) for number in upload.parts)


def _check_whole(upload: Upload) -> None:
    numbers = _numbers(upload)
    missing = sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers))
    received = sum(upload.parts.values())
    if missing or received != upload.size:
        named = f"; part {missing[0]} is missing" if missing else ""
        raise Invalid(
            f"{upload.size} bytes were announced, {received} have arrived{named}. Send the rest and complete again.",
            expected=upload.size,
            received=received,
            missing_parts=missing[:100],
        )


def _content(objects: ObjectStore, upload: Upload) -> Iterator[bytes]:
    for number in _numbers(upload):
        with objects.open(_part_key(upload, number)) as part:
            while chunk := part.read(CHUNK_BYTES):
                yield chunk


def _verify(transaction: Transaction, objects: ObjectStore, upload: Upload) -> None:
    digest = hashlib.sha256()
    for chunk in _content(objects, upload):
        digest.update(chunk)
    found = digest.hexdigest()
    if found == upload.sha256:
        return
    told = f"The content has SHA-256 {found}, {upload.sha256} was announced; send it again as a new upload."
    with transaction() as session:
        failed = session.get_one(Upload, upload.id, with_for_update=True)
        if failed.status is UploadStatus.open:
            failed.status, failed.error = UploadStatus.failed, told
            session.add(failed)
    raise Invalid(told, expected=upload.sha256, received=found)


def _store(objects: ObjectStore, upload: Upload, key: str) -> None:
    if objects.exists(key) and objects.size(key) == upload.size:
        return
    digest = hashlib.sha256()
    with objects.create(key) as out:
        for chunk in _content(objects, upload):
            digest.update(chunk)
            out.write(chunk)
    if digest.hexdigest() != upload.sha256:
        objects.delete(key)
        raise Conflict("A part was sent again while the upload was being completed; complete it again.")


def _enter(session: Session, upload: Upload, key: str) -> Bag:
    bag = _bag(session, upload, key)
    upload.status, upload.bag_id, upload.completed_at = UploadStatus.complete, bag.id, database_now(session)
    session.add(upload)
    recordings.stored(session, upload, bag)
    requests.ask(
        session,
        organisation_id=upload.organisation_id,
        kind="process-bag",
        key=upload.sha256,
        parameters={"bag_ids": [str(bag.id)]},
        requested_by=upload.uploaded_by,
    )
    return bag


def _bag(session: Session, upload: Upload, key: str) -> Bag:
    robot = robot_named(session, upload.organisation_id, upload.robot_name) if upload.robot_name else None
    new = Bag(
        id=new_id(),
        organisation_id=upload.organisation_id,
        sha256=upload.sha256,
        size=upload.size,
        filename=upload.filename,
        object_key=key,
        robot_id=robot.id if robot else None,
        robot_name=robot.name if robot else UNKNOWN_ROBOT,
        mission_id=upload.mission_id,
        uploaded_at=database_now(session),
    )
    if insert_new(session, Bag, new.model_dump(), on=["organisation_id", "sha256"]):
        changes.record(session, organisation_id=new.organisation_id, subject="bag", subject_id=new.id, kind="stored")
    same = select(Bag).where(Bag.organisation_id == upload.organisation_id, Bag.sha256 == upload.sha256)
    return session.exec(same).one()
