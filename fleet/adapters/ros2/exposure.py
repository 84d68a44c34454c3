"""Which robots are seen on a link, and what each exposes: endpoints grouped by namespace (pure)."""

from collections.abc import Sequence

from fleet.adapter import DiscoveredRobot, TaskKind
from fleet.adapters.ros2.bindings import NAVIGATE, actions_of, kinds_of, robot_of
from fleet.adapters.ros2.link import Seen
from fleet.adapters.ros2.options import Options
from fleet.push import Endpoint, Exposure

# A namespace is a robot when something in it does what only a robot does; these types say so.
TELLING = frozenset({"sensor_msgs/msg/BatteryState", "nav_msgs/msg/Odometry"})
CAPABILITIES = {TaskKind.go_to: "drive", TaskKind.reading: "inspect", TaskKind.record_bag: "record"}
INSIDE = "/_action/"  # the topics and services that an action is made of


def canonical(address: str) -> str:
    """The namespace that an address means: "robot_01" and "/robot_01/" are "/robot_01"."""
    return f"/{address.strip('/')}"


def robots_in(seen: Sequence[Seen]) -> dict[str, list[Seen]]:
    """The namespaces that are robots, each with what belongs to it."""
    strong = {_parent(one.name) for one in seen if _tells(one)}
    strong = {space for space in strong if not any(_is_within(space, other) for other in strong - {"/"})}
    weak = {_parent(one.name) for one in seen if one.kind == "action"}
    # An arm's action (/robot_01/arm/...) and a node's own names (/robot_01/bt_navigator/...) belong to the robot around them.
    robots = strong | {
        space for space in weak if not any(_is_within(space, other) for other in (strong | weak) - {space})
    }
    found: dict[str, list[Seen]] = {space: [] for space in sorted(robots)}
    for one in seen:
        home = max((space for space in robots if _is_within(one.name, space)), key=len, default=None)
        if home is not None and INSIDE not in one.name:
            found[home].append(one)
    return found


def exposure_of(serial_number: str, link: str, seen: Sequence[Seen], options: Options) -> Exposure:
    """What a robot exposes, in a fixed order, with the reasons why commands would be refused."""
    robot = robot_of(canonical(serial_number), seen)
    endpoints = sorted((_endpoint(one) for one in seen), key=lambda one: (one.kind, one.name, one.type))
    kinds = kinds_of(options, robot)
    refusals = [one.complaint for one in endpoints if one.complaint and one.name in actions_of(options, robot)]
    if not kinds - {TaskKind.wait}:
        refusals.append("Nothing that it exposes does a task; bind what it has in the account's options.")
    vendors = sorted({one.vendor for one in seen if one.vendor})
    facts = {"distro": options.distro, "tasks": ", ".join(sorted(kinds))}
    if vendors:
        facts["vendor"] = ", ".join(vendors)
    return Exposure(
        serial_number=serial_number, link=link, endpoints=tuple(endpoints), facts=facts, refusals=tuple(refusals)
    )


def discovered(namespace: str, seen: Sequence[Seen], options: Options) -> DiscoveredRobot:
    """A robot that is seen, by the tasks it can do."""
    kinds = kinds_of(options, robot_of(namespace, seen))
    return DiscoveredRobot(
        serial_number=namespace,
        name=namespace.strip("/") or "robot",
        model="",
        capabilities=tuple(sorted(CAPABILITIES.get(kind, kind.value) for kind in kinds)),
    )


def _endpoint(seen: Seen) -> Endpoint:
    return Endpoint(
        name=seen.name,
        kind=seen.kind,
        type=seen.type,
        nodes=tuple(sorted(seen.nodes)),
        qos=dict(sorted(seen.qos.items())),
        type_hash=seen.type_hash,
        complaint=seen.complaint,
    )


def _tells(seen: Seen) -> bool:
    if seen.kind == "action":
        return seen.type == NAVIGATE
    return seen.kind == "publisher" and seen.type in TELLING


def _parent(name: str) -> str:
    return name.rpartition("/")[0] or "/"


def _is_within(name: str, space: str) -> bool:
    return name != space and (space == "/" or name.startswith(f"{space}/"))
