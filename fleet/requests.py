"""Requests: rows that ask for a flow run. Whoever may not call Prefect writes one; the desk carries it there."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Column, UniqueConstraint, and_
from sqlmodel import Field, Session, SQLModel, col, select

from fleet import changes
from fleet.clock import AHEAD_S, database_now, has_come
from fleet.database import JSONColumn, UTCDateTime, claim, new_id, text_of
from fleet.errors import NotFound
from fleet.events import insert_new

CLAIM_S = 20.0  # a desk that was killed keeps nobody waiting for longer; carried twice, a request is one run


class RequestStatus(StrEnum):
    """How far a request got."""

    pending = "pending"
    started = "started"
    done = "done"
    failed = "failed"


class Request(SQLModel, table=True):
    """Asks for a run of the deployment `kind`; (organisation, kind, key) exists once, so asking twice is harmless."""

    __tablename__ = "requests"
    __table_args__ = (UniqueConstraint("organisation_id", "kind", "key"),)

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    kind: str = Field(description="Name of the deployment, such as process-bag.")
    key: str
    parameters: dict[str, object] = Field(default_factory=dict, sa_column=Column(JSONColumn, nullable=False))
    status: RequestStatus = Field(default=RequestStatus.pending, sa_type=text_of(RequestStatus), index=True)
    requested_by: str
    created_at: datetime = Field(sa_type=UTCDateTime)
    claimed_until: datetime | None = Field(default=None, sa_type=UTCDateTime)
    tries: int = 0
    flow_run_id: str | None = None
    error: str | None = None


def ask(
    session: Session, *, organisation_id: UUID, kind: str, key: str, parameters: dict[str, object], requested_by: str
) -> Request:
    """The request row for (organisation, kind, key): a new one, or the one that was already there."""
    same = and_(col(Request.organisation_id) == organisation_id, col(Request.kind) == kind, col(Request.key) == key)
    row = Request(
        organisation_id=organisation_id,
        kind=kind,
        key=key,
        parameters=parameters,
        requested_by=requested_by,
        created_at=database_now(session),
    )
    if insert_new(session, Request, row.model_dump(), on=["organisation_id", "kind", "key"]):
        changes.record(session, organisation_id=organisation_id, subject="request", subject_id=row.id, kind="created")
    return session.exec(select(Request).where(same)).one()


def claim_pending(session: Session, *, limit: int = 32) -> list[Request]:
    """Pending requests for this caller alone for CLAIM_S seconds; a crash frees them by itself."""
    now = database_now(session)
    free = has_come(col(Request.claimed_until), now, ahead_s=CLAIM_S + AHEAD_S)
    query = select(Request).where(Request.status == RequestStatus.pending, free).order_by(col(Request.id))
    rows = list(claim(session, query, limit=limit))
    for row in rows:
        row.claimed_until = now + timedelta(seconds=CLAIM_S)
        row.tries += 1
        session.add(row)
    return rows


def settle(
    session: Session,
    request_id: UUID,
    status: RequestStatus,
    *,
    flow_run_id: str | None = None,
    error: str | None = None,
) -> Request:
    """Write how far the request got; writing the same again changes nothing.

    Raises:
        NotFound: no such request.
    """
    row = session.get(Request, request_id)
    if row is None:
        raise NotFound(f"There is no request {request_id}.", request=str(request_id))
    row.status, row.error = status, error
    row.flow_run_id = flow_run_id or row.flow_run_id
    session.add(row)
    changes.record(
        session, organisation_id=row.organisation_id, subject="request", subject_id=row.id, kind=status.value
    )
    return row


def release(session: Session, request_ids: Sequence[UUID]) -> None:
    """Give claimed requests back at once: whoever is to run them did not answer, so they stay pending."""
    chosen = select(Request).where(col(Request.id).in_(request_ids), Request.status == RequestStatus.pending)
    for row in session.exec(chosen).all():
        row.claimed_until = None
        session.add(row)


def started(session: Session, *, limit: int = 200) -> Sequence[Request]:
    """Requests whose run has begun and whose end is not yet known, oldest first."""
    query = select(Request).where(Request.status == RequestStatus.started).order_by(col(Request.id)).limit(limit)
    return session.exec(query).all()
