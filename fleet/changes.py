"""The feed of changes: what other processes, live views and exporters read, in one order, without a gap.

A change is written in the transaction of what it tells. Its position is assigned after that commit by one publisher, so
a reader that has seen position n has seen everything up to n, also when transactions commit out of order.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Column, Integer, bindparam, delete, func, text, update
from sqlalchemy import select as sqlalchemy_select
from sqlmodel import Field, Session, SQLModel, col, select

from fleet import ledger, reading
from fleet.clock import database_now
from fleet.database import JSONColumn, UTCDateTime, claim, table_of

PUBLISH_LOCK = 0x59415244  # any number that no other advisory lock of ours has


class Change(SQLModel, table=True):
    """One change; `position` is null until it is published."""

    __tablename__ = "changes"

    id: int | None = Field(
        default=None,
        sa_column=Column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    )
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    subject: str = Field(description="What kind of thing changed: mission, attempt, robot, bag, report, request …")
    subject_id: str
    kind: str = Field(description="What happened to it: created, running, succeeded, converted …")
    fields: dict[str, object] = Field(default_factory=dict, sa_column=Column(JSONColumn, nullable=False))
    at: datetime = Field(sa_type=UTCDateTime)
    position: int | None = Field(default=None, sa_column=Column(BigInteger, unique=True, nullable=True))


CHANGES = table_of(Change)
_OLDEST = (
    sqlalchemy_select(CHANGES.c.id, func.row_number().over(order_by=CHANGES.c.id).label("nth"))
    .where(CHANGES.c.position.is_(None))
    .order_by(CHANGES.c.id)
    .limit(bindparam("most", type_=Integer))
    .subquery()
)
WAITS = sqlalchemy_select(CHANGES.c.id).where(CHANGES.c.position.is_(None)).limit(1)
_LAST = sqlalchemy_select(func.coalesce(func.max(CHANGES.c.position), 0)).scalar_subquery()
PUBLISH = update(CHANGES).where(CHANGES.c.id == _OLDEST.c.id).values(position=_LAST + _OLDEST.c.nth)


class FeedReader(SQLModel, table=True):
    """How far somebody has read the feed and acted on it, kept so that it goes on there after any outage."""

    __tablename__ = "feed_readers"

    name: str = Field(primary_key=True)
    position: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))


def record(
    session: Session,
    *,
    organisation_id: UUID,
    subject: str,
    subject_id: object,
    kind: str,
    fields: dict[str, object] | None = None,
) -> None:
    """Tell the feed, in this transaction; the bell is rung after its commit."""
    values = {
        "organisation_id": organisation_id,
        "subject": subject,
        "subject_id": str(subject_id),
        "kind": kind,
        "fields": fields or {},
        "at": database_now(session),
    }
    ledger.append(session, Change, values)
    session.info["ring"] = True


def waits(session: Session) -> bool:
    """Whether a committed change waits for its position."""
    return bool(reading.read(session, WAITS, {}))


def publish(session: Session, *, limit: int = 1000) -> int:
    """Assign positions to committed changes, oldest first; gives their number. One publisher at a time, by lock."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": PUBLISH_LOCK})
    return session.connection().execute(PUBLISH, {"most": limit}).rowcount


def after(session: Session, position: int, *, limit: int = 1000) -> Sequence[Change]:
    """Published changes after `position`, in order."""
    query = select(Change).where(col(Change.position) > position).order_by(col(Change.position)).limit(limit)
    return session.exec(query).all()


def newest(session: Session) -> int:
    """The last position that is published; 0 when there is none."""
    return session.exec(select(func.max(Change.position))).one() or 0


def forget(session: Session, *, before: datetime, limit: int) -> int:
    """Remove the oldest published changes, those of earlier than `before`, at most `limit`; gives their number.

    One that waits for its position stays, and so does the newest: the next position is counted from it.
    """
    published = col(Change.position).is_not(None)
    # Looking at the front of the feed only keeps this cheap while nothing in it is old.
    front = select(Change.id).where(published).order_by(col(Change.position)).limit(limit)
    old = select(Change.id).where(col(Change.id).in_(front), Change.at < before, col(Change.position) < newest(session))
    chosen = claim(session, old.order_by(col(Change.position)), limit=limit)
    session.execute(delete(Change).where(col(Change.id).in_(chosen)))
    return len(chosen)


def read_up_to(session: Session, reader: str) -> int:
    """The position that `reader` has acted on; one that never read begins with what comes next."""
    row = session.get(FeedReader, reader)
    if row is None:
        row = FeedReader(name=reader, position=newest(session))
        session.add(row)
        session.flush()
    return row.position


def note_read(session: Session, reader: str, position: int) -> None:
    """Keep that `reader` has acted on everything up to `position`."""
    row = session.get(FeedReader, reader) or FeedReader(name=reader)
    row.position = max(position, row.position)
    session.add(row)
