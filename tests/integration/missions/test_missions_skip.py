"""A person leaves out a task, before it was sent or while the robot is at it; the mission goes on behind it."""

import pytest

from fleet.adapter import Acknowledged, OrderStatus, TaskReport
from fleet.errors import Conflict, Invalid
from missions.models import OutboxStatus, TaskCreate

THREE = ("press-1", "press-2", "gate")


@pytest.fixture
def order(yard):
    """The positions in the order of the mission's newest attempt."""

    def read() -> list[int]:
        (parcel,) = yard.begin()
        return [task.position for task in parcel.order.tasks]

    return read


@pytest.fixture
def under_way(yard):
    """A mission of three stops on amr-01 of which the first is done."""
    mission = yard.request("m", *THREE)
    (attempt,) = yard.assign("amr-01")
    yard.send()
    yard.say(attempt, OrderStatus.running, 2, tasks=yard.done(0))
    return mission, attempt


def test_a_task_skipped_before_it_was_sent_is_left_out(yard, order):
    mission = yard.request("m", *THREE)
    yard.command(mission, "skip", task=1)
    yard.assign("amr-01")
    assert order() == [0, 2]
    view = yard.view(mission)
    assert [(task.position, task.skipped_by) for task in view.tasks] == [(0, ""), (1, "user:ops"), (2, "")]


def test_without_a_number_the_task_that_comes_next_is_skipped(yard, order):
    mission = yard.request("m", *THREE)
    yard.command(mission, "skip")
    yard.assign("amr-01")
    assert order() == [1, 2]


def test_the_task_a_robot_is_at_is_taken_from_it_and_the_mission_goes_on_behind(yard, under_way, order):
    mission, attempt = under_way
    yard.command(mission, "skip")
    assert yard.send() == [Acknowledged()]
    assert yard.status(mission) == "RUNNING"
    yard.say(attempt, OrderStatus.canceled, 3)
    view = yard.view(mission)
    assert (view.status, view.desired, view.reason) == ("SCHEDULED", "run", "task 1 is skipped: because")
    (again,) = yard.assign("amr-01")
    assert order() == [2]
    yard.say(again, OrderStatus.succeeded, 1, tasks=yard.done(2))
    assert yard.status(mission) == "SUCCEEDED"


def test_skipping_again_while_the_robot_has_not_ended_skips_nothing_more(yard, under_way):
    mission, _ = under_way
    yard.command(mission, "skip")
    yard.command(mission, "skip")
    yard.command(mission, "skip", task=1)
    assert [bool(task.skipped_at) for task in yard.view(mission).tasks] == [False, True, False]
    assert yard.outbox(OutboxStatus.pending) == ["cancel"]


def test_the_task_a_robot_is_at_is_skipped_also_after_a_later_one_was(yard, under_way):
    mission, _ = under_way
    yard.command(mission, "skip", task=2)
    yard.command(mission, "skip")
    assert [bool(task.skipped_at) for task in yard.view(mission).tasks] == [False, True, True]


def test_skipping_twice_leaves_out_one_task_also_when_the_robot_is_to_end_for_another_reason(yard, clock):
    mission = yard.request("m", *THREE, preemptible=True)
    (attempt,) = yard.assign("amr-01")
    yard.send()
    yard.say(attempt, OrderStatus.running, 2, tasks=(TaskReport(position=0, status="running"),))
    clock.step(700)
    assert yard.time_out() == 1
    for _ in range(2):
        yard.command(mission, "skip")
    assert [bool(task.skipped_at) for task in yard.view(mission).tasks] == [True, False, False]


def test_skipping_twice_the_only_task_left_is_harmless_until_its_robot_has_ended(yard, clock):
    mission, attempt = yard.running()
    clock.step(1000)
    assert yard.time_out() == 1
    for _ in range(2):
        yard.command(mission, "skip")
    yard.say(attempt, OrderStatus.canceled, 3)
    assert yard.status(mission) == "CANCELED"


def test_a_skip_that_the_robot_does_not_obey_is_told_again(yard, under_way, clock):
    mission, _ = under_way
    yard.command(mission, "skip")
    (parcel,) = yard.begin()
    yard.settle(parcel, Acknowledged())
    clock.step(11)
    yard.ask()
    assert yard.outbox(OutboxStatus.pending) == ["cancel"]


def test_a_later_task_is_skipped_by_its_number_and_the_robot_begins_again_without_it(yard, under_way, order):
    mission, attempt = under_way
    yard.command(mission, "skip", task=2)
    yard.send()
    yard.say(attempt, OrderStatus.canceled, 3)
    yard.assign("amr-01")
    assert order() == [1]


def test_a_skip_takes_no_try_away(yard, under_way):
    mission, attempt = under_way
    for sequence in (3, 4):
        yard.command(mission, "skip")
        yard.send()
        yard.say(attempt, OrderStatus.failed, sequence, reason="cancelled")
        if yard.status(mission) == "SCHEDULED":
            (attempt,) = yard.assign("amr-01")
            yard.send()
    assert (yard.status(mission), yard.view(mission).reason) == ("SUCCEEDED", "the tasks that were left are skipped")


def test_a_task_that_was_done_while_it_was_skipped_is_done(yard, under_way):
    mission, attempt = under_way
    yard.command(mission, "skip", task=2)
    yard.say(attempt, OrderStatus.succeeded, 3, tasks=yard.done(0, 1, 2))
    assert yard.status(mission) == "SUCCEEDED"


