"""The rosbridge protocol's JSON frames, both ways (pure)."""

import base64
import binascii
import json
from collections.abc import Mapping
from uuid import UUID

from fleet.adapters.ros2.link import Ended, Fields, GoalSeen, GoalStatus, NoAnswer, Refusal, ServiceAnswer, Statuses
from fleet.adapters.ros2.outcomes import field_at, number

STATUS_TYPE = "action_msgs/msg/GoalStatusArray"
# What a rosbridge says when it has sent nothing on; any other failure may have happened later.
UNSENT = ("does not have a field", "does not exist", "Unable to import", "No action server available", "InvalidMessage")
REJECTED = "Action goal was rejected"  # told since rosbridge 2.2; before it a rejected goal is never answered


def send_goal(action: str, type: str, goal_id: UUID, goal: Fields) -> str:
    """The frame that sends a goal; its id is the one that cancels it from any connection."""
    frame = {"op": "send_action_goal", "id": name_of(goal_id), "action": action, "action_type": type, "args": goal}
    return json.dumps(frame | {"feedback": True})


def cancel_goal(action: str, goal_id: UUID) -> str:
    """The frame that cancels a goal."""
    return json.dumps({"op": "cancel_action_goal", "id": name_of(goal_id), "action": action})


def call(name: str, service: str, type: str, request: Fields) -> str:
    """The frame that calls a service; without a type the bridge looks it up."""
    frame: dict[str, object] = {"op": "call_service", "id": name, "service": service, "args": request}
    return json.dumps(frame | ({"type": type} if type else {}))


def subscribe(name: str, topic: str, type: str, *, every_ms: int) -> str:
    """The frame that subscribes to a topic; the bridge keeps the newest only."""
    frame = {"op": "subscribe", "id": name, "topic": topic, "type": type, "throttle_rate": every_ms, "queue_length": 1}
    return json.dumps(frame)


def unsubscribe(name: str, topic: str) -> str:
    """The frame that ends a subscription."""
    return json.dumps({"op": "unsubscribe", "id": name, "topic": topic})


def name_of(goal_id: UUID) -> str:
    """How a goal is called between us and the bridge."""
    return f"goal:{goal_id}"


def parsed(text: str | bytes) -> Mapping[str, object] | None:
    """A frame; None for what is none."""
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return frame if isinstance(frame, dict) else None


def service_answer(frame: Mapping[str, object]) -> ServiceAnswer:
    """What a service_response says."""
    values = frame.get("values")
    if frame.get("result") is False:
        said = str(values)[:500]
        return Refusal(said) if any(words in said for words in UNSENT) else NoAnswer(f"the bridge says: {said}")
    return values if isinstance(values, dict) else {}


def goal_ended(frame: Mapping[str, object]) -> Ended | Refusal | NoAnswer | None:
    """What an action_result says; None when the robot declined the goal."""
    values = frame.get("values")
    if frame.get("result") is False:
        said = str(values)[:500]
        if REJECTED in said:
            return None
        return Refusal(said) if any(words in said for words in UNSENT) else NoAnswer(f"the bridge says: {said}")
    status = number(frame.get("status"))
    if status is None or status not in set(GoalStatus) or not GoalStatus(int(status)).is_over:
        return NoAnswer(f"the bridge told a result of status {frame.get('status')!r:.40}")
    return Ended(GoalStatus(int(status)), values if isinstance(values, dict) else {})


def statuses_of(message: object) -> Statuses | None:
    """A GoalStatusArray; None when any of it cannot be read: a goal that is left out would seem to be a new one later."""
    listed = field_at(message, "status_list")
    if not isinstance(listed, list):
        return None
    goals: dict[UUID, GoalSeen] = {}
    for entry in listed:
        goal = _uuid(field_at(entry, "goal_info.goal_id.uuid"))
        status = number(field_at(entry, "status"))
        if goal is None or status is None or status not in set(GoalStatus):
            return None
        seconds = number(field_at(entry, "goal_info.stamp.sec")) or 0.0
        nanoseconds = number(field_at(entry, "goal_info.stamp.nanosec")) or 0.0
        goals[goal] = GoalSeen(GoalStatus(int(status)), int(seconds) * 1_000_000_000 + int(nanoseconds))
    return Statuses(is_heard=True, goals=goals)


def cancel_request(known_as: str) -> dict[str, object]:
    """The request of action_msgs/srv/CancelGoal for one goal by the robot's own id."""
    uuid = {"uuid": list(UUID(known_as).bytes)}
    return {"goal_info": {"goal_id": uuid, "stamp": {"sec": 0, "nanosec": 0}}}


def _uuid(value: object) -> UUID | None:
    """An id as the bridge writes it: base64, or a list of numbers."""
    try:
        if isinstance(value, str):
            return UUID(bytes=base64.b64decode(value, validate=True))
        return UUID(bytes=bytes(value)) if isinstance(value, list) else None
    except (ValueError, TypeError, binascii.Error):
        return None
