"""The gateways' channel, /v1/link: whoever has a gateway's token dials in here, and is sent what its robots are to do.

Commands come as rows. The bell wakes every API process; the one that has the gateway's connection sends them.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from threading import Event, Thread
from uuid import UUID

import structlog
from fastapi import APIRouter, WebSocket
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session
from starlette.websockets import WebSocketDisconnect

from api.deps import Doorman
from api.group_commit import Deliveries
from api.link_connection import Answers, Connection, close
from api.problems import problem
from fleet import gateways, link_commands
from fleet.adapter import Unknown
from fleet.clock import database_now
from fleet.errors import Conflict, Forbidden, Invalid, Unauthorized, Unavailable, YardmasterError
from fleet.group_commit import GroupCommit
from fleet.link_commands import CommandKind, Handed, LinkCommand
from fleet.link_frames import SILENCE_S, Outcome
from fleet.organisations import principal_of
from fleet.push import Inheritance
from fleet.runtime import Runtime
from missions import inheritance

log = structlog.get_logger(__name__)

router = APIRouter()
PATH = "/v1/link"
LOOK_S = 1.0  # commands are looked for at least this often: a ring may be lost
BELL_S = 0.5  # how long the ear listens in one go
GATEWAYS_MAX = 500  # connections of one process


class Exchange:
    """The gateways that are connected to this process, and what they are to be asked."""

    def __init__(self, runtime: Runtime, deliveries: Deliveries) -> None:
        """`deliveries` stores what they report."""
        self._runtime, self._deliveries = runtime, deliveries
        self._answers: Answers = GroupCommit(runtime.transaction, _keep, what="answers of gateways")
        self._connections: dict[UUID, Connection] = {}
        self._rung, self._stop = asyncio.Event(), Event()
        self._carrying: asyncio.Task[None] | None = None
        self._ear: Thread | None = None

    async def serve(self, socket: WebSocket, gateway_id: UUID) -> None:
        """Let the gateway in, displace an older connection of it, and serve it until it leaves."""
        self._begin()
        connection = Connection(socket, gateway_id, self._runtime, answers=self._answers, deliveries=self._deliveries)
        try:
            await connection.greet()
        except (YardmasterError, TimeoutError) as error:
            said = error if isinstance(error, YardmasterError) else Invalid(f"It said no hello in {SILENCE_S:.0f} s.")
            log.warning("a gateway was not let in", gateway=str(gateway_id), why=said.message)
            return await close(socket, said)
        older = self._connections.get(gateway_id)
        self._connections[gateway_id] = connection
        if older is not None:
            older.stop(Conflict("This gateway has dialled in anew; its older line is closed."))
        log.info("a gateway is there", gateway=connection.name, epoch=connection.epoch)
        self._rung.set()
        try:
            await connection.serve()
        finally:
            if self._connections.get(gateway_id) is connection:
                del self._connections[gateway_id]
        return None

    @property
    def is_full(self) -> bool:
        """Whether this process has as many gateways as it takes."""
        return len(self._connections) >= GATEWAYS_MAX

    async def close(self) -> None:
        """Close every connection, so that the gateways dial in elsewhere or later."""
        for connection in list(self._connections.values()):
            connection.stop(Unavailable("The platform's API ends; dial in again."))
        self._stop.set()
        if self._carrying is not None:
            self._carrying.cancel()
            await asyncio.gather(self._carrying, return_exceptions=True)
            await asyncio.to_thread(self._answers.stop)
        if self._ear is not None:
            await asyncio.to_thread(self._ear.join, 2 * BELL_S)

    def _begin(self) -> None:
        if self._carrying is None:
            self._answers.start()
            self._listen()
            self._carrying = asyncio.create_task(self._carry_for_ever())

    def _listen(self) -> None:
        """Begin to hear the bell, and begin again when that has ended by what nobody foresaw, which its thread has told."""
        if self._ear is not None and not self._ear.is_alive():
            log.error("the bell was not heard any more; it is listened to again")
        if self._ear is None or not self._ear.is_alive():
            loop = asyncio.get_running_loop()
            self._ear = Thread(target=self._hear, args=(loop,), name="link-ear", daemon=True)
            self._ear.start()

    def _hear(self, loop: asyncio.AbstractEventLoop) -> None:
        broken = (OSError, SQLAlchemyError, self._runtime.engine.dialect.loaded_dbapi.Error)
        while not self._stop.is_set():
            try:
                with self._runtime.doorbell.listen(own=False) as listener:
                    while not self._stop.is_set():
                        if listener.wait(BELL_S):
                            loop.call_soon_threadsafe(self._rung.set)
            except broken as error:
                log.warning("the doorbell is opened again", error=str(error))
                self._stop.wait(LOOK_S)

    async def _carry_for_ever(self) -> None:
        """No gateway would be asked anything any more if this ended: whatever goes wrong, it is told, and begun again."""
        while True:
            (error,) = await asyncio.gather(self._carry(), return_exceptions=True)
            log.error("commands could not be carried to gateways; it is tried again", exc_info=error)
            await asyncio.sleep(LOOK_S)

    async def _carry(self) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._rung.wait()
            except TimeoutError:
                log.debug("looking for commands by itself")
                self._listen()
            self._rung.clear()
            if not self._connections:
                continue
            try:
                now, found = await asyncio.to_thread(self._look, list(self._connections))
                found, inherited = await asyncio.to_thread(self._hand_out, self._news(found))
            except Unavailable as error:
                log.warning("commands for gateways cannot be read now", error=error.message)
                continue
            for gateway_id, command in found:
                connection = self._connections.get(gateway_id)
                if connection is not None:
                    connection.offer(command, (command.expires_at - now).total_seconds(), inherited.get(command.key))

    def _news(self, found: Sequence[tuple[UUID, LinkCommand]]) -> list[tuple[UUID, LinkCommand]]:
        lines = self._connections
        return [one for one in found if one[0] in lines and lines[one[0]].is_news(one[1])]

    def _look(self, gateway_ids: Sequence[UUID]) -> tuple[datetime, list[tuple[UUID, LinkCommand]]]:
        with self._runtime.reading() as session:
            return database_now(session), link_commands.open_commands(session, gateway_ids)

    def _hand_out(
        self, found: Sequence[tuple[UUID, LinkCommand]]
    ) -> tuple[list[tuple[UUID, LinkCommand]], dict[str, tuple[Handed, Inheritance]]]:
        """What may go out now, and by key what is known of the orders that another gateway may have begun."""
        asked = {command.id for _, command in found if _is_order(command)}
        if asked:  # before it goes out: whoever takes the robot over asks by it
            with self._runtime.transaction() as session:
                may_go = link_commands.hand_out(session, asked)
            found = [one for one in found if one[1].id not in asked or one[1].id in may_go]
        keys = {command.key for _, command in found if command.robot_id is not None and command.key}
        if not keys:
            return list(found), {}
        with self._runtime.reading() as session:
            handed = link_commands.handed_before(session, keys)
            known = inheritance.inheritances(session, {key: one.first_at for key, one in handed.items()})
        return list(found), {key: (one, known[key]) for key, one in handed.items() if key in known}


def _is_order(command: LinkCommand) -> bool:
    return command.kind is CommandKind.submit and command.robot_id is not None


def _keep(session: Session, batch: Sequence[tuple[UUID, Outcome]]) -> list[None]:
    unsent = {name for name, outcome in batch if isinstance(outcome, Unknown) and outcome.is_unsent}
    said = {name: outcome.model_dump(mode="json") for name, outcome in batch}
    link_commands.answer_commands(session, said, unsent=unsent)
    return [None] * len(batch)


@router.websocket(PATH)
async def link(socket: WebSocket) -> None:
    """A gateway's line; it is admitted by its bearer token, see docs/gateways.md."""
    exchange = socket.app.state.exchange
    assert isinstance(exchange, Exchange)
    try:
        gateway_id = await _admitted(socket, exchange)
    except YardmasterError as error:
        await socket.send_denial_response(problem(PATH, error.status, error.message, code=error.code))
        return
    await socket.accept()
    try:
        await exchange.serve(socket, gateway_id)
    except WebSocketDisconnect:
        log.info("a gateway left before it was let in", gateway=str(gateway_id))


async def _admitted(socket: WebSocket, exchange: Exchange) -> UUID:
    scheme, _, token = socket.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized("This needs the header 'Authorization: Bearer <token>' with a gateway's token.")
    if exchange.is_full:
        raise Unavailable(f"{GATEWAYS_MAX} gateways are connected here; try again later.")
    doorman = socket.app.state.doorman
    assert isinstance(doorman, Doorman)
    token = token.strip()
    await doorman.principal(token)
    runtime: Runtime = socket.app.state.runtime

    def look_up() -> UUID | None:
        with runtime.reading() as session:
            caller = principal_of(session, token)  # now: the doorman remembers a token that was void since
            gateway = None if caller is None else gateways.gateway_of(session, caller)
            return None if gateway is None else gateway.id

    gateway_id = await asyncio.to_thread(look_up)
    if gateway_id is None:
        raise Forbidden("This token is no gateway's, or the gateway was revoked; `yardmaster gateways add` gives one.")
    return gateway_id
