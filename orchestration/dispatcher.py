"""The dispatcher: plans, dispatches, sends, asks and recovers. Any number may run; the database keeps them apart.

One turn, top to bottom: expire, plan and assign, tell whom a person must look at, publish changes, send what is due,
ask about what is quiet, look at accounts that nobody polls; the inbox is drained beside it. A turn is woken by the
doorbell, by the end of a lane and by a tick.
"""

import asyncio
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import structlog
from sqlmodel import col, select

from fleet import changes
from fleet.accounts import ManufacturerAccount
from fleet.adapter import Acknowledged, OrderReport, Unknown
from fleet.clock import database_now, has_come
from fleet.doorbell import Listener
from fleet.errors import YardmasterError
from fleet.runtime import Runtime, open_runtime
from ingestion import polling
from missions import alerts, dispatch, recovery, sending, snapshot
from missions.models import Desired, Mission, MissionStatus
from missions.plan import plan
from orchestration import intake, retention
from orchestration.lanes import Lanes, Links
from orchestration.timers import hourly, ticking

log = structlog.get_logger(__name__)

WHO = "system:dispatcher"
INTAKE = UUID(int=0)
DELIVERIES_MAX = 200
THREADS = 8
BELL_S = 0.5  # how long the ear listens in one go, which bounds how long it delays the end of the process
LOOK_S = 5.0  # how often live missions are looked at for what a person must be told
WATCH_S = 10.0  # while missions wait, robots are looked at at least this often, whoever else polls


