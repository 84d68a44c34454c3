"""The dispatcher: plans, dispatches, sends, asks and recovers. Any number may run; the database keeps them apart.

Two loops that wait for each other only to fill the lanes. The one deals: plan, give and claim in one transaction, then
send what was claimed and what else is due; it is woken by the doorbell, by the end of a lane and by a tick. The other
tends, in its own time: the chores (schedules that are due, what has expired or takes too long, whom a person must look
at), questions about what is quiet, accounts that nobody polls. The inbox is drained and changes are published beside
both, and what robots answer is written in groups.
"""

import argparse
import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from uuid import UUID

import structlog
import uvloop
from sqlmodel import Session

from fleet import changes
from fleet.accounts import ManufacturerAccount
from fleet.adapter import Accepted, Acknowledged, OrderReport, OrderStatus, Unknown
from fleet.database import carry_over
from fleet.errors import YardmasterError
from fleet.runtime import Runtime, open_runtime
from ingestion import polling
from missions import dispatch, recovery, sending
from missions.models import Attempt
from missions.plan import Plan, Snapshot
from orchestration import retention
from orchestration.answers import Answers
from orchestration.chores import ASK_S, WATCH_S, WHO, Chores
from orchestration.gateway_link import Switchboard
from orchestration.lanes import Lanes, Links, Room
from orchestration.loops import Pace, hear, on_signals, repeat
from orchestration.planner import NOTHING, Planner
from orchestration.postbox import Postbox, run_apart
from orchestration.rounds import Rounds
from orchestration.timers import hourly, ticking

log = structlog.get_logger(__name__)

FEED, LOG = UUID(int=1), UUID(int=2)
THREADS = 8
DEAL_S = 0.02  # between two looks, while missions come one by one: one look for several costs hardly more than for one
IN_VAIN_S = 0.005  # until the next after one that gave nothing, such as one for a report
PUBLISH_S = 0.1  # between two writings of positions into the feed
TIDY_S = 0.5  # between two times that SQLite's log is carried over
PASS_S = 0.1  # so long, at most, the inbox and the feed wait for a look to end
SWITCH_S = 0.0005  # how long a thread may keep the others waiting; Python's 5 ms add up from thread to thread


