"""Where an order over ROS 2 goes on that another gateway may have begun: only what certainly never was is begun."""

from datetime import UTC, datetime

import pytest

from fleet.adapter import Order, OrderStatus, OrderTask, TaskKind
from fleet.adapters.ros2.inheriting import Doubtful, Never, inherited
from fleet.adapters.ros2.link import GoalSeen, GoalStatus
from fleet.adapters.ros2.marks import opening
from fleet.adapters.ros2.runs import CallStep, GoalStep, RestStep, Stage, goal_id
from fleet.push import Inheritance

NOW = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
DRIVE, DOCK = "/r/navigate_to_pose", "/r/dock_robot"
LONG_AGO_S, JUST_NOW_S, REMEMBERS_S = 900.0, 20.0, 600.0


def _order(count: int) -> Order:
    tasks = tuple(OrderTask(position=number, kind=TaskKind.go_to) for number in range(count))
    return Order(key="m/1", fence=1, serial_number="/r", mission_id="m", tasks=tasks)


def _drive(position: int, action: str = DRIVE) -> GoalStep:
    return GoalStep(positions=(position,), action=action, type="nav2_msgs/action/NavigateToPose")


@pytest.fixture
def go_on():
    """Gives the state in which an order of three stops goes on; `listed` is (key, task, run, status) of the robot's goals."""

    def go_on(*listed, steps=(_drive(0), _drive(1), _drive(2)), since_s=LONG_AGO_S, **known):
        goals = {goal_id(key, position, run): (DRIVE, GoalSeen(status, 1)) for key, position, run, status in listed}
        said = Inheritance(since_s=since_s, **known)
        order = _order(len(steps))
        return inherited(order, opening(order, steps), said, goals, remembers_s=REMEMBERS_S, now=NOW)

    return go_on


def _place(found) -> tuple[int, int, Stage]:
    return found.at, found.run, found.stage


def test_a_goal_that_is_listed_is_asked_about_and_not_sent(go_on):
    found = go_on(("m/1", 0, 0, GoalStatus.executing))
    assert _place(found) == (0, 0, Stage.going)
    assert found.is_inherited
    assert found.status is OrderStatus.running


def test_the_last_goal_that_is_listed_tells_that_those_before_it_were_done(go_on):
    found = go_on(("m/1", 1, 0, GoalStatus.succeeded))
    assert _place(found) == (1, 0, Stage.going)
    assert [task.status for task in found.tasks] == ["succeeded", "running", "pending"]


def test_of_several_runs_of_a_task_the_last_one_is_asked_about(go_on):
    found = go_on(("m/1", 0, 0, GoalStatus.canceled), ("m/1", 0, 1, GoalStatus.executing))
    assert _place(found) == (0, 1, Stage.going)


def test_the_next_task_is_begun_when_the_platform_was_told_of_the_end_of_the_one_that_is_still_listed(go_on):
    found = go_on(("m/1", 0, 0, GoalStatus.succeeded), done=(0,), is_begun=True)
    assert _place(found) == (1, 0, Stage.ready)
    assert [task.position for task in found.tasks] == [1, 2], "what was told is not told again, without its reading"


def test_the_next_task_is_not_begun_when_the_robot_may_have_done_and_forgotten_it(go_on):
    assert isinstance(go_on(done=(0,), is_begun=True), Doubtful)


def test_an_order_of_which_nothing_is_listed_never_came_while_the_one_before_it_is_listed(go_on):
    assert go_on(("m/0", 0, 0, GoalStatus.succeeded), earlier=("m/0",), has_worked=True) == Never()


def test_an_order_of_which_nothing_is_listed_may_be_done_and_forgotten(go_on):
    assert isinstance(go_on(earlier=("m/0",), has_worked=True), Doubtful)
    assert isinstance(go_on(), Doubtful)


def test_a_goal_that_was_told_to_be_taken_and_is_not_listed_is_not_begun_again(go_on):
    before = ("m/0", 0, 0, GoalStatus.succeeded)
    assert isinstance(go_on(before, earlier=("m/0",), is_begun=True, has_worked=True), Doubtful)


def test_what_still_runs_tells_nothing_of_what_was_forgotten(go_on):
    before = ("m/0", 0, 0, GoalStatus.executing)
    assert isinstance(go_on(before, earlier=("m/0",), has_worked=True), Doubtful)


def test_goals_of_another_server_tell_of_it_only_within_what_servers_remember(go_on):
    before, steps = ("m/0", 0, 0, GoalStatus.succeeded), (_drive(0, DOCK),)
    known = {"earlier": ("m/0",), "has_worked": True, "steps": steps}
    assert isinstance(go_on(before, **known), Doubtful)
    assert go_on(before, since_s=JUST_NOW_S, **known) == Never()


def test_the_first_order_of_a_robot_never_came_when_nothing_is_listed_within_what_servers_remember(go_on):
    assert go_on(since_s=JUST_NOW_S) == Never()
    assert isinstance(go_on(since_s=JUST_NOW_S, has_worked=True), Doubtful), "the robot may have been started anew"


def test_an_order_of_which_all_was_told_to_be_done_has_succeeded(go_on):
    found = go_on(done=(0, 1, 2), is_begun=True, sequence=7)
    assert (found.status, found.stage, found.sequence > 7) == (OrderStatus.succeeded, Stage.over, True)


def test_a_rest_is_taken_again_and_a_call_that_may_have_been_made_is_not(go_on):
    call = CallStep(positions=(1,), service="/r/beep", type="std_srvs/srv/Trigger")
    told = {"done": (0,), "is_begun": True}
    assert _place(go_on(steps=(_drive(0), RestStep(positions=(1,), seconds=5)), **told)) == (1, 0, Stage.ready)
    assert isinstance(go_on(("m/1", 0, 0, GoalStatus.succeeded), steps=(_drive(0), call), **told), Doubtful)
    again = call.model_copy(update={"is_repeatable": True})
    assert _place(go_on(steps=(_drive(0), again), **told)) == (1, 0, Stage.ready)


def test_what_comes_after_a_goal_that_still_runs_was_not_begun_and_after_one_that_is_done_it_may_have_been(go_on):
    call = CallStep(positions=(1,), service="/r/beep", type="std_srvs/srv/Trigger")
    for after in (call, _drive(1, DOCK)):
        steps = (_drive(0), after)
        assert _place(go_on(("m/1", 0, 0, GoalStatus.executing), steps=steps)) == (0, 0, Stage.going)
        assert _place(go_on(("m/1", 0, 0, GoalStatus.aborted), steps=steps)) == (0, 0, Stage.going)
        assert isinstance(go_on(("m/1", 0, 0, GoalStatus.succeeded), steps=steps), Doubtful)
    assert _place(go_on(("m/1", 0, 0, GoalStatus.succeeded))) == (0, 0, Stage.going), "its server would list it"


def test_the_sequence_rises_above_what_was_heard_before(go_on):
    far = int(NOW.timestamp() * 1000) + 60_000
    assert go_on(("m/1", 0, 0, GoalStatus.executing), sequence=far).sequence == far + 1
