"""One DDS participant as rmw_cyclonedds would make it: typed readers and writers, what it announces, what it discovers."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import structlog
from cyclonedds._clayer import ddspy_take, ddspy_write  # type: ignore[import-not-found]  # compiled, without stubs
from cyclonedds.builtin import BuiltinDataReader, BuiltinTopicDcpsPublication, BuiltinTopicDcpsSubscription
from cyclonedds.core import DDSException, Entity
from cyclonedds.domain import DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.pub import DataWriter
from cyclonedds.qos import Policy, Qos
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic

from fleet.adapters.ros2.dds_domain import DomainAddress, opened
from fleet.adapters.ros2.dds_qos import profile_of, qos_of, user_data_of
from fleet.adapters.ros2.dds_taker import ANYTHING, Source, Taker
from fleet.adapters.ros2.dds_types import IdlTypes
from fleet.adapters.ros2.discovery import GRAPH_TOPIC, GRAPH_TYPE, Told
from fleet.adapters.ros2.names import endpoint_id, to_user_data, user_data
from fleet.adapters.ros2.qos import GRAPH, Profile
from fleet.adapters.ros2.types import Types
from fleet.errors import Invalid, Unavailable
from fleet.timepieces import Clock

TAKEN_AT_ONCE = 256
UNSIGNED = 2**64 - 1
BAD_PARAMETER = -3

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Took:
    """A sample as it came: its bytes, the writer's time, and Cyclone's number of the writer."""

    sample: bytes
    sent_ns: int
    writer: int


@dataclass(frozen=True)
class Spot:
    """Where an endpoint stands: its DDS topic, the ROS type of its messages, and the node that has it."""

    topic: str
    type: str
    node: str
    service_id: Mapping[str, str] = field(default_factory=dict)  # clientid or serviceid: the message has a header then


class Reader:
    """An open reader; closing it ends it at once."""

    def __init__(self, participant: "Participant", source: Source, guid: bytes, node: str) -> None:
        """See `Participant.reader`."""
        self._participant, self._source, self._guid, self._node = participant, source, guid, node

    def matched(self) -> frozenset[int]:
        """The writers that it hears, by Cyclone's numbers."""
        return frozenset(handle & UNSIGNED for handle in self._source.reader.get_matched_publications())

    def announced_by(self, writer: int) -> Mapping[str, str]:
        """What this writer announces of itself; nothing when it is gone."""
        found = self._source.reader.get_matched_publication_data(writer)
        return user_data(user_data_of(found.qos)) if found is not None else {}

    def close(self) -> None:
        """End it; may be called again."""
        self._participant.drop(self._source, self._guid, self._node)


class Writer:
    """An open writer."""

    def __init__(self, participant: "Participant", entity: DataWriter[IdlStruct], guid: bytes, node: str) -> None:
        """See `Participant.writer`."""
        self._participant, self._entity, self._guid, self._node = participant, entity, guid, node
        self._announced: dict[int, Mapping[str, str]] = {}

    def write(self, sample: bytes) -> None:
        """Send a sample (CDR, with encapsulation).

        Raises:
            Invalid: Cyclone says that it is not of the topic's type; nothing was sent.
            Unavailable: there is no room for it: a reader does not acknowledge.
        """
        code = ddspy_write(self._entity._ref, sample)
        if code == BAD_PARAMETER:
            raise Invalid(
                f"Cyclone refuses {len(sample)} bytes for {self._entity.topic.name}: they are not of its type."
            )
        if code < 0:
            raise Unavailable(f"Cyclone could not write to {self._entity.topic.name} (code {code}).", code=code)

    def matched(self) -> frozenset[int]:
        """The readers that hear it, by Cyclone's numbers."""
        return frozenset(handle & UNSIGNED for handle in self._entity.get_matched_subscriptions())

    def announced(self, key: str) -> frozenset[str]:
        """What the readers that hear it announce under this key."""
        handles = self.matched()
        for handle in handles - self._announced.keys():
            found = self._entity.get_matched_subscription_data(handle)
            if found is not None:
                self._announced[handle] = user_data(user_data_of(found.qos))
        self._announced = {handle: self._announced[handle] for handle in handles & self._announced.keys()}
        return frozenset(values[key] for values in self._announced.values() if key in values)

    def close(self) -> None:
        """End it; may be called again."""
        self._participant.forget(self._entity, self._guid, self._node)


