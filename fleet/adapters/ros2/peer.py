"""The other half of the wire: a process of ROS 2 nodes with action servers, services and publishers, as rclpy on Cyclone behaves.

The simulated robots are made of it, and the tests' peers. It shares the codec with the link, nothing else.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import UUID

import structlog

from fleet.adapters.ros2.dds_domain import address_of, resolved
from fleet.adapters.ros2.dds_participant import Participant, Reader, Spot, Took, Writer
from fleet.adapters.ros2.link import Fields, GoalStatus
from fleet.adapters.ros2.names import ACTION, REPLY, REQUEST, TOPIC, dds_topic
from fleet.adapters.ros2.peer_goals import DECLINED, Goal, Goals, nanoseconds, stamp
from fleet.adapters.ros2.qos import FEEDBACK, SERVICE, STATUS, Profile
from fleet.adapters.ros2.types import HEADER, known_types
from fleet.errors import Invalid, Unavailable
from fleet.timepieces import Clock, SystemClock

RESULTS_KEPT_S = 900.0  # rclpy's default
CLIENT_WAIT_S, CLIENT_LOOK_S = 0.1, 0.005  # how long rmw_cyclonedds holds a reply for a client that is not yet matched
CANCEL_TYPE, STATUS_TYPE = "action_msgs/srv/CancelGoal", "action_msgs/msg/GoalStatusArray"

T = TypeVar("T")
Answer = Callable[[dict[str, Any]], Fields | Awaitable[Fields]]
OnGoal = Callable[[UUID, dict[str, Any]], bool | Awaitable[bool]]
OnCancel = Callable[[UUID], bool | Awaitable[bool]]

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_peer(
    url: str,
    *,
    distro: str = "jazzy",
    definitions: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    node: str = "/robots",
) -> AsyncIterator["Peer"]:
    """Join a DDS domain as a ROS 2 process; it leaves when the block ends."""
    the_clock = clock or SystemClock()
    address = await asyncio.to_thread(resolved, address_of(url))
    types = await asyncio.to_thread(known_types, distro, definitions)
    participant = Participant(address, types, clock=the_clock, node=node)
    peer = Peer(participant, the_clock)
    try:
        yield peer
    finally:
        await peer.close()


class Peer:
    """Nodes are named in full ("/robot_01/bt_navigator"), so are topics, services and actions."""

    def __init__(self, participant: Participant, clock: Clock) -> None:
        """See `open_peer`."""
        self.participant, self.clock = participant, clock
        self._answering: set[asyncio.Task[None]] = set()

    def publisher(self, node: str, topic: str, type: str, profile: Profile = Profile()) -> "Publisher":
        """Publish messages of a type."""
        return Publisher(self, self.participant.writer(Spot(dds_topic(TOPIC, topic), type, node), profile), type)

    def service(self, node: str, name: str, type: str, answer: Answer) -> "ServiceServer":
        """Answer requests; `answer` gives the fields of the reply, at once or later."""
        return ServiceServer(self, node, name, type, answer)

    def action_server(self, node: str, name: str, type: str, on_goal: OnGoal, on_cancel: OnCancel) -> "ActionServer":
        """Serve an action; both callbacks say whether they agree, quickly."""
        return ActionServer(self, (node, name, type), on_goal, on_cancel)

    def answer_later(self, answering: Coroutine[Any, Any, None]) -> None:
        """Run it beside everything else until it ends or the peer closes."""
        task = asyncio.get_running_loop().create_task(answering)
        self._answering.add(task)
        task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._answering.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("ros2.answer_failed", exc_info=error)

    async def close(self) -> None:
        """Leave the domain."""
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)
        await self.participant.close()


class Publisher:
    """One open publisher."""

    def __init__(self, peer: Peer, writer: Writer, type: str) -> None:
        """See `Peer.publisher`."""
        self._types, self._writer, self._type = peer.participant.types, writer, type

    def publish(self, fields: Fields) -> None:
        """Send a message; fields that are not given are their defaults.

        Raises:
            Invalid: a field does not fit.
            Unavailable: a reliable reader is so far behind that there is no room.
        """
        self._writer.write(self._types.encode(self._type, fields))

    def close(self) -> None:
        """End it."""
        self._writer.close()


class ServiceServer:
    """One open service."""

    def __init__(self, peer: Peer, node: str, name: str, type: str, answer: Answer) -> None:
        """See `Peer.service`."""
        self._peer, self._name, self._type, self._answer = peer, name, type, answer
        participant = peer.participant
        ids = {"serviceid": participant.next_id()}
        self._writer: Writer = participant.writer(Spot(dds_topic(REPLY, name), f"{type}_Response", node, ids), SERVICE)
        request = Spot(dds_topic(REQUEST, name), f"{type}_Request", node, ids)
        self._reader: Reader = participant.reader(request, SERVICE, self._heard)
        self._clients: dict[int, str] = {}

    def close(self) -> None:
        """End it; requests on their way are not answered."""
        self._reader.close()
        self._writer.close()

    def _heard(self, samples: list[Took], _: int) -> None:
        for took in samples:
            self._peer.answer_later(self._reply_to(took))

    async def _reply_to(self, took: Took) -> None:
        types = self._peer.participant.types
        try:
            request = types.decode(f"{self._type}_Request", took.sample, has_header=True)
        except Invalid as error:
            log.warning("ros2.request_unreadable", service=self._name, why=error.message)
            return
        fields = await _settled(self._answer(request))
        client, number = HEADER.unpack_from(took.sample, 4)
        sample = types.encode(f"{self._type}_Response", fields, (client, number))
        await self._wait_for_client(took.writer)
        try:
            self._writer.write(sample)
        except Unavailable as error:
            log.warning("ros2.reply_lost", service=self._name, why=error.message)

    async def _wait_for_client(self, request_writer: int) -> None:
        """A reply before the client's reader is matched would be lost."""
        client = self._clients.get(request_writer)
        if client is None:
            client = self._clients[request_writer] = self._reader.announced_by(request_writer).get("clientid", "")
        waited_s = 0.0
        while client and client not in self._writer.announced("clientid") and waited_s < CLIENT_WAIT_S:
            await asyncio.sleep(CLIENT_LOOK_S)
            waited_s += CLIENT_LOOK_S


