"""What goes on when nothing is heard: deadlines, questions, silence, orders that robots never had or no longer know."""

from datetime import timedelta

import pytest

from fleet.adapter import Acknowledged, OrderReport, OrderStatus, Unknown
from missions import recovery
from missions.models import OutboxStatus


def _expire(yard) -> int:
    with yard.runtime.transaction() as session:
        return recovery.expire(session, who="test")


def test_a_mission_not_started_by_its_deadline_expires_and_one_under_way_does_not(yard, clock):
    deadline = clock.now() + timedelta(seconds=10)
    under_way, _ = yard.running("begun", not_after_at=deadline)
    waiting = yard.request("waiting", not_after_at=deadline)
    careful = yard.request("careful", not_after_at=deadline, approval_needed=True)
    assert _expire(yard) == 0
    clock.step(11)
    assert (_expire(yard), _expire(yard)) == (2, 0)
    assert [yard.status(mission) for mission in (under_way, waiting, careful)] == ["RUNNING", "EXPIRED", "EXPIRED"]
    assert yard.view(waiting).reason == (
        "not started by 2026-03-01 22:00 UTC; retry makes a new one without that limit. "
        "No robot is free: amr-01 is busy, amr-02 is not heard of yet."
    )


def test_a_live_order_is_asked_about_only_after_a_while_of_quiet_and_not_by_two_at_once(yard, clock):
    yard.running()
    assert yard.questions() == []
    clock.step(6)
    assert len(yard.questions()) == 1
    assert yard.questions() == []
    clock.step(6)
    assert len(yard.questions()) == 1


def test_an_order_that_was_never_sent_is_not_asked_about(yard, clock):
    yard.request()
    yard.assign("amr-01")
    clock.step(60)
    assert yard.questions() == []


def test_a_missed_end_is_learned_by_asking(yard, clock):
    mission, _ = yard.running()
    for _ in range(6):
        clock.step(2)
        yard.robots.step(2)
    yard.ask()
    assert yard.status(mission) == "SUCCEEDED"


def test_a_silent_robot_makes_the_attempt_lost_keeps_its_hold_and_comes_back(yard, clock):
    mission, attempt = yard.running()
    for _ in range(6):
        clock.step(6)
        (question,) = yard.questions()
        yard.hear(question, Unknown(why="no answer"))
    view = yard.view(mission)
    assert (view.status, view.attempts[0].status, len(yard.leases())) == ("RUNNING", "LOST", 1)
    yard.say(attempt, OrderStatus.running, 2)  # the very report that was the last one
    assert yard.view(mission).attempts[0].status == "RUNNING"


@pytest.mark.parametrize("name", ["pause", "cancel"])
def test_a_robot_is_not_heard_because_its_gateway_takes_commands_for_it(yard, clock, name):
    mission, _ = yard.running()
    yard.command(mission, name)
    for _ in range(6):
        clock.step(6)
        for parcel in yard.begin():
            yard.settle(parcel, Acknowledged())
        for question in yard.questions():
            yard.hear(question, Unknown(why="no answer"))
    assert yard.view(mission).attempts[0].status == "LOST"


def test_an_order_that_never_arrived_is_sent_again(yard, clock):
    mission = yard.request()
    yard.assign("amr-01")
    yard.robots.faults.request_lost = 1.0
    yard.send()
    yard.robots.faults.request_lost = 0.0
    clock.step(6)
    yard.ask()
    yard.send()
    assert yard.view(mission).attempts[0].status == "ACCEPTED"


def test_an_order_that_the_robot_no_longer_knows_has_failed_and_is_tried_again(yard, clock):
    mission, _ = yard.running()
    yard.robots.robots["SN-amr-01"].executions.clear()
    clock.step(6)
    yard.ask()
    view = yard.view(mission)
    assert (view.status, view.reason) == ("SCHEDULED", "the robot no longer knows the order it had")


def test_an_answer_older_than_what_is_known_meanwhile_is_not_believed(yard, clock):
    mission = yard.request()
    (attempt,) = yard.assign("amr-01")
    (parcel,) = yard.begin()
    clock.step(6)
    (question,) = yard.questions()
    never = OrderReport(
        key=attempt.key, serial_number="SN-amr-01", status=OrderStatus.not_found, observed_at=clock.now()
    )
    yard.hear(question, never)  # the order is still on its way
    assert yard.view(mission).attempts[0].status == "DISPATCHED"
    yard.say(attempt, OrderStatus.running, 2)
    yard.hear(question, never)
    assert yard.status(mission) == "RUNNING"
    yard.settle(parcel, Unknown(why="timeout"))
    assert yard.outbox(OutboxStatus.pending) == []


def test_an_answer_about_an_order_that_has_ended_changes_nothing(yard, clock):
    mission, attempt = yard.running()
    clock.step(6)
    (question,) = yard.questions()
    yard.say(attempt, OrderStatus.succeeded, 3)
    before = yard.view(mission)
    yard.hear(question, Unknown(why="late"))
    assert yard.view(mission) == before


def test_a_pause_and_a_resume_that_are_not_obeyed_are_sent_again(yard, clock):
    mission, attempt = yard.running()
    yard.command(mission, "pause")
    yard.send()
    clock.step(11)
    (question,) = yard.questions()
    yard.hear(question, Unknown(why="busy"))
    assert yard.outbox(OutboxStatus.pending) == ["pause"]
    yard.say(attempt, OrderStatus.paused, 5)
    yard.command(mission, "resume")
    yard.send()
    clock.step(11)
    (question,) = yard.questions()
    yard.hear(question, Unknown(why="busy"))
    assert yard.outbox(OutboxStatus.pending) == ["resume"]


def test_a_robot_that_somebody_paused_at_its_side_is_left_alone(yard, clock):
    _, attempt = yard.running()
    yard.say(attempt, OrderStatus.paused, 5)
    clock.step(11)
    (question,) = yard.questions()
    yard.hear(question, Unknown(why="busy"))
    assert yard.outbox(OutboxStatus.pending) == []


def test_a_robot_that_holds_as_it_was_told_is_not_told_to_go_on(yard, clock):
    mission, attempt = yard.running()
    for sequence, (name, said) in enumerate(
        [("pause", OrderStatus.paused), ("resume", OrderStatus.running), ("pause", OrderStatus.paused)], start=5
    ):
        yard.command(mission, name)
        yard.send()
        yard.say(attempt, said, sequence)
    clock.step(11)
    (question,) = yard.questions()
    yard.hear(question, Unknown(why="busy"))
    assert (yard.status(mission), yard.outbox(OutboxStatus.pending)) == ("PAUSED", [])


def test_a_robot_that_went_on_and_was_then_paused_at_its_side_is_left_alone(yard, clock):
    mission, attempt = yard.running()
    yard.command(mission, "pause")
    yard.say(attempt, OrderStatus.paused, 5)
    yard.command(mission, "resume")
    yard.send()
    clock.step(1)
    yard.say(attempt, OrderStatus.running, 6)
    clock.step(60)
    yard.say(attempt, OrderStatus.paused, 7)
    (question,) = yard.questions()
    yard.hear(question, Unknown(why="busy"))
    assert yard.outbox(OutboxStatus.pending) == []
