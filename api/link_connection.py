"""One gateway's connection: its words in, its commands out, its leases renewed; everything bounded.

Reading stops while what was read before is not stored, so a gateway that says much waits, and nobody else does.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import DataError, StatementError
from sqlmodel import Session
from starlette.websockets import WebSocket, WebSocketDisconnect

from api.group_commit import Deliveries
from fleet import gateways, link_commands
from fleet.accounts import ManufacturerAccount
from fleet.adapter import OrderReport
from fleet.errors import Conflict, Forbidden, Invalid, TooLarge, Unavailable, YardmasterError
from fleet.gateways import Held
from fleet.group_commit import GroupCommit
from fleet.link_commands import Handed, LinkCommand
from fleet.link_frames import (
    AWAY,
    DISPLACED,
    NONSENSE,
    SHUT_OUT,
    SILENCE_S,
    TOO_SLOW,
    Ack,
    Answer,
    Bye,
    Command,
    FromGateway,
    FromPlatform,
    HeldRobot,
    Hello,
    Hold,
    Outcome,
    Ping,
    Pong,
    ServedAccount,
    Tell,
    TellExposure,
    TellHeard,
    Welcome,
    from_gateway,
)
from fleet.push import Inheritance, events_from, to_bytes
from fleet.runtime import Runtime
from ingestion import inbox

log = structlog.get_logger(__name__)

WAITING_MAX = 1000  # commands for one gateway that are not sent yet
ANSWERS_MAX = 128  # answers of one gateway that are being written
STORE_AGAIN_S = (0.1, 0.5, 2.0)  # between the tries to store an answer
TELLS_MAX = 8  # a gateway waits for each acknowledgement, so that more are out of order
SENT_KEPT = 10_000
REASON_MAX_BYTES = 120  # RFC 6455, 5.5.1: a close frame holds 125 bytes, two of them the code
CODES: dict[type[YardmasterError], int] = {
    TooLarge: TOO_SLOW,
    Invalid: NONSENSE,
    Forbidden: SHUT_OUT,
    Conflict: DISPLACED,
    Unavailable: AWAY,
}
Answers = GroupCommit[tuple[UUID, Outcome], None]
Tellings = Tell | TellHeard | TellExposure


class Connection:
    """A gateway that has dialled in; made when it was let in, over when `serve` returns."""

    def __init__(
        self, socket: WebSocket, gateway_id: UUID, runtime: Runtime, *, answers: Answers, deliveries: Deliveries
    ) -> None:
        """`answers` and `deliveries` write what it says in groups with what others say."""
        self._socket, self._runtime = socket, runtime
        self._answers, self._deliveries = answers, deliveries
        self.gateway_id, self.epoch, self.name, self._journal = gateway_id, 0, "", ""
        self._out: asyncio.Queue[FromPlatform | tuple[Command, float]] = asyncio.Queue(WAITING_MAX)
        self._tells: asyncio.Queue[Tellings] = asyncio.Queue(TELLS_MAX)
        self._ping, self._pinged = 0, asyncio.Event()
        self._room = asyncio.Semaphore(ANSWERS_MAX)
        self._writing: set[asyncio.Task[None]] = set()
        self._sent: OrderedDict[str, None] = OrderedDict()
        self._accounts: dict[str, ManufacturerAccount] = {}
        self._served: tuple[ServedAccount, ...] = ()
        self._held: list[Held] = []
        self._ended: asyncio.Future[YardmasterError] = asyncio.get_running_loop().create_future()

    async def greet(self) -> None:
        """Take its hello, open a new epoch, and tell it whom it serves and holds.

        Raises:
            Invalid: it says no hello, or speaks another protocol.
            TimeoutError: it says nothing.
            WebSocketDisconnect: it is gone.
        """
        said = await self._next()
        if not isinstance(said, Hello):
            raise Invalid(f"A gateway says hello first; it said {said.kind}.")
        if said.protocol != Welcome.model_fields["protocol"].default:
            raise Invalid(f"This platform speaks protocol 1 of the link; the gateway speaks {said.protocol}.")
        self._journal = said.journal
        self.epoch = await asyncio.to_thread(self._dial_in, said)
        await self._renew(0)

    def _dial_in(self, said: Hello) -> int:
        with self._runtime.transaction() as session:
            gateway = session.get_one(gateways.Gateway, self.gateway_id)
            self.name = gateway.name
            return gateways.dial_in(session, gateway, journal=said.journal, version=said.version)

    async def serve(self) -> None:
        """Listen and speak until the line breaks or is closed; the close tells why."""
        works = [self._read(), self._write(), self._breathe(), self._store()]
        tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(work) for work in works]
        tasks.append(asyncio.ensure_future(self._stopped()))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*tasks, *self._writing):
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        errors = [one for one in outcomes if isinstance(one, Exception)]
        for error in errors:
            if not isinstance(error, YardmasterError | TimeoutError | WebSocketDisconnect):
                raise error
        told = next((error for error in errors if isinstance(error, YardmasterError)), None)
        log.info(
            "a gateway's line is closed", gateway=self.name, epoch=self.epoch, why=str(told or errors or "it left")
        )
        if told is not None:
            await close(self._socket, told)
        elif any(isinstance(error, TimeoutError) for error in errors):
            await close(self._socket, Unavailable(f"Nothing was heard of this gateway for {SILENCE_S:.0f} s."))

    def stop(self, why: YardmasterError) -> None:
        """Close the line for this reason."""
        if not self._ended.done():
            self._ended.set_result(why)

    async def _stopped(self) -> None:
        raise await self._ended

    def is_news(self, command: LinkCommand) -> bool:
        """Whether the command is for this gateway, and was not sent on this line."""
        return str(command.id) not in self._sent and str(command.account_id) in self._accounts

    def offer(self, command: LinkCommand, within_s: float, inherited: tuple[Handed, Inheritance] | None = None) -> None:
        """Send the command, unless that was done on this line; `inherited`: another gateway may have begun its order."""
        if not self.is_news(command):
            return
        name = str(command.id)
        self._sent[name] = None
        while len(self._sent) > SENT_KEPT:
            self._sent.popitem(last=False)
        frame = Command.model_validate(
            {
                "id": name,
                "what": command.kind.value,
                "account": str(command.account_id),
                "address": command.serial_number,
                "key": command.key,
                "fence": command.fence,
                "order": command.order_json or (inherited and inherited[0].order),
                "inheritance": inherited and inherited[1],
                "within_s": within_s,
            }
        )
        self._say((frame, self._runtime.clock.monotonic() + within_s))

    def _say(self, frame: FromPlatform | tuple[Command, float]) -> None:
        try:
            self._out.put_nowait(frame)
        except asyncio.QueueFull:
            self.stop(TooLarge(f"More than {WAITING_MAX} frames wait for this gateway: it is too slow. Dial in again."))

    async def _write(self) -> None:
        while True:
            frame = await self._out.get()
            if isinstance(frame, tuple):
                frame, deadline = frame
                left_s = deadline - self._runtime.clock.monotonic()
                if left_s <= 0:
                    continue  # whoever asked has given up
                frame = frame.model_copy(update={"within_s": left_s})
            await self._socket.send_text(frame.model_dump_json())

    async def _next(self) -> FromGateway:
        async with asyncio.timeout(SILENCE_S):
            message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code") or 1006)
        text = message.get("text")
        if text is None:
            raise Invalid("A frame of the link is a text, no bytes.")
        return from_gateway(text)

    async def _read(self) -> None:
        while True:
            said = await self._next()
            match said:
                case Answer():
                    await self._take(said)
                case Tell() | TellHeard() | TellExposure():
                    self._tells.put_nowait(said)
                case Ping():
                    self._ping = said.number
                    self._pinged.set()
                case Bye():
                    await asyncio.to_thread(
                        self._in_transaction, lambda session: gateways.free(session, self.gateway_id)
                    )
                    return
                case _:
                    raise Invalid(f"A gateway says no {said.kind} now.")

    async def _take(self, said: Answer) -> None:
        if said.id not in self._sent:
            return  # of an earlier line: it is sent again on this one, and answered again
        await self._room.acquire()
        task = asyncio.create_task(self._keep(said))
        self._writing.add(task)
        task.add_done_callback(self._kept)

    async def _keep(self, said: Answer) -> None:
        """Store the answer; who asked waits for it, so a database that does not take it now is asked again."""
        for rest_s in (*STORE_AGAIN_S, None):
            try:
                await self._answers.write((UUID(said.id), said.outcome))
            except YardmasterError as error:
                log.warning("an answer of a gateway was not stored", gateway=self.name, error=error.message)
                if rest_s is None or not isinstance(error, Unavailable):
                    return  # nobody waits for longer than a few seconds, and then it is asked again
                await asyncio.sleep(rest_s)
            else:
                return

    def _kept(self, task: asyncio.Task[None]) -> None:
        self._writing.discard(task)
        self._room.release()

    async def _breathe(self) -> None:
        while True:
            await self._pinged.wait()
            self._pinged.clear()
            try:
                await self._renew(self._ping)
            except Unavailable as error:  # no pong: it knows by itself when its leases are over
                log.warning("leases of a gateway were not renewed", gateway=self.name, error=error.message)

    async def _renew(self, number: int) -> None:
        accounts, shared, held = await asyncio.to_thread(self._hold)
        served = tuple(_served(account, is_shared=account.id in shared) for account in accounts)
        self._accounts = {str(account.id): account for account in accounts}
        has_changed = (served, held) != (self._served, self._held) or number == 0
        if served != self._served or number == 0:
            self._say(Welcome(gateway=self.name, accounts=served))
        if has_changed:
            robots = tuple(_held(one) for one in held)
            self._say(Hold(number=number, lease_s=gateways.LEASE_S, robots=robots))
        else:
            self._say(Pong(number=number, lease_s=gateways.LEASE_S))
        self._served, self._held = served, held

    def _hold(self) -> tuple[Sequence[ManufacturerAccount], set[UUID], list[Held]]:
        with self._runtime.transaction() as session:
            held = gateways.hold(session, self.gateway_id, self.epoch)
            shared = gateways.shared_accounts(session, self.gateway_id)
            return gateways.accounts_of(session, self.gateway_id), shared, held

    async def _store(self) -> None:
        while True:
            said = await self._tells.get()
            account = self._accounts.get(said.account)
            if account is None and isinstance(said, Tell):
                account, said = await asyncio.to_thread(self._of_its_orders, said)
            if account is None:  # not served any more; it would be told again and again, and nothing else after it
                log.warning(
                    "what a gateway told of an account that it does not serve is dropped",
                    gateway=self.name,
                    account=said.account[:50],
                )
                self._say(Ack(key=said.key))
                continue
            account_id = account.id
            match said:
                case Tell():
                    await self._receive(account, said)
                case TellHeard():
                    heard = [(account_id, one) for one in said.heard]
                    await self._note(partial(gateways.note_heard, gateway_id=self.gateway_id, told=heard))
                case TellExposure():
                    told = [(account_id, said.exposure)]
                    await self._note(partial(gateways.note_exposed, gateway_id=self.gateway_id, told=told))
            self._say(Ack(key=said.key))

    def _of_its_orders(self, said: Tell) -> tuple[ManufacturerAccount | None, Tell]:
        """What it says, over an account that it serves no more, of orders that it was handed: that is a fact; else no account."""
        try:
            account_id, reports = UUID(said.account), events_from(said.reports.encode(errors="replace"))
        except (ValueError, Invalid):
            return None, said
        told = [one for one in reports if isinstance(one, OrderReport) and one.key.isprintable()]
        with self._runtime.reading() as session:
            mine = link_commands.handed_to(session, self.gateway_id, account_id, {one.key for one in told})
            account = session.get(ManufacturerAccount, account_id) if mine else None
        kept = [one for one in told if (one.key, one.serial_number) in mine]
        if account is None or not kept:
            return None, said
        log.info("a gateway tells of orders that it was handed before", gateway=self.name, account=account.name)
        return account, said.model_copy(update={"reports": to_bytes(kept).decode()})

    async def _receive(self, account: ManufacturerAccount, said: Tell) -> None:
        delivery = inbox.arriving(
            account,
            key=f"{self.gateway_id}:{self._journal}:{said.key}",
            source="link",
            headers={},
            body=said.reports.encode(errors="replace"),
            received_at=self._runtime.clock.now(),
        )
        await self._deliveries.write(delivery)

    async def _note(self, note: Callable[..., None]) -> None:
        def work(session: Session) -> None:
            note(session, robots=gateways.robots_at(session, self.gateway_id))

        try:
            await asyncio.to_thread(self._in_transaction, work)
        except (DataError, StatementError) as error:  # it would come again and again
            log.error("what a gateway told cannot be kept", gateway=self.name, error=str(error)[:300])

    def _in_transaction(self, work: Callable[[Session], None]) -> None:
        with self._runtime.transaction() as session:
            work(session)


def _served(account: ManufacturerAccount, *, is_shared: bool) -> ServedAccount:
    return ServedAccount(
        id=str(account.id),
        name=account.name,
        manufacturer=account.manufacturer,
        url=account.base_url,
        credential=account.credential,
        options=account.options,
        is_shared=is_shared,
    )


def _held(one: Held) -> HeldRobot:
    return HeldRobot(account=str(one.account_id), address=one.address, epoch=one.epoch, digest=one.digest)


async def close(socket: WebSocket, why: YardmasterError) -> None:
    """Close the line with a code and a sentence; one that is gone already is let go."""
    code = next((code for kind, code in CODES.items() if isinstance(why, kind)), NONSENSE)
    reason = why.message.encode()[:REASON_MAX_BYTES].decode(errors="ignore")
    try:
        await socket.close(code, reason)
    except (RuntimeError, WebSocketDisconnect):
        log.debug("the line was gone before it was closed")