def test_a_done_task_or_one_that_is_not_there_is_not_skipped(yard, under_way):
    mission, _ = under_way
    with pytest.raises(Conflict, match="Task 0 of mission 'm' is done"):
        yard.command(mission, "skip", task=0)
    for wrong in (3, -1):
        with pytest.raises(Invalid, match=f"has the tasks 0 to 2; there is no task {wrong}"):
            yard.command(mission, "skip", task=wrong)
    with pytest.raises(Invalid, match="Only skip takes a task, and this is pause"):
        yard.command(mission, "pause", task=1)


def test_a_mission_whose_tasks_are_all_skipped_before_it_began_is_cancelled(yard):
    mission = yard.request("m", "press-1", "gate", approval_needed=True)
    yard.command(mission, "skip")
    yard.command(mission, "skip")
    assert (yard.status(mission), yard.view(mission).reason) == ("CANCELED", "the tasks that were left are skipped")
    with pytest.raises(Conflict, match="has ended"):
        yard.command(mission, "skip")


def test_a_mission_that_waits_for_another_try_succeeds_when_its_rest_is_skipped(yard, under_way):
    mission, attempt = under_way
    yard.say(attempt, OrderStatus.failed, 3, tasks=yard.done(0), reason="path blocked")
    yard.command(mission, "skip")
    assert yard.status(mission) == "SCHEDULED"
    yard.command(mission, "skip")
    assert yard.status(mission) == "SUCCEEDED"


def test_a_recording_is_never_the_task_that_a_mission_is_at(yard):
    mission = yard.request(tasks=[TaskCreate(kind="record_bag"), TaskCreate(station="gate")])
    yard.command(mission, "skip")
    view = yard.view(mission)
    assert [bool(task.skipped_at) for task in view.tasks] == [False, True]
    assert view.status == "CANCELED"  # nothing but a recording is left


def test_a_skip_is_taken_while_nobody_knows_whether_the_robot_has_the_order(yard):
    unsent = yard.request("m", *THREE)
    yard.assign("amr-01")
    yard.begin()
    yard.command(unsent, "skip")
    assert yard.outbox(OutboxStatus.pending) == ["cancel"]
    assert yard.view(unsent).attempts[0].status == "DISPATCHED"


def test_a_lost_robot_that_comes_back_is_told_to_end_what_was_skipped(yard):
    mission, attempt = yard.lose(tasks=[TaskCreate(station=at) for at in THREE])
    assert yard.view(mission).attempts[0].status == "LOST"
    yard.command(mission, "skip")
    yard.send()
    yard.say(attempt, OrderStatus.canceled, 9)
    assert yard.status(mission) == "SCHEDULED"


def test_an_attempt_that_was_never_sent_is_made_anew_without_the_task(yard, order):
    mission = yard.request("m", *THREE)
    yard.assign("amr-01")
    yard.command(mission, "skip")
    assert (yard.status(mission), yard.leases(), yard.outbox(OutboxStatus.pending)) == ("SCHEDULED", {}, [])
    yard.assign("amr-01")
    assert order() == [1, 2]


def test_a_mission_that_is_being_cancelled_skips_nothing(yard, under_way):
    mission, _ = under_way
    yard.command(mission, "cancel")
    yard.command(mission, "skip", task=1)
    assert [task.skipped_at for task in yard.view(mission).tasks] == [None, None, None]
    with pytest.raises(Invalid, match="there is no task 3"):
        yard.command(mission, "skip", task=3)


def test_a_skip_is_in_the_history_with_who_and_why(yard, under_way):
    mission, _ = under_way
    yard.command(mission, "skip")
    line = next(line for line in yard.view(mission).transitions if line.from_status == line.to_status == "RUNNING")
    assert (line.subject, line.who, line.why) == ("mission", "user:ops", "because")
    assert "task_skipped" in yard.changes("mission")


def test_a_retry_begins_where_the_old_mission_ended_and_keeps_what_was_skipped(yard, under_way, order):
    mission, attempt = under_way
    yard.command(mission, "skip")
    yard.command(mission, "cancel")
    yard.say(attempt, OrderStatus.canceled, 3)
    again = yard.command(mission, "retry")
    yard.assign("amr-01")
    assert order() == [2]
    assert [bool(task.skipped_at) for task in yard.view(again).tasks] == [False, True, False]
    yard.command(again, "skip")
    assert yard.command(mission, "retry").id == again.id


def test_a_retry_that_does_all_again_does_also_what_was_skipped(yard, order):
    mission = yard.request("m", *THREE, retry_from="first_task")
    (attempt,) = yard.assign("amr-01")
    yard.send()
    yard.say(attempt, OrderStatus.running, 2, tasks=yard.done(0))
    yard.command(mission, "skip", task=2)
    yard.command(mission, "cancel")
    yard.say(attempt, OrderStatus.canceled, 3)
    yard.command(mission, "retry")
    yard.assign("amr-01")
    assert order() == [0, 1, 2]


def test_a_mission_that_does_all_again_after_a_failure_keeps_the_results_of_each_try(yard, order, clock):
    mission = yard.request("m", *THREE, retry_from="first_task")
    (attempt,) = yard.assign("amr-01")
    yard.send()
    yard.say(attempt, OrderStatus.failed, 2, tasks=yard.done(0, 1))
    clock.step(3)
    (again,) = yard.assign("amr-01")
    assert order() == [0, 1, 2]
    yard.say(again, OrderStatus.running, 1, tasks=(TaskReport(position=0, status="succeeded"),))
    assert [(row.attempt, row.position) for row in yard.view(mission).results] == [(1, 0), (1, 1), (2, 0)]
