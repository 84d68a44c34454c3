"""What an organisation may have stored and under way; what was begun and never ended is removed."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, or_
from sqlmodel import Session, col, select

from fleet.database import claim
from fleet.errors import NoRoom, TooLarge, TooMany
from fleet.organisations import Organisation
from ingestion.models import Bag, Upload, UploadStatus


@dataclass(frozen=True)
class Limits:
    """What is taken of one recording, and of one organisation."""

    recording_bytes: int
    stored_bytes: int
    open_uploads: int


def check_size(size: int, limits: Limits) -> None:
    """A recording of `size` bytes is taken at all.

    Raises:
        TooLarge: it is not.
    """
    if size > limits.recording_bytes:
        raise TooLarge(
            f"The recording has {size} bytes, at most {limits.recording_bytes} are taken; record in splits.",
            limit=limits.recording_bytes,
        )


def check_room(session: Session, organisation_id: UUID, *, size: int, sha256: str, limits: Limits) -> None:
    """There is room for one upload more of `size` bytes; others of this organisation wait until the transaction ends.

    What is stored counts once, however often it is sent; what is under way counts with the size it announced, and what
    failed in parts until it is removed, as its parts are kept so long.

    Raises:
        TooMany: it has too many uploads under way.
        NoRoom: it would have stored more than it may.
    """
    # On PostgreSQL two would each see the room of the other; SQLite has one writer anyway.
    session.get_one(Organisation, organisation_id, with_for_update={"key_share": True}, populate_existing=True)
    mine = (Upload.organisation_id == organisation_id, Upload.status != UploadStatus.complete)
    under_way = session.exec(select(func.count()).where(*mine, Upload.status == UploadStatus.open)).one()
    if under_way >= limits.open_uploads:
        raise TooMany(
            f"{under_way} uploads are open, at most {limits.open_uploads} may be; complete some of them first.",
            limit=limits.open_uploads,
        )
    check_stored(session, organisation_id, size=size, sha256=sha256, limits=limits)


def check_stored(session: Session, organisation_id: UUID, *, size: int, sha256: str, limits: Limits) -> None:
    """The organisation may store so many bytes more; what it has already takes none.

    Raises:
        NoRoom: it would have stored more than it may.
    """
    if session.exec(select(Bag.id).where(Bag.organisation_id == organisation_id, Bag.sha256 == sha256)).first():
        return
    # What failed and came as one stream left nothing in the store.
    has_parts = or_(col(Upload.parts) != {}, col(Upload.promised) != {})
    mine = (Upload.organisation_id == organisation_id, Upload.status != UploadStatus.complete)
    counted = (*mine, or_(col(Upload.status) == UploadStatus.open, has_parts))
    coming = session.exec(select(func.coalesce(func.sum(Upload.size), 0)).where(*counted)).one()
    stored = stored_bytes(session, organisation_id)
    if stored + coming + size > limits.stored_bytes:
        raise NoRoom(
            f"{stored} bytes are stored and {coming} announced; {size} more would be over the {limits.stored_bytes} "
            "that your organisation may store. Have recordings removed or the limit raised.",
            stored=stored,
            announced=int(coming),
            limit=limits.stored_bytes,
        )


def stored_bytes(session: Session, organisation_id: UUID) -> int:
    """Bytes of all raw recordings of an organisation."""
    mine = Bag.organisation_id == organisation_id
    return int(session.exec(select(func.coalesce(func.sum(Bag.size), 0)).where(mine)).one())


def abandoned(session: Session, *, before: datetime, limit: int) -> list[Upload]:
    """Uploads to which nothing was sent since `before`, or that failed before it; they take nothing from now on."""
    last = func.coalesce(col(Upload.active_at), col(Upload.created_at))
    query = select(Upload).where(Upload.status != UploadStatus.complete, last < before).order_by(col(Upload.id))
    found = list(claim(session, query, limit=limit))
    for upload in found:
        upload.status = UploadStatus.failed
        upload.error = upload.error or "It was abandoned; nothing was sent for too long."
        session.add(upload)
    return found