class Dispatcher:
    """One dispatcher; `wake` is set when there is something to give or to send, `remind` when it is time to tend."""

    def __init__(self, runtime: Runtime, *, drains: bool = True) -> None:
        """`runtime` is the process's; nothing is started yet. Without `drains` another process drains the inbox."""
        self._runtime = runtime
        self.wake, self.remind = asyncio.Event(), asyncio.Event()
        self.lanes = Lanes(self._lane_ended)
        self.links = Links(Switchboard(runtime))
        self._deals = Rounds(DEAL_S, longest_s=PASS_S)
        self._answers = Answers(self._quietly, self._deals.between)
        self._postbox = Postbox(runtime, self.wake.set, self._deals.between) if drains else None
        self._feed, self._log = Lanes(lambda: None, width=1), Lanes(lambda: None, width=1)
        self._chores = Chores(runtime)
        self._watched_at: dict[UUID, float] = {}
        self._away: set[UUID] = set()
        self._filling = asyncio.Lock()  # from reading how many lanes are free to taking them
        self._is_blocked = self._has_more_to_ask = False  # something waits for a lane
        self._planner = Planner(runtime.clock)
        self._has_news = False  # there may be unpublished changes
        self._publishes = Pace(PUBLISH_S)

    async def turn(self) -> None:
        """Do everything there is to do now; what waits for robots goes on in the lanes."""
        await self.deal()
        await self.tend()

    async def deal(self) -> None:
        """Give missions to robots and send what is due; nothing else is waited for."""
        async with self._deals.round(), self._filling:
            parcels = await asyncio.to_thread(self._look, self.lanes.room)
            if not parcels:
                self._deals.hasten(IN_VAIN_S)
            for parcel in parcels:
                self._start(parcel.robot_id, parcel.account.id, partial(self._send, parcel))
            for due in await asyncio.to_thread(self._find_due, self.lanes.room):
                self._start(due.robot_id, due.account_id, partial(self._send_due, due))
            if self._planner.is_stale:
                await asyncio.to_thread(self._refresh)
        self._take_in()
        self._tell()
        if self._planner.is_portion:
            self.wake.set()

    async def tend(self) -> None:
        """Ask about what is quiet, do the chores that are due and look at accounts that nobody polls."""
        self._has_more_to_ask = False
        if await asyncio.to_thread(self._chores.is_to_ask, self.lanes.room):
            async with self._filling:
                questions = await asyncio.to_thread(self._chores.questions, self.lanes.room)
                for question in questions:
                    self._start(question.robot_id, question.account.id, partial(self._ask, question))
            self._has_more_to_ask = bool(questions)
        if await asyncio.to_thread(self._chores.do):
            self.wake.set()  # they may have made missions, or freed robots
            accounts = await asyncio.to_thread(self._chores.unwatched)
            async with self._filling:
                for account in accounts:
                    self._watch(account)
        self._tell()

    def tidy(self) -> None:
        """Carry SQLite's log over, so that no commit that a mission waits for has to."""
        self._log.start(LOG, partial(asyncio.to_thread, carry_over, self._runtime.engine))

    async def close(self) -> None:
        """End the lanes and the links; what was answered is written."""
        if self._postbox is not None:
            await self._postbox.close()
        await self.lanes.close()
        await asyncio.to_thread(self._answers.stop)
        await self._feed.close()
        await self._log.close()
        await self.links.close()

    def _look(self, room: Room) -> list[sending.Parcel]:
        """Plan and give; the orders that were claimed at once."""
        parcels: list[sending.Parcel] = []
        is_to_look = True
        with self._runtime.going_first():
            while is_to_look:
                with self._runtime.reading() as session:
                    seen, made = self._planner.plan(session)
                if made == NOTHING:
                    break
                attempts, begun = self._give(room, seen, made)
                parcels += begun
                is_to_look = self._planner.is_to_look_again(seen, made, len(attempts))
        return parcels

    def _refresh(self) -> None:
        with self._runtime.reading() as session:
            self._planner.refresh(session)

    def _find_due(self, room: Room) -> list[sending.Due]:
        with self._runtime.reading() as session:
            waits = sending.has_due(session)
            has_room = waits and room.free > 0
            due = sending.due(session, busy=room.busy, crowded=room.crowded, limit=room.free) if has_room else []
        self._is_blocked = waits and not due
        return due

    def _give(self, room: Room, seen: Snapshot, made: Plan) -> tuple[list[Attempt], list[sending.Parcel]]:
        """Give and claim what was planned in one transaction."""
        claimed: list[tuple[set[UUID], list[sending.Parcel]]] = []
        kept: set[UUID] = set()  # the lanes taken for what is claimed, once more when a transaction was rolled back

        def has_room(robot_id: UUID, account_id: UUID) -> bool:
            if robot_id not in kept and not room.take(robot_id, account_id):
                return False
            kept.add(robot_id)
            return True

        def claim(session: Session, given: Sequence[dispatch.Given]) -> None:
            begun = sending.begin_new(session, given, has_room=has_room, who=WHO)
            claimed.append(({one.attempt.id for one in given}, begun))

        attempts = dispatch.carry_out(partial(self._quietly, urgent=True), made, seen, who=WHO, also=claim)
        written = {attempt.id for attempt in attempts}
        for attempt in attempts:
            log.info("assigned", mission=str(attempt.mission_id), robot=str(attempt.robot_id), fence=attempt.fence)
        # What was claimed in a transaction that was rolled back was never written: it must not be sent.
        return attempts, [parcel for ids, parcels in claimed if ids <= written for parcel in parcels]

    def _quietly(self, *, urgent: bool = False) -> AbstractContextManager[Session]:
        """A write transaction of which others learn when its changes are published, which is soon."""
        return self._runtime.transaction(urgent=urgent, rings=False)

    def _start(self, robot_id: UUID, account_id: UUID, work: Callable[[], Coroutine[None, None, None]]) -> None:
        self.lanes.start(robot_id, work, account=account_id)

    def _lane_ended(self) -> None:
        self._tell()
        if self._is_blocked:
            self.wake.set()
        if self._has_more_to_ask:
            self.remind.set()

    def _answered(self, robot_id: UUID) -> None:
        self.lanes.answered(robot_id)
        if self._is_blocked:
            self.wake.set()

    async def _send_due(self, due: sending.Due) -> None:
        parcels: list[sending.Parcel | None] = []
        await self._answers.write(due.mission_id, lambda session: parcels.append(sending.begin(session, due, who=WHO)))
        if parcels[-1] is not None:  # the last one: when the commit failed it was tried again
            await self._send(parcels[-1])

    async def _send(self, parcel: sending.Parcel) -> None:
        answer = await self._deliver(parcel)
        self._answered(parcel.robot_id)
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
        self._answered(question.robot_id)
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
        except YardmasterError as error:
            return Unknown(why=error.message)
        return await sending.answered(adapter.query(question.serial_number, question.key))

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
        if self._postbox is not None:
            self._postbox.look()

    def _tell(self) -> None:
        self._has_news = True
        self._feed.start(FEED, self._publish)

    async def _publish(self) -> None:
        while self._has_news:
            await self._publishes.keep()
            await self._deals.between()
            self._has_news = False
            if await asyncio.to_thread(self._publish_some):
                self._has_news = True  # what did not fit, or came meanwhile
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


