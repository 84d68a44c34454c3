"""Recordings on their way in: parts that may be sent again, or one stream; then one content-addressed bag.

Hashing and copying happen outside of any transaction; each step is harmless when it is done twice, so a sender that lost
the answer simply asks again.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from uuid import UUID

from sqlmodel import Session, col, select

from fleet import changes, requests
from fleet.clock import database_now
from fleet.database import new_id
from fleet.errors import Conflict, Invalid, NotFound, TooLarge
from fleet.events import insert_new
from fleet.objectstore import ObjectStore
from fleet.organisations import Principal
from fleet.requests import RequestStatus
from fleet.robots import robot_named
from ingestion import folders, parts, quotas, recordings, storing
from ingestion.folders import Piece
from ingestion.models import Bag, BagStatus, Upload, UploadStatus
from ingestion.quotas import Limits

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
    limits: Limits,
    files: Sequence[Piece] = (),
) -> Upload:
    """An upload to send parts to: a new one, or the open one of the same sender and content, with the parts it has.

    With `files` it is a folder: its bytes are those of the files one behind the other, in the order of their paths, and
    `sha256` is that of their list (see `ingestion.folders`).

    Raises:
        Invalid: a hash that is not SHA-256 in hexadecimal, a negative size, a file name with a folder in it, or files
            that do not make this size and hash.
        TooLarge, NoRoom, TooMany: more than the limits of a recording, or of the organisation.
        NotFound: no robot of that name in the organisation.
        Conflict: something else is stored under this hash.
    """
    _check(filename, size, sha256)
    quotas.check_size(size, limits)
    pieces = folders.ordered(files)
    if pieces:
        folders.check(pieces, size=size, sha256=sha256)
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
    for upload in session.exec(sent_before.order_by(col(Upload.id))).all():
        if upload.files == folders.as_rows(pieces):
            return upload
    upload = Upload(
        organisation_id=principal.organisation_id,
        filename=filename,
        robot_name=robot,
        mission_id=mission_id,
        size=size,
        sha256=sha256.lower(),
        files=folders.as_rows(pieces),
        uploaded_by=str(principal),
        created_at=database_now(session),
    )
    _check_same(_stored(session, upload), upload)
    quotas.check_room(session, upload.organisation_id, size=size, sha256=upload.sha256, limits=limits)
    session.add(upload)
    session.flush()
    return upload


def _check(filename: str, size: int, sha256: str) -> None:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise Invalid(f"{sha256[:80]!r} is not a SHA-256 in hexadecimal (64 digits).", field="sha256")
    if not filename or len(filename) > LONGEST_FILENAME or re.search(r"[/\\\x00-\x1f]", filename) or filename == "..":
        raise Invalid(f"{filename[:80]!r} is not a plain file name.", field="filename")
    if size < 0:
        raise Invalid(f"The size is {size}; it must not be negative.", field="size")


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
        upload = open_upload(session, principal, upload_id)
        check_total(upload, upload.parts, number, len(content))
    objects.put(parts.key(upload, number), content)
    try:
        with transaction() as session:
            upload = open_upload(session, principal, upload_id)
            upload.parts = {**upload.parts, str(number): len(content)}
            upload.active_at = database_now(session)
            session.add(upload)
    except NotFound:
        objects.delete(parts.key(upload, number))  # it was abandoned and removed just now
        raise


def _check_part(number: int, content: bytes) -> None:
    if not 1 <= number <= MOST_PARTS:
        raise Invalid(f"Part number {number} is not between 1 and {MOST_PARTS}.", field="number")
    if not content:
        raise Invalid(f"Part {number} is empty.", field="content")
    if len(content) > PART_MAX_BYTES:
        raise TooLarge(f"Part {number} has {len(content)} bytes, at most {PART_MAX_BYTES} fit.", limit=PART_MAX_BYTES)


def check_total(upload: Upload, sizes: Mapping[str, int], number: int, size: int) -> None:
    """With part `number` of this size, these parts are no more than the upload announced.

    Raises:
        TooLarge: they are.
    """
    total = size + sum(count for part, count in sizes.items() if part != str(number))
    if total > upload.size:
        raise TooLarge(
            f"With part {number} the upload would have {total} bytes; {upload.size} were announced. Go on with parts as "
            "large as those it has, or send it whole in one request.",
            limit=upload.size,
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


def open_upload(session: Session, principal: Principal, upload_id: UUID) -> Upload:
    """An upload of the principal's organisation that takes parts, locked.

    Raises:
        NotFound: as of `upload_of`.
        Conflict: it is complete or has failed.
    """
    upload = upload_of(session, principal, upload_id)
    if upload.status is not UploadStatus.open:
        raise Conflict(
            f"The upload is {upload.status.value} and takes no more parts; start a new one.", status=upload.status.value
        )
    return upload


def _pieces(upload: Upload) -> list[Piece]:
    """The files that its bytes are, in their order."""
    files = [Piece(str(file["path"]), int(str(file["size"])), str(file["sha256"])) for file in upload.files]
    return files or [Piece("", upload.size, upload.sha256)]


def _key(upload: Upload) -> str:
    return storing.key_of(upload.organisation_id, upload.sha256, is_folder=bool(upload.files))


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
        known = session.get_one(Bag, upload.bag_id) if upload.bag_id is not None else None
        upload = upload if known else open_upload(session, principal, upload_id)
        if known is not None:
            recordings.stored(session, upload, known)  # those announced while another call completed it
    if known is not None:
        parts.remove(objects, upload)  # whoever completed it may have been killed before that
        return known
    try:
        upload = _with_arrived(transaction, objects, upload)
        _check_whole(upload)
        _verify(transaction, objects, upload)
        _store(objects, upload)
    except (NotFound, FileNotFoundError):
        return _completed_meanwhile(transaction, principal, upload_id)
    with transaction() as session:
        bag = _enter(session, upload_of(session, principal, upload_id))
    parts.remove(objects, upload)
    return bag


def rescued(*, transaction: Transaction, objects: ObjectStore, upload: Upload) -> Bag | None:
    """The bag of an upload that nobody goes on with, where its verified bytes came into the store and no row tells it.

    That is so when whoever completed it was killed just then. None where there is nothing to rescue.
    """
    with transaction() as session:
        is_told = _stored(session, upload) is not None
    if is_told or not storing.has_begun(objects, _key(upload), _pieces(upload)):
        return None
    try:
        _store(objects, upload)
        with transaction() as session:
            row = session.get(Upload, upload.id, with_for_update=True)
            bag = _enter(session, row) if row is not None else None
    except (NotFound, Conflict):  # parts of a folder, or its robot, are gone
        return None
    parts.remove(objects, upload)
    return bag


@contextmanager
def receiving(
    *, transaction: Transaction, objects: ObjectStore, principal: Principal, upload_id: UUID
) -> Iterator[Callable[[bytes], None]]:
    """Takes the content of an upload as one stream, bit by bit; when the block ends well, it is a bag.

    Ended early, nothing is stored and the upload stays open, to be sent again or in parts. Memory is one bit.

    Raises:
        NotFound, Conflict: as of `write_part`; also for a folder, which comes in parts.
        TooLarge: more bytes than announced.
        Invalid: fewer bytes (the upload stays open), or another SHA-256 (it fails).
    """
    with transaction() as session:
        upload = open_upload(session, principal, upload_id)
        upload.active_at = database_now(session)
        session.add(upload)
    if upload.files:
        raise Conflict("A recording of several files comes in parts; send it so, or pack it as one zip.")
    try:
        with storing.receiving(objects, _key(upload), size=upload.size, sha256=upload.sha256) as take:
            yield take
    except Invalid as error:
        if error.fields.get("expected") == upload.sha256:
            _fail(transaction, upload, error.message)
        raise
    with transaction() as session:
        _enter(session, upload_of(session, principal, upload_id))
    parts.remove(objects, upload)


def _completed_meanwhile(transaction: Transaction, principal: Principal, upload_id: UUID) -> Bag:
    """The bag of an upload whose parts are gone, because another call completed it while this one read them."""
    with transaction() as session:
        upload = upload_of(session, principal, upload_id)
        if upload.bag_id is None:
            raise Conflict("A part of the upload is gone from the store; send all parts again and complete it.")
        return session.get_one(Bag, upload.bag_id)


def _with_arrived(transaction: Transaction, objects: ObjectStore, upload: Upload) -> Upload:
    """The upload with the parts that went into the store without us, by an address of `ingestion.addresses`."""
    if sum(upload.parts.values()) == upload.size:
        return upload
    arrived = parts.arrived(objects, upload)
    with transaction() as session:
        row = session.get(Upload, upload.id, with_for_update=True)
        if row is None or row.status is not UploadStatus.open:
            raise NotFound(f"The parts of upload {upload.id} were taken by another call.")
        row.parts = {**row.parts, **arrived}  # a part may have been put there again, with another size
        session.add(row)
        return row


def _check_whole(upload: Upload) -> None:
    numbers = parts.numbers(upload)
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


def _verify(transaction: Transaction, objects: ObjectStore, upload: Upload) -> None:
    other = storing.first_other(_pieces(upload), parts.content(objects, upload))
    if other is None:
        return
    piece, found = other
    named = f" of {piece.path}" if piece.path else ""
    told = f"The content{named} has SHA-256 {found}, {piece.sha256} was announced; send it again as a new upload."
    _fail(transaction, upload, told)
    raise Invalid(told, expected=piece.sha256, received=found)


def _fail(transaction: Transaction, upload: Upload, why: str) -> None:
    with transaction() as session:
        failed = session.get(Upload, upload.id, with_for_update=True)
        if failed is not None and failed.status is UploadStatus.open:
            failed.status, failed.error = UploadStatus.failed, why
            session.add(failed)
            recordings.lost(session, failed, who=failed.uploaded_by, why=why)


def _store(objects: ObjectStore, upload: Upload) -> None:
    if not storing.is_stored(objects, _key(upload), upload.size):
        storing.store(objects, _key(upload), _pieces(upload), parts.content(objects, upload))


def _enter(session: Session, upload: Upload) -> Bag:
    bag = _bag(session, upload)
    upload.status, upload.bag_id, upload.completed_at = UploadStatus.complete, bag.id, database_now(session)
    upload.error = None
    session.add(upload)
    recordings.stored(session, upload, bag)
    _ask_for_conversion(session, upload, bag)
    return bag


def _ask_for_conversion(session: Session, upload: Upload, bag: Bag) -> None:
    """Once for each content; again for one that is sent again when that came to nothing."""
    asked: dict[str, object] = {"bag_ids": [str(bag.id)]}
    ask = partial(requests.ask, session, organisation_id=bag.organisation_id, kind="process-bag", parameters=asked)
    first = ask(key=bag.sha256, requested_by=upload.uploaded_by)
    if bag.status is BagStatus.stored and first.status in {RequestStatus.done, RequestStatus.failed}:
        ask(key=f"{bag.sha256}/{upload.id}", requested_by=upload.uploaded_by)


def _bag(session: Session, upload: Upload) -> Bag:
    robot = robot_named(session, upload.organisation_id, upload.robot_name) if upload.robot_name else None
    new = Bag(
        id=new_id(),
        organisation_id=upload.organisation_id,
        sha256=upload.sha256,
        size=upload.size,
        filename=upload.filename,
        object_key=_key(upload),
        robot_id=robot.id if robot else None,
        robot_name=robot.name if robot else UNKNOWN_ROBOT,
        mission_id=upload.mission_id,
        uploaded_at=database_now(session),
    )
    if insert_new(session, Bag, new.model_dump(), on=["organisation_id", "sha256"]):
        changes.record(session, organisation_id=new.organisation_id, subject="bag", subject_id=new.id, kind="stored")
    bag = _stored(session, upload)
    assert bag is not None
    _check_same(bag, upload)
    return bag


def _stored(session: Session, upload: Upload) -> Bag | None:
    same = select(Bag).where(Bag.organisation_id == upload.organisation_id, Bag.sha256 == upload.sha256)
    return session.exec(same).first()


def _check_same(bag: Bag | None, upload: Upload) -> None:
    if bag is not None and (bag.size, bag.object_key) != (upload.size, _key(upload)):
        raise Conflict(
            f"A recording of {bag.size} bytes has this SHA-256 here; it is not one of {upload.size} bytes, or a folder's "
            "list and not the folder.",
            bag=str(bag.id),
        )
