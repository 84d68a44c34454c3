"""A goal becomes what the simulated robot does, and what became of it the result, in the fields of the real actions."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from fleet.adapter import OrderReport, OrderStatus, TaskKind, TaskReport
from fleet.adapters.simulated.body import Body
from fleet.adapters.simulated.ros2_goals import ACTIONS, duration, feedback_of, mission_of, pose_of, seconds
from fleet.adapters.simulated.ros2_interface import DEFINITIONS, account_options, namespace_of
from fleet.adapters.simulated.samples import Sample
from fleet.adapters.simulated.site_map import robots
from fleet.adapters.simulated.wear import Signs
from fleet.errors import Invalid

AT = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)


@pytest.fixture
def pose():
    """A PoseStamped at this place."""

    def build(x: float, y: float, frame: str = "map") -> dict[str, object]:
        position = {"x": x, "y": y, "z": 0.0}
        return {"header": {"frame_id": frame}, "pose": {"position": position, "orientation": {}}}

    return build


@pytest.fixture
def sample():
    """A robot at the gate's south that looks north."""
    body = Body(x_m=20.0, y_m=0.0, yaw_rad=math.pi / 2, battery_fraction=0.5)
    return Sample(1_500_000_000, body, 1.0, Signs(1.0, 30.0, 0.1), "SIM-0001/drive_motor/1")


@pytest.fixture
def report():
    """How the only task of a goal ended."""

    def build(status: OrderStatus, reason: str = "", **task: object) -> OrderReport:
        done = TaskReport(position=0, status="succeeded" if not reason else "failed", **task)
        return OrderReport(
            key="k", serial_number="SIM-0001", status=status, observed_at=AT, reason=reason, tasks=(done,)
        )

    return build


def test_a_goal_at_a_known_place_is_known_by_its_name(pose):
    task = ACTIONS["navigate_to_pose"].task({"pose": pose(20.01, 2.0)})
    assert (task.kind, task.station, task.x_m) == (TaskKind.go_to, "gate", 20.01)


def test_a_goal_between_the_places_is_only_a_place(pose):
    assert ACTIONS["navigate_to_pose"].task({"pose": pose(21.0, 2.0)}).station is None


@pytest.mark.parametrize("place", [(math.nan, 0.0), (0.0, math.inf)])
def test_a_place_that_is_no_number_is_refused(pose, place):
    with pytest.raises(Invalid, match="no number"):
        ACTIONS["navigate_to_pose"].task({"pose": pose(*place)})


def test_a_goal_in_another_frame_is_refused_with_its_name(pose):
    with pytest.raises(Invalid, match="'odom'"):
        ACTIONS["navigate_to_pose"].task({"pose": pose(1.0, 1.0, frame="odom")})


def test_a_dock_is_found_by_its_id_or_its_place_and_without_one_the_robot_takes_its_own(pose):
    dock = ACTIONS["dock_robot"].task
    assert dock({"use_dock_id": True, "dock_id": "dock-2"}).x_m == 3.0
    assert dock({"use_dock_id": False, "dock_pose": pose(5.0, 1.0)}).station == "dock-3"
    assert dock({"use_dock_id": True, "dock_id": ""}).station is None
    with pytest.raises(Invalid, match="'dock-9'"):
        dock({"use_dock_id": True, "dock_id": "dock-9"})


def test_a_wait_lasts_as_long_as_its_goal_says():
    assert ACTIONS["wait"].task({"time": {"sec": 2, "nanosec": 500_000_000}}).parameters == {"duration_s": 2.5}


def test_an_action_without_a_duration_takes_its_usual_time():
    assert ACTIONS["perform"].task({"name": "wave", "duration_s": 0.0}).parameters == {}


def test_a_reading_without_a_quantity_is_a_temperature():
    task = ACTIONS["take_reading"].task({"point": "press-1", "quantity": ""})
    assert (task.station, task.parameters) == ("press-1", {"quantity": "temperature"})


def test_a_reading_is_told_with_its_unit(report):
    done = report(OrderStatus.succeeded, value=41.5, unit="degC")
    assert ACTIONS["take_reading"].result(done) == {"value": 41.5, "unit": "degC", "message": ""}


@pytest.mark.parametrize(("reason", "code"), [("", 0), ("path blocked at workshop", 208), ("battery empty", 105)])
def test_a_failed_drive_carries_the_code_that_nav2_has_for_it(report, reason, code):
    status = OrderStatus.failed if reason else OrderStatus.succeeded
    assert ACTIONS["navigate_to_pose"].result(report(status, reason)) == {"error_code": code, "error_msg": reason}


def test_a_wait_tells_how_long_it_stood(report):
    done = report(OrderStatus.succeeded, started_at=AT, finished_at=AT + timedelta(seconds=2.5))
    assert seconds(ACTIONS["wait"].result(done)["total_elapsed_time"]) == 2.5


def test_a_recording_belongs_to_the_mission_that_its_goal_names():
    assert ACTIONS["record_run"].task({"mission_id": "m"}).kind is TaskKind.record_bag
    assert (mission_of({"mission_id": "m"}), mission_of({})) == ("m", "")


def test_a_heading_is_a_unit_quaternion_about_the_vertical(sample):
    orientation = pose_of(sample)["orientation"]
    assert (orientation["z"], orientation["w"]) == pytest.approx((math.sqrt(0.5), math.sqrt(0.5)))


def test_the_way_that_is_left_is_fed_back(sample, pose):
    told = feedback_of("navigate_to_pose", sample, {"pose": pose(20.0, 2.0)}, 3.25)
    assert told["distance_remaining"] == 2.0
    assert told["navigation_time"] == {"sec": 3, "nanosec": 250_000_000}
    assert told["current_pose"]["header"] == {"stamp": {"sec": 1, "nanosec": 500_000_000}, "frame_id": "map"}


def test_the_time_that_is_left_is_never_negative(sample):
    assert feedback_of("wait", sample, {"time": duration(1.0)}, 3.0) == {"time_left": {"sec": 0, "nanosec": 0}}


def test_every_action_of_the_vendor_is_defined_and_bound():
    own = {form.type for form in ACTIONS.values() if form.type.startswith("north_plant_msgs/")}
    assert own == set(DEFINITIONS)
    bindings = account_options()["bindings"]
    bound = {bindings[kind]["type"] for kind in ("wait", "dock", "reading", "record_bag")}
    assert own <= bound | {bindings["action"]["*"]["type"]}


def test_a_name_with_a_hyphen_becomes_a_lawful_ros_name():
    assert [namespace_of(robot) for robot in robots(2)] == ["/amr_01", "/amr_02"]
