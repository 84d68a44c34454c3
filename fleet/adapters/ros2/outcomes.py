"""What a goal's result, a service's reply or a message means for a task (pure)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleet.adapters.ros2.runs import Yields

WORDS_MAX = 500
# Nav2's names of error codes. A navigator passes on those of its controller (1xx), planner (2xx, 3xx), smoother (5xx) and behaviors.
CODES: dict[int, str] = {
    1: "GOAL_REJECTED",
    2: "SEND_GOAL_FAILURE",
    100: "controller: UNKNOWN",
    101: "controller: INVALID_CONTROLLER",
    102: "controller: TF_ERROR",
    103: "controller: INVALID_PATH",
    104: "controller: PATIENCE_EXCEEDED",
    105: "controller: FAILED_TO_MAKE_PROGRESS",
    106: "controller: NO_VALID_CONTROL",
    107: "controller: CONTROLLER_TIMED_OUT",
    200: "planner: UNKNOWN",
    201: "planner: INVALID_PLANNER",
    202: "planner: TF_ERROR",
    203: "planner: START_OUTSIDE_MAP",
    204: "planner: GOAL_OUTSIDE_MAP",
    205: "planner: START_OCCUPIED",
    206: "planner: GOAL_OCCUPIED",
    207: "planner: TIMEOUT",
    208: "planner: NO_VALID_PATH",
    300: "planner: UNKNOWN",
    301: "planner: INVALID_PLANNER",
    302: "planner: TF_ERROR",
    303: "planner: START_OUTSIDE_MAP",
    304: "planner: GOAL_OUTSIDE_MAP",
    305: "planner: START_OCCUPIED",
    306: "planner: GOAL_OCCUPIED",
    307: "planner: TIMEOUT",
    308: "planner: NO_VALID_PATH",
    309: "planner: NO_VIAPOINTS_GIVEN",
    600: "waypoints: UNKNOWN",
    601: "waypoints: TASK_EXECUTOR_FAILED",
    602: "waypoints: NO_VALID_WAYPOINTS",
    603: "waypoints: STOP_ON_MISSED_WAYPOINT",
    700: "spin: UNKNOWN",
    701: "spin: TIMEOUT",
    702: "spin: TF_ERROR",
    703: "spin: COLLISION_AHEAD",
    710: "back up: UNKNOWN",
    711: "back up: TIMEOUT",
    712: "back up: TF_ERROR",
    713: "back up: INVALID_INPUT",
    714: "back up: COLLISION_AHEAD",
    720: "drive on heading: UNKNOWN",
    721: "drive on heading: TIMEOUT",
    722: "drive on heading: TF_ERROR",
    723: "drive on heading: COLLISION_AHEAD",
    724: "drive on heading: INVALID_INPUT",
    740: "wait: UNKNOWN",
    741: "wait: TIMEOUT",
    901: "dock: DOCK_NOT_IN_DB",
    902: "dock: DOCK_NOT_VALID",
    903: "dock: FAILED_TO_STAGE",
    904: "dock: FAILED_TO_DETECT_DOCK",
    905: "dock: FAILED_TO_CONTROL",
    906: "dock: FAILED_TO_CHARGE",
    907: "dock: TIMEOUT",
    999: "dock: UNKNOWN",
    9000: "navigator: UNKNOWN",
    9001: "navigator: FAILED_TO_LOAD_BEHAVIOR_TREE",
    9002: "navigator: TF_ERROR",
    9003: "navigator: TIMEOUT",
    9100: "navigator: UNKNOWN",
    9101: "navigator: FAILED_TO_LOAD_BEHAVIOR_TREE",
    9102: "navigator: TF_ERROR",
    9103: "navigator: TIMEOUT",
}


@dataclass(frozen=True)
class Came:
    """What came of a step."""

    value: float | None = None
    unit: str | None = None
    message: str = ""
    failure: str = ""
    missed: tuple[int, ...] = ()


def field_at(fields: object, path: str) -> object:
    """The value at a dotted path, also into lists by number; None where there is none."""
    found = fields
    for name in path.split("."):
        if isinstance(found, Mapping):
            found = found.get(name)
        elif name.isdigit() and hasattr(found, "__getitem__") and hasattr(found, "__len__") and int(name) < len(found):
            found = found[int(name)]
        else:
            return None
    return found


def number(value: object) -> float | None:
    """The value as a finite number, or None: NaN stands for "not measured" in ROS."""
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def came_of(yields: "Yields", fields: Mapping[str, object], positions: Sequence[int]) -> Came:
    """What an answer says came of the tasks at `positions`."""
    message = _words(field_at(fields, yields.message)) if yields.message else ""
    if yields.success and not field_at(fields, yields.success):
        return Came(failure=f"the robot says it did not succeed{f': {message}' if message else ''}", message=message)
    missed = _missed(fields, positions)
    if missed:
        return Came(failure=f"{len(missed)} of {len(positions)} stops were missed", missed=missed)
    if not yields.value:
        return Came(message=message)
    value = number(field_at(fields, yields.value))
    if value is None:
        given = field_at(fields, yields.value)
        return Came(failure=f"there is no number at {yields.value} in the robot's answer (it is {given!r:.80})")
    return Came(value=value, unit=_unit(yields.unit, fields), message=message)


def why_aborted(type: str, result: Mapping[str, object]) -> str:
    """Why a goal was aborted, with its code and the code's name where they are told."""
    code, said = number(result.get("error_code")), _words(result.get("error_msg"))
    if code is None or code == 0:
        return f"aborted{f': {said}' if said else ' by the robot, which gives no code'}"
    name = CODES.get(int(code), "") if type.startswith("nav2_msgs/") else ""
    words = f" ({name})" if name else ""
    return f"aborted: error_code {int(code)}{words}{f': {said}' if said else ''}"


def _unit(unit: str, fields: Mapping[str, object]) -> str | None:
    if unit.startswith("="):
        return unit[1:]
    return _words(field_at(fields, unit)) or None if unit else None


def _missed(fields: Mapping[str, object], positions: Sequence[int]) -> tuple[int, ...]:
    """The tasks whose waypoints were missed: numbers in Humble, messages with an index since."""
    listed = fields.get("missed_waypoints")
    if hasattr(listed, "tolist"):  # a NumPy array
        listed = listed.tolist()
    if not isinstance(listed, Sequence):
        return ()
    numbers = [number(entry.get("index") if isinstance(entry, Mapping) else entry) for entry in listed]
    return tuple(positions[int(one)] for one in numbers if one is not None and 0 <= one < len(positions))


def _words(value: object) -> str:
    return str(value)[:WORDS_MAX] if value is not None and value != "" else ""
