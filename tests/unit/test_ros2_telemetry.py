"""What topics say of a robot: finite, in the map frame, by the robot's own time; and which namespaces are robots."""

import math
from datetime import UTC, datetime

import pytest

from fleet.adapter import Activity
from fleet.adapters.ros2 import telemetry
from fleet.adapters.ros2.exposure import canonical, discovered, exposure_of, robots_in
from fleet.adapters.ros2.link import Sample, Seen
from fleet.adapters.ros2.options import Telemetry, options_of
from fleet.adapters.ros2.telemetry import Picture

NOW_S = 1_772_402_400
NAVIGATE = "nav2_msgs/action/NavigateToPose"
ODOM = Telemetry(topic="/r/odom", type="nav_msgs/msg/Odometry")


@pytest.fixture
def sample():
    def made(sec=NOW_S - 2, **fields) -> Sample:
        header = {"stamp": {"sec": sec, "nanosec": 500_000_000}, "frame_id": fields.pop("frame_id", "map")}
        return Sample({"header": header, **fields}, sent_ns=(NOW_S - 1) * 10**9, received_ns=NOW_S * 10**9)

    return made


def _pose(x=1.0, y=2.0, **orientation):
    turned = {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0} | orientation
    return {"pose": {"position": {"x": x, "y": y, "z": 0.0}, "orientation": turned}}


def test_a_pose_of_the_map_frame_gives_place_heading_and_the_robots_own_time(sample):
    half = math.sqrt(0.5)
    seen = telemetry.with_pose(Picture(), sample(pose=_pose(z=half, w=half)), ODOM, "map")
    assert (seen.x_m, seen.y_m) == (1.0, 2.0)
    assert seen.yaw_rad == pytest.approx(math.pi / 2)
    assert seen.at == datetime.fromtimestamp(NOW_S - 1.5, UTC)


def test_odometry_that_drifts_is_no_place_unless_the_options_say_so(sample):
    drifting = sample(frame_id="odom", pose=_pose())
    assert telemetry.with_pose(Picture(), drifting, ODOM, "map").x_m is None
    trusted = ODOM.model_copy(update={"is_map": True})
    assert telemetry.with_pose(Picture(), drifting, trusted, "map").x_m == 1.0


@pytest.mark.parametrize("x", [math.nan, math.inf, None, "far"])
def test_a_pose_that_is_not_finite_leaves_the_last_one_and_a_complaint(sample, x):
    before = Picture(x_m=5.0, y_m=6.0)
    after = telemetry.with_pose(before, sample(pose=_pose(x=x)), ODOM, "map")
    assert (after.x_m, after.y_m) == (5.0, 6.0)
    assert "/r/odom" in after.complaint


def test_a_quaternion_of_no_length_is_no_heading():
    assert telemetry.yaw_of({"x": 0.0, "y": 0.0, "z": 0.0, "w": 0.0}) is None
    assert telemetry.yaw_of(None) is None


@pytest.mark.parametrize(
    ("percentage", "fraction"),
    [(0.546, 0.546), (1.0, 1.0), (54.6, 0.546), (math.nan, None), (None, None), (-0.1, None), (250.0, None)],
)
def test_a_battery_is_a_fraction_and_a_percentage_is_taken_for_one(sample, percentage, fraction):
    seen = telemetry.with_battery(Picture(), sample(percentage=percentage))
    assert seen.battery_fraction == (pytest.approx(fraction) if fraction is not None else None)


def test_a_robot_that_charges_and_does_nothing_else_is_charging(sample):
    seen = telemetry.with_battery(Picture(), sample(percentage=0.5, power_supply_status=1))
    assert telemetry.observation("/r", seen, Activity.idle, None).activity is Activity.charging
    assert telemetry.observation("/r", seen, Activity.executing, "m/1").activity is Activity.executing


