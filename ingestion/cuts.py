"""Cuts of bags: which span is wanted, and the request for it. The work itself is in `ingestion.bags.cuts`."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlmodel import Session, col, select

from fleet import requests
from fleet.errors import Conflict, Invalid, NotFound
from fleet.events import Event
from fleet.requests import Request, RequestStatus
from ingestion import quotas
from ingestion.models import Bag
from ingestion.quotas import Limits

KIND = "cut-bag"
AROUND_S = 30.0
LONGEST_S = 86_400.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Span:
    """A time from `begin` up to and without `end`."""

    begin: datetime
    end: datetime

    @classmethod
    def around(cls, at: datetime, *, before_s: float, after_s: float) -> "Span":
        """The time around an instant, that of `after_s` included to the microsecond.

        Raises:
            Invalid: it leaves the calendar.
        """
        try:
            return cls(at - timedelta(seconds=before_s), at + timedelta(seconds=after_s, microseconds=1))
        except (OverflowError, ValueError) as error:
            raise Invalid(f"{before_s} s before and {after_s} s after {at} are no times of the calendar.") from error

    @classmethod
    def between(cls, begin: datetime, end: datetime) -> "Span":
        """The time from an instant up to another, in UTC.

        Raises:
            Invalid: one leaves the calendar.
        """
        try:
            return cls(begin.astimezone(UTC), end.astimezone(UTC))
        except OverflowError as error:
            raise Invalid(f"{begin} or {end} is no time of the calendar in UTC; give years from 1 to 9999.") from error

    @property
    def nanoseconds(self) -> tuple[int, int]:
        """Begin and end since 1970.

        Raises:
            Invalid: the end is not after the begin.
        """
        if self.end <= self.begin:
            raise Invalid(f"A cut from {self.begin} to {self.end} holds nothing; its end must come after its begin.")
        return _ns(self.begin), _ns(self.end)

    def sha256_in(self, bag_sha256: str) -> str:
        """The hash that names this span of the recording with that hash."""
        begin_ns, end_ns = self.nanoseconds
        return hashlib.sha256(f"{bag_sha256} {begin_ns} {end_ns}\n".encode()).hexdigest()


class CutWanted(BaseModel):
    """A span of a bag: the time around an event, or from an instant up to another; with both, that of the instants."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)

    event_id: UUID | None = Field(None, description="The event around which it is cut out.")
    begin: AwareDatetime | None = Field(None, alias="from", description="The first instant, instead of an event.")
    end: AwareDatetime | None = Field(None, alias="to", description="The instant before which it ends.")
    seconds_before: float = Field(AROUND_S, ge=0, le=LONGEST_S, description="Of the event.")
    seconds_after: float = Field(AROUND_S, ge=0, le=LONGEST_S, description="Of the event.")


def span_of(session: Session, bag: Bag, wanted: CutWanted) -> Span:
    """The span of a converted bag that is wanted.

    Raises:
        Invalid: neither an event nor both instants, or they are in the wrong order.
        NotFound: there is no such event in the bag's organisation, or the bag holds nothing of the span.
        Conflict: the bag is not converted, so nothing can be cut out of it.
    """
    event = _event(session, bag, wanted.event_id) if wanted.event_id is not None else None
    if wanted.begin is not None and wanted.end is not None:
        span = Span.between(wanted.begin, wanted.end)
    elif event is None or wanted.begin is not None or wanted.end is not None:
        raise Invalid("Say what is to be cut out: an event, or both the first instant and that before which it ends.")
    else:
        span = Span.around(event.occurred_at, before_s=wanted.seconds_before, after_s=wanted.seconds_after)
    _ = span.nanoseconds
    if bag.started_at is None or bag.finished_at is None:
        raise Conflict(f"{bag.filename} is not converted yet, so nothing can be cut out of it.", bag=str(bag.id))
    if span.begin > bag.finished_at or span.end <= bag.started_at:
        raise NotFound(
            f"{bag.filename} has no message from {span.begin} to {span.end}; "
            f"it was recorded from {bag.started_at} to {bag.finished_at}.",
            bag=str(bag.id),
        )
    return span


def _event(session: Session, bag: Bag, event_id: UUID) -> Event:
    event = session.get(Event, event_id)
    if event is None or event.organisation_id != bag.organisation_id:
        raise NotFound(
            f"There is no event {event_id}; `yardmaster bags show` tells those of a bag.", event=str(event_id)
        )
    return event


def cuts_of(session: Session, bag: Bag) -> list[Bag]:
    """What was cut out of this bag, oldest first; 200 at most."""
    query = select(Bag).where(Bag.cut_of_id == bag.id, Bag.organisation_id == bag.organisation_id)
    return list(session.exec(query.order_by(col(Bag.id)).limit(200)).all())


def ask(session: Session, bag: Bag, wanted: CutWanted, *, limits: Limits, who: str) -> tuple[Request, str]:
    """The request for a cut of a bag, and the SHA-256 that the cut is known by; the same span again is the same request.

    One that failed is asked for anew.

    Raises:
        Invalid, NotFound, Conflict: as of `span_of`.
        NoRoom: the organisation would have stored more than it may.
    """
    span = span_of(session, bag, wanted)
    sha256, (begin_ns, end_ns) = span.sha256_in(bag.sha256), span.nanoseconds
    quotas.check_stored(session, bag.organisation_id, size=_share(bag, span), sha256=sha256, limits=limits)
    parameters: dict[str, object] = {"bag": str(bag.id), "begin": _text(span.begin), "end": _text(span.end)}
    if wanted.event_id is not None:
        parameters["event"] = str(wanted.event_id)
    request = requests.ask(
        session,
        organisation_id=bag.organisation_id,
        kind=KIND,
        key=_free_key(session, bag, f"{bag.id}/{begin_ns}/{end_ns}"),
        parameters=parameters,
        requested_by=who,
    )
    return request, sha256


def _free_key(session: Session, bag: Bag, key: str) -> str:
    """The key, or one behind those that have failed."""
    mine = (Request.organisation_id == bag.organisation_id, Request.kind == KIND)
    failed = select(Request.key).where(*mine, Request.status == RequestStatus.failed, col(Request.key).startswith(key))
    tries = len(session.exec(failed).all())
    return f"{key}/{tries + 1}" if tries else key


def _share(bag: Bag, span: Span) -> int:
    """About how many bytes of the bag lie in the span."""
    assert bag.started_at is not None
    assert bag.finished_at is not None
    whole = (bag.finished_at - bag.started_at).total_seconds()
    within = (min(span.end, bag.finished_at) - max(span.begin, bag.started_at)).total_seconds()
    return round(bag.size * within / whole) if whole > 0 else bag.size


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()


def _ns(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1) * 1000
