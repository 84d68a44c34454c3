"""How tasks become goals and calls: by the options, else by what the robot exposes."""

import math

import pytest

from fleet.adapter import Order, OrderTask, TaskKind
from fleet.adapters.ros2.bindings import Robot, actions_of, kinds_of, steps_of, stops_of
from fleet.adapters.ros2.options import options_of
from fleet.adapters.ros2.runs import CallStep, GoalStep, RestStep, SampleStep
from fleet.errors import Invalid

NAV2 = Robot(
    namespace="/robot_01",
    types={
        "/robot_01/navigate_to_pose": "nav2_msgs/action/NavigateToPose",
        "/robot_01/dock_robot": "nav2_msgs/action/DockRobot",
    },
)
BARE = Robot(namespace="/robot_01", types={"/robot_01/honk": "acme_msgs/action/Honk"})
TRIGGER = "std_srvs/srv/Trigger"


@pytest.fixture
def order_of():
    def made(*tasks: OrderTask) -> Order:
        numbered = tuple(task.model_copy(update={"position": number}) for number, task in enumerate(tasks))
        return Order(key="m/1", fence=1, serial_number="/robot_01", mission_id="m", tasks=numbered)

    return made


def _go(x_m=3.0, y_m=4.0, **parameters):
    return OrderTask(position=0, kind=TaskKind.go_to, station="press", x_m=x_m, y_m=y_m, parameters=parameters)


def test_without_options_a_stop_is_a_goal_of_nav2_in_the_map_frame(order_of):
    (step,) = steps_of(options_of({}), NAV2, order_of(_go(yaw_rad=math.pi / 2)))
    assert isinstance(step, GoalStep)
    assert (step.action, step.type) == ("/robot_01/navigate_to_pose", "nav2_msgs/action/NavigateToPose")
    pose = step.goal["pose"]
    assert pose["header"]["frame_id"] == "map"
    assert pose["pose"]["position"] == {"x": 3.0, "y": 4.0, "z": 0.0}
    assert pose["pose"]["orientation"] == pytest.approx({"x": 0, "y": 0, "z": math.sqrt(0.5), "w": math.sqrt(0.5)})


def test_docking_is_the_robots_own_action_or_else_a_drive_to_the_dock(order_of):
    dock = _go().model_copy(update={"kind": TaskKind.dock})
    (own,) = steps_of(options_of({}), NAV2, order_of(dock))
    assert own.goal["use_dock_id"] is False
    assert own.goal["dock_pose"]["pose"]["position"]["x"] == 3.0
    only_nav = NAV2.model_copy(update={"types": {"/robot_01/navigate_to_pose": "nav2_msgs/action/NavigateToPose"}})
    (drive,) = steps_of(options_of({}), only_nav, order_of(dock))
    assert drive.action == "/robot_01/navigate_to_pose"


def test_waiting_is_the_gateways_own_timer(order_of):
    wait = OrderTask(position=0, kind=TaskKind.wait, parameters={"duration_s": 2.5})
    assert steps_of(options_of({}), BARE, order_of(wait)) == (RestStep(positions=(0,), seconds=2.5),)


def test_neighbouring_stops_are_one_goal_where_waypoints_are_bound(order_of):
    options = options_of({"bindings": {"go_to": {"waypoints": "follow_waypoints"}}})
    wait = OrderTask(position=0, kind=TaskKind.wait, parameters={"duration_s": 1})
    first, rest, last = steps_of(options, NAV2, order_of(_go(), _go(x_m=5.0), wait, _go()))
    assert first.positions == (0, 1)
    assert [pose["pose"]["position"]["x"] for pose in first.goal["poses"]] == [3.0, 5.0]
    assert (rest.positions, last.positions) == ((2,), (3,))


