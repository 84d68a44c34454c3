"""What a simulated robot exposes over ROS 2: its names, the vendor's own types, and how a platform is told of them.

Beside Nav2's actions and the usual topics it has three actions of the vendor's own, as many robots do.
"""

from collections.abc import Mapping

from fleet.adapter import DiscoveredRobot

DISTRO = "jazzy"
NODE = "robot"
NAVIGATE, WAIT, DOCK = "navigate_to_pose", "wait", "dock_robot"
READ, PERFORM, RECORD = "take_reading", "perform", "record_run"
STOP_RECORDING = "stop_recording"
NAVIGATE_TYPE, WAIT_TYPE, DOCK_TYPE = (f"nav2_msgs/action/{name}" for name in ("NavigateToPose", "Wait", "DockRobot"))
READ_TYPE, PERFORM_TYPE, RECORD_TYPE = (
    f"north_plant_msgs/action/{name}" for name in ("TakeReading", "Perform", "RecordRun")
)
TRIGGER_TYPE = "std_srvs/srv/Trigger"
TOPICS = {"odom": "nav_msgs/msg/Odometry", "battery_state": "sensor_msgs/msg/BatteryState"}

DEFINITIONS = {
    READ_TYPE: """string point
string quantity
---
float64 value
string unit
string message
---
float32 elapsed_s
""",
    PERFORM_TYPE: """string name
float64 duration_s
---
string message
---
float32 elapsed_s
""",
    RECORD_TYPE: """string mission_id
---
string message
---
float32 elapsed_s
""",
}

BINDINGS: Mapping[str, object] = {
    "wait": {"action": WAIT, "type": WAIT_TYPE, "goal": {"time": "$duration"}},
    "dock": {"action": DOCK, "type": DOCK_TYPE, "goal": {"use_dock_id": True, "dock_id": "$station"}},
    "reading": {
        "action": READ,
        "type": READ_TYPE,
        "goal": {"point": "$station", "quantity": "$parameters.quantity"},
        "value": "value",
        "unit": "unit",
        "message": "message",
    },
    "record_bag": {
        "action": RECORD,
        "type": RECORD_TYPE,
        "goal": {"mission_id": "$mission_id"},
        "message": "message",
        "stop": {"service": STOP_RECORDING, "type": TRIGGER_TYPE},
    },
    "action": {
        "*": {
            "action": PERFORM,
            "type": PERFORM_TYPE,
            "goal": {"name": "$parameters.name", "duration_s": "$parameters.duration_s"},
            "message": "message",
        }
    },
}


REMEMBERS_S = 600.0  # the servers keep ended goals for longer, as rclpy's do


def account_options() -> dict[str, object]:
    """The options of an account of these robots: what a platform cannot find out by looking."""
    telemetry = {"pose": {"topic": "odom", "is_map": True}, "battery": {"topic": "battery_state"}, "rate_hz": 1.0}
    options = {"distro": DISTRO, "definitions": DEFINITIONS, "bindings": BINDINGS, "telemetry": telemetry}
    return {**options, "remembers_s": REMEMBERS_S}


def namespace_of(robot: DiscoveredRobot) -> str:
    """Where the robot's names begin: ROS names know no hyphens, so that amr-01 is /amr_01."""
    return f"/{robot.name.replace('-', '_')}"
