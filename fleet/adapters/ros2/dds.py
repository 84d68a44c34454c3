"""The link to robots over DDS itself. Commands go to peers on Cyclone whose definitions are ours; telemetry comes from any vendor's DDS."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from fleet.adapters.ros2.dds_clients import Listening, ServiceClient, StatusWatch, goal_status
from fleet.adapters.ros2.dds_domain import address_of, resolved
from fleet.adapters.ros2.dds_participant import Participant, Spot, Took, nodes_of
from fleet.adapters.ros2.discovery import CANCEL, GRAPH_TOPIC, GRAPH_TYPE, SERVICES, Graph, Told
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
from fleet.adapters.ros2.names import ACTION, REQUEST, TOPIC, dds_topic, ros_type
from fleet.adapters.ros2.peer_goals import ALREADY_OVER, UNKNOWN_GOAL, nanoseconds
from fleet.adapters.ros2.qos import Profile
from fleet.adapters.ros2.types import known_types
from fleet.errors import Invalid, Unavailable
from fleet.timepieces import Clock, SystemClock

NODE = "/yardmaster_gateway"
SERVER_WAIT_S = 3.0  # how long a server that is not there, or only half, is waited for before a command is refused
LOOK_S = 0.005
ANSWER_S = 5.0
SETTLE_S = 0.05  # discovery tells of a robot in many pieces
ASK_AGAIN_S = 30.0  # a request for a result that has been waiting so long is sent once more: its reply may be lost

MOST_ASKED = 1000  # results waited for at once; the oldest is given up, and asked for again by whoever still wants it
EVERYBODY = Profile(durability="transient local", depth=0)


log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_dds(
    url: str,
    *,
    distro: str = "jazzy",
    definitions: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    node: str = NODE,
    answer_s: float = ANSWER_S,
) -> AsyncIterator["DdsLink"]:
    """Join the domain of a dds:// URL; `definitions` are texts of .action, .srv and .msg files by type.

    A goal or cancel that is not answered within `answer_s` ends as NoAnswer.

    Raises:
        Invalid: the URL, the distribution or a definition is wrong.
        Unavailable: a peer's name or the network interface is not there now.
    """
    the_clock = clock or SystemClock()
    address = await asyncio.to_thread(resolved, address_of(url))
    types = await asyncio.to_thread(known_types, distro, definitions)
    participant = Participant(address, types, clock=the_clock, node=node)
    link = DdsLink(participant, the_clock, answer_s)
    try:
        yield link
    finally:
        await link.close()


@dataclass
class _Asked:
    """A request for a result that is on its way."""

    reply: asyncio.Future[dict[str, Any]]
    since_s: float
    incarnation: str


class DdsLink:
    """A RosLink over DDS; see `fleet.adapters.ros2.link`."""

    def __init__(self, participant: Participant, clock: Clock, answer_s: float = ANSWER_S) -> None:
        """See `open_dds`."""
        self._answer_s = answer_s
        self.types = participant.types
        self._participant, self._clock = participant, clock
        self._graph = Graph(self.types, participant.guid)
        self._numbers = itertools.count(1)
        self._clients: dict[tuple[str, str], ServiceClient] = {}
        self._watches: dict[str, StatusWatch] = {}
        self._listenings: dict[int, Listening] = {}
        self._asked: dict[tuple[str, UUID], _Asked] = {}
        self._seen: tuple[Seen, ...] = ()
        self._given: tuple[Seen, ...] = ()
        self._is_stale = self._has_failed = False
        self._news = asyncio.Event()
        participant.discover(self._discovered, self._fail)
        participant.reader(Spot(GRAPH_TOPIC, GRAPH_TYPE, participant.node), EVERYBODY, self._told_nodes)

    async def close(self) -> None:
        """Leave the domain."""
        for client in self._clients.values():
            client.close()
        await self._participant.close()

    def endpoints(self) -> Sequence[Seen]:
        """What is there now."""
        self._given = self._look()
        return self._given

    async def changed(self) -> None:
        """Return when `endpoints` is different from when it was last called."""
        while True:
            news = self._news
            if self._has_failed:
                raise Unavailable("The link over DDS hears nothing any more: Cyclone failed. It has to be opened anew.")
            if self._look() != self._given:
                return
            await news.wait()
            await asyncio.sleep(SETTLE_S)

    def objection(self, name: str, type: str) -> str:
        """Why a command would be refused now, or ""."""
        return self._graph.objection(name, type).why

    def is_crowded(self, name: str, type: str) -> bool:
        """Whether several servers are seen, of which one may be dead already."""
        return self._graph.is_crowded(name, type)

    def incarnation(self, action: str) -> str:
        """Names the server that is there now."""
        return self._graph.incarnation(action)

    async def send_goal(self, action: str, type: str, goal_id: UUID, goal: Fields) -> GoalAnswer:
        """Send a goal once."""
        request = {"goal_id": _uuid(goal_id), "goal": goal}
        self.types.encode(f"{type}_SendGoal_Request", request)  # wrong fields are told before a server is waited for
        client = await self._ready(action, type, f"{action}{ACTION}send_goal", f"{type}_SendGoal")
        if isinstance(client, Refusal):
            return client
        reply = await self._ask(client, request, self._answer_s)
        if not isinstance(reply, dict):
            return reply
        return Taken(nanoseconds(reply["stamp"])) if reply["accepted"] else Declined()

    async def result(self, action: str, type: str, goal_id: UUID, *, timeout_s: float) -> GoalResult:
        """The goal's result, waited for while it runs."""
        asked = self._asked.get((action, goal_id))
        if asked is None or self._is_doubtful(action, goal_id, asked):
            client = await self._ready(action, type, f"{action}{ACTION}get_result", f"{type}_GetResult")
            if isinstance(client, Refusal):
                return client
            try:
                asked = self._ask_result(client, action, goal_id)
            except Unavailable as error:
                return NoAnswer(error.message)
        reply = await _within(asked.reply, timeout_s)
        if reply is None:
            return NoAnswer(f"{action} gave no result of goal {goal_id} within {timeout_s:g} s.")
        status = goal_status(reply["status"])
        return UnknownGoal() if status == GoalStatus.unknown else Ended(status, reply["result"])

    async def cancel_goal(self, action: str, type: str, goal_id: UUID) -> CancelAnswer:
        """Ask the server to cancel this one goal."""
        client = await self._ready(action, type, f"{action}{ACTION}cancel_goal", CANCEL)
        if isinstance(client, Refusal):
            return client
        reply = await self._ask(client, {"goal_info": {"goal_id": _uuid(goal_id)}}, self._answer_s)
        if not isinstance(reply, dict):
            return reply
        if reply["return_code"] == UNKNOWN_GOAL:
            return UnknownGoal()
        if reply["return_code"] == ALREADY_OVER:
            return AlreadyOver()
        agreed = (UUID(bytes=bytes(info["goal_id"]["uuid"])) for info in reply["goals_canceling"])
        return Canceling() if goal_id in agreed else CancelDeclined()

    def statuses(self, action: str) -> Statuses:
        """The newest status list heard; the first call begins to listen."""
        return self._watch(action).statuses()

    def watch(self, action: str, heard: Callable[[Statuses], None]) -> Closable:
        """Be called with each status list that comes, and with an unheard one when the server goes."""
        watch = self._watch(action)
        watch.watchers.append(heard)
        return _Watching(watch, heard)

    async def call(self, service: str, type: str, request: Fields, *, timeout_s: float) -> ServiceAnswer:
        """Call a service once."""
        self.types.encode(f"{type}_Request", request)
        client = await self._ready(service, type, service, type)
        return client if isinstance(client, Refusal) else await self._ask(client, request, timeout_s)

    def listen(self, topic: str, type: str, heard: Callable[[Sample], None], *, max_rate_hz: float) -> Closable:
        """Be called with the newest message of a topic, at most this often."""
        if max_rate_hz <= 0:
            raise Invalid(f"{topic} cannot be heard {max_rate_hz:g} times a second; give a rate above 0.", topic=topic)
        spot = Spot(dds_topic(TOPIC, topic), type, self._participant.node)
        listening = Listening(self._participant, self._graph, self._clock, spot, heard, max_rate_hz)
        self._listenings[id(listening)] = listening
        return _Listened(self._listenings, listening)

    async def _ready(self, name: str, type: str, service: str, part: str) -> ServiceClient | Refusal:
        """The client of a service whose server hears us and is heard; waits for one that is coming or going."""
        is_one_enough = part == CANCEL  # a cancel too many harms nobody
        objection = self._graph.objection(name, type, is_one_enough=is_one_enough)
        until_s = self._clock.monotonic() + SERVER_WAIT_S
        while self._clock.monotonic() < until_s and (objection.may_pass or not objection):
            if not objection:
                client = self._client(service, part)
                if client.is_matched(self._graph.servers(service)):
                    return client
            await asyncio.sleep(LOOK_S)
            objection = self._graph.objection(name, type, is_one_enough=is_one_enough)
        return Refusal(
            objection.why
            or f"The server of {name} is seen, and DDS does not connect us with it: is the network one-way, or does it describe "
            "its types to DDS otherwise than ROS does (other names of fields)?",
            may_pass=objection.may_pass or not objection,
        )

    async def _ask(self, client: ServiceClient, request: Fields, timeout_s: float) -> dict[str, Any] | NoAnswer:
        try:
            future = client.send(request)
        except Unavailable as error:
            return NoAnswer(error.message)
        reply = await _within(future, timeout_s)
        if reply is None:
            future.cancel()
            return NoAnswer(f"{client.name} did not answer within {timeout_s:g} s.")
        return reply

    def _ask_result(self, client: ServiceClient, action: str, goal_id: UUID) -> _Asked:
        key = (action, goal_id)
        before = self._asked.pop(key, None)
        if before is not None:
            if not self._is_doubtful(action, goal_id, before):
                self._asked[key] = before
                return before
            before.reply.cancel()
        if len(self._asked) >= MOST_ASKED:
            next(iter(self._asked.values())).reply.cancel()
        reply = client.send({"goal_id": _uuid(goal_id)})
        asked = self._asked[key] = _Asked(reply, self._clock.monotonic(), self.incarnation(action))
        reply.add_done_callback(lambda _: self._asked.pop(key, None) if self._asked.get(key) is asked else None)
        return asked

    def _is_doubtful(self, action: str, goal_id: UUID, asked: _Asked) -> bool:
        """Whether the reply may never come: another server is there, the goal is over, or it has been long."""
        seen = self._watches[action].statuses().goals.get(goal_id) if action in self._watches else None
        waited_s = self._clock.monotonic() - asked.since_s
        is_over = seen is not None and seen.status.is_over and waited_s > SETTLE_S
        return is_over or waited_s > ASK_AGAIN_S or asked.incarnation != self.incarnation(action)

    def _client(self, service: str, type: str) -> ServiceClient:
        found = self._clients.get((service, type))
        if found is None:
            found = self._clients[service, type] = ServiceClient(self._participant, service, type, self._numbers)
        return found

    def _watch(self, action: str) -> StatusWatch:
        found = self._watches.get(action)
        if found is None:
            found = self._watches[action] = StatusWatch(self._participant, self._graph, action)
            self._prepare(action)
        return found

    def _prepare(self, action: str) -> None:
        """Make the clients of an action that is watched, so that they are matched when its first goal is sent."""
        for told in self._graph.on(dds_topic(REQUEST, f"{action}{ACTION}send_goal"), writers=False):
            type = ros_type(told.type).removesuffix("_SendGoal_Request")
            if type in self.types:
                for service, part in zip(SERVICES, (f"{type}_SendGoal", f"{type}_GetResult", CANCEL), strict=True):
                    self._client(f"{action}{ACTION}{service}", part)

    def _look(self) -> tuple[Seen, ...]:
        if self._is_stale:
            self._is_stale, self._seen = False, tuple(self._graph.seen())
        return self._seen

    def _discovered(self, told: list[Told]) -> None:
        topics = {topic for one in told if (topic := self._graph.tell(one))}
        if not topics:
            return
        for action, watch in self._watches.items():
            if watch.topic in topics:
                watch.refresh()
            if dds_topic(REQUEST, f"{action}{ACTION}send_goal") in topics:
                self._prepare(action)
        for listening in [*self._listenings.values()]:
            if listening.spot.topic in topics:
                listening.refresh()
        self._renew()

    def _told_nodes(self, samples: list[Took], _: int) -> None:
        for took in samples:
            try:
                message = self.types.decode(GRAPH_TYPE, took.sample)
            except Invalid as error:
                log.warning("ros2.nodes_unreadable", why=error.message)
                continue
            if self._graph.tell_nodes(bytes(message["gid"]["data"])[:16], nodes_of(message)):
                self._renew()

    def _fail(self) -> None:
        self._has_failed = True
        self._renew()

    def _renew(self) -> None:
        self._is_stale = True
        news, self._news = self._news, asyncio.Event()
        news.set()


@dataclass
class _Watching:
    watch: StatusWatch
    heard: Callable[[Statuses], None]

    def close(self) -> None:
        if self.heard in self.watch.watchers:
            self.watch.watchers.remove(self.heard)


@dataclass
class _Listened:
    listenings: dict[int, Listening]
    listening: Listening

    def close(self) -> None:
        self.listenings.pop(id(self.listening), None)
        self.listening.close()


async def _within(reply: asyncio.Future[dict[str, Any]], timeout_s: float) -> dict[str, Any] | None:
    """The reply, or None when it has not come in time or nobody waits for it any more; it goes on being waited for."""
    await asyncio.wait([reply], timeout=timeout_s)
    return reply.result() if reply.done() and not reply.cancelled() else None


def _uuid(goal_id: UUID) -> Mapping[str, object]:
    return {"uuid": [*goal_id.bytes]}
