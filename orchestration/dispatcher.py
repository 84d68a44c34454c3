"""The dispatcher: plans, dispatches, sends, asks and recovers. Any number may run; the database keeps them apart.

One turn, top to bottom: now and then the chores (schedules that are due, what has expired or takes too long, whom a
person must look at), then plan, give and claim in one transaction, then send what was claimed and what else is due, ask
about what is quiet, look at accounts that nobody polls. The inbox is drained and changes are published beside it, and
what robots answer is written in groups. A turn is woken by the doorbell, by the end of a lane and by a tick.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

import structlog
from sqlmodel import Session

from fleet import changes
from fleet.accounts import ManufacturerAccount
from fleet.adapter import Accepted, Acknowledged, OrderReport, OrderStatus, Unknown
from fleet.doorbell import Listener
from fleet.errors import YardmasterError
from fleet.runtime import Runtime, open_runtime
from ingestion import polling
from missions import dispatch, recovery, sending, snapshot
from missions.plan import plan
from orchestration import intake, retention
from orchestration.answers import Answers
from orchestration.chores import WATCH_S, WHO, Chores
from orchestration.lanes import Lanes, Links, Room
from orchestration.timers import hourly, ticking

log = structlog.get_logger(__name__)

INTAKE, FEED = UUID(int=0), UUID(int=1)
DELIVERIES_MAX = 5  # in one transaction: while it writes, nobody else does on SQLite
THREADS = 8
BELL_S = 0.5  # how long the ear listens in one go, which bounds how long it delays the end of the process
SWITCH_S = 0.0005  # how long a thread may keep the others waiting; Python's 5 ms add up from thread to thread


@dataclass(frozen=True)
class Todo:
    """What one look at the database found to do for the lanes."""

    parcels: list[sending.Parcel] = field(default_factory=list)
    due: list[sending.Due] = field(default_factory=list)
    questions: list[recovery.Question] = field(default_factory=list)
    unwatched: list[ManufacturerAccount] = field(default_factory=list)


class Dispatcher:
    """One dispatcher; `wake` is set when there is something to do."""

    def __init__(self, runtime: Runtime) -> None:
        """`runtime` is the process's; nothing is started yet."""
        self._runtime = runtime
        self.wake = asyncio.Event()
        self.lanes = Lanes(self._lane_ended)
        self.links = Links()
        self._intake = Lanes(lambda: None, width=1)  # apart, so that its troubles delay no mission
        self._feed = Lanes(lambda: None, width=1)
        self._answers = Answers(runtime.transaction)
        self._chores = Chores(runtime)
        self._watched_at: dict[UUID, float] = {}
        self._away: set[UUID] = set()
        self._is_blocked = False  # something waits for a lane
        self._has_post = self._has_news = False  # the inbox, or unpublished changes, may have more

    async def turn(self) -> None:
        """Do everything there is to do now; what waits for robots goes on in the lanes."""
        self._take_in()
        todo = await asyncio.to_thread(self._look, self.lanes.room)
        for parcel in todo.parcels:
            self._start(parcel.robot_id, parcel.account.id, partial(self._send, parcel))
        for due in todo.due:
            self._start(due.robot_id, due.account_id, partial(self._send_due, due))
        for question in todo.questions:
            self._start(question.robot_id, question.account.id, partial(self._ask, question))
        for account in todo.unwatched:
            self._watch(account)
        self._tell()

    async def close(self) -> None:
        """End the lanes and the links; what was answered is written."""
        await self._intake.close()
        await self.lanes.close()
        await asyncio.to_thread(self._answers.stop)
        await self._feed.close()
        await self.links.close()

    def _look(self, room: Room) -> Todo:
        is_time = self._chores.do()
        parcels = self._give(room)
        with self._runtime.reading() as session:
            waits = sending.has_due(session)
            due = sending.due(session, busy=room.busy, crowded=room.crowded, limit=room.free) if waits else []
        for one in due:
            room.take(one.robot_id, one.account_id)
        questions = self._chores.questions(room)
        self._is_blocked = (waits and not due) or bool(questions)
        return Todo(parcels, due, questions, self._chores.unwatched() if is_time else [])

    def _give(self, room: Room) -> list[sending.Parcel]:
        """Plan, and give and claim what was planned in one transaction."""
        with self._runtime.reading() as session:
            seen = snapshot.take(session)
        if not seen.missions:
            return []
        parcels: list[sending.Parcel] = []

        def claim(session: Session, given: Sequence[dispatch.Given]) -> None:
            parcels.extend(sending.begin_new(session, given, has_room=room.take, who=WHO))

        for attempt in dispatch.carry_out(self._runtime.transaction, plan(seen), seen, who=WHO, also=claim):
            log.info("assigned", mission=str(attempt.mission_id), robot=str(attempt.robot_id), fence=attempt.fence)
        return parcels

    def _start(self, robot_id: UUID, account_id: UUID, work: Callable[[], Coroutine[None, None, None]]) -> None:
        self.lanes.start(robot_id, work, account=account_id)

    def _lane_ended(self) -> None:
        self._tell()
        if self._is_blocked:
            self.wake.set()

    async def _send_due(self, due: sending.Due) -> None:
        parcels: list[sending.Parcel | None] = []
        await self._answers.write(due.mission_id, lambda session: parcels.append(sending.begin(session, due, who=WHO)))
        if parcels[-1] is not None:  # the last one: when the commit failed it was tried again
            await self._send(parcels[-1])

    async def _send(self, parcel: sending.Parcel) -> None:
        answer = await self._deliver(parcel)
        received_at = self._runtime.clock.now()
        await self._write(
            parcel.mission_id,
            answer,
            lambda session: sending.settle(session, parcel, answer, who=WHO, received_at=received_at),
        )
        self._note_reach(parcel.robot_id, answer)

    async def _deliver(self, parcel: sending.Parcel) -> sending.Answer:
        try:
            adapter = await self.links.to(parcel.account)
        except YardmasterError as error:
            return Unknown(why=error.message)
        return await sending.deliver(adapter, parcel)

    async def _ask(self, question: recovery.Question) -> None:
        said = await self._query(question)
        received_at = self._runtime.clock.now()
        await self._write(
            question.mission_id,
            said,
            lambda session: recovery.heard(session, question, said, received_at=received_at, who=WHO),
        )
        self._note_reach(question.robot_id, said)

    async def _query(self, question: recovery.Question) -> OrderReport | Unknown:
        try:
            adapter = await self.links.to(question.account)
            async with asyncio.timeout(sending.ANSWER_S):
                return await adapter.query(question.serial_number, question.key)
        except TimeoutError:
            return Unknown(why=f"no answer within {sending.ANSWER_S:.0f} s")
        except YardmasterError as error:
            return Unknown(why=error.message)

    async def _write(self, mission_id: UUID, answer: sending.Answer, work: Callable[[Session], None]) -> None:
        has_more = await self._answers.write(mission_id, work)
        if has_more or not _is_routine(answer):
            self.wake.set()  # there is something to send, or a robot is free

    def _note_reach(self, robot_id: UUID, answer: sending.Answer) -> None:
        if isinstance(answer, Unknown) and robot_id not in self._away:
            self._away.add(robot_id)
            log.warning("robot went away", robot=str(robot_id), why=answer.why)
        elif not isinstance(answer, Unknown) and robot_id in self._away:
            self._away.remove(robot_id)
            log.info("robot came back", robot=str(robot_id))

    def _take_in(self) -> None:
        self._has_post = True
        self._intake.start(INTAKE, self._drain)

    async def _drain(self) -> None:
        while self._has_post:
            self._has_post = False
            while await asyncio.to_thread(intake.drain, self._runtime, limit=DELIVERIES_MAX):
                self.wake.set()  # what came in may free a robot

    def _tell(self) -> None:
        self._has_news = True
        self._feed.start(FEED, self._publish)

    async def _publish(self) -> None:
        while self._has_news:
            self._has_news = False
            while await asyncio.to_thread(self._publish_some):
                self._runtime.doorbell.ring()  # readers of the feed look again: now the positions are there

    def _publish_some(self) -> int:
        with self._runtime.reading() as session:
            if not changes.waits(session):
                return 0
        with self._runtime.transaction() as session:
            return changes.publish(session)

    def _watch(self, account: ManufacturerAccount) -> None:
        if self._runtime.clock.monotonic() - self._watched_at.get(account.id, -WATCH_S) >= WATCH_S:
            self._watched_at[account.id] = self._runtime.clock.monotonic()
            self.lanes.start(account.id, partial(self._poll, account))

    async def _poll(self, account: ManufacturerAccount) -> None:
        try:
            adapter = await self.links.to(account)
            await polling.poll(account, adapter, transaction=self._runtime.transaction, clock=self._runtime.clock)
        except YardmasterError as error:
            self._note_reach(account.id, Unknown(why=error.message))
        else:
            self._note_reach(account.id, Acknowledged())
            self._take_in()


