"""What a DDS domain shows of its robots without being asked: topics, services, actions, and why we cannot use one (pure)."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fleet.adapters.ros2.link import Kind, Seen
from fleet.adapters.ros2.names import (
    ACTION,
    CYCLONE,
    REPLY,
    REQUEST,
    TOPIC,
    dds_topic,
    namespace_of,
    ros_name,
    ros_type,
    vendor,
)
from fleet.adapters.ros2.qos import SERVICE, STATUS, Profile, fitting_reader, mismatch
from fleet.adapters.ros2.types import Types, fitting_distros

GRAPH_TOPIC, GRAPH_TYPE = "ros_discovery_info", "rmw_dds_common/msg/ParticipantEntitiesInfo"
PREFIX = 12  # the bytes of a GUID that all endpoints of a participant share
SERVICES = ("send_goal", "get_result", "cancel_goal")
STATUS_TYPE = "action_msgs/msg/GoalStatusArray"
CANCEL = "action_msgs/srv/CancelGoal"


@dataclass(frozen=True)
class Told:
    """One endpoint as DDS discovery tells of it; when it has gone, only `guid` and `is_alive` count."""

    guid: bytes
    is_alive: bool
    is_writer: bool = True
    handle: int = 0  # Cyclone's own number of it
    topic: str = ""
    type: str = ""
    profile: Profile = field(default_factory=Profile)
    announced: Mapping[str, str] = field(default_factory=dict)

    @property
    def participant(self) -> bytes:
        """What it shares with the others of its participant."""
        return self.guid[:PREFIX]

    @property
    def vendor(self) -> str:
        """Whose DDS it is."""
        return vendor(self.guid)

    @property
    def type_hash(self) -> str:
        """The RIHS01 hash it announces, or ""."""
        return self.announced.get("typehash", "")


@dataclass(frozen=True)
class Objection:
    """Why a command is not sent, in a sentence; falsy when it is."""

    why: str = ""
    may_pass: bool = False  # it may be otherwise in a moment: a server is starting, or an old one has just died

    def __bool__(self) -> bool:
        """Whether there is one."""
        return bool(self.why)


Complaint = Callable[[Told], str]


class Graph:
    """Everything that is there now, ours left out."""

    def __init__(self, types: Types, own: bytes) -> None:
        """`own` is the GUID of our participant."""
        self._types, self._own = types, own[:PREFIX]
        self._told: dict[bytes, Told] = {}
        self._by_topic: defaultdict[str, dict[bytes, Told]] = defaultdict(dict)
        self._nodes: dict[bytes, dict[bytes, str]] = {}  # participant -> endpoint -> node
        self._shown: dict[str, list[Seen]] = {}
        self._stale: set[str] = set()  # names that must be looked at again: a large domain changes in many small steps

    def tell(self, told: Told) -> str:
        """Take in one endpoint; gives the DDS topic on which something changed, or ""."""
        if told.participant == self._own:
            return ""
        before = self._told.get(told.guid)
        if before == (told if told.is_alive else None):
            return ""
        if before is not None:
            self._remove(before)
        if told.is_alive:
            self._told[told.guid] = told
            self._by_topic[told.topic][told.guid] = told
            self._stale.add(_base(told.topic))
        return before.topic if before is not None else told.topic

    def _remove(self, told: Told) -> None:
        del self._told[told.guid]
        del self._by_topic[told.topic][told.guid]
        if not self._by_topic[told.topic]:
            del self._by_topic[told.topic]
        self._stale.add(_base(told.topic))
        if told.topic == GRAPH_TOPIC and told.is_writer:
            self.tell_nodes(told.guid, {})

    def tell_nodes(self, participant: bytes, nodes: Mapping[str, Iterable[bytes]]) -> bool:
        """Take in which node of a participant has which endpoints; whether that changed."""
        if participant[:PREFIX] == self._own:
            return False
        owners = {guid: name for name, guids in nodes.items() for guid in guids}
        before = self._nodes.pop(participant[:PREFIX], {})
        if owners:
            self._nodes[participant[:PREFIX]] = owners
        changed = [guid for guid in before.keys() | owners.keys() if before.get(guid) != owners.get(guid)]
        self._stale |= {_base(self._told[guid].topic) for guid in changed if guid in self._told}
        return bool(changed)

    def on(self, topic: str, *, writers: bool) -> list[Told]:
        """Who writes or reads this DDS topic."""
        return [told for told in self._by_topic.get(topic, {}).values() if told.is_writer == writers]

    def servers(self, service: str) -> list[tuple[Told, Told]]:
        """Who serves it: readers of requests, each with the writer of its replies; a participant may have several."""
        replies = {told.participant: told for told in self.on(dds_topic(REPLY, service), writers=True)}
        requests = self.on(dds_topic(REQUEST, service), writers=False)
        return [(told, replies[told.participant]) for told in requests if told.participant in replies]

    def seen(self) -> list[Seen]:
        """One entry per name, kind and type, in order of name."""
        for name in self._stale - {""}:
            found = [*self._topic(name), *self._service(name), *self._action(name)]
            self._shown[name] = sorted(found, key=lambda seen: (seen.kind, seen.type))
            if not found:
                del self._shown[name]
        self._stale.clear()
        return [seen for name in sorted(self._shown) for seen in self._shown[name]]

    def objection(self, name: str, type: str, *, is_one_enough: bool = False) -> Objection:
        """Why an action or service of this type would be refused at this name now; falsy when it would be sent."""
        parts = self._action_parts(name, type) if "/action/" in type else [(name, type)]
        if any(part not in self._types for _, part in parts):
            return Objection(_unknown(type, self._types.distro))
        servers = [self.servers(service) for service, _ in parts]
        if not all(servers):
            return Objection(self._absence(name, type, [service for service, _ in parts]), may_pass=True)
        if not is_one_enough and any(len(pairs) > 1 for pairs in servers):
            several = f"More than one server answers to {name}: a command would be executed by each of them."
            return Objection(several, may_pass=True)
        complaints = (
            self._command_complaint(part, request, reply)
            for (_, part), pairs in zip(parts, servers, strict=True)
            for request, reply in pairs
        )
        return Objection(next(filter(None, complaints), ""))

    def is_crowded(self, name: str, type: str) -> bool:
        """Whether more than one server answers to an action or service of this type."""
        parts = self._action_parts(name, type) if "/action/" in type else [(name, type)]
        return any(len(self.servers(service)) > 1 for service, _ in parts)

    def incarnation(self, action: str) -> str:
        """What hears its goals, as hex; "" when nothing or several do. A node that is set up anew in its process is another."""
        found = {request.guid.hex() for request, _ in self.servers(f"{action}{ACTION}send_goal")}
        return found.pop() if len(found) == 1 else ""

    def hash_complaint(self, told: Told, type: str) -> str:
        """Why this endpoint's messages of the type cannot be read or written; "" when they can."""
        ours, theirs = self._types.hash(type), told.type_hash
        if ros_type(told.type) != type:
            return f"It is of type {ros_type(told.type)}, not {type}."
        if not ours:
            return _unknown(type, self._types.distro)
        if theirs == ours:
            return ""
        if not theirs:
            if self._types.distro == "humble" or told.vendor != CYCLONE:
                return ""
            return (
                f"It announces no type hash, as only peers of Humble and before do, and this account is set to "
                f"{self._types.distro}: set the account's distro to that of the robot."
            )
        return _skew(type, ours, theirs, self._types.distro)

    def _topic(self, name: str) -> list[Seen]:
        topic = dds_topic(TOPIC, name)
        writers, readers = self.on(topic, writers=True), self.on(topic, writers=False)
        return [
            *self._grouped(name, "publisher", writers, self._publisher_complaint),
            *self._grouped(name, "subscriber", readers, lambda told: self._subscriber_complaint(told, writers)),
        ]

    def _publisher_complaint(self, told: Told) -> str:
        complaint = self.hash_complaint(told, ros_type(told.type))
        apart = mismatch(told.profile, fitting_reader([told.profile]))
        return complaint or (f"Incompatible quality of service: {apart}." if apart else "")

    def _subscriber_complaint(self, told: Told, writers: Sequence[Told]) -> str:
        complaint = self.hash_complaint(told, ros_type(told.type))
        for writer in writers:
            apart = mismatch(writer.profile, told.profile)
            if apart and not complaint:
                complaint = (
                    f"It does not hear {self._node(writer) or 'a publisher'}: incompatible quality of service: {apart}."
                )
        return complaint

    def _service(self, name: str) -> list[Seen]:
        requests = self.on(dds_topic(REQUEST, name), writers=False)
        return [
            self._seen(name, "service", type, told, self.objection(name, type).why)
            for type, told in _by_type(requests, "_Request").items()
        ]

    def _action(self, name: str) -> list[Seen]:
        requests = self.on(dds_topic(REQUEST, f"{name}{ACTION}send_goal"), writers=False)
        return [
            self._seen(name, "action", type, told, self.objection(name, type).why or self._status_complaint(name))
            for type, told in _by_type(requests, "_SendGoal_Request").items()
        ]

    def _status_complaint(self, action: str) -> str:
        writers = self.on(dds_topic(TOPIC, f"{action}{ACTION}status"), writers=True)
        for told in writers:
            complaint = self.hash_complaint(told, STATUS_TYPE)
            apart = mismatch(told.profile, STATUS)
            if complaint or apart:
                return complaint or f"Its status list cannot be heard: incompatible quality of service: {apart}."
        return "" if writers else "It publishes no status list."

    def _grouped(self, name: str, kind: Kind, endpoints: Sequence[Told], complaint: Complaint) -> list[Seen]:
        return [
            self._seen(name, kind, type, told, next(filter(None, map(complaint, told)), ""))
            for type, told in _by_type(endpoints, "").items()
        ]

    def _seen(self, name: str, kind: Kind, type: str, endpoints: Sequence[Told], complaint: str) -> Seen:
        first = min(endpoints, key=lambda told: told.guid)
        nodes = tuple(sorted({node for told in endpoints if (node := self._node(told))}))
        return Seen(
            name=name,
            kind=kind,
            type=type,
            namespace=_namespace(name, kind, nodes),
            nodes=nodes,
            qos=first.profile.described(),
            type_hash=first.type_hash,
            vendor=", ".join(sorted({told.vendor for told in endpoints})),
            complaint=complaint,
        )

    def _node(self, told: Told) -> str:
        return self._nodes.get(told.participant, {}).get(told.guid, "")

    def _action_parts(self, name: str, type: str) -> list[tuple[str, str]]:
        types = (f"{type}_SendGoal", f"{type}_GetResult", CANCEL)
        return [(f"{name}{ACTION}{service}", part) for service, part in zip(SERVICES, types, strict=True)]

    def _absence(self, name: str, type: str, services: Sequence[str]) -> str:
        if any(
            self.on(dds_topic(REQUEST, service), writers=False) or self.on(dds_topic(REPLY, service), writers=True)
            for service in services
        ):
            return (
                f"The server of {name} is only half there: it lacks part of its services; it may be starting or ending."
            )
        ending = "_SendGoal_Request" if "/action/" in type else "_Request"
        named = (
            ros_name(told.topic)
            for told in self._told.values()
            if ros_type(told.type) == type + ending and not told.is_writer
        )
        others = sorted({found[1].partition(ACTION)[0] for found in named if found})
        return f"No server of {name} is seen; " + (
            f"{type} is served at {', '.join(others)}." if others else f"none of type {type}."
        )

    def _command_complaint(self, type: str, request: Told, reply: Told) -> str:
        if request.vendor != CYCLONE:
            return (
                f"It runs on {request.vendor}; requests framed by {CYCLONE} would be misread there, so commands are not sent. "
                "Its telemetry is heard. Use a rosbridge for its commands."
            )
        hashes = self.hash_complaint(request, f"{type}_Request") or self.hash_complaint(reply, f"{type}_Response")
        if hashes:
            return hashes
        apart = mismatch(SERVICE, request.profile) or mismatch(reply.profile, SERVICE)
        return f"Incompatible quality of service: {apart}." if apart else ""


