"""Makes the ROS 2 messages of a sample, with seeded noise, in the types that real robots use."""

import hashlib
import math
from functools import cache
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore

from fleet.adapters.simulated.battery import CAPACITY_AH, voltage_v
from fleet.adapters.simulated.samples import Sample
from fleet.adapters.simulated.wear import COMPONENT, Signs

TYPES = {
    "/battery_state": "sensor_msgs/msg/BatteryState",
    "/joint_states": "sensor_msgs/msg/JointState",
    "/imu": "sensor_msgs/msg/Imu",
    "/odom": "nav_msgs/msg/Odometry",
    "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray",
}
SECOND_NS = 1_000_000_000
WHEEL_RADIUS_M = 0.1
TORQUE_NM_PER_A = 0.35
GRAVITY_M_S2 = 9.81
NOISE_SD = Signs(current_a=0.06, temperature_degc=0.5, vibration_m_s2=0.04)
POWER_DISCHARGING, HEALTH_GOOD, TECHNOLOGY_LION = 2, 1, 2


def noise_of(text: str) -> np.random.Generator:
    """A source of noise that is the same for the same text."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))


@cache
def typestore() -> Any:
    """The message types of ROS 2 Jazzy, read once."""
    return get_typestore(Stores.ROS2_JAZZY)


class Messages:
    """Makes the ROS messages of a sample, with seeded noise."""

    def __init__(self, noise: np.random.Generator) -> None:
        """`noise` is drawn from in the order in which messages are made."""
        self._noise = noise
        self._types = typestore().types
        self._no_covariance = np.zeros(36)

    def makers(self) -> dict[str, Any]:
        """What makes the message of each topic."""
        return {
            "/battery_state": self.battery,
            "/joint_states": self.joints,
            "/imu": self.imu,
            "/odom": self.odometry,
            "/diagnostics": self.diagnostics,
        }

    def _make(self, type_name: str, /, **fields: object) -> Any:
        return self._types[type_name](**fields)

    def _header(self, sample: Sample, frame: str) -> Any:
        seconds, nanoseconds = divmod(sample.at_ns, SECOND_NS)
        stamp = self._make("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
        return self._make("std_msgs/msg/Header", stamp=stamp, frame_id=frame)

    def _vector(self, x: float, y: float, z: float) -> Any:
        return self._make("geometry_msgs/msg/Vector3", x=x, y=y, z=z)

    def _heading(self, yaw_rad: float) -> Any:
        z, w = math.sin(yaw_rad / 2), math.cos(yaw_rad / 2)
        return self._make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=z, w=w)

    def _felt(self, true: float, sd: float) -> float:
        return true + sd * float(self._noise.standard_normal())

    def battery(self, sample: Sample) -> Any:
        """/battery_state: a 24 V pack, discharging by what the motor draws."""
        fraction = sample.body.battery_fraction
        return self._make(
            TYPES["/battery_state"],
            header=self._header(sample, "base_link"),
            voltage=self._felt(voltage_v(fraction), 0.02),
            temperature=self._felt(27.0, 0.2),
            current=-self._felt(1.2 + sample.signs.current_a, 0.05),
            charge=fraction * CAPACITY_AH,
            capacity=CAPACITY_AH,
            design_capacity=CAPACITY_AH,
            percentage=fraction,
            power_supply_status=POWER_DISCHARGING,
            power_supply_health=HEALTH_GOOD,
            power_supply_technology=TECHNOLOGY_LION,
            present=True,
            cell_voltage=np.zeros(0, np.float32),
            cell_temperature=np.zeros(0, np.float32),
            location="base",
            serial_number=sample.component.split("/")[0],
        )

    def joints(self, sample: Sample) -> Any:
        """/joint_states: both wheels; effort is the motor's torque, which follows its current."""
        turned = sample.body.odometer_m / WHEEL_RADIUS_M
        turning = sample.body.speed_m_s / WHEEL_RADIUS_M
        efforts = [TORQUE_NM_PER_A * self._felt(sample.signs.current_a, NOISE_SD.current_a) for _ in range(2)]
        return self._make(
            TYPES["/joint_states"],
            header=self._header(sample, "base_link"),
            name=["left_wheel_joint", "right_wheel_joint"],
            position=np.array([turned, turned]),
            velocity=np.array([turning, turning]),
            effort=np.array(efforts),
        )

    def imu(self, sample: Sample) -> Any:
        """/imu: gravity and the drive's vibration, whose standard deviation is the sign of wear."""
        shaking = sample.signs.vibration_m_s2
        x, y, z = (self._felt(true, shaking) for true in (0.0, 0.0, GRAVITY_M_S2))
        return self._make(
            TYPES["/imu"],
            header=self._header(sample, "imu_link"),
            orientation=self._heading(sample.body.yaw_rad),
            orientation_covariance=self._no_covariance[:9],
            angular_velocity=self._vector(0.0, 0.0, self._felt(0.0, 0.002)),
            angular_velocity_covariance=self._no_covariance[:9],
            linear_acceleration=self._vector(x, y, z),
            linear_acceleration_covariance=self._no_covariance[:9],
        )

    def odometry(self, sample: Sample) -> Any:
        """/odom: pose in the odom frame, speed in the robot's own."""
        body = sample.body
        point = self._make("geometry_msgs/msg/Point", x=body.x_m, y=body.y_m, z=0.0)
        pose = self._make("geometry_msgs/msg/Pose", position=point, orientation=self._heading(body.yaw_rad))
        speed, no_turn = self._vector(body.speed_m_s, 0.0, 0.0), self._vector(0.0, 0.0, 0.0)
        twist = self._make("geometry_msgs/msg/Twist", linear=speed, angular=no_turn)
        covariance = self._no_covariance
        return self._make(
            TYPES["/odom"],
            header=self._header(sample, "odom"),
            child_frame_id="base_link",
            pose=self._make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=covariance),
            twist=self._make("geometry_msgs/msg/TwistWithCovariance", twist=twist, covariance=covariance),
        )

    def diagnostics(self, sample: Sample) -> Any:
        """/diagnostics: the drive motor's current, temperature, vibration and operating hours, as text."""
        signs = sample.signs
        values = {
            "motor_current_a": self._felt(signs.current_a, NOISE_SD.current_a),
            "motor_temperature_degc": self._felt(signs.temperature_degc, NOISE_SD.temperature_degc),
            "vibration_m_s2": max(self._felt(signs.vibration_m_s2, NOISE_SD.vibration_m_s2), 0.0),
            "operating_hours": sample.operating_h,
        }
        pairs = [
            self._make("diagnostic_msgs/msg/KeyValue", key=key, value=f"{value:.5f}") for key, value in values.items()
        ]
        status = self._make(
            "diagnostic_msgs/msg/DiagnosticStatus",
            level=0,
            name=COMPONENT,
            message="ok",
            hardware_id=sample.component,
            values=pairs,
        )
        return self._make(TYPES["/diagnostics"], header=self._header(sample, ""), status=[status])
