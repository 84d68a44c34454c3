"""Carrying one order out: what is heard goes through the pure step, the state is kept, then what is to be done is done."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

import structlog

from fleet.adapter import Accepted, Order, OrderReport, OrderStatus, Refused, SubmitOutcome, Unknown
from fleet.adapters.ros2.link import (
    Ended,
    GoalAnswer,
    GoalResult,
    GoalSeen,
    NoAnswer,
    Refusal,
    RosLink,
    Sample,
    Statuses,
    UnknownGoal,
)
from fleet.adapters.ros2.runner import Turn, turn, wakes_at
from fleet.adapters.ros2.runs import (
    Answered,
    Ask,
    Call,
    Called,
    CallStep,
    Cancel,
    Effect,
    GoalStep,
    Listed,
    News,
    OrderState,
    Resulted,
    Sampled,
    Send,
    Stage,
    Surroundings,
    Take,
    Ticked,
    Wish,
    Woken,
    present_goal,
    reference_of,
    report_of,
)
from fleet.adapters.ros2.works import Works
from fleet.errors import Invalid, Unavailable
from fleet.journal import Journal
from fleet.push import to_bytes
from fleet.timepieces import Clock

ASK_S = 60.0  # how long one question for a result waits
ONCE_MORE_S = 1.0  # for the result of a goal that is listed as ended
AGAIN_S = 0.5
LATER_S = 30.0  # how long an order under way waits for a server that is starting anew
TICK_MIN_S = 0.05
TICK_MAX_S = 2.0
STOP_S = 5.0

log = structlog.get_logger()


class Renames(Protocol):
    """A link on which a goal's id is the robot's to choose (a rosbridge)."""

    def listed(self, action: str) -> tuple[str, ...]:
        """The ids of the goals that the action lists now."""
        ...

    def known_as(self, goal_id: UUID) -> str:
        """What the robot calls our goal; empty while that is not known."""
        ...

    def since_sent(self, goal_id: UUID) -> Statuses:
        """The list of the goal's action; heard, also when it is empty, if the connection has lasted since the goal was sent."""
        ...

    def rename(self, goal_id: UUID, known_as: str) -> None:
        """From now on this is what the robot calls our goal."""
        ...


@dataclass
class Ground:
    """What the orders of one link share."""

    link: RosLink
    journal: Journal
    clock: Clock
    renames: Renames | None = None
    listed_within_s: float = 15.0
    remembers_s: float = 8.0
    works: Works = field(default_factory=Works)

    def around(self, state: OrderState) -> Surroundings:
        """What the next step of this order must be told."""
        actions = {step.action for step in state.steps if isinstance(step, GoalStep)}
        servers = {action: self.link.incarnation(action) for action in actions}
        renames = self.renames
        listed = {action: renames.listed(action) for action in actions} if renames else None
        return Surroundings(self.clock.now(), servers, listed, self.listed_within_s, self.remembers_s)


