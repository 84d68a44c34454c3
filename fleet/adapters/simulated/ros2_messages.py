"""What a simulated robot publishes over ROS 2 by itself, as plain fields."""

from fleet.adapter import Activity
from fleet.adapters.simulated.battery import CAPACITY_AH, voltage_v
from fleet.adapters.simulated.local_orders import Look
from fleet.adapters.simulated.ros2_goals import Fields, header, pose_of

CHARGING, DISCHARGING = 1, 2  # sensor_msgs/msg/BatteryState
HEALTH_GOOD, TECHNOLOGY_LION = 1, 2
NO_TWIST = {"x": 0.0, "y": 0.0, "z": 0.0}


def odometry(look: Look) -> Fields:
    """A nav_msgs/msg/Odometry: where it is, and its speed in its own frame."""
    sample = look.sample
    return {
        "header": header(sample, "odom"),
        "child_frame_id": "base_link",
        "pose": {"pose": pose_of(sample)},
        "twist": {"twist": {"linear": {**NO_TWIST, "x": sample.body.speed_m_s}, "angular": NO_TWIST}},
    }


def battery_state(look: Look) -> Fields:
    """A sensor_msgs/msg/BatteryState; the percentage is a fraction there too."""
    sample, fraction = look.sample, look.sample.body.battery_fraction
    is_charging = look.seen.activity is Activity.charging
    return {
        "header": header(sample, "base_link"),
        "voltage": voltage_v(fraction),
        "temperature": 27.0,
        "current": 8.0 if is_charging else -(1.2 + sample.signs.current_a),
        "charge": fraction * CAPACITY_AH,
        "capacity": CAPACITY_AH,
        "design_capacity": CAPACITY_AH,
        "percentage": fraction,
        "power_supply_status": CHARGING if is_charging else DISCHARGING,
        "power_supply_health": HEALTH_GOOD,
        "power_supply_technology": TECHNOLOGY_LION,
        "present": True,
        "location": "base",
        "serial_number": look.seen.serial_number,
    }
