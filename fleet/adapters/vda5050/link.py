"""What listening, pursuing and commanding share: the broker, the journal, the robots, and what is to be told."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from fleet.adapters.vda5050 import outgoing, runs, updates
from fleet.adapters.vda5050.options import Options
from fleet.adapters.vda5050.outgoing import Action
from fleet.adapters.vda5050.robot import Robot
from fleet.adapters.vda5050.runs import Run
from fleet.adapters.vda5050.wire import INSTANT_ACTIONS, ORDER, RESPONSES
from fleet.journal import Journal
from fleet.mqtt import Mqtt
from fleet.push import Told, to_bytes
from fleet.timepieces import Clock

log = structlog.get_logger(__name__)

TOLD_EVERY_S = 0.1
WAITING_MAX = 10_000
SEEN_MAX = 5_000  # addresses that are remembered only because somebody published under them


@dataclass
class Outbox:
    """What is to be told: robots whose observation is news, and everything else in order."""

    others: deque[Told] = field(default_factory=lambda: deque(maxlen=WAITING_MAX))
    stirred: dict[str, None] = field(default_factory=dict)
    conflated: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, told: Told) -> None:
        """Tell this, every one of them."""
        self.others.append(told)
        self.news.set()

    def stir(self, address: str) -> None:
        """Tell how this robot is, as it is when it is told."""
        if address in self.stirred:
            self.conflated += 1
        self.stirred[address] = None
        self.news.set()


class Link:
    """One account's robots at one broker."""

    def __init__(self, options: Options, journal: Journal, mqtt: Mqtt, clock: Clock) -> None:
        """Nothing is held yet."""
        self.options, self.journal, self.mqtt, self.clock = options, journal, mqtt, clock
        self.robots: dict[str, Robot] = {}  # held
        self.seen: dict[str, Robot] = {}  # everyone heard of by connection or factsheet, held or not
        self.outbox = Outbox()
        self.failure: BaseException | None = None

    def now(self) -> datetime:
        """The instant."""
        return self.clock.now()

    def now_s(self) -> float:
        """For durations."""
        return self.clock.monotonic()

    def any_robot(self, address: str) -> Robot:
        """The robot of this address, known from now on."""
        found = self.robots.get(address) or self.seen.get(address)
        if found is None:
            found = Robot(address, self.options, self.now_s())
            if len(self.seen) < SEEN_MAX:
                self.seen[address] = found
        return found

    def change(self, robot: Robot, run: Run) -> bool:
        """From now on the order stands so; True when it has to be kept (`keep`) before anyone hears of it."""
        if run is robot.run:
            return False
        before, robot.run = robot.run, run
        if before is not None and run.report.sequence != before.report.sequence:
            robot.untold.append(to_bytes([run.report]))
        robot.changed.set()
        return True

    async def keep(self, robot: Robot) -> None:
        """The order as it stands now is on disk, with what is to be told of it, when this returns."""
        async with robot.saving:
            run, key, tell = robot.run, robot.key, tuple(robot.untold)
            if run is None:
                return
            await asyncio.to_thread(self.journal.save, key, run.model_dump(mode="json"), is_over=run.is_over, tell=tell)
            del robot.untold[: len(tell)]
        self.outbox.stir(robot.address)

    def send_order(self, robot: Robot) -> bool:
        """Send the order that the robot has of us, or its newest update, as it was kept; whether it went to the broker."""
        run = robot.run
        if run is None:
            return False
        now = self.now()
        body = outgoing.order(robot.envelope, robot.number(ORDER, now), now, run.order_id, updates.message(run))
        robot.order_sent_s = self.now_s()
        is_sent = self.mqtt.publish(robot.topic(ORDER), body)
        if is_sent:
            robot.run = run.model_copy(update={"sends": run.sends + 1})
        return is_sent

    def send_instant(self, robot: Robot, action_id: str, name: str, **parameters: str) -> bool:
        """Send one instant action."""
        now = self.now()
        action = Action(action_id, name, tuple(parameters.items()))
        number = robot.number(INSTANT_ACTIONS, now)
        body = outgoing.instant_actions(robot.envelope, number, now, [action], key=robot.instant_actions_key)
        return self.mqtt.publish(robot.topic(INSTANT_ACTIONS), body)

    def send_cancel(self, robot: Robot, run: Run) -> bool:
        """Ask the robot to end this order; only where its state shows it: in 2.x a cancelOrder names no order."""
        if robot.state is None or robot.state.order_id != run.order_id:
            return False
        if robot.run is not None and robot.run.order_id == run.order_id:
            robot.run = robot.run.model_copy(update={"cancel_sends": robot.run.cancel_sends + 1})
        named = {"orderId": run.order_id} if robot.envelope.major >= 3 else {}
        return self.send_instant(robot, run.instant_id("cancelOrder", run.cancels), "cancelOrder", **named)

    def send_responses(self, robot: Robot, granted: Sequence[tuple[str, bool]], until: datetime) -> bool:
        """Answer a 3.0 robot's requests."""
        now = self.now()
        body = outgoing.responses(robot.envelope, robot.number(RESPONSES, now), now, granted, until)
        return self.mqtt.publish(robot.topic(RESPONSES), body)

    def ask_for(self, robot: Robot, name: str) -> bool:
        """Ask for a state or a factsheet."""
        robot.asks += 1
        seed = f"{robot.address}/{name}/{self.now().isoformat()}/{robot.asks}"
        return self.send_instant(robot, runs.shaped(seed, length=None, is_numerical=False), name)

    def watch(self, task: asyncio.Task[None]) -> None:
        """Should this task fail, the one who reads what is told hears of it: the link is to be opened anew."""

        def noted(ended: asyncio.Task[None]) -> None:
            if not ended.cancelled() and ended.exception() is not None:
                self.failure = ended.exception()
                self.outbox.news.set()

        task.add_done_callback(noted)

    async def told(self) -> AsyncIterator[Told]:
        """What is to be told, for one reader, who sees each robot at most ten times a second."""
        box = self.outbox
        while True:
            await box.news.wait()
            box.news.clear()
            if self.failure is not None:
                raise self.failure
            while box.others:
                yield box.others.popleft()
            stirred, box.stirred = list(box.stirred), {}
            for address in stirred:
                robot = self.robots.get(address)
                said = robot.observation(self.now_s(), self.now()) if robot else None
                if said is not None:
                    yield said
            await asyncio.sleep(TOLD_EVERY_S)
