"""Recordings to measure the bag pipeline with: a drive as a robot records it, made from a seed and a length in seconds.

Written by rosbags, so nothing of ours has a hand in what it is measured on. The same arguments give the same messages.
"""

import io
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

START_NS = 1_772_402_400_000_000_000  # 2026-03-01 22:00 UTC
SEED = 20260301
JOINTS = [f"{side}_{joint}_joint" for side in ("left", "right") for joint in ("hip", "thigh", "calf", "foot", "a", "b")]
FRAMES = ("map", "odom", "base_link")
BEAMS = 1081
POINTS = 32_768
PICTURE = (640, 480)
Make = Callable[[int, float], Any]


class Drive:
    """Messages of a drive; those of one topic differ as a sensor's do: smooth where a robot moves, noisy where it measures."""

    def __init__(self, types: Typestore) -> None:
        """`types` decides whether they are ROS 1 or ROS 2 messages."""
        self.types = types
        self._random = np.random.default_rng(SEED)
        self._scene = _scene(self._random)

    def topics(self, *, media: bool) -> dict[str, tuple[str, float, Make]]:
        """Type, rate in Hz and maker of each topic."""
        small = {
            "/imu": ("sensor_msgs/msg/Imu", 200.0, self.imu),
            "/joint_states": ("sensor_msgs/msg/JointState", 100.0, self.joints),
            "/odom": ("nav_msgs/msg/Odometry", 50.0, self.odometry),
            "/tf": ("tf2_msgs/msg/TFMessage", 100.0, self.transforms),
            "/cmd_vel": ("geometry_msgs/msg/Twist", 20.0, self.twist),
            "/diagnostics": ("diagnostic_msgs/msg/DiagnosticArray", 5.0, self.diagnostics),
            "/battery": ("sensor_msgs/msg/BatteryState", 5.0, self.battery),
        }
        large = {
            "/scan": ("sensor_msgs/msg/LaserScan", 10.0, self.scan),
            "/points": ("sensor_msgs/msg/PointCloud2", 10.0, self.points),
            "/camera/compressed": ("sensor_msgs/msg/CompressedImage", 10.0, self.picture),
        }
        return small | large if media else small

    def _new(self, kind: str, /, **fields: Any) -> Any:
        return self.types.types[kind](**fields)

    def header(self, ns: int, frame: str) -> Any:
        stamp = self._new("builtin_interfaces/msg/Time", sec=ns // 10**9, nanosec=ns % 10**9)
        counted = {"seq": ns // 10**6 % 2**32} if self._is_ros1 else {}
        return self._new("std_msgs/msg/Header", stamp=stamp, frame_id=frame, **counted)

    @property
    def _is_ros1(self) -> bool:
        return len(self.types.fielddefs["std_msgs/msg/Header"][1]) == 3

    def _xyz(self, kind: str, x: float, y: float, z: float) -> Any:
        return self._new(f"geometry_msgs/msg/{kind}", x=x, y=y, z=z)

    def _turn(self, yaw: float) -> Any:
        return self._new(
            "geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=float(np.sin(yaw / 2)), w=float(np.cos(yaw / 2))
        )

    def imu(self, ns: int, t: float) -> Any:
        noise = self._random.normal(0, 0.02, 6)
        return self._new(
            "sensor_msgs/msg/Imu",
            header=self.header(ns, "imu_link"),
            orientation=self._turn(0.1 * t),
            orientation_covariance=np.zeros(9),
            angular_velocity=self._xyz("Vector3", noise[0], noise[1], 0.1 + noise[2]),
            angular_velocity_covariance=np.diag([4e-4] * 3).ravel(),
            linear_acceleration=self._xyz("Vector3", noise[3], noise[4], 9.81 + noise[5]),
            linear_acceleration_covariance=np.diag([4e-4] * 3).ravel(),
        )

    def joints(self, ns: int, t: float) -> Any:
        phase = 2 * t + np.arange(len(JOINTS))
        return self._new(
            "sensor_msgs/msg/JointState",
            header=self.header(ns, ""),
            name=JOINTS,
            position=np.round(0.4 * np.sin(phase), 4),
            velocity=np.round(0.8 * np.cos(phase), 3),
            effort=self._random.normal(2.0, 0.3, len(JOINTS)).astype(np.float32).astype(np.float64),
        )

    def odometry(self, ns: int, t: float) -> Any:
        pose = self._new(
            "geometry_msgs/msg/Pose",
            position=self._xyz("Point", float(5 * np.sin(0.1 * t)), float(5 - 5 * np.cos(0.1 * t)), 0.0),
            orientation=self._turn(0.1 * t),
        )
        spread = np.diag([1e-3] * 6).ravel()
        return self._new(
            "nav_msgs/msg/Odometry",
            header=self.header(ns, "odom"),
            child_frame_id="base_link",
            pose=self._new("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=spread),
            twist=self._new("geometry_msgs/msg/TwistWithCovariance", twist=self.twist(ns, t), covariance=spread),
        )

    def twist(self, ns: int, t: float) -> Any:
        del ns
        return self._new(
            "geometry_msgs/msg/Twist",
            linear=self._xyz("Vector3", round(0.5 + 0.1 * float(np.sin(t)), 2), 0.0, 0.0),
            angular=self._xyz("Vector3", 0.0, 0.0, 0.1),
        )

    def transforms(self, ns: int, t: float) -> Any:
        return self._new(
            "tf2_msgs/msg/TFMessage",
            transforms=[
                self._new(
                    "geometry_msgs/msg/TransformStamped",
                    header=self.header(ns, parent),
                    child_frame_id=f"{parent}_child",
                    transform=self._new(
                        "geometry_msgs/msg/Transform",
                        translation=self._xyz("Vector3", 0.01 * n, float(np.sin(0.1 * t)), 0.0),
                        rotation=self._turn(0.1 * t + n),
                    ),
                )
                for n, parent in enumerate(FRAMES)
            ],
        )

    def diagnostics(self, ns: int, t: float) -> Any:
        def status(n: int) -> Any:
            pairs = {
                "temperature": f"{40 + n + np.sin(t):.1f}",
                "load": f"{50 + 10 * np.cos(t + n):.0f}",
                "errors": "0",
            }
            return self._new(
                "diagnostic_msgs/msg/DiagnosticStatus",
                level=1 if n == 7 else 0,
                name=f"drive: motor {n}",
                message="warm" if n == 7 else "OK",
                hardware_id=f"motor-{n:02}",
                values=[self._new("diagnostic_msgs/msg/KeyValue", key=k, value=v) for k, v in pairs.items()],
            )

        header = self.header(ns, "")
        return self._new("diagnostic_msgs/msg/DiagnosticArray", header=header, status=[status(n) for n in range(10)])

    def battery(self, ns: int, t: float) -> Any:
        wanted = {name for name, _ in self.types.fielddefs["sensor_msgs/msg/BatteryState"][1]}
        full = max(0.0, 1 - t / 36_000)
        fields = {
            "header": self.header(ns, ""),
            "voltage": 42.0 + 12 * full,
            "temperature": 31.5,
            "current": float(self._random.normal(-8, 0.5)),
            "charge": 40 * full,
            "capacity": 40.0,
            "design_capacity": 40.0,
            "percentage": full,
            "power_supply_status": 2,
            "power_supply_health": 1,
            "power_supply_technology": 2,
            "present": True,
            "cell_voltage": np.full(13, 3.2 + 0.9 * full, np.float32),
            "cell_temperature": np.full(13, 31.5, np.float32),
            "location": "base",
            "serial_number": "YM-0001",
        }
        return self._new(
            "sensor_msgs/msg/BatteryState", **{name: value for name, value in fields.items() if name in wanted}
        )

    def _ranges(self, count: int) -> np.ndarray:
        around = 4 + 2 * np.sin(np.linspace(0, 9, count)) + self._random.normal(0, 0.01, count)
        return np.round(around, 3).astype(np.float32)

    def scan(self, ns: int, t: float) -> Any:
        del t
        return self._new(
            "sensor_msgs/msg/LaserScan",
            header=self.header(ns, "laser"),
            angle_min=-2.356,
            angle_max=2.356,
            angle_increment=0.00436,
            time_increment=0.0,
            scan_time=0.1,
            range_min=0.05,
            range_max=30.0,
            ranges=self._ranges(BEAMS),
            intensities=self._random.integers(0, 255, BEAMS).astype(np.float32),
        )

    def points(self, ns: int, t: float) -> Any:
        del t
        cloud = np.empty((POINTS, 4), np.float32)
        around = np.linspace(0, 2 * np.pi, POINTS)
        ranges = self._ranges(POINTS)
        cloud[:, 0], cloud[:, 1] = ranges * np.cos(around), ranges * np.sin(around)
        cloud[:, 2] = self._random.normal(0, 0.5, POINTS)
        cloud[:, 3] = self._random.integers(0, 255, POINTS)
        return self._new(
            "sensor_msgs/msg/PointCloud2",
            header=self.header(ns, "lidar"),
            height=1,
            width=POINTS,
            fields=[
                self._new("sensor_msgs/msg/PointField", name=name, offset=4 * n, datatype=7, count=1)
                for n, name in enumerate(("x", "y", "z", "intensity"))
            ],
            is_bigendian=False,
            point_step=16,
            row_step=16 * POINTS,
            data=cloud.view(np.uint8).ravel(),
            is_dense=True,
        )

    def picture(self, ns: int, t: float) -> Any:
        seen = np.roll(self._scene, int(20 * t), axis=1)[:, : PICTURE[0]]
        packed = io.BytesIO()
        Image.fromarray(seen).save(packed, "JPEG", quality=85)
        return self._new(
            "sensor_msgs/msg/CompressedImage",
            header=self.header(ns, "camera"),
            format="rgb8; jpeg compressed bgr8",
            data=np.frombuffer(packed.getvalue(), np.uint8),
        )


def _scene(random: np.random.Generator) -> np.ndarray:
    coarse = random.integers(0, 255, (30, 80, 3)).astype(np.uint8)
    wide = np.asarray(Image.fromarray(coarse).resize((1280, PICTURE[1]), Image.Resampling.BICUBIC)).astype(np.int16)
    return np.clip(wide + random.normal(0, 6, wide.shape), 0, 255).astype(np.uint8)


def messages(drive: Drive, seconds: float, *, media: bool) -> Iterator[tuple[int, str, str, Any]]:
    """Time in nanoseconds, topic, type and message, in the order they are recorded."""
    topics = drive.topics(media=media)
    steps = {name: 10**9 / rate for name, (_, rate, _) in topics.items()}
    due = {
        name: [(START_NS + int(k * step), name) for k in range(int(seconds * 10**9 / step))]
        for name, step in steps.items()
    }
    for ns, name in sorted(moment for moments in due.values() for moment in moments):
        kind, _, make = topics[name]
        yield ns, name, kind, make(ns - 2_000_000, (ns - START_NS) / 1e9)


def write_ros2(
    folder: Path,
    seconds: float,
    *,
    media: bool,
    storage: StoragePlugin = StoragePlugin.MCAP,
    times: int = 1,
) -> Path:
    """A ROS 2 recording below `folder`: MCAP in zstd chunks of 1 MB, or SQLite; gives its file.

    With `times` the same drive is recorded so many times in a row (only log_time goes on), which takes less to make.
    """
    drive = Drive(get_typestore(Stores.ROS2_HUMBLE))
    is_mcap = storage is StoragePlugin.MCAP
    out = folder / "recording"
    writer = Writer2(out, version=9, storage_plugin=storage)
    if is_mcap:
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        topics = drive.topics(media=media)
        lines = {name: writer.add_connection(name, kind, typestore=drive.types) for name, (kind, *_) in topics.items()}
        driven = (
            (ns, lines[name], drive.types.serialize_cdr(message, kind))
            for ns, name, kind, message in messages(drive, seconds, media=media)
        )
        for number, again in enumerate(repeat(driven if times == 1 else list(driven), times)):
            for ns, line, content in again:
                writer.write(line, ns + number * int(seconds * 10**9), content)
    return next(out.glob("*.mcap" if is_mcap else "*.db3"))


def write_ros1(folder: Path, seconds: float) -> Path:
    """A ROS 1 recording of the small topics; gives its file."""
    types = get_typestore(Stores.ROS1_NOETIC)
    types.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", "tf2_msgs/msg/TFMessage"))
    drive = Drive(types)
    out = folder / "recording.bag"
    with Writer1(out) as writer:
        topics = drive.topics(media=False)
        lines = {name: writer.add_connection(name, kind, typestore=drive.types) for name, (kind, *_) in topics.items()}
        for ns, name, kind, message in messages(drive, seconds, media=False):
            writer.write(lines[name], ns, drive.types.serialize_ros1(message, kind))
    return out