class ActionServer:
    """One open action server. A duplicate goal id is declined, results are kept, a result is asked for before it is there."""

    def __init__(self, peer: Peer, place: tuple[str, str, str], on_goal: OnGoal, on_cancel: OnCancel) -> None:
        """See `Peer.action_server`; `place` is node, name, type."""
        node, self.name, self.type = place
        self._peer, self._on_goal, self._on_cancel = peer, on_goal, on_cancel
        self._goals = Goals(RESULTS_KEPT_S)
        self._ended: dict[UUID, asyncio.Future[None]] = {}
        self._offered: set[UUID] = set()
        within = self.name + ACTION
        self._services = (
            peer.service(node, f"{within}send_goal", f"{self.type}_SendGoal", self._send_goal),
            peer.service(node, f"{within}cancel_goal", CANCEL_TYPE, self._cancel_goal),
            peer.service(node, f"{within}get_result", f"{self.type}_GetResult", self._get_result),
        )
        self._feedback = peer.publisher(node, f"{within}feedback", f"{self.type}_FeedbackMessage", FEEDBACK)
        self._status = peer.publisher(node, f"{within}status", STATUS_TYPE, STATUS)

    def executing(self, goal_id: UUID) -> None:
        """The robot works on it now."""
        if self._goals.move(goal_id, GoalStatus.executing):
            self._publish_status()

    def feedback(self, goal_id: UUID, fields: Fields) -> None:
        """Tell how it goes."""
        self._feedback.publish({"goal_id": {"uuid": [*goal_id.bytes]}, "feedback": fields})

    def finish(self, goal_id: UUID, status: GoalStatus, result: Fields | None = None) -> None:
        """It is over: succeeded, canceled or aborted. Those who asked for the result are told; over is over."""
        if self._goals.move(goal_id, status, result, now_s=self._peer.clock.monotonic()):
            self._publish_status()
            waited_for = self._ended.pop(goal_id, None)
            if waited_for is not None:
                waited_for.set_result(None)

    def status_of(self, goal_id: UUID) -> GoalStatus:
        """How far a goal is; unknown when it is not remembered."""
        return self._goals.status(goal_id)

    def restore(self, goals: Mapping[UUID, tuple[int, GoalStatus, Fields]]) -> None:
        """Remember goals of before a restart: (stamp in ns, status, result)."""
        now_s = self._peer.clock.monotonic()
        for goal_id, (stamp_ns, status, result) in goals.items():
            self._goals.restore(goal_id, Goal(stamp_ns, status, result, now_s if status.is_over else None))
        self._publish_status()

    def close(self) -> None:
        """End it; all goals are forgotten."""
        for part in (*self._services, self._feedback, self._status):
            part.close()

    async def _send_goal(self, request: dict[str, Any]) -> Fields:
        goal_id = UUID(bytes=bytes(request["goal_id"]["uuid"]))
        if goal_id in self._goals or goal_id in self._offered:
            return {"accepted": False}
        self._offered.add(goal_id)
        try:
            is_accepted = await _settled(self._on_goal(goal_id, request["goal"]))
        finally:
            self._offered.discard(goal_id)
        if not is_accepted:
            return {"accepted": False}
        now_ns = int(self._peer.clock.now().timestamp() * 1_000_000) * 1000
        self._goals.forget(self._peer.clock.monotonic())
        self._goals.accept(goal_id, now_ns)
        self._publish_status()
        return {"accepted": True, "stamp": stamp(now_ns)}

    async def _get_result(self, request: dict[str, Any]) -> Fields:
        goal_id = UUID(bytes=bytes(request["goal_id"]["uuid"]))
        answer = self._goals.result(goal_id)
        if answer is None:
            ended = self._ended.setdefault(goal_id, asyncio.get_running_loop().create_future())
            await asyncio.shield(ended)
            answer = self._goals.result(goal_id) or (GoalStatus.unknown, {})
        status, result = answer
        return {"status": int(status), "result": result}

    async def _cancel_goal(self, request: dict[str, Any]) -> Fields:
        info = request["goal_info"]
        goal_id = UUID(bytes=bytes(info["goal_id"]["uuid"]))
        code, meant = self._goals.asked_to_cancel(goal_id, nanoseconds(info["stamp"]))
        agreed = [goal for goal in meant if await _settled(self._on_cancel(goal))]
        agreed = [goal for goal in agreed if self._goals.move(goal, GoalStatus.canceling)]
        if agreed:
            self._publish_status()
        if meant and not agreed:
            code = DECLINED
        return {"return_code": code, "goals_canceling": [self._goals.info(goal) for goal in agreed]}

    def _publish_status(self) -> None:
        self._status.publish({"status_list": self._goals.status_list()})


async def _settled(value: T | Awaitable[T]) -> T:
    return await value if inspect.isawaitable(value) else value
