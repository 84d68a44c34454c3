"""Every change of missions, robots, schedules and alerts becomes an event in Prefect, so that automations can react.

The feed is read from a position that is kept in our database. It moves on only when Prefect shows that it has kept the
events, for its server holds new ones in memory for some seconds. So nothing is lost when Prefect or this process dies;
what is told again has the same id, and Prefect keeps it once.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

import anyio
import structlog
from prefect.client.orchestration import PrefectClient
from prefect.events import Event
from prefect.events.filters import EventFilter
from prefect.exceptions import PrefectHTTPStatusError
from sqlalchemy import func
from sqlmodel import Session, col, select

from fleet import changes
from fleet.changes import Change
from fleet.clock import SystemClock, database_now
from fleet.doorbell import Doorbell
from fleet.errors import Unavailable
from orchestration.desk_board import Reading
from orchestration.desk_requests import Transaction
from orchestration.desk_told import events_of

log = structlog.get_logger(__name__)
READER = "prefect-events"
BATCH = 200
PAGE = 50  # what Prefect shows at once
UNDERWAY_MAX = 20  # batches that Prefect has not shown to have kept yet
LISTEN_S = 2.0
KEPT_WITHIN_S = 60.0
NEWS = timedelta(hours=24)  # what is older is no news: nobody wants an automation to react to it
MARGIN = timedelta(hours=1)


class Batch(NamedTuple):
    """Events told together, up to a position of the feed, and when they were told."""

    position: int
    events: Sequence[Event]
    told_s: float = 0.0

    @property
    def last(self) -> UUID | None:
        """The event that is kept last; None when none is to be kept."""
        return self.events[-1].id if self.events else None


async def tell(client: PrefectClient, transaction: Transaction, reading: Reading, doorbell: Doorbell) -> None:
    """For ever: tell Prefect what changes, in order, from where the last desk was shown to have got to.

    Raises:
        Unavailable: Prefect took events and does not show them; they are told again.
    """
    teller = Teller(client, transaction, reading)
    await teller.begin()
    with doorbell.listen() as listener:
        while True:
            has_more = await teller.tell_next()
            await teller.confirm()
            if not has_more:
                await asyncio.to_thread(listener.wait, LISTEN_S)
            await anyio.sleep(0.2)  # rings come in bursts: one look for all of them


class Teller:
    """One desk's reading of the feed; two at once tell everything twice, which Prefect keeps once."""

    def __init__(self, client: PrefectClient, transaction: Transaction, reading: Reading) -> None:
        """`begin` finds where to go on."""
        self._client, self._transaction, self._reading = client, transaction, reading
        self._position = 0
        self._underway: deque[Batch] = deque()
        self._is_catching_up = True

    async def begin(self) -> None:
        """Go on after what Prefect was last shown to have kept; what is no news any more is passed over."""
        self._position, passed_over = await asyncio.to_thread(self._begin)
        if passed_over:
            log.warning("changes are too old to be told to Prefect", changes=passed_over, older_than=str(NEWS))

    def _begin(self) -> tuple[int, int]:
        with self._transaction() as session:
            changes.note_read(session, READER, 0)  # the first desk of all begins with the news of the last day
            position = changes.read_up_to(session, READER)
            newer, passed_over = _pass_over(session, position)
            changes.note_read(session, READER, newer)
        return newer, passed_over

    async def tell_next(self) -> bool:
        """Tell one batch of what comes next; whether there is more."""
        if len(self._underway) >= UNDERWAY_MAX:
            return False
        batch, has_more = await asyncio.to_thread(self._read)
        if batch.position == self._position:
            return False
        kept = await self._kept([event.id for event in batch.events]) if self._is_catching_up else set[UUID]()
        taken = await self._send([event for event in batch.events if event.id not in kept])
        self._position, self._is_catching_up = batch.position, has_more
        self._underway.append(Batch(batch.position, taken, asyncio.get_running_loop().time()))
        return has_more

    def _read(self) -> tuple[Batch, bool]:
        with self._reading() as session:
            seen = changes.after(session, self._position, limit=BATCH)
            last = seen[-1].position if seen else None
            return Batch(last or self._position, events_of(session, seen)), len(seen) == BATCH

    async def _send(self, events: Sequence[Event]) -> Sequence[Event]:
        """Tell them in one go; if Prefect refuses that, one by one, without those that it refuses."""
        try:
            await self._post(events)
        except PrefectHTTPStatusError as error:
            if error.response.status_code >= 500 or error.response.status_code in {404, 408, 429}:
                raise
            if len(events) > 1:
                return [event for one in events for event in await self._send([one])]
            log.warning("Prefect refuses an event", event=events[0].event, error=error.response.text[:200])
            return []
        return events

    async def _post(self, events: Sequence[Event]) -> None:
        if events:
            await self._client.request("POST", "/events", json=[event.model_dump(mode="json") for event in events])

    async def confirm(self) -> None:
        """Move the kept position on over every batch that Prefect has kept, in order.

        Raises:
            Unavailable: it has not kept the first one for a minute.
        """
        if not self._underway:
            return
        kept = await self._kept([batch.last for batch in self._underway if batch.last])
        done = 0
        while self._underway and (self._underway[0].last is None or self._underway[0].last in kept):
            done = self._underway.popleft().position
        if done:
            await asyncio.to_thread(self._note, done)
        if self._underway and asyncio.get_running_loop().time() - self._underway[0].told_s > KEPT_WITHIN_S:
            raise Unavailable("Prefect took events and does not show them; they are told again.")

    def _note(self, position: int) -> None:
        with self._transaction() as session:
            changes.note_read(session, READER, position)

    async def _kept(self, ids: Sequence[UUID]) -> set[UUID]:
        """Those of the events that Prefect shows."""
        now = SystemClock().now()
        occurred = {"since": now - NEWS - MARGIN, "until": now + MARGIN}
        found: set[UUID] = set()
        for first in range(0, len(ids), PAGE):
            wanted = {"id": {"id": ids[first : first + PAGE]}, "occurred": occurred}
            page = await self._client.read_events(EventFilter.model_validate(wanted), limit=PAGE)
            found |= {event.id for event in page.events}
        return found


def _pass_over(session: Session, position: int) -> tuple[int, int]:
    """The last position of those that are no news any more, and how many these are."""
    old = (col(Change.position) > position, Change.at < database_now(session) - NEWS)
    last, number = session.exec(select(func.max(Change.position), func.count()).where(*old)).one()
    return last or position, number
