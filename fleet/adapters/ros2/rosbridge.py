"""The link over a rosbridge (WebSocket, JSON), for robots whose DDS is not Cyclone's or whose network is far away.

It lives with the bridge's defects: a goal that the robot rejects may never be answered and blocks its connection, so every goal
has a connection of its own; a cancel is heard on another connection only; the goal's id is the robot's, so it is recognised
in the status list. What cannot be told for certain stays unknown.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from uuid import UUID

import structlog

from fleet.adapters.ros2 import rosbridge_frames as frames
from fleet.adapters.ros2.link import (
    AlreadyOver,
    CancelAnswer,
    CancelDeclined,
    Canceling,
    Closable,
    Declined,
    Ended,
    Fields,
    GoalAnswer,
    GoalResult,
    GoalStatus,
    NoAnswer,
    Refusal,
    Sample,
    Seen,
    ServiceAnswer,
    Statuses,
    Taken,
    UnknownGoal,
)
from fleet.adapters.ros2.options import Options
from fleet.adapters.ros2.rosbridge_line import LOST, Line, reason_of
from fleet.push import PushAccount
from fleet.timepieces import Clock, SystemClock

CANCEL_S = 2.0
GRACE_S = 1.0  # for the result of a goal that the status list shows as ended


log = structlog.get_logger()


@dataclass
class Goal:
    """A goal that was sent, with its own connection while that lasts."""

    action: str
    before: frozenset[UUID]
    connection: int = 0  # of the line, when it was sent
    known_as: str = ""
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    ended: "asyncio.Future[Ended | Refusal | NoAnswer | None]" = field(default_factory=asyncio.Future)


class RosbridgeLink:
    """A link to all the robots behind one bridge; see `RosLink`."""

    def __init__(self, account: PushAccount, options: Options, clock: Clock) -> None:
        """See `open_rosbridge`."""
        self.line = Line(account, options, clock, self._unlist)
        self._clock, self._answer_s = clock, options.answer_s
        self._lists: dict[str, Statuses] = {}
        self._watchers: dict[str, list[Callable[[Statuses], None]]] = {}
        self._goals: dict[UUID, Goal] = {}

    def trouble(self) -> str:
        """Why the bridge is away; empty when it is there."""
        return self.line.trouble()

    def _unlist(self) -> None:
        for action in list(self._lists):
            self._list(action, Statuses())

    # What is there

    def endpoints(self) -> Sequence[Seen]:
        """What the bridge's graph shows."""
        return self.line.seen

    async def changed(self) -> None:
        """Return when `endpoints` is different from when it was last called."""
        await self.line.changed()

    def is_crowded(self, name: str, type: str) -> bool:
        """A bridge does not tell how many servers are there."""
        return False

    def incarnation(self, action: str) -> str:
        """A bridge does not tell which server is there."""
        return ""

    def objection(self, name: str, type: str) -> str:
        """Why an action or service would be refused now; empty when it would be sent."""
        if self.trouble():
            return self.trouble()
        found = [one for one in self.line.seen if one.name == name and one.kind in {"action", "service"}]
        if not found:
            return f"{name} is not seen through this rosbridge."
        if found[0].type and type and found[0].type != type:
            return f"{name} is of type {found[0].type}, not {type}."
        return ""

    # Goals

    async def send_goal(self, action: str, type: str, goal_id: UUID, goal: Fields) -> GoalAnswer:
        """Send a goal on a connection of its own."""
        objection = self.objection(action, type)
        if objection:
            return Refusal(objection)
        self.statuses(action)
        sent = self._goals[goal_id] = Goal(
            action, frozenset(self._lists.get(action, Statuses()).goals), self.line.connection
        )
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.line.begin(self._carry(sent, frames.send_goal(action, type, goal_id, goal), ready))
        unsent = await ready
        if unsent:
            del self._goals[goal_id]
            return Refusal(unsent)
        with suppress(TimeoutError):
            await asyncio.wait_for(sent.begun.wait(), self._answer_s)
        if sent.ended.done():
            ended = sent.ended.result()
            if ended is None:
                return Declined()
            if isinstance(ended, Refusal | NoAnswer):
                return ended
        if sent.begun.is_set():
            return Taken(0)
        return NoAnswer("the rosbridge said nothing of the goal; it does not tell of one that the robot rejects")

    async def _carry(self, goal: Goal, frame: str, ready: "asyncio.Future[str]") -> None:
        """The goal's own connection, until its result or its loss."""
        try:
            async with self.line.connect() as socket:
                try:
                    await socket.send(frame)
                finally:
                    ready.set_result("")  # from here on it may have been sent
                async for text in socket:
                    said = frames.parsed(text) or {}
                    if said.get("op") == "action_feedback":
                        goal.begun.set()
                    if said.get("op") == "action_result":
                        goal.ended.set_result(frames.goal_ended(said))
                        goal.begun.set()
                        return
        except LOST as error:
            if not ready.done():
                ready.set_result(f"the rosbridge could not be reached: {reason_of(error)}")
        finally:
            if not ready.done():  # whoever sends the goal waits for this, whatever went wrong
                ready.set_result("the connection to the rosbridge ended before the goal was sent")

    def listed(self, action: str) -> tuple[str, ...]:
        """The ids of the goals that the action lists now."""
        return tuple(sorted(str(goal) for goal in self.statuses(action).goals))

    def known_as(self, goal_id: UUID) -> str:
        """What the robot calls our goal; empty while that is not known."""
        goal = self._goals.get(goal_id)
        if goal is None:
            return ""
        fresh = set(self._lists.get(goal.action, Statuses()).goals) - goal.before
        return goal.known_as or (str(next(iter(fresh))) if len(fresh) == 1 else "")

    def since_sent(self, goal_id: UUID) -> Statuses:
        """The list of the goal's action; heard, also when it is empty, if the connection has lasted since the goal was sent."""
        goal = self._goals.get(goal_id)
        if goal is None or not goal.action:
            return Statuses()
        return replace(self.statuses(goal.action), is_heard=goal.connection == self.line.connection)

    def rename(self, goal_id: UUID, known_as: str) -> None:
        """From now on this is what the robot calls our goal."""
        self._goals.setdefault(goal_id, Goal("", frozenset())).known_as = known_as

    async def result(self, action: str, type: str, goal_id: UUID, *, timeout_s: float) -> GoalResult:
        """The goal's result from its own connection, else its end from the status list."""
        goal = self._goals.get(goal_id)
        listing = self._seen_of(action, goal)
        if goal is not None:
            limit_s = GRACE_S if listing is not None and listing.is_over else timeout_s
            with suppress(TimeoutError):
                ended = await asyncio.wait_for(asyncio.shield(goal.ended), limit_s)
                return UnknownGoal() if ended is None else ended
        else:
            await asyncio.sleep(min(GRACE_S, timeout_s))
        found = self._seen_of(action, goal)
        if found is not None and found.is_over:
            return Ended(found, {})
        heard = self.statuses(action)
        if goal is not None and goal.known_as and heard.is_heard and found is None:
            return UnknownGoal()
        return NoAnswer("the rosbridge has told no end of the goal")

    def _seen_of(self, action: str, goal: Goal | None) -> GoalStatus | None:
        if goal is None or not goal.known_as:
            return None
        found = self.statuses(action).goals.get(UUID(goal.known_as))
        return found.status if found is not None else None

    async def cancel_goal(self, action: str, type: str, goal_id: UUID) -> CancelAnswer:
        """Cancel by the bridge's own name of the goal, on this connection, and by the robot's id where that is known."""
        if self.trouble():
            return Refusal(self.trouble())
        self.line.send(frames.cancel_goal(action, goal_id))
        goal = self._goals.get(goal_id)
        known_as = goal.known_as if goal is not None else str(goal_id)
        if not known_as:
            return Canceling()
        request = frames.cancel_request(known_as)
        answer = await self.call(
            f"{action}/_action/cancel_goal", "action_msgs/srv/CancelGoal", request, timeout_s=CANCEL_S
        )
        if isinstance(answer, Refusal | NoAnswer):
            return Canceling()
        codes: dict[object, CancelAnswer] = {1: CancelDeclined(), 2: UnknownGoal(), 3: AlreadyOver()}
        return codes.get(answer.get("return_code"), Canceling())

    def statuses(self, action: str) -> Statuses:
        """The newest status list heard; the first call begins to listen."""
        if action not in self._lists:
            self._lists[action] = Statuses()
            self.line.subscribe(
                f"{action}/_action/status",
                frames.STATUS_TYPE,
                0,
                lambda message: self._read(action, message),
            )
        return self._lists[action]

    def _read(self, action: str, message: Fields) -> None:
        statuses = frames.statuses_of(message)
        if statuses is None:
            log.warning("a status list cannot be read", action=action)
            return
        self._list(action, statuses)

    def _list(self, action: str, statuses: Statuses) -> None:
        self._lists[action] = statuses
        for heard in self._watchers.get(action, []):
            heard(statuses)

    def watch(self, action: str, heard: Callable[[Statuses], None]) -> Closable:
        """Be called with each status list."""
        self.statuses(action)
        self._watchers.setdefault(action, []).append(heard)
        return Watching(self._watchers[action], heard)

    # Services and topics

    async def call(self, service: str, type: str, request: Fields, *, timeout_s: float) -> ServiceAnswer:
        """Call a service on a connection of its own: one that hangs holds up nothing else."""
        name = f"call:{self.line.number()}"
        is_sent = False
        try:
            async with asyncio.timeout(timeout_s), self.line.connect() as socket:
                frame = frames.call(name, service, type, request)
                is_sent = True
                await socket.send(frame)
                async for text in socket:
                    said = frames.parsed(text) or {}
                    if said.get("op") == "service_response" and said.get("id") == name:
                        return frames.service_answer(said)
        except LOST as error:
            if not is_sent:
                return Refusal(f"the rosbridge could not be reached: {reason_of(error)}")
            return NoAnswer(f"no answer from {service} ({reason_of(error)})")
        return NoAnswer(f"the rosbridge closed the connection before {service} answered")

    def listen(self, topic: str, type: str, heard: Callable[[Sample], None], *, max_rate_hz: float) -> Closable:
        """Be called with the newest message of a topic."""

        def take(message: Fields) -> None:
            now_ns = int(self._clock.now().timestamp() * 1e9)
            heard(Sample(message, sent_ns=now_ns, received_ns=now_ns))

        return self.line.subscribe(topic, type, int(1000 / max_rate_hz), take)


@dataclass(frozen=True)
class Watching:
    """One who is told of status lists."""

    watchers: list[Callable[[Statuses], None]]
    heard: Callable[[Statuses], None]

    def close(self) -> None:
        """Be told no more."""
        if self.heard in self.watchers:
            self.watchers.remove(self.heard)


@asynccontextmanager
async def open_rosbridge(
    account: PushAccount, options: Options, *, clock: Clock | None = None
) -> AsyncIterator[RosbridgeLink]:
    """A link to the bridge at `account.url`; it is reached, and reached again, by itself.

    Raises:
        Invalid: the file of the certificate authority cannot be read.
    """
    link = RosbridgeLink(account, options, clock or SystemClock())
    running = asyncio.create_task(link.line.run())
    running.add_done_callback(link.line.ended)
    try:
        yield link
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await link.line.close()
