"""The site's robots in a ROS 2 domain: action servers, a service and topics of each, on the world that the cloud shows too.

A goal is an order given at the robot itself, under its UUID. The servers keep goals in memory, as real ones do.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import structlog

from fleet.adapter import Accepted, DiscoveredRobot, Order, OrderReport, OrderStatus
from fleet.adapters.ros2.link import GoalStatus
from fleet.adapters.ros2.peer import ActionServer, Peer, Publisher, open_peer
from fleet.adapters.simulated import ros2_interface as interface
from fleet.adapters.simulated.local_orders import VDA5050, Look, word_of
from fleet.adapters.simulated.ros2_goals import ACTIONS, Fields, action_of, feedback_of, mission_of
from fleet.adapters.simulated.ros2_messages import battery_state, odometry
from fleet.adapters.simulated.translate import stamp_from
from fleet.adapters.simulated.world import World
from fleet.clock import Clock
from fleet.errors import Invalid, Unavailable

log = structlog.get_logger(__name__)

LOOKS_EVERY_S, RESTS_S = 0.05, 0.2
ODOM_EVERY_S, BATTERY_EVERY_S, FEEDBACK_EVERY_S = 0.2, 1.0, 0.5
ENDS = {
    OrderStatus.succeeded: GoalStatus.succeeded,
    OrderStatus.failed: GoalStatus.aborted,
    OrderStatus.canceled: GoalStatus.canceled,
    OrderStatus.rejected: GoalStatus.aborted,
}


@dataclass
class Goal:
    """A goal that is not over; the robot has one at a time, but one may end while the next has begun."""

    id: UUID
    action: str
    fields: Fields | None  # None: it is known from the journal only
    begun: float
    fed_back: float = 0.0
    is_unwanted: bool = False


class RosRobot:
    """One robot as its servers, service and topics."""

    def __init__(self, world: World, identity: DiscoveredRobot, peer: Peer, called: Callable[[], None]) -> None:
        """Everything is announced in the domain at once; `called` is called when something is asked of the robot."""
        self._world, self._serial_number, self._clock, self._called = world, identity.serial_number, peer.clock, called
        self._goals: dict[UUID, Goal] = {}
        self._due: dict[str, float] = {}
        name = interface.namespace_of(identity)
        node = f"{name}/{interface.NODE}"
        self._servers: dict[str, ActionServer] = {
            action: peer.action_server(node, f"{name}/{action}", form.type, partial(self._take, action), self._cancel)
            for action, form in ACTIONS.items()
        }
        peer.service(node, f"{name}/{interface.STOP_RECORDING}", interface.TRIGGER_TYPE, self._stop_recording)
        self._topics: dict[str, Publisher] = {
            topic: peer.publisher(node, f"{name}/{topic}", type) for topic, type in interface.TOPICS.items()
        }

    @property
    def is_working(self) -> bool:
        """Whether a goal is not over."""
        return bool(self._goals)

    def remember(self, orders: Sequence[tuple[Order, OrderReport]]) -> None:
        """Know these goals again, as a robot does that keeps a journal; those that are not over go on."""
        for order, report in orders:
            action, word = action_of(order), word_of(order.key)
            if not word.startswith(VDA5050):
                self._remember(UUID(word), action, report)

    def _remember(self, goal_id: UUID, action: str, report: OrderReport) -> None:
        stamp_ns, end = stamp_from(report.observed_at) * 1000, ENDS.get(report.status)
        status = end or GoalStatus.executing
        result = ACTIONS[action].result(report) if end else {}
        self._servers[action].restore({goal_id: (stamp_ns, status, result)})
        if end is None:
            self._goals[goal_id] = Goal(goal_id, action, None, self._clock.monotonic())

    async def _take(self, action: str, goal_id: UUID, fields: Fields) -> bool:
        """Whether the robot begins what the goal asks for."""
        try:
            task = ACTIONS[action].task(fields)
        except Invalid as error:
            log.info("goal is declined", robot=self._serial_number, action=action, why=error.message)
            return False
        give = partial(self._world.give, mission_id=mission_of(fields))
        outcome = await asyncio.to_thread(give, self._serial_number, str(goal_id), [task])
        if not isinstance(outcome, Accepted):
            log.info("goal is declined", robot=self._serial_number, action=action, why=outcome.reason)
            return False
        self._goals[goal_id] = Goal(goal_id, action, fields, self._clock.monotonic())
        self._called()
        return True

    def _cancel(self, goal_id: UUID) -> bool:
        """Whether the robot will stop for it; that it has is told by the goal's end."""
        goal = self._goals.get(goal_id)
        if goal is not None:
            goal.is_unwanted = True
            self._called()
        return goal is not None

    async def _stop_recording(self, request: Fields) -> Fields:
        name = await asyncio.to_thread(self._world.stop_recording, self._serial_number)
        return {"success": bool(name), "message": name or "nothing was being recorded"}

    async def tell(self, look: Look) -> None:
        """Tell what has changed since, and what is due."""
        for goal in list(self._goals.values()):
            if goal.is_unwanted:
                turn = partial(self._world.turn, self._serial_number, str(goal.id), OrderStatus.canceled)
                await asyncio.to_thread(turn)
            report = look.report
            if report is None or look.word != str(goal.id):  # the next one has begun meanwhile
                report = await asyncio.to_thread(self._world.given, self._serial_number, str(goal.id))
            if report is not None:
                self._follow(goal, report, look)
        if self._is_due("odom", ODOM_EVERY_S):
            self._topics["odom"].publish(odometry(look))
        if self._is_due("battery_state", BATTERY_EVERY_S):
            self._topics["battery_state"].publish(battery_state(look))

    def _follow(self, goal: Goal, report: OrderReport, look: Look) -> None:
        server, end = self._servers[goal.action], ENDS.get(report.status)
        if end is not None:
            del self._goals[goal.id]
            server.finish(goal.id, end, ACTIONS[goal.action].result(report))
        elif report.status is OrderStatus.running:
            server.executing(goal.id)
            now = self._clock.monotonic()
            if goal.fields is not None and now - goal.fed_back >= FEEDBACK_EVERY_S:
                goal.fed_back = now
                elapsed_s = (now - goal.begun) * self._world.plan.speed
                server.feedback(goal.id, feedback_of(goal.action, look.sample, goal.fields, elapsed_s))

    def _is_due(self, topic: str, every_s: float) -> bool:
        now = self._clock.monotonic()
        if now < self._due.get(topic, now):
            return False
        self._due[topic] = max(self._due.get(topic, now) + every_s, now)
        return True


