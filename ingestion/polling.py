"""Polling: the present state of all robots of an account and its new history, each stored raw in the inbox."""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import update
from sqlmodel import Session, col

from fleet.accounts import ManufacturerAccount
from fleet.adapter import Adapter, Page
from fleet.clock import Clock
from ingestion import inbox
from ingestion.models import Delivery

log = structlog.get_logger(__name__)

PAGES_MAX = 200
Transaction = Callable[[], AbstractContextManager[Session]]


@dataclass(frozen=True)
class PollResult:
    """What one poll of one account brought."""

    account: str
    pages: int
    deliveries: int
    is_complete: bool

    def __str__(self) -> str:
        rest = "" if self.is_complete else ", more is waiting"
        return f"{self.account}: {self.pages} pages, {self.deliveries} new{rest}"


async def poll(account: ManufacturerAccount, adapter: Adapter, *, transaction: Transaction, clock: Clock) -> PollResult:
    """Ask the account once: one answer with the state of all robots, then the history after its cursor.

    Every page is stored under its key in the transaction that moves the cursor, so a crash repeats a page and loses
    none; a page that came before collapses. At most 200 pages a call: `is_complete` tells whether that was all.

    Raises:
        Unavailable: the other side stopped answering; the pages given so far stand, and the next poll goes on there.
    """
    new = await asyncio.to_thread(_keep, transaction, account, await adapter.observe_all(), clock.now())
    pages, cursor, is_complete = 1, account.cursor, True
    async for page in adapter.pages(cursor):
        stored = await asyncio.to_thread(_keep_and_move, transaction, account, cursor, page, clock.now())
        if stored is None:
            log.info("another poll is ahead", account=account.name, cursor=cursor)
            break
        pages, new, cursor, is_complete = pages + 1, new + stored, page.next_cursor, page.is_last
        if pages > PAGES_MAX:
            break
    await asyncio.to_thread(_stamp, transaction, account.id, clock.now())
    return PollResult(account.name, pages, new, is_complete)


def _keep(transaction: Transaction, account: ManufacturerAccount, page: Page, received_at: datetime) -> int:
    with transaction() as session:
        return int(inbox.receive(session, _delivery(account, page, received_at)))


def _keep_and_move(
    transaction: Transaction, account: ManufacturerAccount, cursor: str, page: Page, received_at: datetime
) -> int | None:
    """1 when the page is new, 0 when it was there, None when another poll has moved the cursor meanwhile."""
    with transaction() as session:
        moved = session.execute(
            update(ManufacturerAccount)
            .where(col(ManufacturerAccount.id) == account.id, col(ManufacturerAccount.cursor) == cursor)
            .values(cursor=page.next_cursor)
        )
        if moved.rowcount != 1:  # type: ignore[attr-defined]
            return None
        return int(inbox.receive(session, _delivery(account, page, received_at)))


def _delivery(account: ManufacturerAccount, page: Page, received_at: datetime) -> Delivery:
    # With the digest a page that grew under an unchanged name is kept too.
    digest = hashlib.sha256(page.body).hexdigest()[:16]
    return inbox.arriving(
        account,
        key=f"poll:{page.key}:{digest}",
        source="poll",
        headers={},
        body=page.body,
        received_at=received_at,
    )


def _stamp(transaction: Transaction, account_id: UUID, now: datetime) -> None:
    with transaction() as session:
        session.execute(
            update(ManufacturerAccount).where(col(ManufacturerAccount.id) == account_id).values(polled_at=now)
        )
