"""What the simulated robots say over ROS 2 fits the real types, field by field, and says what is true of the robot."""

import math
from datetime import UTC, datetime

import pytest

from fleet.adapter import Activity, Observation, OrderReport, OrderStatus, TaskReport
from fleet.adapters.ros2.types import Types
from fleet.adapters.simulated.body import Body
from fleet.adapters.simulated.local_orders import Look
from fleet.adapters.simulated.ros2_goals import ACTIONS, feedback_of
from fleet.adapters.simulated.ros2_interface import DEFINITIONS, DISTRO, TOPICS
from fleet.adapters.simulated.ros2_messages import battery_state, odometry
from fleet.adapters.simulated.samples import Sample
from fleet.adapters.simulated.wear import Signs
from fleet.errors import Invalid

AT = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
MAKERS = {"odom": odometry, "battery_state": battery_state}
POSE = {"header": {"frame_id": "map"}, "pose": {"position": {"x": 3.0, "y": 4.0}}}
GOALS = {"navigate_to_pose": {"pose": POSE}, "wait": {"time": {"sec": 5, "nanosec": 0}}}


@pytest.fixture(scope="module")
def types() -> Types:
    """The types that these robots speak."""
    return Types(DISTRO, DEFINITIONS)


@pytest.fixture
def look():
    """A look at a robot that does this."""

    def build(activity: Activity = Activity.idle) -> Look:
        body = Body(x_m=0.0, y_m=0.0, yaw_rad=math.pi, battery_fraction=0.25, speed_m_s=0.8)
        sample = Sample(1_234_567_890_123_456_789, body, 1.0, Signs(2.0, 30.0, 0.1), "SIM-0001/drive_motor/1")
        return Look(sample, Observation(serial_number="SIM-0001", observed_at=AT, activity=activity), None)

    return build


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_fits_its_type_and_comes_back_from_the_wire_as_it_was(types, look, topic):
    said = MAKERS[topic](look())
    heard = types.decode(TOPICS[topic], types.encode(TOPICS[topic], said))
    assert heard["header"]["stamp"] == {"sec": 1_234_567_890, "nanosec": 123_456_789}
    assert said.keys() <= heard.keys()


def test_the_speed_is_forward_in_the_robots_own_frame(types, look):
    heard = types.decode(TOPICS["odom"], types.encode(TOPICS["odom"], odometry(look())))
    assert heard["twist"]["twist"]["linear"] == {"x": 0.8, "y": 0.0, "z": 0.0}
    assert heard["pose"]["pose"]["orientation"]["z"] == pytest.approx(1.0)
    assert heard["child_frame_id"] == "base_link"


def test_a_battery_state_is_a_fraction_and_its_current_says_which_way(look):
    resting, charging = battery_state(look()), battery_state(look(Activity.charging))
    assert (resting["percentage"], resting["power_supply_status"], charging["power_supply_status"]) == (0.25, 2, 1)
    assert resting["current"] < 0 < charging["current"]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("reason", ["", "path blocked at gate"])
def test_every_result_fits_its_action(types, action, reason):
    done = TaskReport(position=0, status="succeeded" if not reason else "failed", started_at=AT, finished_at=AT)
    status = OrderStatus.failed if reason else OrderStatus.succeeded
    report = OrderReport(key="k", serial_number="s", status=status, observed_at=AT, reason=reason, tasks=(done,))
    form = ACTIONS[action]
    heard = types.decode(f"{form.type}_Result", types.encode(f"{form.type}_Result", form.result(report)))
    assert reason in {heard.get("error_msg"), heard.get("message")}


@pytest.mark.parametrize("action", ACTIONS)
def test_every_feedback_fits_its_action(types, look, action):
    type = f"{ACTIONS[action].type}_Feedback"
    said = feedback_of(action, look().sample, GOALS.get(action, {}), 2.0)
    heard = types.decode(type, types.encode(type, said))
    assert said.keys() <= heard.keys()
    if action == "navigate_to_pose":
        assert heard["distance_remaining"] == 5.0


@pytest.mark.parametrize("action", sorted(ACTIONS.keys() - {"navigate_to_pose"}))
def test_a_goal_with_every_field_at_its_default_is_work_that_the_robot_can_do(types, action):
    goal = types.default(f"{ACTIONS[action].type}_Goal")
    assert ACTIONS[action].task(goal).position == 0


def test_a_drive_without_a_frame_is_refused(types):
    goal = types.default("nav2_msgs/action/NavigateToPose_Goal")
    with pytest.raises(Invalid, match="frame ''"):
        ACTIONS["navigate_to_pose"].task(goal)
