"""Our half of services, status lists and topics on a DDS participant: what a link is made of."""

import asyncio
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import structlog

from fleet.adapters.ros2.dds_participant import Participant, Reader, Spot, Took
from fleet.adapters.ros2.discovery import STATUS_TYPE, Graph, Told
from fleet.adapters.ros2.link import Fields, GoalSeen, GoalStatus, Sample, Statuses
from fleet.adapters.ros2.names import ACTION, REPLY, REQUEST, TOPIC, dds_topic
from fleet.adapters.ros2.peer_goals import nanoseconds
from fleet.adapters.ros2.qos import SERVICE, STATUS, Profile, fitting_reader
from fleet.adapters.ros2.types import HEADER
from fleet.errors import Invalid
from fleet.timepieces import Clock

CLIENT = slice(4, 12)  # of a reply: whom it is for

log = structlog.get_logger(__name__)


class ServiceClient:
    """One client of one service. Replies to others, which come on the same topic, are left out before anything is decoded."""

    def __init__(self, participant: Participant, name: str, type: str, numbers: Iterator[int]) -> None:
        """The reader of replies is there before the writer of requests; `numbers` run across all clients of a link."""
        self.name, self.type = name, type
        self._types, self._numbers = participant.types, numbers
        self._client = secrets.token_bytes(8)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        ids = {"clientid": participant.next_id()}
        reply = Spot(dds_topic(REPLY, name), f"{type}_Response", participant.node, ids)
        self._reader = participant.reader(
            reply, SERVICE, self._heard, is_wanted=lambda sample: sample[CLIENT] == self._client
        )
        request = Spot(dds_topic(REQUEST, name), f"{type}_Request", participant.node, ids)
        self._writer = participant.writer(request, SERVICE)

    def is_matched(self, servers: Sequence[tuple[Told, Told]]) -> bool:
        """Whether each of these hears our requests and is heard by us; a request before that would be lost."""
        requests, replies = self._writer.matched(), self._reader.matched()
        return bool(servers) and all(
            request.handle in requests and reply.handle in replies for request, reply in servers
        )

    def send(self, fields: Fields) -> asyncio.Future[dict[str, Any]]:
        """Send a request; the future gives the reply's fields, and is cancelled by who stops waiting.

        Raises:
            Invalid: the fields do not fit; nothing was sent.
            Unavailable: there was no room to send it.
        """
        number = next(self._numbers)
        sample = self._types.encode(f"{self.type}_Request", fields, (self._client, number))
        self._writer.write(sample)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        future.add_done_callback(lambda _: self._waiting.pop(number, None))
        return future

    def close(self) -> None:
        """End it; nobody is answered any more."""
        for future in [*self._waiting.values()]:
            future.cancel()
        self._reader.close()
        self._writer.close()

    def _heard(self, samples: list[Took], _: int) -> None:
        for took in samples:
            _, number = HEADER.unpack_from(took.sample, 4)
            future = self._waiting.get(number)
            if future is None or future.done():
                continue
            try:
                future.set_result(self._types.decode(f"{self.type}_Response", took.sample, has_header=True))
            except Invalid as error:
                log.warning("ros2.reply_unreadable", service=self.name, why=error.message)


class StatusWatch:
    """The status lists of one action's server; those of a server that has gone no longer count."""

    def __init__(self, participant: Participant, graph: Graph, action: str) -> None:
        """Begins to listen."""
        self.topic = dds_topic(TOPIC, f"{action}{ACTION}status")
        self._types, self._graph = participant.types, graph
        self._lists: dict[int, Mapping[UUID, GoalSeen]] = {}
        self._told: Statuses | None = None
        self.watchers: list[Callable[[Statuses], None]] = []
        self._reader = participant.reader(Spot(self.topic, STATUS_TYPE, participant.node), STATUS, self._heard)

    def statuses(self) -> Statuses:
        """The newest list."""
        writers = [told.handle for told in self._graph.on(self.topic, writers=True)]
        goals = {goal_id: seen for handle in writers for goal_id, seen in self._lists.get(handle, {}).items()}
        return Statuses(is_heard=bool(writers) and all(handle in self._lists for handle in writers), goals=goals)

    def refresh(self) -> None:
        """The servers of the topic have changed."""
        self._tell(is_new=False)

    def close(self) -> None:
        """Listen no more."""
        self._reader.close()

    def _heard(self, samples: list[Took], _: int) -> None:
        for took in samples:
            try:
                message = self._types.decode(STATUS_TYPE, took.sample)
            except Invalid as error:
                log.warning("ros2.status_unreadable", topic=self.topic, why=error.message)
                continue
            self._lists[took.writer] = dict(map(_seen_goal, message["status_list"]))
        alive = {told.handle for told in self._graph.on(self.topic, writers=True)}
        newest = {took.writer for took in samples}  # discovery may tell of them in a moment
        self._lists = {handle: goals for handle, goals in self._lists.items() if handle in alive | newest}
        self._tell(is_new=True)

    def _tell(self, *, is_new: bool) -> None:
        statuses = self.statuses()
        if is_new or statuses != self._told:
            self._told = statuses
            for watcher in [*self.watchers]:
                watcher(statuses)


def _seen_goal(entry: Mapping[str, Any]) -> tuple[UUID, GoalSeen]:
    info = entry["goal_info"]
    seen = GoalSeen(goal_status(entry["status"]), nanoseconds(info["stamp"]))
    return UUID(bytes=bytes(info["goal_id"]["uuid"])), seen


def goal_status(number: int) -> GoalStatus:
    """The status of this number; unknown for one that there is not."""
    return GoalStatus(number) if number in GoalStatus._value2member_map_ else GoalStatus.unknown


class Listening:
    """A topic that is listened to: the newest message, at most so often, requested in the way its publishers offer it."""

    def __init__(
        self,
        participant: Participant,
        graph: Graph,
        clock: Clock,
        spot: Spot,
        heard: Callable[[Sample], None],
        rate_hz: float,
    ) -> None:
        """Begins to listen."""
        self.spot = spot
        self._participant, self._graph, self._clock, self._heard = participant, graph, clock, heard
        self._interval_s = 1 / rate_hz
        self._unreadable: frozenset[int] = frozenset()
        self._complained = False
        self._profile: Profile | None = None
        self._reader: Reader | None = None
        self.refresh()

    def refresh(self) -> None:
        """The publishers of the topic have changed."""
        writers = self._graph.on(self.spot.topic, writers=True)
        skewed = {told.handle for told in writers if self._graph.hash_complaint(told, self.spot.type)}
        self._unreadable = frozenset(skewed)
        profile = fitting_reader([told.profile for told in writers if told.handle not in skewed])
        if self._reader is None or (writers and profile != self._profile):
            self.close()
            self._profile = profile
            self._reader = self._participant.reader(self.spot, profile, self._took, min_interval_s=self._interval_s)

    def close(self) -> None:
        """Listen no more."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _took(self, samples: list[Took], missed: int) -> None:
        took = samples[-1]
        if took.writer in self._unreadable or self._reader is None:
            return
        try:
            fields = self._participant.types.decode(self.spot.type, took.sample)
        except Invalid as error:
            if not self._complained:
                self._complained = True
                log.warning("ros2.message_unreadable", topic=self.spot.topic, why=error.message)
            return
        received_ns = int(self._clock.now().timestamp() * 1e9)
        self._heard(Sample(fields, took.sent_ns, received_ns, missed))