def _base(topic: str) -> str:
    """The name under which a DDS topic is shown; "" when it is not."""
    named = ros_name(topic)
    return named[1].partition(ACTION)[0] if named is not None else ""


def _by_type(endpoints: Sequence[Told], ending: str) -> dict[str, list[Told]]:
    """By ROS type, without this ending; those whose type has another one are left out."""
    found: dict[str, list[Told]] = {}
    for told in endpoints:
        type = ros_type(told.type)
        if type.endswith(ending):
            found.setdefault(type.removesuffix(ending) if ending else type, []).append(told)
    return found


def _namespace(name: str, kind: Kind, nodes: Sequence[str]) -> str:
    """The namespace of its nodes; what nodes without one have remapped into a namespace belongs there, what they hear does not."""
    namespaces = [node.rpartition("/")[0] for node in nodes]
    named = next((namespace for namespace in namespaces if namespace), "")
    if named or (nodes and kind == "subscriber"):
        return named or "/"
    return namespace_of(name)


def _unknown(type: str, distro: str) -> str:
    return f"The type {type} is not known for {distro}; give its definition in the account's options."


def _skew(type: str, ours: str, theirs: str, distro: str) -> str:
    fitting = fitting_distros(type, theirs)
    advice = (
        f"it is the one of {', '.join(fitting)}: set the account's distro to that"
        if fitting
        else "it is of no distribution known here: give the robot's own definition in the account's options"
    )
    return f"Its definition of {type} ({theirs[:15]}...) differs from that of {distro} ({ours[:15]}...); {advice}."
