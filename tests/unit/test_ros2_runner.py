"""The step of an order over ROS 2, case by case; the property test asks whether any sequence of them is harmless."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from fleet.adapter import Order, OrderStatus, OrderTask, TaskKind
from fleet.adapters.ros2.link import (
    Declined,
    Ended,
    GoalSeen,
    GoalStatus,
    NoAnswer,
    Refusal,
    Statuses,
    Taken,
    UnknownGoal,
)
from fleet.adapters.ros2.marks import opening
from fleet.adapters.ros2.runner import turn, wakes_at
from fleet.adapters.ros2.runs import (
    Answered,
    Ask,
    Begun,
    Call,
    Called,
    CallStep,
    Cancel,
    Ending,
    GivenUp,
    GoalStep,
    Listed,
    RestStep,
    Resulted,
    Sampled,
    SampleStep,
    Send,
    Stage,
    Surroundings,
    Ticked,
    Wish,
    Wished,
    Woken,
    Yields,
    goal_id,
    present_goal,
)

NOW = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
ACTION = "/r/navigate_to_pose"
DRIVE = GoalStep(positions=(0,), action=ACTION, type="nav2_msgs/action/NavigateToPose")
FIRST = goal_id("m/1", 0, 0)
ROBOTS_OWN = UUID(int=8)


class Desk:
    """An order and its state; `hear` gives what is to be done."""

    def __init__(self, *steps, before=None):
        tasks = tuple(OrderTask(position=number, kind=TaskKind.go_to, timeout_s=60.0) for number in range(len(steps)))
        self.order = Order(key="m/1", fence=1, serial_number="/r", mission_id="m", tasks=tasks)
        self.state = opening(self.order, steps)
        self.now, self.server, self.before = NOW, "guid-1", before

    def hear(self, news):
        listed = None if self.before is None else {ACTION: self.before}
        made = turn(self.order, self.state, news, Surroundings(self.now, {ACTION: self.server}, listed))
        self.state = made.state
        return made.effects

    def later(self, seconds):
        self.now += timedelta(seconds=seconds)
        return self


@pytest.fixture
def desk():
    made = Desk(DRIVE)
    assert made.hear(Begun()) == (Send(FIRST, DRIVE),)
    return made


@pytest.fixture
def going(desk):
    assert desk.hear(Answered(FIRST, Taken(0))) == (Ask(FIRST, DRIVE),)
    assert desk.state.status is OrderStatus.running
    return desk


def _listed(goal, status):
    return Listed(Statuses(is_heard=True, goals={goal: GoalSeen(status, 0)}))


def test_beginning_twice_sends_once(desk):
    assert desk.hear(Begun()) == ()


def test_a_gateway_that_wakes_up_asks_and_does_not_send(desk):
    assert desk.hear(Woken()) == (Ask(FIRST, DRIVE),)


def test_a_declined_goal_is_rejected_only_when_the_server_does_not_know_it(desk):
    assert desk.hear(Answered(FIRST, Declined())) == (Ask(FIRST, DRIVE),)
    assert desk.state.status is OrderStatus.accepted
    desk.hear(Resulted(FIRST, UnknownGoal(), "guid-1"))
    assert desk.state.status is OrderStatus.rejected


def test_a_declined_goal_that_the_server_lists_is_ours_from_before(desk):
    desk.hear(Answered(FIRST, Declined()))
    desk.hear(_listed(FIRST, GoalStatus.executing))
    assert (desk.state.stage, desk.state.status) == (Stage.going, OrderStatus.running)


def test_a_declined_goal_that_ended_cancelled_was_paused_by_an_earlier_gateway(desk):
    desk.hear(Answered(FIRST, Declined()))
    desk.hear(Resulted(FIRST, Ended(GoalStatus.canceled, {}), "guid-1"))
    assert desk.state.status is OrderStatus.paused


def test_without_an_answer_it_is_in_doubt_and_asked(desk):
    assert desk.hear(Answered(FIRST, NoAnswer("lost"))) == (Ask(FIRST, DRIVE),)
    assert desk.state.doubt == "lost"
    desk.hear(_listed(FIRST, GoalStatus.executing))
    assert desk.state.doubt == ""


def test_what_the_same_server_does_not_know_soon_after_is_sent_again_under_the_same_id(desk):
    desk.hear(Answered(FIRST, NoAnswer("lost")))
    assert desk.later(5).hear(Resulted(FIRST, UnknownGoal(), "guid-1")) == (Send(FIRST, DRIVE),)


@pytest.mark.parametrize("server", ["guid-2", ""])
def test_what_another_server_does_not_know_is_lost_and_never_sent_again(desk, server):
    desk.hear(Answered(FIRST, NoAnswer("lost")))
    assert desk.later(5).hear(Resulted(FIRST, UnknownGoal(), server)) == ()
    assert desk.state.status is OrderStatus.failed
    assert desk.state.reason.startswith("lost: ")


@pytest.mark.parametrize("answer", [NoAnswer("lost"), Taken(stamp_ns=1)])
def test_what_the_same_server_may_have_done_and_forgotten_stays_in_doubt_and_is_never_sent_again(desk, answer):
    desk.hear(Answered(FIRST, answer))
    assert desk.later(9).hear(Resulted(FIRST, UnknownGoal(), "guid-1")) == ()
    assert "whether it was done is not known" in desk.state.doubt
    assert not desk.state.is_over
    desk.hear(GivenUp("m/2"))
    assert desk.state.status is OrderStatus.failed


def test_an_inherited_goal_that_the_robot_forgets_stays_in_doubt_and_one_that_was_stopped_was_paused(desk):
    desk.hear(Answered(FIRST, Taken(stamp_ns=1)))
    desk.state = inherited = desk.state.model_copy(update={"is_inherited": True, "server": ""})
    desk.hear(Resulted(FIRST, UnknownGoal(), "guid-2"))
    assert "whether it was done is not known" in desk.state.doubt
    desk.state = inherited
    desk.hear(Resulted(FIRST, Ended(GoalStatus.canceled, {})))
    assert (desk.state.status, desk.state.run) == (OrderStatus.paused, 1)
    desk.hear(Wished(Wish.pause))
    desk.hear(Wished(Wish.run))
    assert not desk.state.is_inherited


def test_it_is_sent_three_times_at_most(desk):
    for _ in range(2):
        assert desk.hear(Resulted(FIRST, UnknownGoal(), "guid-1")) == (Send(FIRST, DRIVE),)
    assert desk.hear(Resulted(FIRST, UnknownGoal(), "guid-1")) == ()
    assert desk.state.status is OrderStatus.failed


def test_a_refusal_of_a_goal_sent_again_says_nothing_of_the_first(desk):
    desk.hear(Resulted(FIRST, UnknownGoal(), "guid-1"))
    assert desk.hear(Answered(FIRST, Refusal("no server"))) == (Ask(FIRST, DRIVE),)
    assert not desk.state.is_over


def test_a_server_that_forgot_a_goal_it_had_taken_leaves_the_order_lost(going):
    going.hear(Resulted(FIRST, UnknownGoal(), "guid-1"))
    assert going.state.status is OrderStatus.failed
    assert "took the goal" in going.state.reason


def test_a_cancel_is_repeated_until_the_goal_has_ended(going):
    assert going.hear(Wished(Wish.cancel)) == (Cancel(FIRST, DRIVE),)
    assert going.later(1).hear(Ticked()) == ()
    assert going.later(1.5).hear(Ticked()) == (Cancel(FIRST, DRIVE),)
    going.hear(Resulted(FIRST, Ended(GoalStatus.canceled, {})))
    assert going.state.status is OrderStatus.canceled


def test_a_cancelled_goal_that_aborts_is_cancelled_all_the_same(going):
    going.hear(Wished(Wish.cancel))
    going.hear(Resulted(FIRST, Ended(GoalStatus.aborted, {"error_code": 103})))
    assert going.state.status is OrderStatus.canceled
    assert "103" in going.state.reason


def test_a_goal_that_somebody_else_cancelled_ends_the_order_and_says_so(going):
    going.hear(Resulted(FIRST, Ended(GoalStatus.canceled, {})))
    assert (going.state.status, going.state.reason) == (OrderStatus.canceled, "canceled at the robot, and not by us")


def test_a_pause_is_told_when_the_goal_has_ended_and_resuming_sends_a_new_one(going):
    going.hear(Wished(Wish.pause))
    assert going.state.status is OrderStatus.running
    going.hear(Resulted(FIRST, Ended(GoalStatus.canceled, {})))
    assert going.state.status is OrderStatus.paused
    (sent,) = going.hear(Wished(Wish.run))
    assert sent.goal == goal_id("m/1", 0, 1) != FIRST


def test_a_pause_that_is_taken_back_while_the_goal_ends_goes_on_at_once(going):
    going.hear(Wished(Wish.pause))
    going.hear(Wished(Wish.run))
    assert going.later(10).hear(Ticked()) == ()  # the cancel is not repeated
    (sent,) = going.hear(Resulted(FIRST, Ended(GoalStatus.canceled, {})))
    assert sent.goal == goal_id("m/1", 0, 1)


def test_what_is_heard_of_an_earlier_run_changes_nothing(going):
    going.hear(Wished(Wish.pause))
    going.hear(Resulted(FIRST, Ended(GoalStatus.canceled, {})))
    going.hear(Wished(Wish.run))
    before = going.state
    going.hear(Resulted(FIRST, Ended(GoalStatus.succeeded, {})))
    assert going.state == before


def test_a_goal_that_takes_too_long_is_cancelled_and_failed_but_believed_when_it_succeeds(going):
    assert going.later(61).hear(Ticked()) == (Cancel(FIRST, DRIVE),)
    assert going.state.ending is Ending.timeout
    twin = going.state
    going.hear(Resulted(FIRST, Ended(GoalStatus.canceled, {})))
    assert "within its 60 s" in going.state.reason
    going.state = twin
    going.hear(Resulted(FIRST, Ended(GoalStatus.succeeded, {})))
    assert going.state.status is OrderStatus.succeeded


def test_the_time_of_a_pause_does_not_count(going):
    going.later(50).hear(Wished(Wish.pause))
    going.hear(Resulted(FIRST, Ended(GoalStatus.canceled, {})))
    going.later(1000).hear(Wished(Wish.run))
    assert wakes_at(going.order, going.state) == going.now + timedelta(seconds=10)


def test_an_order_in_doubt_is_given_up_for_another(desk):
    desk.hear(Answered(FIRST, NoAnswer("lost")))
    desk.hear(GivenUp("m2/1"))
    assert desk.state.status is OrderStatus.failed
    assert "m2/1" in desk.state.reason


def test_over_is_over(going):
    going.hear(Resulted(FIRST, Ended(GoalStatus.succeeded, {})))
    done = going.state
    for news in (Wished(Wish.cancel), Woken(), Ticked(), Resulted(FIRST, Ended(GoalStatus.aborted, {})), Begun()):
        assert going.hear(news) == ()
        assert going.state == done


# Where the id is the robot's to choose


@pytest.fixture
def bridged():
    made = Desk(DRIVE, before=("00000000-0000-0000-0000-000000000007",))
    made.hear(Begun())
    return made


def test_the_one_goal_that_was_not_listed_before_is_ours(bridged):
    bridged.hear(Answered(FIRST, NoAnswer("nothing said")))
    bridged.hear(_listed(ROBOTS_OWN, GoalStatus.executing))
    assert (bridged.state.known_as, bridged.state.stage) == (str(ROBOTS_OWN), Stage.going)


def test_two_new_goals_are_a_doubt_for_a_person(bridged):
    goals = {UUID(int=number): GoalSeen(GoalStatus.executing, 0) for number in (8, 9)}
    bridged.later(100).hear(Listed(Statuses(is_heard=True, goals=goals)))
    assert "which is ours cannot be told" in bridged.state.doubt
    assert not bridged.state.is_over


def test_a_goal_that_is_not_listed_in_time_was_not_begun(bridged):
    bridged.hear(Answered(FIRST, NoAnswer("nothing said")))
    nothing_new = Listed(Statuses(is_heard=True, goals={UUID(int=7): GoalSeen(GoalStatus.succeeded, 0)}))
    bridged.later(14).hear(nothing_new)
    assert not bridged.state.is_over
    bridged.later(2).hear(nothing_new)
    assert bridged.state.status is OrderStatus.rejected


def test_a_list_that_was_not_heard_proves_nothing(bridged):
    bridged.hear(Answered(FIRST, NoAnswer("nothing said")))
    bridged.later(100).hear(Listed(Statuses()))
    assert not bridged.state.is_over


# Services, samples, rests


LAMP = CallStep(positions=(0,), service="/r/lamp", type="std_srvs/srv/Trigger", yields=Yields(success="success"))


def test_a_call_whose_answer_is_lost_fails_and_is_not_made_again():
    desk = Desk(LAMP)
    (call,) = desk.hear(Begun())
    assert isinstance(call, Call)
    desk.hear(Called(0, NoAnswer("no answer in 60 s")))
    assert desk.state.status is OrderStatus.failed
    assert "unknown whether it was done" in desk.state.reason


def test_a_gateway_that_dies_during_a_call_calls_again_only_what_may_be_repeated():
    desk, other = Desk(LAMP), Desk(LAMP.model_copy(update={"is_repeatable": True}))
    for one in (desk, other):
        one.hear(Begun())
    assert desk.hear(Woken()) == ()
    assert desk.state.status is OrderStatus.failed
    assert isinstance(other.hear(Woken())[0], Call)


def test_a_pause_during_a_call_holds_before_the_next_task():
    desk = Desk(LAMP, DRIVE.model_copy(update={"positions": (1,)}))
    desk.hear(Begun())
    desk.hear(Wished(Wish.pause))
    assert desk.state.status is OrderStatus.running
    assert desk.hear(Called(0, {"success": True})) == ()
    assert desk.state.status is OrderStatus.paused


def test_a_sample_gives_the_reading_and_none_fails_with_the_reason():
    step = SampleStep(
        positions=(0,),
        topic="/r/t",
        type="sensor_msgs/msg/Temperature",
        yields=Yields(value="temperature", unit="=degC"),
    )
    desk, other = Desk(step), Desk(step)
    for one in (desk, other):
        one.hear(Begun())
    desk.hear(Sampled(0, {"temperature": 21.5}))
    assert (desk.state.tasks[0].value, desk.state.tasks[0].unit) == (21.5, "degC")
    other.hear(Sampled(0, None, "/r/t gave nothing"))
    assert other.state.reason == "/r/t gave nothing"


def test_a_rest_goes_on_over_a_restart_of_the_gateway():
    desk = Desk(RestStep(positions=(0,), seconds=10.0))
    desk.hear(Begun())
    assert desk.state.status is OrderStatus.running
    desk.later(4).hear(Woken())
    assert wakes_at(desk.order, desk.state) == NOW + timedelta(seconds=10)
    desk.later(6).hear(Ticked())
    assert desk.state.status is OrderStatus.succeeded


def test_an_order_without_tasks_is_done():
    desk = Desk()
    desk.hear(Begun())
    assert desk.state.status is OrderStatus.succeeded


def test_waypoints_that_were_missed_are_the_tasks_that_failed():
    step = GoalStep(positions=(0, 1), action=ACTION, type="nav2_msgs/action/FollowWaypoints")
    desk = Desk(step, step.model_copy(update={"positions": (2,)}))
    desk.hear(Begun())
    goal = present_goal(desk.order, desk.state)
    desk.hear(Answered(goal, Taken(0)))
    desk.hear(Resulted(goal, Ended(GoalStatus.succeeded, {"missed_waypoints": [1]})))
    assert [task.status for task in desk.state.tasks] == ["succeeded", "failed"]
    assert desk.state.status is OrderStatus.failed


def test_the_sequence_rises_with_what_is_told_and_with_the_clock(going):
    before = going.state.sequence
    going.hear(_listed(FIRST, GoalStatus.executing))
    assert going.state.sequence == before
    going.later(1).hear(Resulted(FIRST, Ended(GoalStatus.succeeded, {})))
    assert going.state.sequence == int(going.now.timestamp() * 1000) > before
