"""A stored bag becomes a dataset of the lake of its organisation, and its row tells the outcome."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from uuid import UUID

import structlog
from sqlmodel import Session

from fleet import changes
from fleet.clock import database_now
from fleet.errors import Conflict, NotFound
from fleet.objectstore import ObjectStore
from ingestion.bags.cataloguing import errors_in, note_topics
from ingestion.bags.conversion import convert_into, explanation, is_current
from ingestion.bags.fetching import on_this_machine
from ingestion.bags.progress import Listener
from ingestion.bags.reading import Source
from ingestion.lake import Lake, Manifest, lake_of
from ingestion.models import Bag

Transaction = Callable[[], AbstractContextManager[Session]]

log = structlog.get_logger(__name__)


def process(
    *,
    transaction: Transaction,
    objects: ObjectStore,
    bag_id: UUID,
    working: Path | None = None,
    listener: Listener | None = None,
) -> Manifest:
    """Convert a stored bag into the lake of its organisation and write the outcome into its row.

    Idempotent by bag content, robot and converter version: run again, it changes no file. `listener` is told how far it
    is. A bag that lies in another store is fetched into the folder `working`, where a run that is repeated goes on; without
    one it is fetched from its beginning.

    Raises:
        NotFound: no such bag, or its content is gone from the store.
        Conflict: it is a cut of another bag.
        Unavailable: a disk or the object store cannot take it; nothing is published, try again.
    """
    with transaction() as session:
        bag = _bag(session, bag_id)
    if bag.cut_of_id is not None:
        raise Conflict(
            f"{bag.filename} is a cut and a dataset already; convert the bag it was cut from.", bag=str(bag_id)
        )
    lake = lake_of(objects, bag.organisation_id)
    manifest = lake.manifest(bag.sha256)
    if manifest is None or not is_current(lake, manifest, bag.robot_name):
        with on_this_machine(objects, bag, working, listener) as path:
            source = Source(path, bag.filename, bag.sha256, bag.size, bag.robot_name)
            manifest = convert_into(lake, source, listener)
        log.info("bag converted", bag=bag.sha256[:16], status=manifest.status.value, messages=manifest.messages)
    errors = errors_in(lake, manifest)
    with transaction() as session:
        held = _bag(session, bag_id, is_held=True)
        note(session, held, manifest, lake)
        note_topics(session, held, manifest, errors)
    return manifest


def catalogue(*, transaction: Transaction, objects: ObjectStore, bag_id: UUID) -> int:
    """Write the topics of a converted bag into the catalogue from its manifest; gives how many.

    Run again, it writes the same. A bag without a manifest has none.

    Raises:
        NotFound: no such bag.
    """
    with transaction() as session:
        bag = _bag(session, bag_id)
    lake = lake_holding(objects, bag)
    manifest = lake.manifest(bag.sha256)
    if manifest is None:
        return 0
    errors = errors_in(lake, manifest)
    with transaction() as session:
        note_topics(session, _bag(session, bag_id, is_held=True), manifest, errors)
    return len(manifest.topics)


def _bag(session: Session, bag_id: UUID, *, is_held: bool = False) -> Bag:
    """The row of the bag; `is_held`: nobody else writes it or its topics until this transaction ends."""
    bag = session.get(Bag, bag_id, with_for_update=is_held or None)
    if bag is None:
        raise NotFound(f"There is no bag {bag_id}.", bag=str(bag_id))
    return bag


def lake_holding(objects: ObjectStore, bag: Bag) -> Lake:
    """Where the dataset of a bag lies: in the lake of its organisation; that of a cut in a place of its own."""
    if bag.cut_of_id is None:
        return lake_of(objects, bag.organisation_id)
    return Lake(objects, f"{bag.organisation_id}/cuts/{bag.sha256}/", str(bag.organisation_id))


def note(session: Session, bag: Bag, manifest: Manifest, lake: Lake) -> None:
    """Write into its row what a bag became; the caller holds the row."""
    bag.status, bag.error = manifest.status, explanation(manifest)
    bag.converter, bag.manifest_key = manifest.converter, lake.key(lake.manifest_path(bag.sha256))
    bag.messages, bag.topics, bag.recorded_on = manifest.messages, len(manifest.topics), manifest.recorded_on
    bag.started_at, bag.finished_at = manifest.started_at, manifest.finished_at
    bag.converted_at = database_now(session)
    session.add(bag)
    changes.record(
        session,
        organisation_id=bag.organisation_id,
        subject="bag",
        subject_id=bag.id,
        kind="converted",
        fields={"status": manifest.status.value, "messages": manifest.messages},
    )
