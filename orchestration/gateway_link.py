"""The link to robots behind a gateway: what is asked of one is a row, and so is its answer.

Many wait at once: rows are written in groups, and one query for each ring of the bell fetches all answers that came.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Literal
from uuid import UUID

import structlog
from pydantic import ValidationError
from sqlmodel import Session, col, select

from fleet import gateways, link_commands
from fleet.accounts import ManufacturerAccount
from fleet.adapter import (
    Accepted,
    Acknowledged,
    Capabilities,
    CommandOutcome,
    DiscoveredRobot,
    Order,
    OrderReport,
    Page,
    Refused,
    Reported,
    SubmitOutcome,
    TaskKind,
    Unknown,
    Unsupported,
)
from fleet.clock import Clock, database_now
from fleet.database import new_id
from fleet.errors import NotFound, Unavailable
from fleet.group_commit import GroupCommit
from fleet.link_commands import COMMAND_S, CommandKind, LinkCommand
from fleet.link_frames import OUTCOME, Discovered, Missing, Outcome
from fleet.push import Exposure, events_from
from fleet.runtime import Runtime
from orchestration.loops import hear

log = structlog.get_logger(__name__)

LOOK_S = 0.5  # answers are looked for at least this often while somebody waits: a ring may be lost
Place = tuple[UUID, str]
Asking = Literal["submit", "query", "cancel", "pause", "resume", "exposure", "discover"]


@dataclass(frozen=True)
class Asked:
    """Something to ask a gateway; without an address, whichever serves the account."""

    account_id: UUID
    organisation_id: UUID
    kind: Asking
    address: str = ""
    key: str = ""
    fence: int = 0
    order: Order | None = None

    @property
    def place(self) -> Place:
        """Where the robot is reached."""
        return self.account_id, self.address


@dataclass(frozen=True)
class _Question:
    id: UUID
    asked: Asked
    ends: float  # monotonic: nobody waits longer, so that nothing is sent after it


class Switchboard:
    """Asks gateways by rows and hands out their answers; one for a process, made and used on its event loop."""

    def __init__(self, runtime: Runtime) -> None:
        """`runtime` gives the database and its bell; its threads begin with the first question."""
        self._runtime = runtime
        self._group: GroupCommit[_Question, Outcome | None] = GroupCommit(
            runtime.transaction, partial(_write, runtime.clock), what="commands to gateways"
        )
        self._waiting: dict[UUID, asyncio.Future[Outcome]] = {}
        self._rung, self._ended = asyncio.Event(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def ask(self, asked: Asked) -> Outcome:
        """What the gateway answers; `Unknown` when none holds the robot, or none answers in time.

        Raises:
            Unavailable: the database did not take the question.
        """
        self._begin()
        question = _Question(new_id(), asked, self._runtime.clock.monotonic() + COMMAND_S)
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[question.id] = answer
        try:
            async with asyncio.timeout(COMMAND_S):
                return await self._group.write(question) or await answer
        except TimeoutError:
            return Unknown(why=f"the gateway did not answer within {COMMAND_S:.0f} s")
        finally:
            del self._waiting[question.id]

    async def close(self) -> None:
        """End the waiting; what was asked is answered to nobody."""
        self._ended.set()
        self._rung.set()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.to_thread(self._group.stop)

    def _begin(self) -> None:
        if not self._tasks:
            self._group.start()
            ear = hear(self._runtime, self._rung, self._ended)
            self._tasks = [asyncio.create_task(ear), asyncio.create_task(self._fetch_for_ever())]

    async def _fetch_for_ever(self) -> None:
        """Nobody would be answered any more if this ended: whatever goes wrong, it is told, and begun again."""
        while not self._ended.is_set():
            (error,) = await asyncio.gather(self._fetch(), return_exceptions=True)
            if error is not None:
                log.error("answers of gateways could not be fetched; it is tried again", exc_info=error)
                await asyncio.sleep(LOOK_S)

    async def _fetch(self) -> None:
        while not self._ended.is_set():
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._rung.wait()
            except TimeoutError:
                pass  # it looks by itself
            self._rung.clear()
            if not self._waiting:
                continue
            try:
                found = await asyncio.to_thread(self._look, list(self._waiting))
            except Unavailable as error:
                log.warning("answers of gateways cannot be read now", error=error.message)
                continue
            for command_id, outcome in found.items():
                waiting = self._waiting.get(command_id)
                if waiting is not None and not waiting.done():
                    waiting.set_result(outcome)

    def _look(self, command_ids: Sequence[UUID]) -> dict[UUID, Outcome]:
        query = select(LinkCommand.id, LinkCommand.answer).where(
            col(LinkCommand.id).in_(command_ids), col(LinkCommand.answered_at).is_not(None)
        )
        with self._runtime.reading() as session:
            return {command_id: _outcome(answer or {}) for command_id, answer in session.exec(query).all()}


def _outcome(answer: Mapping[str, object]) -> Outcome:
    try:
        return OUTCOME.validate_python(answer, strict=False)
    except ValidationError as error:
        return Unknown(why=f"the gateway's answer cannot be read: {error.errors()[0]['msg']}")


def _write(clock: Clock, session: Session, batch: Sequence[_Question]) -> list[Outcome | None]:
    """The rows of what can be asked now; what cannot is answered at once."""
    places = {(one.asked.account_id, one.asked.address) for one in batch if one.asked.address}
    robots = link_commands.robot_ids_at(session, places) if places else {}
    epochs = link_commands.reached_by(session, list(robots.values())) if robots else {}
    loose = {one.asked.account_id for one in batch if one.asked.place not in robots}
    served = gateways.present(session, loose)
    answers: list[Outcome | None] = []
    for one in batch:
        robot_id = robots.get(one.asked.place)
        left_s = one.ends - clock.monotonic()
        if left_s <= 0:
            answers.append(Unknown(why="the database was too slow to ask the gateway in time; nothing was sent"))
        elif not (one.asked.account_id in served if robot_id is None else robot_id in epochs):
            answers.append(Unknown(why=_away(one.asked)))
        else:
            answers.append(None)
            session.add(_row(session, one, robot_id, left_s))
            session.info["ring"] = True
    return answers


def _row(session: Session, one: _Question, robot_id: UUID | None, left_s: float) -> LinkCommand:
    now, asked = database_now(session), one.asked
    return LinkCommand(
        id=one.id,
        organisation_id=asked.organisation_id,
        account_id=asked.account_id,
        robot_id=robot_id,
        kind=CommandKind(asked.kind),
        serial_number=asked.address,
        key=asked.key,
        fence=asked.fence,
        order_json=asked.order.model_dump(mode="json") if asked.order else None,
        created_at=now,
        expires_at=now + timedelta(seconds=left_s),
    )


def _away(asked: Asked) -> str:
    who = f"holds {asked.address}" if asked.address else "that serves this account is there"
    return f"no gateway {who} now; nothing was sent"


class GatewayLink:
    """The robots of one push account, through whichever gateway holds them."""

    capabilities = Capabilities(
        deduplicates=True, queryable=True, cancellable=True, pausable=True, tasks=frozenset(TaskKind)
    )

    def __init__(self, account: ManufacturerAccount, switchboard: Switchboard) -> None:
        """`account` names the robots, `switchboard` asks."""
        self._id, self._organisation_id, self._switchboard = account.id, account.organisation_id, switchboard

    async def submit(self, order: Order) -> SubmitOutcome:
        """Send the order; sending one key again does not start it twice."""
        said = await self._ask("submit", order.serial_number, order.key, order.fence, order)
        return said if isinstance(said, Accepted | Refused | Unknown) else _odd(said)

    async def query(self, serial_number: str, key: str) -> OrderReport | Unknown:
        """What the robot itself says of the order; `OrderStatus.not_found` when it never had it."""
        said = await self._ask("query", serial_number, key)
        return said if isinstance(said, OrderReport | Unknown) else _odd(said)

    async def cancel(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Ask the robot to end the order and stop."""
        return await self._tell("cancel", serial_number, key, fence)

    async def pause(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Ask the robot to hold where it is."""
        return await self._tell("pause", serial_number, key, fence)

    async def resume(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Ask a paused robot to go on."""
        return await self._tell("resume", serial_number, key, fence)

    async def discover(self) -> Sequence[DiscoveredRobot]:
        """The robots that the gateways of this account see.

        Raises:
            Unavailable: no answer.
        """
        said = await self._ask("discover")
        if isinstance(said, Discovered):
            return said.robots
        raise Unavailable(f"What is seen on the link is not known: {_odd(said).why}.")

    async def exposure(self, serial_number: str) -> Exposure:
        """What the robot exposes now, asked of its gateway.

        Raises:
            NotFound: no such robot is seen.
            Unavailable: no answer.
        """
        said = await self._ask("exposure", serial_number)
        if isinstance(said, Missing):
            raise NotFound(said.why, robot=serial_number)
        if isinstance(said, Exposure):
            return said
        raise Unavailable(f"What {serial_number} exposes is not known: {_odd(said).why}.")

    async def observe_all(self) -> Page:
        """Never: robots behind a gateway speak up by themselves.

        Raises:
            Unavailable: always.
        """
        raise Unavailable("Robots behind a gateway are not polled; they speak up by themselves.")

    def pages(self, cursor: str) -> AsyncIterator[Page]:
        """Never, as `observe_all`.

        Raises:
            Unavailable: always.
        """
        raise Unavailable(f"Robots behind a gateway have no history to be read on from {cursor!r}.")

    def events_from(self, body: bytes) -> Sequence[Reported]:
        """What a gateway's delivery says (pure)."""
        return events_from(body)

    async def _ask(
        self, kind: Asking, address: str = "", key: str = "", fence: int = 0, order: Order | None = None
    ) -> Outcome:
        return await self._switchboard.ask(Asked(self._id, self._organisation_id, kind, address, key, fence, order))

    async def _tell(self, kind: Asking, address: str, key: str, fence: int) -> CommandOutcome:
        said = await self._ask(kind, address, key, fence)
        return said if isinstance(said, Acknowledged | Unsupported | Unknown) else _odd(said)


def _odd(said: Outcome) -> Unknown:
    return said if isinstance(said, Unknown) else Unknown(why=f"the gateway answered with {said.kind}")
