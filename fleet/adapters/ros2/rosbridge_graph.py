"""What the node rosapi tells of the ROS graph behind a bridge."""

import asyncio
from collections.abc import Mapping, Sequence

from websockets.asyncio.client import ClientConnection

from fleet.adapters.ros2 import rosbridge_frames as frames
from fleet.adapters.ros2.link import Kind, NoAnswer, Refusal, Seen
from fleet.adapters.ros2.options import Options

QUESTION_S = 5.0
# rosapi did not tell the types of actions before 2.1; these are the usual names of Nav2's.
USUAL = {
    "navigate_to_pose": "nav2_msgs/action/NavigateToPose",
    "follow_waypoints": "nav2_msgs/action/FollowWaypoints",
    "dock_robot": "nav2_msgs/action/DockRobot",
}


async def ask_graph(socket: ClientConnection, options: Options) -> list[Seen]:
    """The topics, services and actions there are now; those of the options are there, too."""
    topics = await _ask(socket, "/rosapi/topics", {})
    names, types = _texts(topics.get("topics")), _texts(topics.get("types"))
    actions = _texts((await _ask(socket, "/rosapi/action_servers", {})).get("action_servers"))
    services = _texts((await _ask(socket, "/rosapi/services", {})).get("services"))
    told = {
        name: str((await _ask(socket, "/rosapi/action_type", {"action": name})).get("type") or "") for name in actions
    }
    usual = {name: options.exposes.get(name, "") or USUAL.get(name.rpartition("/")[2], "") for name in actions}
    seen = [
        *(_seen(name, "publisher", type) for name, type in zip(names, types, strict=False)),
        *(_seen(name, "action", told[name] or usual[name]) for name in actions),
        *(_seen(name, "service", options.exposes.get(name, "")) for name in services),
    ]
    known = {one.name for one in seen}
    return seen + [one for one in exposed(options) if one.name not in known]


def exposed(options: Options) -> list[Seen]:
    """What the options say is there, for a bridge without rosapi."""
    return [_seen(name, _kind(type), type) for name, type in sorted(options.exposes.items())]


def _kind(type: str) -> Kind:
    return "action" if "/action/" in type else "service" if "/srv/" in type else "publisher"


async def _ask(socket: ClientConnection, service: str, request: Mapping[str, object]) -> Mapping[str, object]:
    async with asyncio.timeout(QUESTION_S):
        await socket.send(frames.call(service, service, "", request))
        while True:
            said = frames.parsed(await socket.recv()) or {}
            if said.get("op") == "service_response" and said.get("id") == service:
                answer = frames.service_answer(said)
                return {} if isinstance(answer, Refusal | NoAnswer) else answer


def _seen(name: str, kind: Kind, type: str) -> Seen:
    return Seen(name=name, kind=kind, type=type, namespace=name.rpartition("/")[0] or "/")


def _texts(value: object) -> Sequence[str]:
    return [str(one) for one in value] if isinstance(value, list) else []
