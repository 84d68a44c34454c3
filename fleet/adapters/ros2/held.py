"""One robot that this gateway holds: its order, the goals that others sent it, what its topics say, how well it is heard."""

import asyncio
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from uuid import UUID

import structlog

from fleet.adapter import Activity, OrderStatus
from fleet.adapters.ros2 import telemetry
from fleet.adapters.ros2.bindings import Robot, actions_of, robot_of
from fleet.adapters.ros2.exposure import canonical
from fleet.adapters.ros2.inheriting import goals_known
from fleet.adapters.ros2.link import Closable, GoalSeen, Sample, Seen, Statuses
from fleet.adapters.ros2.options import Options, Telemetry
from fleet.adapters.ros2.orders import Ground, OrderDrive
from fleet.adapters.ros2.runs import GoalStep, OrderState, goal_id
from fleet.errors import Invalid
from fleet.push import Heard, Hearing, Told

UNWANTED_MAX = 100
TOGETHER_S = 0.05
LISTS_S = 2.0  # a status list is told to whoever comes later, but not at once
HEARD_S = 4.0
TAKEN_S = 8.0  # after which a robot that was taken over should have told its goals, also on a busy machine
ALIVE_S = 5.0  # a robot that publishes nothing we know is told as seen this often

log = structlog.get_logger()