class Participant:
    """All of it belongs to one event loop, on which everything that comes is told."""

    def __init__(self, address: DomainAddress, types: Types, *, clock: Clock, node: str) -> None:
        """Join the domain; `node` is the full name under which it shows.

        Raises:
            Invalid: this process has the domain open with other settings.
            Unavailable: the network is not there.
        """
        self.types, self.node = types, node
        self._loop = asyncio.get_running_loop()
        self._closing = ExitStack()
        self._closing.enter_context(opened(address))
        self._idl = IdlTypes(types)
        self._entity = self._joined(address)
        self.guid: bytes = self._entity.guid.bytes
        self._topics: WeakValueDictionary[tuple[str, str], Topic[IdlStruct]] = WeakValueDictionary()
        self._failed: Callable[[], None] = lambda: None
        self._taker = Taker(self._entity, clock, self._loop, lambda: self._failed())
        self._owned: dict[str, tuple[set[bytes], set[bytes]]] = {node: (set(), set())}
        self._kept: dict[
            bytes, Entity
        ] = {}  # Cyclone ends what Python forgets; here an endpoint lasts until it is closed
        self._is_announcing = self._is_closed = False
        self._ids = 0
        self._graph_writer = self.writer(Spot(GRAPH_TOPIC, GRAPH_TYPE, node), GRAPH)

    def _joined(self, address: DomainAddress) -> DomainParticipant:
        try:
            return DomainParticipant(address.domain, qos=Qos(Policy.Userdata(b"enclave=/;")))
        except DDSException as error:
            self._closing.close()
            raise Unavailable(
                f"DDS domain {address.domain} cannot be joined: are {address.participants} processes of this host in it "
                f"already? Cyclone says: {error}",
                domain=address.domain,
            ) from None

    def next_id(self) -> str:
        """A new id for the two endpoints of a client or a service."""
        self._ids += 1
        return endpoint_id(self.guid, self._ids)

    def reader(
        self,
        spot: Spot,
        profile: Profile,
        heard: Callable[[list[Took], int], None],
        *,
        min_interval_s: float = 0.0,
        is_wanted: Callable[[bytes], bool] | None = None,
    ) -> Reader:
        """Read a topic. With an interval only the newest is told, at most so often; unwanted samples cost no decoding."""
        topic = self._topic(spot)
        qos = qos_of(profile, self._announced(spot), is_writer=False)
        entity: DataReader[IdlStruct] = DataReader(self._entity, topic, qos=qos)

        def take() -> Sequence[Took]:
            return _taken(entity, is_wanted)

        source = Source(entity, take, heard, min_interval_s, is_conflated=min_interval_s > 0)
        guid = entity.guid.bytes
        self._own(spot.node)[0].add(guid)
        self._announce_soon()
        self._taker.add(source)
        return Reader(self, source, guid, spot.node)

    def writer(self, spot: Spot, profile: Profile) -> Writer:
        """Write a topic."""
        topic = self._topic(spot)
        entity: DataWriter[IdlStruct] = DataWriter(
            self._entity, topic, qos=qos_of(profile, self._announced(spot), is_writer=True)
        )
        guid = entity.guid.bytes
        self._own(spot.node)[1].add(guid)
        self._kept[guid] = entity
        self._announce_soon()
        return Writer(self, entity, guid, spot.node)

    def discover(self, told: Callable[[list[Told]], None], failed: Callable[[], None]) -> None:
        """From now on tell of every endpoint that comes, changes or goes; and once if nothing is heard any more."""
        self._failed = failed
        for topic, is_writer in ((BuiltinTopicDcpsPublication, True), (BuiltinTopicDcpsSubscription, False)):
            reader = BuiltinDataReader(self._entity, topic)
            self._taker.add(Source(reader, _endpoints(reader, is_writer=is_writer), lambda found, _: told(found)))

    def drop(self, source: Source, guid: bytes, node: str) -> None:
        """End a reader."""
        self._taker.remove(source)
        self.forget(source.reader, guid, node)

    def forget(self, entity: Entity, guid: bytes, node: str) -> None:
        """End an endpoint and announce that it is gone."""
        entity.__del__()  # Cyclone's way to end an entity now; later calls do nothing
        self._kept.pop(guid, None)
        for owned in self._owned.get(node, ()):
            owned.discard(guid)
        if node != self.node and not any(self._owned.get(node, ((),))):
            self._owned.pop(node, None)
        self._announce_soon()

    async def close(self) -> None:
        """Leave the domain; everything opened here ends with it."""
        self._is_closed = True
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._taker.close()
        self._entity.__del__()
        self._closing.close()

    def _own(self, node: str) -> tuple[set[bytes], set[bytes]]:
        return self._owned.setdefault(node, (set(), set()))

    def _topic(self, spot: Spot) -> Topic[IdlStruct]:
        key = (spot.topic, spot.type)
        found = self._topics.get(key)
        if found is None:
            data_type = self._idl.of(spot.type, has_header=bool(spot.service_id))
            try:
                found = self._topics[key] = Topic(self._entity, spot.topic, data_type)
            except DDSException as error:
                raise Invalid(f"{spot.topic!r} is no topic of {spot.type}: Cyclone says: {error}") from None
        return found

    def _announced(self, spot: Spot) -> bytes:
        hashes = {} if self.types.distro == "humble" else {"typehash": self.types.hash(spot.type)}
        return to_user_data({**spot.service_id, **hashes})

    def _announce_soon(self) -> None:
        if not self._is_announcing:
            self._is_announcing = True
            self._loop.call_soon(self._announce)

    def _announce(self) -> None:
        """Tell in ros_discovery_info which node has which endpoints, as every ROS 2 participant does."""
        self._is_announcing = False
        if self._is_closed:
            return
        nodes = [
            {
                "node_namespace": node.rpartition("/")[0] or "/",
                "node_name": node.rpartition("/")[2],
                "reader_gid_seq": [self._gid(guid) for guid in sorted(readers)],
                "writer_gid_seq": [self._gid(guid) for guid in sorted(writers)],
            }
            for node, (readers, writers) in self._owned.items()
        ]
        self._graph_writer.write(
            self.types.encode(GRAPH_TYPE, {"gid": self._gid(self.guid), "node_entities_info_seq": nodes})
        )

    def _gid(self, guid: bytes) -> dict[str, object]:
        (_, (_, length)) = self.types.fields("rmw_dds_common/msg/Gid")[0][1]
        return {"data": [*guid.ljust(length, b"\0")]}