class Dispatcher:
    """One dispatcher; `wake` is set when there is something to do."""

    def __init__(self, runtime: Runtime) -> None:
        """`runtime` is the process's; nothing is started yet."""
        self._runtime = runtime
        self.wake = asyncio.Event()
        self.lanes = Lanes(self.wake.set)
        self.links = Links()
        self._intake = Lanes(lambda: None, width=1)  # apart, so that its troubles delay no mission
        self._watched_at: dict[UUID, float] = {}
        self._away: set[UUID] = set()
        self._looked_at = -LOOK_S

    async def turn(self) -> None:
        """Do everything there is to do now; what waits for robots goes on in the lanes."""
        self._intake.start(INTAKE, self._drain)
        await asyncio.to_thread(self._decide)
        await self._send()
        await self._ask()
        await self._watch()

    async def close(self) -> None:
        """End the lanes and the links."""
        await self._intake.close()
        await self.lanes.close()
        await self.links.close()

    async def _drain(self) -> None:
        if await asyncio.to_thread(intake.drain, self._runtime, limit=DELIVERIES_MAX):
            self.wake.set()  # there may be more, and what came in may free a robot

    def _decide(self) -> None:
        with self._runtime.transaction() as session:
            recovery.expire(session, who=WHO)
        with self._runtime.reading() as session:
            seen = snapshot.take(session)
        if seen.missions:
            for attempt in dispatch.carry_out(self._runtime.transaction, plan(seen), seen, who=WHO):
                log.info("assigned", mission=str(attempt.mission_id), robot=str(attempt.robot_id), fence=attempt.fence)
        if self._runtime.clock.monotonic() - self._looked_at >= LOOK_S:
            self._looked_at = self._runtime.clock.monotonic()
            with self._runtime.transaction() as session:
                alerts.follow(session)
        self._publish()

    def _publish(self) -> None:
        with self._runtime.transaction() as session:
            published = changes.publish(session)
        if published:
            self._runtime.doorbell.ring()  # readers of the feed look again: now the positions are there

    async def _send(self) -> None:
        for due in await asyncio.to_thread(self._due):
            self.lanes.start(due.robot_id, lambda due=due: self._send_one(due), account=due.account_id)  # type: ignore[misc]

    def _due(self) -> list[sending.Due]:
        with self._runtime.reading() as session:
            return sending.due(session, busy=self.lanes.busy, crowded=self.lanes.crowded, limit=self.lanes.free)

    async def _send_one(self, due: sending.Due) -> None:
        parcel = await asyncio.to_thread(self._begin, due)
        if parcel is None:
            return
        adapter_answer = await self._deliver(parcel)
        await asyncio.to_thread(self._settle, parcel, adapter_answer)
        self._note_reach(parcel.robot_id, adapter_answer)

    def _begin(self, due: sending.Due) -> sending.Parcel | None:
        with self._runtime.transaction() as session:
            return sending.begin(session, due, who=WHO)

    async def _deliver(self, parcel: sending.Parcel) -> sending.Answer:
        try:
            adapter = await self.links.to(parcel.account)
        except YardmasterError as error:
            return Unknown(why=error.message)
        return await sending.deliver(adapter, parcel)

    def _settle(self, parcel: sending.Parcel, answer: sending.Answer) -> None:
        with self._runtime.transaction() as session:
            sending.settle(session, parcel, answer, who=WHO, received_at=self._runtime.clock.now())

    async def _ask(self) -> None:
        for question in await asyncio.to_thread(self._questions):
            account = question.account.id
            self.lanes.start(question.robot_id, lambda question=question: self._ask_one(question), account=account)  # type: ignore[misc]

    def _questions(self) -> list[recovery.Question]:
        with self._runtime.transaction() as session:
            return recovery.questions(session, busy=self.lanes.busy, crowded=self.lanes.crowded, limit=self.lanes.free)

    async def _ask_one(self, question: recovery.Question) -> None:
        try:
            adapter = await self.links.to(question.account)
            async with asyncio.timeout(sending.ANSWER_S):
                said = await adapter.query(question.serial_number, question.key)
        except TimeoutError:
            said = Unknown(why=f"no answer within {sending.ANSWER_S:.0f} s")
        except YardmasterError as error:
            said = Unknown(why=error.message)
        await asyncio.to_thread(self._hear, question, said, self._runtime.clock.now())
        self._note_reach(question.robot_id, said)

    def _hear(self, question: recovery.Question, said: OrderReport | Unknown, received_at: datetime) -> None:
        with self._runtime.transaction() as session:
            recovery.heard(session, question, said, received_at=received_at, who=WHO)

    def _note_reach(self, robot_id: UUID, answer: sending.Answer) -> None:
        if isinstance(answer, Unknown) and robot_id not in self._away:
            self._away.add(robot_id)
            log.warning("robot went away", robot=str(robot_id), why=answer.why)
        elif not isinstance(answer, Unknown) and robot_id in self._away:
            self._away.remove(robot_id)
            log.info("robot came back", robot=str(robot_id))

    async def _watch(self) -> None:
        for account in await asyncio.to_thread(self._unwatched):
            if self._runtime.clock.monotonic() - self._watched_at.get(account.id, -WATCH_S) >= WATCH_S:
                self._watched_at[account.id] = self._runtime.clock.monotonic()
                self.lanes.start(account.id, lambda account=account: self._poll(account))  # type: ignore[misc]

    def _unwatched(self) -> list[ManufacturerAccount]:
        """Accounts of organisations whose missions wait, and which nobody has polled for WATCH_S."""
        waiting = select(Mission.organisation_id).where(
            Mission.status == MissionStatus.scheduled, Mission.desired == Desired.run
        )
        with self._runtime.reading() as session:
            since = database_now(session) - timedelta(seconds=WATCH_S)
            stale = has_come(col(ManufacturerAccount.polled_at), since)
            ours = col(ManufacturerAccount.organisation_id).in_(waiting)
            return list(session.exec(select(ManufacturerAccount).where(ours, stale)).all())

    async def _poll(self, account: ManufacturerAccount) -> None:
        try:
            adapter = await self.links.to(account)
            await polling.poll(account, adapter, transaction=self._runtime.transaction, clock=self._runtime.clock)
        except YardmasterError as error:
            self._note_reach(account.id, Unknown(why=error.message))
        else:
            self._note_reach(account.id, Acknowledged())


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
    with await asyncio.to_thread(runtime.doorbell.listen) as listener:
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
    asyncio.run(run(open_runtime()))


if __name__ == "__main__":
    main()