def test_the_time_of_a_simulation_is_not_believed(sample):
    seen = telemetry.with_battery(Picture(), sample(sec=12, percentage=0.5))
    assert seen.at == datetime.fromtimestamp(NOW_S, UTC)


def test_nothing_is_told_of_a_robot_that_said_nothing():
    assert telemetry.observation("/r", Picture(), Activity.idle, None) is None


@pytest.fixture
def graph():
    return [
        Seen("/robot_01/navigate_to_pose", "action", NAVIGATE, "/robot_01", complaint="Its type hash does not fit."),
        Seen("/robot_01/arm/follow", "action", "x/action/Follow", "/robot_01/arm"),
        Seen("/robot_01/bt_navigator/get_parameters", "service", "rcl_interfaces/srv/GetParameters", "/robot_01"),
        Seen("/robot_01/battery_state", "publisher", "sensor_msgs/msg/BatteryState", "/robot_01"),
        Seen("/robot_02/odom", "publisher", "nav_msgs/msg/Odometry", "/robot_02"),
        Seen("/lift/call", "action", "x/action/Call", "/lift"),
        Seen("/rosout", "publisher", "rcl_interfaces/msg/Log", "/"),
    ]


def test_a_robot_is_a_namespace_that_does_what_robots_do_with_all_that_is_in_it(graph):
    found = robots_in(graph)
    assert set(found) == {"/robot_01", "/robot_02", "/lift"}
    assert len(found["/robot_01"]) == 4


def test_a_robot_without_a_namespace_keeps_what_belongs_to_no_other(graph):
    found = robots_in(
        [
            *graph,
            Seen("/navigate_to_pose", "action", NAVIGATE, "/"),
            Seen("/arm/follow", "action", "x/action/F", "/arm"),
        ]
    )
    assert {one.name for one in found["/"]} == {"/navigate_to_pose", "/rosout", "/lift/call", "/arm/follow"}
    assert len(found["/robot_01"]) == 4


def test_what_is_wrong_with_an_action_that_orders_need_is_why_they_would_be_refused(graph):
    told = exposure_of("robot_01", "dds", robots_in(graph)["/robot_01"], options_of({}))
    assert told.serial_number == "robot_01"
    assert told.refusals == ("Its type hash does not fit.",)


def test_the_digest_does_not_depend_on_the_order_in_which_things_were_seen(graph):
    seen = robots_in(graph)["/robot_01"]
    first = exposure_of("robot_01", "dds", seen, options_of({}))
    assert exposure_of("robot_01", "dds", seen[::-1], options_of({})).digest == first.digest
    assert exposure_of("robot_01", "dds", seen[:-1], options_of({})).digest != first.digest


def test_a_discovered_robot_says_what_it_can_do(graph):
    found = discovered("/robot_01", robots_in(graph)["/robot_01"], options_of({}))
    assert (found.serial_number, found.name) == ("/robot_01", "robot_01")
    assert "drive" in found.capabilities


@pytest.mark.parametrize("address", ["robot_01", "/robot_01", "/robot_01/"])
def test_an_address_means_a_namespace(address):
    assert canonical(address) == "/robot_01"


def test_the_usual_topics_are_found_by_type_and_the_options_choose_others():
    seen = [
        Seen("/r/odom", "publisher", "nav_msgs/msg/Odometry", "/r"),
        Seen("/r/amcl_pose", "publisher", "geometry_msgs/msg/PoseWithCovarianceStamped", "/r"),
        Seen("/r/battery_state", "publisher", "sensor_msgs/msg/BatteryState", "/r"),
    ]
    found = telemetry.topics_of(options_of({}), "/r", seen)
    assert {role: topic.topic for role, topic in found.items()} == {
        "pose": "/r/amcl_pose",
        "battery": "/r/battery_state",
    }
    chosen = telemetry.topics_of(options_of({"telemetry": {"pose": {"topic": "odom", "is_map": True}}}), "/r", seen)
    assert chosen["pose"].topic == "/r/odom"
