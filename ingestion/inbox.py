"""The inbox: deliveries stored raw under a unique key before they are understood, and what became of each."""

import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import BigInteger, Integer, bindparam, delete, func, or_, update
from sqlalchemy import select as sqlalchemy_select
from sqlalchemy.orm import defer
from sqlmodel import Session, col, select

from fleet import ledger, reading
from fleet.accounts import ManufacturerAccount
from fleet.clock import AHEAD_S, database_now, has_come_by
from fleet.database import UTCDateTime, claim, inserting, table_of
from fleet.statements import write
from ingestion.models import Delivery, DeliveryStatus

log = structlog.get_logger(__name__)

TRIES_MAX = 12
BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 300.0
JITTER = 0.25
# What one drain holds in memory: a poll page may have 16 MB, so the number of rows alone is no bound.
BATCH_MAX_BYTES = 16_000_000
ERROR_MAX_CHARACTERS = 2000


LONGEST_S = BACKOFF_MAX_S * (1 + JITTER) + AHEAD_S
_MAY_BE_TRIED = has_come_by(
    col(Delivery.next_try_at), bindparam("now", type_=UTCDateTime), bindparam("strange", type_=UTCDateTime)
)
_WAITING = (
    select(Delivery.id, func.length(Delivery.body).label("size"))
    .where(Delivery.status == DeliveryStatus.received, _MAY_BE_TRIED)
    .order_by(col(Delivery.id))
    .limit(bindparam("most", type_=Integer))
    .subquery()
)
_BEFORE = func.sum(_WAITING.c.size).over(order_by=_WAITING.c.id) - _WAITING.c.size
_SUMMED = select(_WAITING.c.id, _BEFORE.label("before"), (_BEFORE + _WAITING.c.size).label("total")).subquery()
DUE = (
    select(Delivery)
    .join(_SUMMED, col(Delivery.id) == _SUMMED.c.id)
    .where(or_(_SUMMED.c.total <= bindparam("bytes", type_=BigInteger), _SUMMED.c.before == 0))
    .order_by(col(Delivery.id))
)
ROWS = table_of(Delivery).c
# On SQLite the write transaction itself is the lock.
CLAIM = (
    sqlalchemy_select(ROWS.id)
    .where(ROWS.id.in_(bindparam("ids", expanding=True)), ROWS.status == DeliveryStatus.received)
    .order_by(ROWS.id)
    .with_for_update(skip_locked=True)
)
APPLIED = (
    update(table_of(Delivery))
    .where(ROWS.id == bindparam("of"))
    .values(status=DeliveryStatus.applied, applied_at=bindparam("now"), error=None, tries=ROWS.tries + 1)
)


def arriving(
    account: ManufacturerAccount,
    *,
    key: str,
    source: str,
    headers: Mapping[str, str],
    body: bytes,
    received_at: datetime,
) -> Delivery:
    """A delivery as it came, not yet stored; `source` is webhook or poll."""
    return Delivery(
        organisation_id=account.organisation_id,
        account_id=account.id,
        key=key,
        source=source,
        headers=dict(headers),
        body=body,
        received_at=received_at,
        next_try_at=received_at,
    )


def receive(session: Session, delivery: Delivery) -> bool:
    """Store it raw; True when it is new. Idempotent by (account, key): a second one changes nothing."""
    return receive_all(session, [delivery]) == 1


def receive_all(session: Session, deliveries: Sequence[Delivery]) -> int:
    """Store many raw in one statement; how many were new. Idempotent by (account, key), also within the batch."""
    if not deliveries:
        return 0
    connection = session.connection()
    # In one order, so that two who are sent the same at once do not wait for each other.
    in_order = sorted(deliveries, key=lambda delivery: (str(delivery.account_id), delivery.key))
    rows = [delivery.model_dump() for delivery in in_order]
    insert = inserting(connection, Delivery, rows[0], ignoring=["account_id", "key"])
    stored = write(connection, insert, rows)()
    if stored:
        session.info["ring"] = True
    return stored