async def run(runtime: Runtime, *, drains: bool = True) -> None:
    """Dispatch until SIGTERM or SIGINT, then end within a few seconds; nothing is lost by ending at any point.

    It drains the inbox, too, unless `drains` is false: then `orchestration.postbox.run_apart` must run somewhere.
    """
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="dispatcher"))
    dispatcher = Dispatcher(runtime, drains=drains)
    stopping = asyncio.Event()
    sweep = partial(retention.sweep, runtime)
    ends = (stopping.set, dispatcher.wake.set, dispatcher.remind.set)
    ticks = (ticking(dispatcher.wake.set), ticking(dispatcher.remind.set, every_s=ASK_S))
    with on_signals(ends), ticks[0], ticks[1], ticking(dispatcher.tidy, every_s=TIDY_S), hourly(sweep):
        ear = asyncio.create_task(hear(runtime, dispatcher.wake, stopping))
        log.info("dispatcher started")
        await asyncio.gather(
            repeat(dispatcher.deal, dispatcher.wake, stopping), repeat(dispatcher.tend, dispatcher.remind, stopping)
        )
        await dispatcher.close()
        await asyncio.gather(ear, return_exceptions=True)
    log.info("dispatcher ended")


def main() -> None:
    """`python -m orchestration.dispatcher [--inbox beside|apart|only]`: settings from YARDMASTER_*."""
    parser = argparse.ArgumentParser(prog="orchestration.dispatcher")
    parser.add_argument(
        "--inbox",
        choices=["beside", "apart", "only"],
        default="beside",
        help="drain it beside dispatching; leave it to a process apart; or be that process and do nothing else",
    )
    inbox = parser.parse_args().inbox
    sys.setswitchinterval(SWITCH_S)
    runtime = open_runtime()
    gc.collect()
    gc.freeze()  # what was loaded until now stays: a full collection walks over it no more, which held up missions for 50 ms
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_apart(runtime) if inbox == "only" else run(runtime, drains=inbox == "beside"))


if __name__ == "__main__":
    main()