async def serve_ros2(world: World, url: str, serial_numbers: Sequence[str], clock: Clock) -> None:
    """These robots in the DDS domain that the url names, for ever.

    Raises:
        Invalid: the url is none of a DDS domain.
    """
    called = asyncio.Event()
    async with open_peer(url, distro=interface.DISTRO, definitions=interface.DEFINITIONS, clock=clock) as peer:
        robots: Mapping[str, RosRobot] = {
            serial_number: RosRobot(world, world.robots[serial_number].identity, peer, called.set)
            for serial_number in serial_numbers
        }
        for serial_number, robot in robots.items():
            robot.remember(await asyncio.to_thread(world.remembered, serial_number))
        while True:
            looks = await asyncio.to_thread(lambda: [world.look(serial_number) for serial_number in robots])
            for robot, look in zip(robots.values(), looks, strict=True):
                try:
                    await robot.tell(look)
                except Unavailable as error:  # somebody reads reliably and does not keep up
                    log.warning("robot is not heard", robot=look.seen.serial_number, why=error.message)
            is_working = any(robot.is_working for robot in robots.values())
            called.clear()
            with suppress(TimeoutError):  # a goal or a cancel that comes meanwhile is not kept waiting
                await asyncio.wait_for(called.wait(), LOOKS_EVERY_S if is_working else RESTS_S)