class HeldRobot:
    """Belongs to the event loop; `tell` takes what is to be told of it."""

    def __init__(self, ground: Ground, options: Options, address: str, tell: Callable[[Told], None]) -> None:
        """`address` is how the platform calls it."""
        self.address = address
        self.namespace = canonical(address)
        self.robot = Robot(namespace=self.namespace, types={})
        self.seen: list[Seen] = []
        self.drive: OrderDrive | None = None
        self._ground, self._options, self._tell = ground, options, tell
        self._picture = telemetry.Picture()
        self._complaint = ""
        self._watches: dict[str, Closable] = {}
        self._listens: dict[str, tuple[str, Closable]] = {}
        self._statuses: dict[str, Statuses] = {}
        self._relisted = asyncio.Event()
        self._inherited: set[UUID] = set()
        self._unwanted: dict[UUID, tuple[str, str]] = {}
        self._taken_at = ground.clock.monotonic()
        self._sample_at: float | None = None
        self._exposed_at: float | None = None
        self._hearing: Hearing | None = None
        self._said: tuple[object, ...] = ()
        self._telling: asyncio.TimerHandle | None = None

    # What it exposes

    def expose(self, seen: list[Seen]) -> None:
        """This is what it exposes now: listen to what tells of it."""
        if seen and not self.seen:
            self._exposed_at = self._ground.clock.monotonic()
        self.seen = seen
        if seen:
            self.robot = robot_of(self.namespace, seen)
        for action in actions_of(self._options, self.robot).keys() - self._watches:
            try:
                self._watches[action] = self._ground.link.watch(action, partial(self._list, action))
            except Invalid as error:  # the address, or what the options say: of no harm to the other robots
                self._complain(error.message)
                continue
            listed = self._ground.link.statuses(action)
            if listed.is_heard:  # somebody asked for it before
                self._list(action, listed)
        self._listen(seen)

    def _listen(self, seen: list[Seen]) -> None:
        for role, topic in telemetry.topics_of(self._options, self.namespace, seen).items():
            known = self._listens.get(role)
            if known is not None and known[0] == topic.topic:
                continue
            if known is not None:
                known[1].close()
                del self._listens[role]
            heard = self._battery if role == "battery" else partial(self._pose, topic)
            rate_hz = self._options.telemetry.rate_hz
            try:
                listening = self._ground.link.listen(topic.topic, topic.type, heard, max_rate_hz=rate_hz)
            except Invalid as error:
                self._complain(error.message)
                continue
            self._listens[role] = (topic.topic, listening)

    def close(self) -> None:
        """Listen no longer; goals that are out go on at the robot."""
        if self._telling is not None:
            self._telling.cancel()
        for watch in self._watches.values():
            watch.close()
        for _, listening in self._listens.values():
            listening.close()

    # Its order

    def carry(self, drive: OrderDrive) -> None:
        """This is its order from now on."""
        self.drive = drive
        self._say()

    def ended(self, drive: OrderDrive) -> None:
        """The order is over; a goal of it that still runs is not wanted."""
        for step in drive.state.steps[: drive.state.at + 1]:
            if isinstance(step, GoalStep):
                for run in range(drive.state.run + 1):
                    self._unwanted[goal_id(drive.order.key, step.positions[0], run)] = (step.action, step.type)
        while len(self._unwanted) > UNWANTED_MAX:
            self._unwanted.pop(next(iter(self._unwanted)))
        if self.drive is drive:
            self.drive = None
        self._say()

    def busy(self, key: str) -> str:
        """Whose goal it executes, if that is neither ours nor of the order `key`, in words; empty when it does not."""
        foreign = self._foreign(key)
        if not foreign:
            return ""
        action, goal = next(iter(foreign.items()))
        return f"{self.address} executes a goal that somebody else sent ({goal} at {action})"

    def inherited(self) -> str:
        """Why an order may be at the robot already: a goal that was there first, where ids are the robot's; else empty."""
        if self._ground.renames is None or not self._inherited & set(self._foreign().values()):
            return ""
        return f"{self.address} executes a goal that was there before this gateway; whether it is of this order cannot be told"

    async def free(self, key: str, *, within_s: float) -> None:
        """Return when it executes nobody else's goal, or when that took too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._foreign(key):
                    self._relisted.clear()
                    await self._relisted.wait()

    async def relisted(self) -> None:
        """Return when it is known which goals it has: where ids are the robot's, ours is told from those that were there."""
        while self._ground.renames is not None and self.seen and not self.is_listed():
            self._relisted.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._relisted.wait(), TOGETHER_S)

    async def heard_of(self, *, within_s: float) -> None:
        """Return when it is known which goals it has, or when that took too long."""
        until = self._ground.clock.monotonic() + within_s
        while not self.is_listed() and self._ground.clock.monotonic() < until:
            self._relisted.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._relisted.wait(), TOGETHER_S)

    async def settled(self, key: str) -> None:
        """Return when it lists a goal of this order, or when it has been held for long enough to tell all that it has.

        Not as soon as it lists something: its topics and actions are discovered one after the other, and who is told
        that it has no goal of an order gives the robot to another.
        """
        while not self.goals_of(key) and self._ground.clock.monotonic() < self._taken_at + TAKEN_S:
            self._relisted.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._relisted.wait(), TOGETHER_S)

    def listed(self) -> dict[UUID, tuple[str, GoalSeen]]:
        """All goals that it lists, with their action."""
        return {goal: (action, seen) for action, list in self._statuses.items() for goal, seen in list.goals.items()}

    def goals_of(self, key: str) -> dict[UUID, tuple[str, GoalSeen]]:
        """The goals that the robot lists and that some gateway sent for this order, with their action."""
        ids = goals_known(key)
        return {goal: listed for goal, listed in self.listed().items() if goal in ids}

    async def cancel_goals(self, key: str) -> None:
        """Cancel what still runs of an order that this gateway does not have."""
        types = actions_of(self._options, self.robot)
        for goal, (action, seen) in self.goals_of(key).items():
            if not seen.status.is_over:
                await self._ground.link.cancel_goal(action, types.get(action, ""), goal)

    def is_listed(self) -> bool:
        """Whether all goals that it has are known: each action told its list, or has had the time to tell that it has one."""
        actions = set(actions_of(self._options, self.robot)) & {one.name for one in self.seen}
        if actions and all(self._statuses.get(action, Statuses()).is_heard for action in actions):
            return True
        waited_s = self._ground.clock.monotonic() - (self._exposed_at or math.inf)
        return bool(self.seen) and waited_s > LISTS_S

    # What is heard

    def _list(self, action: str, statuses: Statuses) -> None:
        if statuses.is_heard and not self._statuses.get(action, Statuses()).is_heard and self.drive is None:
            self._inherited |= {goal for goal, seen in statuses.goals.items() if not seen.status.is_over}
        self._statuses[action] = statuses
        self._relisted.set()
        if statuses.is_heard:
            self._sample_at = self._ground.clock.monotonic()
        drive = self.drive
        step = drive.state.step if drive is not None and drive.state.steps else None
        if drive is not None and isinstance(step, GoalStep) and step.action == action:
            self._ground.works.begin(drive.listed(statuses))
        for goal, seen in statuses.goals.items():
            if not seen.status.is_over and goal in self._unwanted and self._is_unwanted(goal):
                log.warning("a goal of an order that is over is canceled", robot=self.address, goal=str(goal))
                self._ground.works.begin(self._end(goal))
        self._say()

    def _is_unwanted(self, goal: UUID) -> bool:
        return self._unwanted[goal][1] != "" and goal not in self._ours()

    async def _end(self, goal: UUID) -> None:
        action, type = self._unwanted[goal]
        await self._ground.link.cancel_goal(action, type, goal)

    def _battery(self, sample: Sample) -> None:
        self._see(telemetry.with_battery(self._picture, sample))

    def _pose(self, topic: Telemetry, sample: Sample) -> None:
        self._see(telemetry.with_pose(self._picture, sample, topic, self._options.map_frame))

    def _see(self, picture: telemetry.Picture) -> None:
        self._sample_at = self._ground.clock.monotonic()
        self._picture = picture
        self._complain(picture.complaint)
        if self._telling is None:  # what came of other topics at the same time is told with it
            self._telling = asyncio.get_running_loop().call_later(TOGETHER_S, self._say_all)

    def _complain(self, why: str) -> None:
        if why and why != self._complaint:
            log.warning("telemetry left out", robot=self.address, why=why)
        self._complaint = why or self._complaint

    def _say_all(self) -> None:
        self._telling = None
        self._say(always=True)

    def _say(self, *, always: bool = False) -> None:
        activity, key = self._activity()
        if not always and self._said == (activity, key):
            return
        self._said = (activity, key)
        picture = self._picture
        if not always and picture.at is not None:
            picture = telemetry.at_least(picture, self._ground.clock.now())
        told = telemetry.observation(self.address, picture, activity, key)
        if told is not None:
            self._tell(told)

    def _activity(self) -> tuple[Activity, str | None]:
        if self.drive is not None and not self.drive.state.is_over:
            paused = self.drive.state.status is OrderStatus.paused
            return Activity.paused if paused else Activity.executing, self.drive.order.key
        return (Activity.executing if self._foreign() else Activity.idle), None

    def _ours(self) -> set[UUID]:
        drive = self.drive
        if drive is None or drive.state.is_over:
            return set()
        return _goals_of(drive.order.key, drive.state)

    def _foreign(self, key: str = "") -> Mapping[str, UUID]:
        """Goals being executed while no order of ours is; inner goals of our own are none."""
        if self.drive is not None and not self.drive.state.is_over:
            return {}
        found = {
            action: goal
            for action, statuses in self._statuses.items()
            for goal, seen in statuses.goals.items()
            if not seen.status.is_over and seen.status > 0
        }
        if not found or not key:
            return found
        own = goals_known(key)
        return {action: goal for action, goal in found.items() if goal not in own}

    # How well it is heard

    def judge(self, *, is_link_up: bool, others_heard: bool, why: str) -> None:
        """Tell when it is heard better or worse than before."""
        now, clock = self._ground.clock.now(), self._ground.clock.monotonic()
        if self.seen and not self._listens and (self._sample_at is None or clock - self._sample_at > ALIVE_S):
            self._see(replace(self._picture, at=now))
        hearing, reason = self._judged(clock, is_link_up=is_link_up, others_heard=others_heard, why=why)
        if hearing is not self._hearing:
            was, self._hearing = self._hearing, hearing
            if hearing is not Hearing.well or was is not None:
                log.info("hearing", robot=self.address, hearing=hearing.value, why=reason)
            self._tell(Heard(serial_number=self.address, hearing=hearing, since=now, why=reason))

    @property
    def is_heard(self) -> bool:
        """Whether it is heard now."""
        return (
            self._judged(self._ground.clock.monotonic(), is_link_up=True, others_heard=True, why="")[0] is Hearing.well
        )

    def _judged(self, clock: float, *, is_link_up: bool, others_heard: bool, why: str) -> tuple[Hearing, str]:
        limit = self._options.telemetry.silent_after_s
        if not is_link_up:
            return Hearing.trouble, why
        since = max(self._sample_at or 0.0, self._exposed_at or clock)  # a robot only just seen is not silent yet
        is_quiet = bool(self._listens) and clock - since > limit
        if self.seen and not is_quiet:
            return Hearing.well, ""
        words = "it is not seen on this link" if not self.seen else f"it is seen, and nothing came for {limit:g} s"
        if not others_heard and not self.seen:
            return Hearing.trouble, "nobody is heard on this link: is it the right domain, network, peers?"
        return Hearing.silent, words


def _goals_of(key: str, state: OrderState) -> set[UUID]:
    own = {goal_id(key, step.positions[0], run) for step in state.steps for run in range(state.run + 1)}
    return own | ({UUID(state.known_as)} if state.known_as else set())
