"""The messages that are sent to robots, as each version has them (pure); every one validates against the official schemas."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import orjson

Message = dict[str, object]
Value = str | float | int | bool
INSTANT_BLOCKING = "NONE"  # the only blocking type that 3.0 allows for instant actions, allowed before too


@dataclass(frozen=True, slots=True)
class Envelope:
    """To whom, and the version that it speaks."""

    version: str
    manufacturer: str
    serial_number: str

    @property
    def major(self) -> int:
        """2 or 3."""
        return int(self.version.partition(".")[0])

    @property
    def is_20(self) -> bool:
        """Whether the names of 2.0 are wanted where 2.1 changed them."""
        return self.version.startswith("2.0")


@dataclass(frozen=True, slots=True)
class Action:
    """One action at a node, or an instant one."""

    id: str
    type: str
    parameters: tuple[tuple[str, Value], ...] = ()
    blocking: str = "HARD"


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a route; without a place the robot knows it by name."""

    id: str
    sequence: int
    x_m: float | None = None
    y_m: float | None = None
    map_id: str = ""
    theta_rad: float | None = None
    deviation_m: float | None = None
    actions: tuple[Action, ...] = ()


def stamp(at: datetime) -> str:
    """An instant as the standard writes it, to the millisecond."""
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def route(nodes: Sequence[Node], envelope: Envelope) -> Message:
    """Nodes and edges of an order, all released: what is kept, and sent in one `part` or several."""
    return {
        "nodes": [_node(node, envelope) for node in nodes],
        "edges": [_edge(a, b, envelope) for a, b in pairwise(nodes)],
    }


def part(kept: Message, *, update_id: int, first: int, last: int, bare: int | None = None) -> Message:
    """What one message sends of a kept route: from the node `first` on, released up to `last`; `bare` without actions."""
    listed = [(_sequence(one), one) for one in _listed(kept, "nodes")]
    nodes = [(sequence, one | {"actions": []} if sequence == bare else one) for sequence, one in listed]
    edges = [(_sequence(one), one) for one in _listed(kept, "edges")]
    return {
        "orderUpdateId": update_id,
        "nodes": [one | {"released": sequence <= last} for sequence, one in nodes if sequence >= first],
        "edges": [one | {"released": sequence < last} for sequence, one in edges if sequence > first],
    }


def order(envelope: Envelope, number: int, at: datetime, order_id: str, sent: Message) -> bytes:
    """An order message around a part of a kept route."""
    return _message(envelope, number, at, {"orderId": order_id, **sent})


def instant_actions(
    envelope: Envelope, number: int, at: datetime, actions: Sequence[Action], *, key: str = "actions"
) -> bytes:
    """Instant actions; under `key` besides `actions` for robots that still read the old name."""
    said = [_action(action, envelope, is_instant=True) for action in actions]
    return _message(envelope, number, at, {"actions": said, **({} if key == "actions" else {key: said})})


def responses(
    envelope: Envelope, number: int, at: datetime, granted: Sequence[tuple[str, bool]], lease_until: datetime
) -> bytes:
    """Answers to a 3.0 robot's requests: granted until then, or rejected."""
    said = [
        {"requestId": request, "grantType": "GRANTED", "leaseExpiry": stamp(lease_until)}
        if is_granted
        else {"requestId": request, "grantType": "REJECTED"}
        for request, is_granted in granted
    ]
    return _message(envelope, number, at, {"responses": said})


def _message(envelope: Envelope, number: int, at: datetime, body: Message) -> bytes:
    header = {
        "headerId": number,
        "timestamp": stamp(at),
        "version": envelope.version,
        "manufacturer": envelope.manufacturer,
        "serialNumber": envelope.serial_number,
    }
    return orjson.dumps(header | body)


def _listed(kept: Message, name: str) -> list[Message]:
    found = kept.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _sequence(one: Message) -> int:
    return int(str(one["sequenceId"]))


def _node(node: Node, envelope: Envelope) -> Message:
    said: Message = {"nodeId": node.id, "sequenceId": node.sequence, "released": True}
    if node.x_m is not None and node.y_m is not None:
        said["nodePosition"] = _position(node, envelope)
    return said | {"actions": [_action(action, envelope) for action in node.actions]}


def _position(node: Node, envelope: Envelope) -> Message:
    said: Message = {"x": node.x_m, "y": node.y_m, "mapId": node.map_id}
    if node.theta_rad is not None:
        said["theta"] = node.theta_rad
    if node.deviation_m is not None:
        radius = node.deviation_m
        if envelope.major >= 3:
            said["allowedDeviationXY"] = {"a": radius, "b": radius, "theta": 0.0}
        else:
            said["allowedDeviationXY"] = radius
        if envelope.is_20:  # the schema of 2.0 spells it so, its text as above
            said["allowedDeviationXy"] = radius
    return said


def _edge(start: Node, end: Node, envelope: Envelope) -> Message:
    said: Message = {"edgeId": f"e{start.sequence + 1}", "sequenceId": start.sequence + 1, "released": True}
    if envelope.major < 3:
        said |= {"startNodeId": start.id, "endNodeId": end.id}
    return said | {"actions": []}


def _action(action: Action, envelope: Envelope, *, is_instant: bool = False) -> Message:
    blocking = INSTANT_BLOCKING if is_instant else action.blocking
    if blocking == "SINGLE" and envelope.major < 3:
        blocking = "HARD"
    said: Message = {"actionType": action.type, "actionId": action.id, "blockingType": blocking}
    if is_instant and envelope.is_20:  # the schema of 2.0 wants actionName, its text and every robot actionType
        said["actionName"] = action.type
    if action.parameters:
        said["actionParameters"] = [{"key": key, "value": value} for key, value in action.parameters]
    return said
