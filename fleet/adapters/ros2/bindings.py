"""How each kind of task is done on this robot: by what the account's options say, else by what the robot exposes (pure)."""

import math
from collections.abc import Callable, Mapping, Sequence

from fleet.adapter import Frozen, Order, OrderTask, TaskKind
from fleet.adapters.ros2.link import Seen
from fleet.adapters.ros2.options import (
    FOLLOW,
    ActionBinding,
    Binding,
    Options,
    ServiceBinding,
    TimerBinding,
    TopicBinding,
    WaypointsBinding,
)
from fleet.adapters.ros2.outcomes import number
from fleet.adapters.ros2.runs import CallStep, GoalStep, RestStep, SampleStep, Step
from fleet.errors import Invalid

NAVIGATE = "nav2_msgs/action/NavigateToPose"
DOCK = "nav2_msgs/action/DockRobot"


class Robot(Frozen):
    """What bindings need to know of a robot: its namespace, and what it exposes by full name and kind."""

    namespace: str
    types: dict[str, str]

    def full(self, name: str) -> str:
        """The absolute name of something of this robot."""
        return name if name.startswith("/") else f"{self.namespace.rstrip('/')}/{name}"


def robot_of(namespace: str, seen: Sequence[Seen]) -> Robot:
    """The robot of this namespace as bindings see it: its actions, services and topics."""
    return Robot(namespace=namespace, types={one.name: one.type for one in seen if one.kind != "subscriber"})


def bound(options: Options, robot: Robot, task: OrderTask) -> Binding | None:
    """How this task is done on this robot; None when nothing does it."""
    given = options.bindings.get(task.kind)
    if isinstance(given, dict):
        name = task.parameters.get("name" if task.kind is not TaskKind.reading else "quantity", "")
        return given.get(str(name)) or given.get("*")
    return given or derived(robot, task.kind)


def derived(robot: Robot, kind: TaskKind) -> Binding | None:
    """How tasks of this kind are done when the options do not say, by the usual names and then by type."""
    if kind is TaskKind.wait:
        return TimerBinding()
    if kind is TaskKind.dock:
        dock = _of_type(robot, DOCK, "dock_robot")
        if dock is not None:
            return ActionBinding(action=dock, type=DOCK, goal={"use_dock_id": False, "dock_pose": "$pose"})
    if kind in {TaskKind.go_to, TaskKind.dock}:
        navigate = _of_type(robot, NAVIGATE, "navigate_to_pose")
        return ActionBinding(action=navigate, type=NAVIGATE, goal={"pose": "$pose"}) if navigate else None
    return None


def kinds_of(options: Options, robot: Robot) -> frozenset[TaskKind]:
    """The kinds of tasks that this robot can be asked to do."""
    return frozenset(kind for kind in TaskKind if options.bindings.get(kind) or derived(robot, kind))


def actions_of(options: Options, robot: Robot) -> dict[str, str]:
    """The actions that orders may use, full name -> type: the ones whose goals we watch."""
    found: dict[str, str] = {}
    for kind in TaskKind:
        given = options.bindings.get(kind)
        for binding in given.values() if isinstance(given, dict) else [given or derived(robot, kind)]:
            if isinstance(binding, ActionBinding):
                found[robot.full(binding.action)] = binding.type
            elif isinstance(binding, WaypointsBinding):
                found[robot.full(binding.waypoints)] = binding.type
    return found


def steps_of(options: Options, robot: Robot, order: Order) -> tuple[Step, ...]:
    """What is sent, one after another, for the order's tasks.

    Raises:
        Invalid: a task that nothing on this robot does, or that lacks what its binding needs; names what there is.
    """
    steps: list[Step] = []
    for task in order.tasks:
        binding = bound(options, robot, task)
        if binding is None:
            raise Invalid(_unbound(robot, task))
        steps.append(_step(options, robot, order, task, binding))
    return _joined(steps)


def stops_of(options: Options, robot: Robot, order: Order) -> tuple[CallStep, ...]:
    """The services that are called once the order is over, as a recording must be ended; each once."""
    found: list[CallStep] = []
    for task in order.tasks:
        binding = bound(options, robot, task)
        if binding is None or binding.stop is None:
            continue
        stop = binding.stop
        step = CallStep(positions=(), service=robot.full(stop.service), type=stop.type, request=stop.request)
        if step not in found:
            found.append(step)
    return tuple(found)


def _step(options: Options, robot: Robot, order: Order, task: OrderTask, binding: Binding) -> Step:
    at = (task.position,)

    def fill(fields: dict[str, object]) -> dict[str, object]:
        filled = _filled(fields, lambda name: _value(name, options, order, task))
        assert isinstance(filled, dict)
        return filled

    match binding:
        case ActionBinding():
            goal = fill(binding.goal)
            return GoalStep(
                positions=at, action=robot.full(binding.action), type=binding.type, goal=goal, yields=binding.yields
            )
        case ServiceBinding():
            return CallStep(
                positions=at,
                service=robot.full(binding.service),
                type=binding.type,
                request=fill(binding.request),
                is_repeatable=binding.repeatable,
                yields=binding.yields,
            )
        case TopicBinding():
            topic = robot.full(binding.topic)
            return SampleStep(
                positions=at, topic=topic, type=binding.type, fresh_s=binding.fresh_s, yields=binding.yields
            )
        case WaypointsBinding():
            poses = [_pose(options, task)]
            return GoalStep(
                positions=at, action=robot.full(binding.waypoints), type=binding.type, goal={"poses": poses}
            )
        case TimerBinding():
            return RestStep(positions=at, seconds=_duration_s(task))