def test_values_are_filled_from_the_task_and_absent_parameters_leave_the_default(order_of):
    goal = {
        "name": "$parameters.name",
        "loud": "$parameters.loud",
        "times": "$parameters.times|2",
        "at": "$station",
        "of": "$mission_id",
    }
    options = options_of(
        {"bindings": {"action": {"honk": {"action": "honk", "type": "acme_msgs/action/Honk", "goal": goal}}}}
    )
    task = OrderTask(position=0, kind=TaskKind.action, station="gate", parameters={"name": "honk"})
    (step,) = steps_of(options, BARE, order_of(task))
    assert step.goal == {"name": "honk", "times": 2.0, "at": "gate", "of": "m"}


def test_a_reading_may_be_a_topic_and_an_action_a_service(order_of):
    topic = {"topic": "temperature", "type": "sensor_msgs/msg/Temperature", "value": "temperature", "unit": "=degC"}
    service = {"service": "/hall/lamp", "type": TRIGGER, "repeatable": True}
    options = options_of({"bindings": {"reading": topic, "action": {"*": service}}})
    reading = OrderTask(position=0, kind=TaskKind.reading, parameters={"quantity": "thermal"})
    lamp = OrderTask(position=1, kind=TaskKind.action, parameters={"name": "lamp"})
    sampled, called = steps_of(options, BARE, order_of(reading, lamp))
    assert isinstance(sampled, SampleStep)
    assert sampled.topic == "/robot_01/temperature"
    assert isinstance(called, CallStep)
    assert (called.service, called.is_repeatable) == ("/hall/lamp", True)


def test_what_ends_a_recording_is_called_once_for_an_order(order_of):
    record = {"service": "record", "type": TRIGGER, "stop": {"service": "stop", "type": TRIGGER}}
    options = options_of({"bindings": {"record_bag": record}})
    task = OrderTask(position=0, kind=TaskKind.record_bag)
    assert [stop.service for stop in stops_of(options, BARE, order_of(task, task))] == ["/robot_01/stop"]


def test_a_task_that_nothing_does_is_refused_and_the_reason_names_what_there_is(order_of):
    with pytest.raises(Invalid, match=r"does task 0 \(reading\).*honk \(acme_msgs/action/Honk\)"):
        steps_of(options_of({}), BARE, order_of(OrderTask(position=0, kind=TaskKind.reading)))


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (_go(x_m=None), "'press' has no place"),
        (_go(x_m=math.nan), "no place"),
        (_go(yaw_rad="north"), "not radians"),
        (OrderTask(position=0, kind=TaskKind.wait, parameters={"duration_s": -1}), "not seconds"),
        (OrderTask(position=0, kind=TaskKind.wait, parameters={"duration_s": "soon"}), "not seconds"),
    ],
)
def test_a_task_without_what_it_needs_is_refused_with_the_value(order_of, task, words):
    with pytest.raises(Invalid, match=words):
        steps_of(options_of({}), NAV2, order_of(task))


def test_the_tasks_that_a_robot_is_fit_for_follow_from_what_it_exposes_and_the_options():
    assert kinds_of(options_of({}), NAV2) == {TaskKind.go_to, TaskKind.dock, TaskKind.wait}
    assert kinds_of(options_of({}), BARE) == {TaskKind.wait}
    options = options_of({"bindings": {"action": {"*": {"action": "honk", "type": "acme_msgs/action/Honk"}}}})
    assert TaskKind.action in kinds_of(options, BARE)
    assert actions_of(options, NAV2) == NAV2.types | {"/robot_01/honk": "acme_msgs/action/Honk"}


@pytest.mark.parametrize(
    "options",
    [
        {"bindings": {"fly": {"action": "fly", "type": "x/action/Fly"}}},
        {"bindings": {"go_to": {"action": "go"}}},
        {"telemetry": {"rate_hz": 0}},
        {"colour": "red"},
    ],
)
def test_options_of_another_form_are_refused_where_they_are_wrong(options):
    with pytest.raises(Invalid, match="options of this ROS 2 account"):
        options_of(options)


def test_a_binding_that_asks_for_what_there_is_not_names_what_there_is(order_of):
    options = options_of({"bindings": {"go_to": {"action": "go", "type": "x/action/Go", "goal": {"z": "$height"}}}})
    with pytest.raises(Invalid, match=r"\$height; known are \$x_m"):
        steps_of(options, NAV2, order_of(_go()))
