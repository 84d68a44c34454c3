"""A cut as a bag of its own: its files lie apart from the lake, so that no reader of that counts its rows twice.

Layout: `{organisation}/cuts/{sha256}/` with the dataset as the lake lays it out, and last the list of its files with their
hashes, as of a recording that is a folder; so it is found, shown and downloaded as any bag is.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import PurePosixPath
from uuid import UUID

import pyarrow.parquet as pq
from sqlmodel import Session, select

from fleet import changes
from fleet.clock import database_now
from fleet.database import new_id
from fleet.errors import Conflict, Unavailable
from fleet.events import insert_new
from fleet.objectstore import ObjectStore
from ingestion import storing
from ingestion.bags.blobs import blob_names
from ingestion.bags.cataloguing import errors_in, note_topics
from ingestion.bags.cutting import Excerpt, cut_into
from ingestion.bags.processing import lake_holding, note
from ingestion.cuts import Span
from ingestion.folders import LIST, Piece, list_of
from ingestion.lake import Lake, LakeFile
from ingestion.models import Bag

Transaction = Callable[[], AbstractContextManager[Session]]


def make(*, transaction: Transaction, objects: ObjectStore, bag: Bag, span: Span, event_id: UUID | None = None) -> Bag:
    """The span of a converted bag as a bag of its own; `event_id` is the event around which it was cut out.

    Idempotent by bag and span: made before from the same dataset, nothing is done. Killed at any instant, the next call
    goes on; there is no row before all of its files are there.

    Raises:
        Conflict: the bag is not converted.
        Invalid, NotFound: as of `cutting.cut`.
        Unavailable: a disk or the object store cannot take it; try again.
    """
    source = lake_holding(objects, bag)
    manifest = source.manifest(bag.sha256)
    if manifest is None:
        raise Conflict(f"{bag.filename} is not converted yet, so nothing can be cut out of it.", bag=str(bag.id))
    wanted = _row(bag, span, event_id)
    with transaction() as session:
        known = _known(session, wanted)
    if known and known.converter == manifest.converter and storing.is_stored(objects, known.object_key, known.size):
        return known
    target = lake_holding(objects, wanted)
    try:
        excerpt = cut_into(source, manifest, span, target)
        wanted.size = _list(target, excerpt)
    except OSError as error:
        raise Unavailable(f"{bag.filename} could not be cut: {error}. Free space, then try again.") from error
    errors = errors_in(target, excerpt)
    with transaction() as session:
        return _enter(session, wanted, excerpt, target, errors)


def _row(bag: Bag, span: Span, event_id: UUID | None) -> Bag:
    """The row of a cut that is not made yet."""
    sha256 = span.sha256_in(bag.sha256)
    path, length_s = PurePosixPath(bag.filename), (span.end - span.begin).total_seconds()
    return Bag(
        id=new_id(),
        organisation_id=bag.organisation_id,
        sha256=sha256,
        size=0,
        filename=f"{path.stem[:200]}-{span.begin:%Y%m%dT%H%M%S}-{length_s:.0f}s",
        object_key=f"{bag.organisation_id}/cuts/{sha256}/{LIST}",
        robot_id=bag.robot_id,
        robot_name=bag.robot_name,
        mission_id=bag.mission_id,
        cut_of_id=bag.id,
        cut_event_id=event_id,
        uploaded_at=span.begin,
    )


def _known(session: Session, wanted: Bag) -> Bag | None:
    same = (Bag.organisation_id == wanted.organisation_id, Bag.sha256 == wanted.sha256)
    return session.exec(select(Bag).where(*same).with_for_update()).first()


def _enter(session: Session, wanted: Bag, excerpt: Excerpt, lake: Lake, errors: dict[int, str]) -> Bag:
    wanted.uploaded_at = database_now(session)
    if insert_new(session, Bag, wanted.model_dump(), on=["organisation_id", "sha256"]):
        changes.record(session, organisation_id=wanted.organisation_id, subject="bag", subject_id=wanted.id, kind="cut")
    row = _known(session, wanted)
    assert row is not None
    row.size = wanted.size
    note(session, row, excerpt, lake)
    note_topics(session, row, excerpt, errors)
    session.flush()
    return row


def _list(lake: Lake, excerpt: Excerpt) -> int:
    """Write the list of the dataset's files, when all are there; gives their bytes."""
    path = lake.manifest_path(excerpt.sha256)
    told = lake.objects.read(lake.key(path))
    pieces = [Piece(path, len(told), hashlib.sha256(told).hexdigest())]
    for file in excerpt.files:
        pieces += [Piece(file.path, file.bytes, file.sha256), *_media(lake, file)]
    pieces.sort(key=lambda piece: piece.path)
    lake.objects.put(lake.key(LIST), list_of(pieces))
    return sum(piece.size for piece in pieces)


def _media(lake: Lake, file: LakeFile) -> Iterator[Piece]:
    """The files that the rows of a table name, each once."""
    folder, known = file.path.rpartition("/")[0], set()
    with lake.objects.open(lake.key(file.path)) as source:
        parquet = pq.ParquetFile(source)
        for name in blob_names(parquet.schema_arrow.names):
            columns = [f"{name}.{part}" for part in ("path", "size", "sha256")]
            for batch in parquet.iter_batches(columns=columns):
                for place, size, sha256 in zip(*(batch.column(column).to_pylist() for column in columns), strict=True):
                    if place not in known:
                        known.add(place)
                        yield Piece(f"{folder}/{place}", size, sha256)
