"""What nobody needs any more leaves the database: understood deliveries, published changes and decided occurrences of
long ago, what gateways were asked on another day, and uploads that were begun and never ended, with their parts.

Rejected deliveries stay until somebody has looked at them, and the history of missions stays for ever.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlmodel import select

from fleet import changes, link_commands
from fleet.clock import database_now
from fleet.errors import YardmasterError
from fleet.organisations import Organisation
from fleet.runtime import Runtime
from ingestion import inbox, leftovers
from missions import inheritance
from missions.schedules import retention as occurrences

log = structlog.get_logger(__name__)

BATCH = 500  # a transaction
UNFINISHED = timedelta(days=1)  # nobody writes a file for so long without a byte
REST_S = 0.2  # between two batches, so that whoever waits to write comes in between


@dataclass(frozen=True)
class Forgotten:
    """How many rows were removed."""

    deliveries: int
    changes: int
    occurrences: int = 0
    commands: int = 0
    uploads: int = 0


async def sweep(runtime: Runtime, *, limit: int = BATCH, rest_s: float = REST_S) -> None:
    """Remove batch after batch until nothing is older than the setting `keep_days`; may be ended at any point.

    Several dispatchers may sweep at once: none waits for a row of another. What cannot be done now, the next does.
    """
    deliveries = published = decided = asked = abandoned = left = 0
    try:
        while (batch := await asyncio.to_thread(forget, runtime, limit=limit)) != Forgotten(0, 0):
            deliveries, published = deliveries + batch.deliveries, published + batch.changes
            decided, asked = decided + batch.occurrences, asked + batch.commands
            abandoned += batch.uploads
            await asyncio.sleep(rest_s)
        left = await asyncio.to_thread(remove_left, runtime)
    except YardmasterError as error:
        log.warning("the sweep is left to the next hour", error=error.message)
    if deliveries or published or decided or asked or abandoned or left:
        rows = {"deliveries": deliveries, "changes": published, "occurrences": decided, "commands": asked}
        log.info("old rows removed", **rows, uploads=abandoned, parts=left)


def forget(runtime: Runtime, *, limit: int = BATCH) -> Forgotten:
    """Remove the oldest, at most `limit` of each kind, each kind in a transaction of its own."""
    kept = timedelta(days=runtime.settings.keep_days)
    with runtime.transaction() as session:
        deliveries = inbox.forget(session, before=database_now(session) - kept, limit=limit)
    with runtime.transaction() as session:
        published = changes.forget(session, before=database_now(session) - kept, limit=limit)
    with runtime.transaction() as session:
        decided = occurrences.forget(session, before=database_now(session) - kept, limit=limit)
    with runtime.transaction() as session:
        before = database_now(session) - link_commands.KEEP_COMMANDS
        asked = link_commands.forget_commands(session, before=before, limit=limit, but_for=inheritance.live(session))
    return Forgotten(deliveries, published, decided, asked, _abandoned(runtime, limit))


def _abandoned(runtime: Runtime, limit: int) -> int:
    with runtime.reading() as session:
        before = database_now(session) - timedelta(days=runtime.settings.upload_keep_days)
    return leftovers.remove_abandoned(
        transaction=runtime.transaction, objects=runtime.objects, before=before, limit=limit
    )


def remove_left(runtime: Runtime) -> int:
    """Remove parts of uploads that are over and files that were never finished, of all organisations; gives how many."""
    with runtime.reading() as session:
        owners = session.exec(select(Organisation.id)).all()
        before = database_now(session) - UNFINISHED
    return leftovers.remove_left(
        transaction=runtime.transaction, objects=runtime.objects, organisation_ids=owners, before=before
    )
