"""The link to the simulated manufacturer's cloud: requests out, typed outcomes back."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import quote, urlencode

from fleet.adapter import (
    Accepted,
    Acknowledged,
    Adapter,
    AdapterAccount,
    Capabilities,
    CommandOutcome,
    DiscoveredRobot,
    Order,
    OrderReport,
    OrderStatus,
    Page,
    Refused,
    Reported,
    SubmitOutcome,
    TaskKind,
    Unknown,
    Unsupported,
)
from fleet.adapters.simulated import translate, wire
from fleet.clock import Clock, SystemClock
from fleet.errors import Invalid, Rejected, Unavailable
from fleet.transport import Answer, Transport, open_transport

PAGE_ENTRIES = 200
NO_ANSWER = (Unavailable, Rejected, Invalid)
NOT_LET_IN = frozenset({401, 403})  # the account's trouble, of which the robot knows nothing: it has refused nothing


class SimulatedAdapter:
    """Speaks the cloud's HTTP interface; holds nothing but the connection pool, so that it may be opened anew any time."""

    capabilities = Capabilities(
        deduplicates=True, queryable=True, cancellable=True, pausable=True, tasks=frozenset(TaskKind)
    )

    def __init__(self, transport: Transport, clock: Clock) -> None:
        """`transport` carries base address and credential; `clock` dates the answers that carry no time."""
        self._transport = transport
        self._clock = clock

    async def submit(self, order: Order) -> SubmitOutcome:
        """Send the order; the cloud keeps the key, so sending it again does not start it twice."""
        job = translate.job_from(order).model_dump(mode="json", by_alias=True)
        try:
            answer = await self._transport.call("POST", f"{_unit_path(order.serial_number)}/jobs", content=job)
            if answer.status in NOT_LET_IN:
                return Unknown(why=_cause(answer))
            if answer.status >= 300:
                return Refused(reason=_cause(answer))
            return Accepted(reference=translate.parsed(wire.Ticket, answer.body).job_ref)
        except NO_ANSWER as error:
            return Unknown(why=error.message)

    async def query(self, serial_number: str, key: str) -> OrderReport | Unknown:
        """How the cloud says the order stands; `not_found` when it never had it, or not for this robot."""
        path = f"{_unit_path(serial_number)}/jobs?{urlencode({'token': key})}"
        try:
            answer = await self._transport.call("GET", path)
            if answer.status == 200:
                return translate.report_from(translate.parsed(wire.JobState, answer.body))
            if translate.parsed(wire.Problem, answer.body).code == "NO_JOB":
                return self._never_had(serial_number, key)
            return Unknown(why=_cause(answer))
        except NO_ANSWER as error:
            return Unknown(why=error.message)

    def _never_had(self, serial_number: str, key: str) -> OrderReport:
        return OrderReport(
            key=key, serial_number=serial_number, status=OrderStatus.not_found, observed_at=self._clock.now()
        )

    async def cancel(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Ask the robot to end the order and stop where it is; also before the order arrived, which then never starts."""
        return await self._command(serial_number, key, fence, wire.Verb.stop)

    async def pause(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Ask the robot to hold where it is."""
        return await self._command(serial_number, key, fence, wire.Verb.hold)

    async def resume(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Ask a held robot to go on."""
        return await self._command(serial_number, key, fence, wire.Verb.proceed)

    async def _command(self, serial_number: str, key: str, fence: int, verb: wire.Verb) -> CommandOutcome:
        body = wire.CommandBody(token=key, verb=verb, epoch=fence).model_dump(mode="json", by_alias=True)
        try:
            answer = await self._transport.call("POST", f"{_unit_path(serial_number)}/commands", content=body)
        except NO_ANSWER as error:
            return Unknown(why=error.message)
        if answer.status in NOT_LET_IN:
            return Unknown(why=_cause(answer))
        return Acknowledged() if answer.status < 300 else Unsupported(reason=_cause(answer))

    async def discover(self) -> Sequence[DiscoveredRobot]:
        """The robots of the account, by serial number.

        Raises:
            Unavailable: no answer.
            Rejected: the cloud refused, for example the credential.
            Invalid: the answer is not of this cloud's form.
        """
        answer = await self._get("/api/units")
        return [translate.robot_from(unit) for unit in translate.parsed(wire.Units, answer.body).units]

    async def observe_all(self) -> Page:
        """The present state of all robots and of what they work on, in one answer, raw.

        Raises:
            Unavailable: no answer.
            Rejected: the cloud refused, for example the credential.
        """
        answer = await self._get("/api/status")
        return Page(key=f"status/{_digest(answer.body)}", body=answer.body, next_cursor="", is_last=True)

    async def pages(self, cursor: str) -> AsyncIterator[Page]:
        """The history after `cursor` ("" = from its beginning), page by page, raw; nothing new gives no page.

        Raises:
            Unavailable: no answer; the pages given so far stand.
            Rejected: the cloud refused, for example the credential.
            Invalid: an answer is not of this cloud's form.
        """
        more = True
        while more:
            query = urlencode({"after": cursor, "limit": PAGE_ENTRIES})
            answer = await self._get(f"/api/events?{query}")
            page = translate.parsed(wire.EventPage, answer.body)
            if not page.entries or page.next == cursor:
                return
            key = f"events/{cursor or 'start'}/{page.next}"
            more, cursor = page.more, page.next
            yield Page(key=key, body=answer.body, next_cursor=cursor, is_last=not more)

    async def _get(self, path: str) -> Answer:
        answer = await self._transport.call("GET", path)
        if answer.status != 200:
            raise Rejected(f"GET {path} was refused with {answer.status}: {_cause(answer)}", status=answer.status)
        return answer

    def events_from(self, body: bytes) -> Sequence[Reported]:
        """What a raw delivery or page says (pure).

        Raises:
            Invalid: the bytes are not of this manufacturer's form; says what is wrong where.
        """
        return translate.events_from(body)


def _unit_path(serial_number: str) -> str:
    return f"/api/units/{quote(serial_number, safe='')}"


def _cause(answer: Answer) -> str:
    try:
        return translate.parsed(wire.Problem, answer.body).cause
    except Invalid:
        return f"the cloud answered {answer.status} without a reason"


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:32]


@asynccontextmanager
async def open_adapter(account: AdapterAccount) -> AsyncIterator[Adapter]:
    """A link to the account's cloud, closed at the end of the block; nothing is connected yet.

    Raises:
        Invalid: the account's address is none.
    """
    # An empty one makes no lawful header; without it the cloud itself says what is wrong.
    headers = {"Authorization": f"Bearer {account.credential}"} if account.credential else {}
    async with open_transport(account.base_url, timeout_s=10.0, headers=headers) as transport:
        yield SimulatedAdapter(transport, SystemClock())