def due(session: Session, *, limit: int) -> Sequence[Delivery]:
    """The oldest deliveries that wait to be understood, at most `limit` and 16 MB (but at least one)."""
    now = database_now(session)
    asked = {"now": now, "strange": now + timedelta(seconds=LONGEST_S), "most": limit, "bytes": BATCH_MAX_BYTES}
    return reading.plain(Delivery, reading.read(session, DUE, asked))


def claim_ids(session: Session, delivery_ids: Sequence[UUID]) -> Sequence[UUID]:
    """`claim_due` for whoever has read them: the ids of those that are locked, in order."""
    return [delivery_id for (delivery_id,) in reading.read(session, CLAIM, {"ids": list(delivery_ids)})]


def claim_due(session: Session, delivery_ids: Sequence[UUID]) -> Sequence[Delivery]:
    """Those of the deliveries that still wait and that nobody else holds, locked for this transaction, bodies apart."""
    query = (
        select(Delivery)
        .where(col(Delivery.id).in_(delivery_ids), Delivery.status == DeliveryStatus.received)
        .order_by(col(Delivery.id))
        .options(defer(Delivery.body))  # type: ignore[arg-type]
    )
    return claim(session, query, limit=len(delivery_ids))


def apply(session: Session, delivery: Delivery) -> None:
    """It is understood and everything it says is recorded in this transaction."""
    delivery.status, delivery.applied_at, delivery.error = DeliveryStatus.applied, database_now(session), None
    delivery.tries += 1
    session.add(delivery)


def apply_all(session: Session, delivery_ids: Sequence[UUID]) -> None:
    """`apply` for many that were claimed by their ids."""
    now = database_now(session)
    for delivery_id in delivery_ids:
        ledger.change(session, APPLIED, {"of": delivery_id, "now": now})


def reject(session: Session, delivery: Delivery, error: str) -> None:
    """It cannot be understood; it stays with its bytes and the reason until it is replayed."""
    delivery.status, delivery.error = DeliveryStatus.rejected, _kept(error)
    delivery.tries += 1
    session.add(delivery)
    log.warning("delivery rejected", delivery=str(delivery.id), key=delivery.key, error=error[:200])


def postpone(session: Session, delivery: Delivery, error: str) -> bool:
    """Try it again later, each time about twice as late; after 12 tries it is rejected, and that gives False."""
    if delivery.tries + 1 >= TRIES_MAX:
        reject(session, delivery, f"Given up after {TRIES_MAX} tries: {error}")
        return False
    wait_s = min(BACKOFF_FIRST_S * 2**delivery.tries, BACKOFF_MAX_S) * random.uniform(1 - JITTER, 1 + JITTER)
    delivery.tries += 1
    delivery.error = _kept(error)
    delivery.next_try_at = database_now(session) + timedelta(seconds=wait_s)
    session.add(delivery)
    return True


def _kept(error: str) -> str:
    return error[:ERROR_MAX_CHARACTERS].replace("\0", "\N{REPLACEMENT CHARACTER}")  # PostgreSQL keeps no NUL


def put_back(session: Session, delivery_ids: Sequence[UUID]) -> int:
    """Make settled deliveries wait again, from their stored bytes; how many. Harmless: every handler may run twice."""
    settled = (DeliveryStatus.applied, DeliveryStatus.rejected)
    result = session.execute(
        update(Delivery)
        .where(col(Delivery.id).in_(delivery_ids), col(Delivery.status).in_(settled))
        .values(status=DeliveryStatus.received, tries=0, next_try_at=database_now(session), applied_at=None, error=None)
    )
    session.info["ring"] = True
    return result.rowcount  # type: ignore[attr-defined, no-any-return]


def forget(session: Session, *, before: datetime, limit: int) -> int:
    """Remove deliveries applied earlier than `before`, the oldest first, at most `limit`; gives their number.

    Their keys are free again: what a manufacturer sends once more after so long is applied once more, which is harmless.
    """
    old = (
        select(Delivery.id)
        .where(Delivery.status == DeliveryStatus.applied, Delivery.next_try_at < before)
        .where(col(Delivery.applied_at) < before)
        .order_by(col(Delivery.next_try_at))
    )
    chosen = claim(session, old, limit=limit)
    session.execute(delete(Delivery).where(col(Delivery.id).in_(chosen)))
    return len(chosen)