def _joined(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Neighbouring waypoints as one goal."""
    joined: list[Step] = []
    for step in steps:
        last = joined[-1] if joined else None
        if isinstance(step, GoalStep) and isinstance(last, GoalStep) and _is_route(step) and _is_route(last):
            poses = [*last.goal["poses"], *step.goal["poses"]]  # type: ignore[misc]
            joined[-1] = last.model_copy(
                update={"positions": last.positions + step.positions, "goal": {"poses": poses}}
            )
        else:
            joined.append(step)
    return tuple(joined)


def _is_route(step: GoalStep) -> bool:
    return step.type == FOLLOW and set(step.goal) == {"poses"}


ABSENT = object()


def _filled(value: object, fill: Callable[[str], object]) -> object:
    if isinstance(value, str) and value.startswith("$"):
        return fill(value[1:])
    if isinstance(value, Mapping):
        filled = {str(name): _filled(one, fill) for name, one in value.items()}
        return {name: one for name, one in filled.items() if one is not ABSENT}
    if isinstance(value, list):
        return [one for one in (_filled(one, fill) for one in value) if one is not ABSENT]
    return value


def _value(name: str, options: Options, order: Order, task: OrderTask) -> object:
    name, _, default = name.partition("|")
    if name.startswith("parameters."):
        found = task.parameters.get(name.partition(".")[2])
        return found if found is not None else (_literal(default) if default else ABSENT)
    known: dict[str, Callable[[], object]] = {
        "x_m": lambda: _place(task)[0],
        "y_m": lambda: _place(task)[1],
        "yaw_rad": lambda: _yaw(task),
        "pose": lambda: _pose(options, task),
        "duration": lambda: _duration(_duration_s(task)),
        "duration_s": lambda: _duration_s(task),
        "station": lambda: task.station or "",
        "mission_id": lambda: order.mission_id,
        "key": lambda: order.key,
    }
    if name not in known:
        raise Invalid(
            f"A binding for {task.kind} asks for ${name}; known are ${', $'.join(known)} and $parameters.NAME."
        )
    return known[name]()


def _literal(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


def _place(task: OrderTask) -> tuple[float, float]:
    if task.x_m is None or task.y_m is None or not (math.isfinite(task.x_m) and math.isfinite(task.y_m)):
        where = f"station {task.station!r}" if task.station else "it"
        raise Invalid(f"Task {task.position} ({task.kind}) cannot be sent: {where} has no place on the map.")
    return task.x_m, task.y_m


def _pose(options: Options, task: OrderTask) -> dict[str, object]:
    """A PoseStamped; without a yaw in the parameters the robot faces along x (REP-103)."""
    x, y = _place(task)
    yaw = _yaw(task)
    return {
        "header": {"frame_id": options.map_frame, "stamp": {"sec": 0, "nanosec": 0}},  # stamp 0: the newest transform
        "pose": {
            "position": {"x": x, "y": y, "z": 0.0},
            "orientation": {"x": 0.0, "y": 0.0, "z": math.sin(yaw / 2), "w": math.cos(yaw / 2)},
        },
    }


def _yaw(task: OrderTask) -> float:
    given = task.parameters.get("yaw_rad", 0.0)
    yaw = number(given)
    if yaw is None:
        raise Invalid(f"Task {task.position} ({task.kind}) cannot be sent: its yaw_rad is {given!r}, not radians.")
    return yaw


def _duration_s(task: OrderTask) -> float:
    given = task.parameters.get("duration_s", 0.0)
    seconds = number(given)
    if seconds is None or not 0 <= seconds <= 1e9:
        raise Invalid(f"Task {task.position} ({task.kind}) cannot be sent: its duration_s is {given!r}, not seconds.")
    return seconds


def _duration(seconds: float) -> dict[str, int]:
    whole = math.floor(seconds)
    return {"sec": whole, "nanosec": int((seconds - whole) * 1e9)}


def _of_type(robot: Robot, type: str, usual: str) -> str | None:
    named = robot.full(usual)
    if robot.types.get(named) == type:
        return named
    return min((name for name, found in robot.types.items() if found == type), default=None)


def _unbound(robot: Robot, task: OrderTask) -> str:
    usable = sorted(f"{name} ({type})" for name, type in robot.types.items() if "/action/" in type)
    name = task.parameters.get("name", "")
    what = f"{task.kind} {name}".strip()
    return (
        f"Nothing on {robot.namespace} does task {task.position} ({what}). It exposes the actions"
        f" {', '.join(usable) or 'none'}; bind this kind of task in the account's options."
    )
