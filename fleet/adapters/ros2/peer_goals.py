"""The goals of one action server, as rclpy keeps them: accepted, running, cancelled, ended and remembered (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from fleet.adapters.ros2.link import Fields, GoalStatus

ALL = UUID(int=0)
UNKNOWN_GOAL, ALREADY_OVER, DECLINED = 2, 3, 1  # action_msgs/srv/CancelGoal
NS = 10**9


@dataclass
class Goal:
    """One accepted goal."""

    stamp_ns: int
    status: GoalStatus = GoalStatus.accepted
    result: Fields = field(default_factory=dict)
    ended_s: float | None = None


class Goals:
    """All goals that the server remembers, in the order in which they came."""

    def __init__(self, kept_s: float) -> None:
        """An ended goal is forgotten after `kept_s`."""
        self._kept_s = kept_s
        self._goals: dict[UUID, Goal] = {}

    def __contains__(self, goal_id: UUID) -> bool:
        """Whether it is remembered."""
        return goal_id in self._goals

    def accept(self, goal_id: UUID, stamp_ns: int) -> None:
        """A new goal."""
        self._goals[goal_id] = Goal(stamp_ns)

    def restore(self, goal_id: UUID, goal: Goal) -> None:
        """A goal of before a restart."""
        self._goals[goal_id] = goal

    def status(self, goal_id: UUID) -> GoalStatus:
        """How far it is; unknown when it is not remembered."""
        return self._goals[goal_id].status if goal_id in self._goals else GoalStatus.unknown

    def result(self, goal_id: UUID) -> tuple[GoalStatus, Fields] | None:
        """What a request for its result is answered now; None while it runs."""
        goal = self._goals.get(goal_id)
        if goal is None:
            return GoalStatus.unknown, {}
        return (goal.status, goal.result) if goal.status.is_over else None

    def move(self, goal_id: UUID, status: GoalStatus, result: Fields | None = None, *, now_s: float = 0.0) -> bool:
        """Say how far it is; False when it is over, already farther or not known, and nothing changes."""
        goal = self._goals.get(goal_id)
        if goal is None or goal.status.is_over or goal.status >= status:
            return False
        goal.status = status
        if status.is_over:
            goal.result, goal.ended_s = result or {}, now_s
        return True

    def forget(self, now_s: float) -> bool:
        """Forget what ended long ago; whether there was any."""
        old = [
            goal_id
            for goal_id, goal in self._goals.items()
            if goal.ended_s is not None and now_s - goal.ended_s > self._kept_s
        ]
        for goal_id in old:
            del self._goals[goal_id]
        return bool(old)

    def asked_to_cancel(self, goal_id: UUID, stamp_ns: int) -> tuple[int, list[UUID]]:
        """The code for an answer at once, or 0 and the goals meant: one, those up to an instant, or all (design of actions)."""
        if goal_id != ALL and stamp_ns == 0:
            if goal_id not in self._goals:
                return UNKNOWN_GOAL, []
            if self._goals[goal_id].status.is_over:
                return ALREADY_OVER, []
            return 0, [goal_id]
        return 0, [
            known
            for known, goal in self._goals.items()
            if not goal.status.is_over
            and (known == goal_id or stamp_ns >= goal.stamp_ns or (goal_id == ALL and stamp_ns == 0))
        ]

    def info(self, goal_id: UUID) -> Mapping[str, Any]:
        """action_msgs/msg/GoalInfo of a remembered goal."""
        return {"goal_id": {"uuid": [*goal_id.bytes]}, "stamp": stamp(self._goals[goal_id].stamp_ns)}

    def status_list(self) -> list[Mapping[str, Any]]:
        """action_msgs/msg/GoalStatus of every remembered goal."""
        return [{"goal_info": self.info(goal_id), "status": int(goal.status)} for goal_id, goal in self._goals.items()]


def stamp(time_ns: int) -> dict[str, int]:
    """builtin_interfaces/msg/Time."""
    return {"sec": time_ns // NS, "nanosec": time_ns % NS}


def nanoseconds(time: Mapping[str, Any]) -> int:
    """The same back."""
    return int(time["sec"]) * NS + int(time["nanosec"])
