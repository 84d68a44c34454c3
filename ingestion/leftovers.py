"""Uploads that were begun and never ended, and parts that nobody needs any more, leave the database and the store."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import datetime
from uuid import UUID

import structlog
from sqlmodel import Session, col, select

from fleet.objectstore import ObjectStore
from ingestion import parts, quotas, recordings, uploads
from ingestion.models import Upload, UploadStatus

REMOVER = "system:retention"
Transaction = Callable[[], AbstractContextManager[Session]]

log = structlog.get_logger(__name__)


def remove_abandoned(*, transaction: Transaction, objects: ObjectStore, before: datetime, limit: int) -> int:
    """End uploads to which nothing was sent since `before`, and remove their parts, then their rows; gives how many.

    The recordings that came by them are told as lost; but what had come whole and only was not told is a bag.

    Killed in between, the next call goes on: a row stays until its parts are gone.
    """
    with transaction() as session:
        found = quotas.abandoned(session, before=before, limit=limit)
    for upload in found:
        if uploads.rescued(transaction=transaction, objects=objects, upload=upload) is not None:
            log.info("a recording that came whole and was not told is a bag now", upload=str(upload.id))
            continue
        parts.remove(objects, upload)
        with transaction() as session:
            row = session.get(Upload, upload.id, with_for_update=True)
            if row is not None and row.status is UploadStatus.failed:
                recordings.lost(session, row, who=REMOVER, why=row.error or "It was never completed.")
                session.delete(row)
    return len(found)


def remove_left(
    *, transaction: Transaction, objects: ObjectStore, organisation_ids: Iterable[UUID], before: datetime
) -> int:
    """Remove parts of uploads that are complete or gone, and files that are unfinished since `before`; gives how many.

    They are left by whoever was killed while writing or right behind completing, and by addresses that were used after it.
    """
    removed = 0
    for organisation_id in organisation_ids:
        lying = parts.lying(objects, organisation_id)
        with transaction() as session:
            query = select(Upload.id).where(col(Upload.id).in_(list(lying)), Upload.status != UploadStatus.complete)
            going_on = set(session.exec(query).all())
        for upload_id in lying.keys() - going_on:
            for key in lying[upload_id]:
                objects.delete(key)
                removed += 1
        for folder in ("uploads", "bags"):
            removed += objects.remove_unfinished(f"{organisation_id}/{folder}", before=before)
    return removed
