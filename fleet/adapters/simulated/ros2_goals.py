"""Between the goals of a simulated robot's actions and what the robot does, both ways, without I/O.

A goal becomes one task; what became of the task becomes the action's result. Values are plain, as on the wire.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fleet.adapter import Order, OrderReport, OrderTask, TaskKind, TaskReport
from fleet.adapters.simulated import ros2_interface as interface
from fleet.adapters.simulated.samples import Sample
from fleet.adapters.simulated.site_map import PLACES
from fleet.errors import Invalid

Fields = Mapping[str, object]
MAP_FRAME = "map"
AT_PLACE_M = 0.05
NO_VALID_PATH, FAILED_TO_MAKE_PROGRESS = 208, 105  # nav2_msgs ComputePathToPose and FollowPath
DOCKING_UNKNOWN = 999  # nav2_msgs DockRobot
OWN_LIMIT_S = 86_400.0  # simulated seconds; whoever sent the goal has limits of its own


@dataclass(frozen=True)
class GoalForm:
    """One action of a robot: its type, the task of a goal, and the result of what became of that."""

    type: str
    task: Callable[[Fields], OrderTask]
    result: Callable[[OrderReport], Fields]


def mission_of(goal: Fields) -> str:
    """The mission that a goal names, "" when it names none."""
    return str(goal.get("mission_id", ""))


def feedback_of(action: str, sample: Sample, goal: Fields, elapsed_s: float) -> Fields:
    """What the action says of itself meanwhile."""
    if action == interface.NAVIGATE:
        x_m, y_m = _point(goal, "pose")
        pose = {"header": header(sample, MAP_FRAME), "pose": pose_of(sample)}
        left_m = sample.body.distance_m(x_m, y_m)
        return {"current_pose": pose, "navigation_time": duration(elapsed_s), "distance_remaining": left_m}
    if action == interface.WAIT:
        return {"time_left": duration(max(seconds(goal.get("time")) - elapsed_s, 0.0))}
    return {"docking_time": duration(elapsed_s)} if action == interface.DOCK else {"elapsed_s": elapsed_s}


def header(sample: Sample, frame: str) -> Fields:
    """A std_msgs/msg/Header."""
    whole, rest = divmod(sample.at_ns, 1_000_000_000)
    return {"stamp": {"sec": whole, "nanosec": rest}, "frame_id": frame}


def pose_of(sample: Sample) -> Fields:
    """A geometry_msgs/msg/Pose: where the robot is."""
    body = sample.body
    heading = {"x": 0.0, "y": 0.0, "z": math.sin(body.yaw_rad / 2), "w": math.cos(body.yaw_rad / 2)}
    return {"position": {"x": body.x_m, "y": body.y_m, "z": 0.0}, "orientation": heading}


def duration(length_s: float) -> Fields:
    """A builtin_interfaces/msg/Duration."""
    whole, rest = divmod(round(length_s * 1e9), 1_000_000_000)
    return {"sec": whole, "nanosec": rest}


def seconds(given: object) -> float:
    """The seconds of a builtin_interfaces/msg/Duration."""
    if not isinstance(given, Mapping):
        return 0.0
    return float(given.get("sec", 0)) + float(given.get("nanosec", 0)) / 1e9


def _navigation(goal: Fields) -> OrderTask:
    return _task(TaskKind.go_to, goal, "pose")


def _docking(goal: Fields) -> OrderTask:
    if not goal.get("use_dock_id", True):
        return _task(TaskKind.dock, goal, "dock_pose")
    name = str(goal.get("dock_id", ""))
    if not name:  # its own
        return OrderTask(position=0, kind=TaskKind.dock, timeout_s=OWN_LIMIT_S)
    dock = PLACES.get(name)
    if dock is None:
        raise Invalid(f"No dock {name!r} is known here.")
    return OrderTask(position=0, kind=TaskKind.dock, station=name, x_m=dock.x_m, y_m=dock.y_m, timeout_s=OWN_LIMIT_S)


def _task(kind: TaskKind, goal: Fields, name: str) -> OrderTask:
    x_m, y_m = _point(goal, name)
    found = next((one.name for one in PLACES.values() if math.hypot(one.x_m - x_m, one.y_m - y_m) < AT_PLACE_M), None)
    return OrderTask(position=0, kind=kind, station=found, x_m=x_m, y_m=y_m, timeout_s=OWN_LIMIT_S)


def _waiting(goal: Fields) -> OrderTask:
    return _timed(TaskKind.wait, seconds(goal.get("time")))


def _performance(goal: Fields) -> OrderTask:
    asked = goal.get("duration_s")
    return _timed(TaskKind.action, float(asked) if isinstance(asked, int | float) and asked else None)


def _timed(kind: TaskKind, length_s: float | None) -> OrderTask:
    if length_s is None:
        return OrderTask(position=0, kind=kind, timeout_s=OWN_LIMIT_S)
    return OrderTask(position=0, kind=kind, parameters={"duration_s": length_s}, timeout_s=OWN_LIMIT_S)


def _measurement(goal: Fields) -> OrderTask:
    quantity = str(goal.get("quantity", "")) or "temperature"
    point = str(goal.get("point", "")) or None
    return OrderTask(
        position=0, kind=TaskKind.reading, station=point, parameters={"quantity": quantity}, timeout_s=OWN_LIMIT_S
    )


def _recording(goal: Fields) -> OrderTask:
    return OrderTask(position=0, kind=TaskKind.record_bag, timeout_s=OWN_LIMIT_S)


def _point(goal: Fields, name: str) -> tuple[float, float]:
    stamped = goal.get(name)
    pose = stamped.get("pose") if isinstance(stamped, Mapping) else None
    position = pose.get("position") if isinstance(pose, Mapping) else None
    frame = stamped.get("header") if isinstance(stamped, Mapping) else None
    if not isinstance(position, Mapping) or not isinstance(frame, Mapping):
        raise Invalid("The goal has no pose.")
    if frame.get("frame_id") != MAP_FRAME:
        raise Invalid(f"The goal is in the frame {frame.get('frame_id')!r}; this robot knows {MAP_FRAME!r}.")
    x_m, y_m = float(position["x"]), float(position["y"])
    if not (math.isfinite(x_m) and math.isfinite(y_m)):
        raise Invalid("The goal's place is no number.")
    return x_m, y_m


def _navigated(report: OrderReport) -> Fields:
    is_blocked = "blocked" in report.reason
    code = 0 if _is_well(report) else NO_VALID_PATH if is_blocked else FAILED_TO_MAKE_PROGRESS
    return {"error_code": code, "error_msg": report.reason}


def _waited(report: OrderReport) -> Fields:
    done = _only(report)
    stood = (done.finished_at - done.started_at).total_seconds() if done.finished_at and done.started_at else 0.0
    return {"total_elapsed_time": duration(stood), "error_code": 0, "error_msg": report.reason}


def _docked(report: OrderReport) -> Fields:
    is_well = _is_well(report)
    return {"success": is_well, "error_code": 0 if is_well else DOCKING_UNKNOWN, "error_msg": report.reason}


def _measured(report: OrderReport) -> Fields:
    done = _only(report)
    return {"value": done.value or 0.0, "unit": done.unit or "", "message": report.reason}


def _told(report: OrderReport) -> Fields:
    return {"message": report.reason}


def _only(report: OrderReport) -> TaskReport:
    return report.tasks[0]


def _is_well(report: OrderReport) -> bool:
    return report.reason == ""


ACTIONS: Mapping[str, GoalForm] = {
    interface.NAVIGATE: GoalForm(interface.NAVIGATE_TYPE, _navigation, _navigated),
    interface.WAIT: GoalForm(interface.WAIT_TYPE, _waiting, _waited),
    interface.DOCK: GoalForm(interface.DOCK_TYPE, _docking, _docked),
    interface.READ: GoalForm(interface.READ_TYPE, _measurement, _measured),
    interface.PERFORM: GoalForm(interface.PERFORM_TYPE, _performance, _told),
    interface.RECORD: GoalForm(interface.RECORD_TYPE, _recording, _told),
}
_ACTIONS = {
    TaskKind.go_to: interface.NAVIGATE,
    TaskKind.wait: interface.WAIT,
    TaskKind.dock: interface.DOCK,
    TaskKind.reading: interface.READ,
    TaskKind.action: interface.PERFORM,
    TaskKind.record_bag: interface.RECORD,
}


def action_of(order: Order) -> str:
    """The action whose goal became this order."""
    return _ACTIONS[order.tasks[0].kind]