def nodes_of(message: Mapping[str, list[dict[str, object]]]) -> dict[str, list[bytes]]:
    """The endpoints of each node, from a message of ros_discovery_info."""
    found: dict[str, list[bytes]] = {}
    for node in message["node_entities_info_seq"]:
        name = f"{str(node['node_namespace']).rstrip('/')}/{node['node_name']}"
        gids = [*node["reader_gid_seq"], *node["writer_gid_seq"]]  # type: ignore[misc]
        found.setdefault(name, []).extend(bytes(gid["data"])[:16] for gid in gids)
    return found


def _taken(entity: DataReader[IdlStruct], is_wanted: Callable[[bytes], bool] | None) -> list[Took]:
    samples = ddspy_take(entity._ref, ANYTHING, TAKEN_AT_ONCE)
    if isinstance(samples, int):  # an error code: the reader was just closed
        return []
    return [
        Took(sample, told.source_timestamp, told.publication_handle)
        for sample, told in samples
        if told.valid_data and (is_wanted is None or is_wanted(sample))
    ]


def _endpoints(reader: BuiltinDataReader, *, is_writer: bool) -> Callable[[], list[Told]]:
    def take() -> list[Told]:
        found: list[Told] = []
        for _ in range(TAKEN_AT_ONCE):  # one by one: one that cannot be read must not take others with it
            try:
                samples = reader.take(N=1)
            except (
                DDSException,
                ValueError,
                KeyError,
                TypeError,
            ) as error:  # a policy that Cyclone's Python does not know
                log.warning("ros2.endpoint_unreadable", why=str(error))
                continue
            if not samples:
                break
            found.append(_told(samples[0], is_writer=is_writer))
        return found

    return take


def _told(sample: object, *, is_writer: bool) -> Told:
    guid, state = sample.key.bytes, sample.sample_info  # type: ignore[attr-defined]
    if not state.valid_data:
        return Told(guid, is_alive=False, is_writer=is_writer)
    return Told(
        guid,
        is_alive=True,
        is_writer=is_writer,
        handle=state.instance_handle & UNSIGNED,
        topic=sample.topic_name,  # type: ignore[attr-defined]
        type=sample.type_name,  # type: ignore[attr-defined]
        profile=profile_of(sample.qos),  # type: ignore[attr-defined]
        announced=user_data(user_data_of(sample.qos)),  # type: ignore[attr-defined]
    )
