"""What a robot's topics say of it, as one observation: positions in the map frame, battery, what it is doing (pure)."""

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from fleet.adapter import Activity, Observation
from fleet.adapters.ros2.link import Sample, Seen
from fleet.adapters.ros2.options import Options, Telemetry
from fleet.adapters.ros2.outcomes import field_at, number

BATTERY = "sensor_msgs/msg/BatteryState"
POSES = {  # by type, where the pose is in the message
    "geometry_msgs/msg/PoseWithCovarianceStamped": "pose.pose",
    "geometry_msgs/msg/PoseStamped": "pose",
    "nav_msgs/msg/Odometry": "pose.pose",
}
CHARGING = 1  # sensor_msgs/msg/BatteryState POWER_SUPPLY_STATUS_CHARGING
AHEAD_S = 3600.0  # a stamp further from our clock than this is of a simulation or of none


@dataclass(frozen=True)
class Picture:
    """The newest that was heard of a robot, from all its topics."""

    at: datetime | None = None
    x_m: float | None = None
    y_m: float | None = None
    yaw_rad: float | None = None
    battery_fraction: float | None = None
    is_charging: bool = False
    complaint: str = ""


def topics_of(options: Options, namespace: str, seen: list[Seen]) -> dict[str, Telemetry]:
    """Which topics to listen to for "pose" and "battery", with full names and types; those of the options, else the usual ones."""
    published = {one.name: one.type for one in seen if one.kind == "publisher"}
    found: dict[str, Telemetry] = {}
    chosen = {"pose": options.telemetry.pose, "battery": options.telemetry.battery}
    for role, given in chosen.items():
        if given is not None:
            name = given.topic if given.topic.startswith("/") else f"{namespace.rstrip('/')}/{given.topic}"
            if given.type or name in published:
                found[role] = given.model_copy(update={"topic": name, "type": given.type or published[name]})
            continue
        types = [BATTERY] if role == "battery" else list(POSES)
        of_type = [(types.index(type), len(name), name) for name, type in published.items() if type in types]
        if of_type:
            _, _, name = min(of_type)
            found[role] = Telemetry(topic=name, type=published[name])
    return found


def with_battery(picture: Picture, sample: Sample) -> Picture:
    """The picture after a BatteryState; a percentage that is NaN or no fraction is left out."""
    fraction = number(sample.fields.get("percentage"))
    if fraction is not None and 1 < fraction <= 100:  # against REP-147's 0..1, and common
        fraction /= 100
    if fraction is not None and not 0 <= fraction <= 1:
        complaint = f"battery percentage {fraction:g} is no fraction between 0 and 1"
        return replace(picture, complaint=complaint)
    is_charging = sample.fields.get("power_supply_status") == CHARGING
    return replace(picture, at=stamp(sample), battery_fraction=fraction, is_charging=is_charging)


def with_pose(picture: Picture, sample: Sample, topic: Telemetry, map_frame: str) -> Picture:
    """The picture after a pose; one that is not of the map frame, or not finite, is dropped with a complaint."""
    frame = str(field_at(sample.fields, "header.frame_id") or "").strip("/")
    if not topic.is_map and frame != map_frame:
        return replace(
            picture, at=stamp(sample), complaint=f"{topic.topic} is of the frame {frame!r}, not {map_frame!r}"
        )
    pose = field_at(sample.fields, POSES.get(topic.type, "pose"))
    x, y = number(field_at(pose, "position.x")), number(field_at(pose, "position.y"))
    yaw = yaw_of(field_at(pose, "orientation"))
    if x is None or y is None:
        return replace(picture, complaint=f"{topic.topic} gave a pose that is not finite")
    return replace(picture, at=stamp(sample), x_m=x, y_m=y, yaw_rad=yaw, complaint="")


def observation(serial_number: str, picture: Picture, activity: Activity, key: str | None) -> Observation | None:
    """What is told of the robot; None before anything was heard."""
    if picture.at is None:
        return None
    if activity is Activity.idle and picture.is_charging:
        activity = Activity.charging
    return Observation(
        serial_number=serial_number,
        observed_at=picture.at,
        activity=activity,
        battery_fraction=picture.battery_fraction,
        x_m=picture.x_m,
        y_m=picture.y_m,
        yaw_rad=picture.yaw_rad,
        order_key=key,
    )


def at_least(picture: Picture, now: datetime) -> Picture:
    """The same picture, told now: what the robot does has changed, which it did not say by a topic."""
    return replace(picture, at=max(picture.at, now) if picture.at else now)


def stamp(sample: Sample) -> datetime:
    """The robot's own time of a message: its header's, when that is near our clock, else the writer's."""
    seconds = number(field_at(sample.fields, "header.stamp.sec"))
    nanoseconds = number(field_at(sample.fields, "header.stamp.nanosec")) or 0.0
    here = sample.received_ns / 1e9
    own = seconds + nanoseconds / 1e9 if seconds else sample.sent_ns / 1e9
    return datetime.fromtimestamp(own if abs(own - here) < AHEAD_S else here, UTC)


def yaw_of(orientation: object) -> float | None:
    """The heading of a quaternion about z, in radians; None for one that is none."""
    parts = [number(field_at(orientation, name)) for name in ("x", "y", "z", "w")]
    if any(part is None for part in parts):
        return None
    x, y, z, w = (part or 0.0 for part in parts)
    length = math.sqrt(x * x + y * y + z * z + w * w)
    if not 0.5 < length < 2.0:
        return None
    return math.atan2(2 * (w * z + x * y), w * w + x * x - y * y - z * z)