class OrderDrive:
    """One live order. All that is heard of it goes through `hear`."""

    def __init__(self, ground: Ground, order: Order, state: OrderState, over: Callable[["OrderDrive"], None]) -> None:
        """`state` is kept in the journal already; `over` is called once when the order has ended."""
        self.order = order
        self.state = state
        self.stops: Sequence[CallStep] = ()
        self._ground = ground
        self._over = over
        self._works = Works()
        self._turning = asyncio.Lock()
        self._changed = asyncio.Event()
        self._asked: UUID | None = None
        self._prompted = asyncio.Event()

    async def start(self, effects: Sequence[Effect] = (), *, is_news: bool = False) -> None:
        """Begin to let time pass for it, and do these effects; `is_news`: its present state is still to be told."""
        if is_news:
            await self._keep(Turn(self.state), None)
        if self.state.is_over:
            self._over(self)
            return
        self._let_time_pass()
        self._do(effects)

    def _let_time_pass(self) -> None:
        self._works.begin(self._tick(), again=self._let_time_pass)

    def _take_up(self) -> None:
        """Something that was to be done went wrong: go on from where the order stands, as after a restart."""
        self._asked = None
        self._works.begin(self.hear(Woken()), again=self._take_up)

    def drop(self) -> None:
        """Do nothing more for it here; what is out goes on at the robot."""
        self._works.stop()

    def report(self) -> OrderReport:
        """What is to be told of it now."""
        return report_of(self.order, self.state, self._ground.clock.now())

    def doubt(self) -> str:
        """Why it is not known how the order stands; empty when it is."""
        state = self.state
        if state.doubt or state.stage is not Stage.going or not isinstance(state.step, GoalStep):
            return state.doubt
        if self._ground.link.statuses(state.step.action).is_heard:
            return ""
        return f"nothing was heard of {state.step.action} since it was lost"

    async def outcome(self) -> SubmitOutcome:
        """What became of submitting it, once that is known or in doubt."""
        while self.state.stage in {Stage.ready, Stage.sent} and not self.state.doubt:
            self._changed.clear()
            await self._changed.wait()
        if self.state.status is OrderStatus.rejected:
            return Refused(reason=self.state.reason)
        if self.state.doubt and self.state.stage is Stage.sent:
            return Unknown(why=self.state.doubt)
        return Accepted(reference=reference_of(self.order))

    async def hear(self, news: News) -> None:
        """Take the step that `news` asks for: keep the state on disk, with what is to be told, and only then act."""
        async with self._turning:
            was = self.state
            made = turn(self.order, was, news, self._ground.around(was))
            if made.state != was:
                await self._keep(made, was)
                self.state = made.state
                self._after(was)
            self._do(made.effects)

    async def _keep(self, made: Turn, was: OrderState | None) -> None:
        while True:
            try:
                return await asyncio.shield(asyncio.to_thread(self._write, made, was))
            except Unavailable as error:  # a full disk, say: the order stands still until there is room
                log.error("an order waits for the journal", order=self.order.key, error=error.message)
                await asyncio.sleep(AGAIN_S)

    def _write(self, made: Turn, was: OrderState | None) -> None:
        tell = [to_bytes([report_of(self.order, made.state, self._ground.clock.now())])]
        self._ground.journal.save(
            self.order.key,
            made.state.model_dump(mode="json"),
            is_over=made.state.is_over,
            tell=tell if was is None or made.state.sequence != was.sequence else (),
        )

    def _after(self, was: OrderState) -> None:
        self._changed.set()
        if self._ground.renames and self.state.known_as and self.state.known_as != was.known_as:
            self._ground.renames.rename(present_goal(self.order, self.state), self.state.known_as)
        if self.state.is_over and not was.is_over:
            self._over(self)
            for stop in self.stops:
                self._ground.works.begin(self._stop(stop))

    async def listed(self, statuses: Statuses) -> None:
        """Take in a status list of the present step's action; a goal that ended is asked about at once."""
        step = self.state.step if self.state.steps else None
        if self.state.stage not in {Stage.sent, Stage.going} or not isinstance(step, GoalStep):
            return
        seen = self._seen(statuses, present_goal(self.order, self.state))
        if not statuses.is_heard or (seen is not None and seen.status.is_over):
            self._prompted.set()
        if self.state.stage is Stage.sent or self._is_unnamed():
            await self.hear(Listed(statuses))

    # Doing

    def _do(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self._works.begin(self._send(effect), again=self._take_up)
                case Ask(goal=goal) if self._asked != goal:
                    self._asked = goal
                    self._works.begin(self._ask(effect), again=self._take_up)
                case Cancel():
                    self._works.begin(self._cancel(effect))
                case Call():
                    self._works.begin(self._call(effect), again=self._take_up)
                case Take():
                    self._works.begin(self._take(effect), again=self._take_up)

    async def _send(self, send: Send) -> None:
        step = send.step
        until = self._ground.clock.monotonic() + LATER_S
        while True:
            try:
                answer: GoalAnswer = await self._ground.link.send_goal(step.action, step.type, send.goal, step.goal)
            except Invalid as error:
                answer = Refusal(error.message)
            # With the first goal the whole order can be refused at once, unless a killed server is still seen beside its heir.
            is_under_way = bool(self.state.at or self.state.run)
            if not self._is_to_wait(answer, until) or not (is_under_way or self._is_crowded(step.action, step.type)):
                break
            await asyncio.sleep(AGAIN_S)  # nothing was sent; the robot's server is only starting
        self._asked = None
        renames = self._ground.renames
        await self.hear(Answered(send.goal, answer, renames.known_as(send.goal) if renames else ""))

    def _is_to_wait(self, answer: object, until: float) -> bool:
        may_pass = isinstance(answer, Refusal) and answer.may_pass and self.state.wish is Wish.run
        return may_pass and self._ground.clock.monotonic() < until

    def _is_crowded(self, name: str, type: str) -> bool:
        return self._ground.link.is_crowded(name, type)

    async def _ask(self, ask: Ask) -> None:
        """Wait for the goal's end, over and over, until it has ended or its server knows nothing of it."""
        unknown = 0
        while self._is_out(ask.goal) and self._asked == ask.goal:
            server, began = self._ground.link.incarnation(ask.step.action), self._ground.clock.monotonic()
            result = await self._result(ask)
            seen = self._seen(self._ground.link.statuses(ask.step.action), ask.goal)
            if not isinstance(result, Ended) and seen is not None and seen.status.is_over:
                result = Ended(seen.status, {})  # it has ended, and what came of it is forgotten
            unknown = unknown + 1 if isinstance(result, UnknownGoal) and seen is None else 0
            # Asked while the goal itself still waits at the server, it may not know it yet: it is asked twice.
            if isinstance(result, Ended) or unknown > 1 or (unknown and self.state.is_declined):
                self._asked = None
                return await self.hear(Resulted(ask.goal, result, server))
            if isinstance(result, Refusal | NoAnswer):
                await self._doubt(ask.goal, result)
            if self._ground.clock.monotonic() - began < 2 * AGAIN_S:
                await asyncio.sleep(AGAIN_S)
        return None

    async def _result(self, ask: Ask) -> GoalResult:
        """The answer to one question; not waited for any longer than is of use once the goal is listed as ended."""
        self._prompted.clear()
        link, step = self._ground.link, ask.step
        listed = self._seen(link.statuses(step.action), ask.goal)
        if listed is not None and listed.status.is_over:
            self._prompted.set()
        question = asyncio.ensure_future(link.result(step.action, step.type, ask.goal, timeout_s=ASK_S))
        prompt = asyncio.ensure_future(self._prompted.wait())
        try:
            await asyncio.wait({question, prompt}, return_when=asyncio.FIRST_COMPLETED)
            done, _ = await asyncio.wait({question}, timeout=ONCE_MORE_S)
            return question.result() if done else NoAnswer("the status list changed while it was asked")
        finally:
            question.cancel()
            prompt.cancel()

    async def _doubt(self, goal: UUID, result: Refusal | NoAnswer) -> None:
        if self.state.stage is Stage.sent and not self.state.doubt:
            why = result.why if isinstance(result, NoAnswer) else result.reason
            await self.hear(Answered(goal, NoAnswer(why)))

    def _is_out(self, goal: UUID) -> bool:
        return self.state.stage in {Stage.sent, Stage.going} and present_goal(self.order, self.state) == goal

    def _seen(self, statuses: Statuses, goal: UUID) -> GoalSeen | None:
        name = self.state.known_as or str(goal)
        return next((seen for one, seen in statuses.goals.items() if str(one) == name), None)

    async def _cancel(self, cancel: Cancel) -> None:
        step = cancel.step
        answer = await self._ground.link.cancel_goal(step.action, step.type, cancel.goal)
        log.info("goal cancel", order=self.order.key, goal=str(cancel.goal), answer=type(answer).__name__)

    async def _call(self, call: Call) -> None:
        step = call.step
        until = self._ground.clock.monotonic() + min(LATER_S, call.timeout_s)
        while True:
            try:
                answer = await self._ground.link.call(step.service, step.type, step.request, timeout_s=call.timeout_s)
            except Invalid as error:
                answer = Refusal(error.message)
            if not self._is_to_wait(answer, until) or not self._is_crowded(step.service, step.type):
                break
            await asyncio.sleep(AGAIN_S)  # it was not called
        await self.hear(Called(call.at, answer))

    async def _stop(self, stop: CallStep) -> None:
        try:
            await self._ground.link.call(stop.service, stop.type, stop.request, timeout_s=STOP_S)
        except Invalid as error:
            log.warning(
                "what ends a task could not be called", order=self.order.key, service=stop.service, why=error.message
            )

    async def _take(self, take: Take) -> None:
        step = take.step
        came: asyncio.Future[Sample] = asyncio.get_running_loop().create_future()

        def heard(sample: Sample) -> None:
            if not came.done() and (sample.received_ns - sample.sent_ns) / 1e9 <= step.fresh_s:
                came.set_result(sample)

        listening = self._ground.link.listen(step.topic, step.type, heard, max_rate_hz=50.0)
        wait_s = min(take.timeout_s, max(2 * step.fresh_s, 5.0))
        try:
            sample = await asyncio.wait_for(came, wait_s)
            await self.hear(Sampled(take.at, dict(sample.fields)))
        except TimeoutError:
            await self.hear(
                Sampled(take.at, None, f"{step.topic} gave nothing newer than {step.fresh_s:g} s in {wait_s:g} s")
            )
        finally:
            listening.close()

    # Time

    async def _tick(self) -> None:
        while not self.state.is_over:
            at = wakes_at(self.order, self.state)
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), self._rest_s(at))
            except TimeoutError:
                await self.hear(Ticked())
                await self._look_at_list()

    async def _look_at_list(self) -> None:
        """What a list that came at another time says of a goal that is in doubt, or whose id is not known yet."""
        step = self.state.step if self.state.steps else None
        if not isinstance(step, GoalStep) or not (self.state.stage is Stage.sent or self._is_unnamed()):
            return
        statuses = self._ground.link.statuses(step.action)
        if self._ground.renames and not statuses.is_heard:
            statuses = self._ground.renames.since_sent(present_goal(self.order, self.state))
        await self.hear(Listed(statuses))

    def _is_unnamed(self) -> bool:
        return self.state.stage is Stage.going and self.state.before is not None and not self.state.known_as

    def _rest_s(self, at: datetime | None) -> float:
        if at is None:
            return TICK_MAX_S
        return min(max((at - self._ground.clock.now()).total_seconds(), TICK_MIN_S), TICK_MAX_S)