def _is_routine(answer: sending.Answer) -> bool:
    """Whether nothing new follows from it: an order or a command arrived, or an order goes on."""
    if isinstance(answer, OrderReport):
        return answer.status in {OrderStatus.accepted, OrderStatus.running, OrderStatus.paused}
    return isinstance(answer, Accepted | Acknowledged | Unknown)


async def run(runtime: Runtime) -> None:
    """Dispatch until SIGTERM or SIGINT, then end within a few seconds; nothing is lost by ending at any point."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="dispatcher"))
    dispatcher = Dispatcher(runtime)
    stopping = asyncio.Event()
    sweeping = hourly(partial(retention.sweep, runtime))
    with _signals(loop, stopping, dispatcher.wake), ticking(dispatcher.wake.set), sweeping:
        ear = asyncio.create_task(_listen(runtime, dispatcher.wake, stopping))
        log.info("dispatcher started")
        while not stopping.is_set():
            dispatcher.wake.clear()
            await _turn(dispatcher)
            if ear.done() and not stopping.is_set():
                log.warning("the doorbell is opened again", error=str(ear.exception()))
                ear = asyncio.create_task(_listen(runtime, dispatcher.wake, stopping))
            await dispatcher.wake.wait()
        await dispatcher.close()
        await asyncio.gather(ear, return_exceptions=True)
    log.info("dispatcher ended")


async def _turn(dispatcher: Dispatcher) -> None:
    try:
        await dispatcher.turn()
    except Exception:
        log.exception("a turn failed; the next one tries again")


async def _listen(runtime: Runtime, wake: asyncio.Event, stopping: asyncio.Event) -> None:
    # What this process writes itself it knows of: a ring of its own would only cost another turn.
    with await asyncio.to_thread(runtime.doorbell.listen, own=False) as listener:
        while not stopping.is_set():
            if await asyncio.to_thread(_rung, listener):
                wake.set()


def _rung(listener: Listener) -> bool:
    return listener.wait(BELL_S)


@contextmanager
def _signals(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event, wake: asyncio.Event) -> Iterator[None]:
    def stop() -> None:
        stopping.set()
        wake.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def main() -> None:
    """`python -m orchestration.dispatcher`: settings from YARDMASTER_*."""
    sys.setswitchinterval(SWITCH_S)
    asyncio.run(run(open_runtime()))


if __name__ == "__main__":
    main()
