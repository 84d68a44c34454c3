"""A pause that was given up while it was on its way comes after the resume: the robot is told once more to go on."""

import pytest

from fleet.adapter import Acknowledged, OrderReport, OrderStatus, Unknown
from missions.recovery import LATE_S


@pytest.fixture
def passed_by(yard):
    """An attempt whose pause is on its way while the resume after it has arrived; then its robot tells that it runs."""
    mission = yard.request()
    (attempt,) = yard.assign("amr-01")
    yard.send()
    yard.command(mission, "pause")
    assert [parcel.command for parcel in yard.begin()] == ["pause"]
    yard.command(mission, "resume")
    (parcel,) = yard.begin()
    yard.settle(parcel, Acknowledged())
    yard.clock.step(1)
    yard.say(attempt, OrderStatus.running, 3)
    return attempt


@pytest.fixture
def hold_and_ask(yard):
    """The robot tells that it holds, and is asked so long after that."""

    def do(attempt) -> None:
        yard.say(attempt, OrderStatus.paused, 4)
        yard.clock.step(12)
        (question,) = yard.questions()
        held = OrderReport(
            key=attempt.key,
            serial_number="SN-amr-01",
            status=OrderStatus.paused,
            observed_at=yard.clock.now(),
            sequence=4,
        )
        yard.hear(question, held)

    return do


def test_a_pause_that_came_after_the_resume_is_not_left_alone(yard, passed_by, hold_and_ask):
    yard.clock.step(10)
    hold_and_ask(passed_by)
    assert yard.outbox() == ["submit", "pause", "resume", "resume"]


def test_a_robot_that_is_paused_at_its_side_later_is_left_alone(yard, passed_by, hold_and_ask):
    yard.clock.step(LATE_S)
    hold_and_ask(passed_by)
    assert yard.outbox() == ["submit", "pause", "resume"]


def test_one_that_was_paused_and_went_on_and_is_paused_at_its_side_is_left_alone(yard, hold_and_ask):
    mission, attempt = yard.running()
    yard.command(mission, "pause")
    yard.send()
    yard.say(attempt, OrderStatus.paused, 3)
    yard.command(mission, "resume")
    yard.send()
    yard.clock.step(1)
    yard.say(attempt, OrderStatus.running, 4)
    hold_and_ask(attempt)
    assert yard.outbox() == ["submit", "pause", "resume"]


def test_a_copy_of_a_pause_that_came_after_the_resume_is_not_left_alone(yard, hold_and_ask):
    mission, attempt = yard.running()
    yard.command(mission, "pause")
    (first,) = yard.begin()
    yard.settle(first, Unknown(why="the answer was lost"))
    yard.say(attempt, OrderStatus.paused, 3)
    yard.clock.step(5)
    (copy,) = yard.begin()
    yard.settle(copy, Acknowledged())
    yard.command(mission, "resume")
    yard.send()
    yard.clock.step(1)
    yard.say(attempt, OrderStatus.running, 4)
    hold_and_ask(attempt)
    assert yard.outbox() == ["submit", "pause", "resume", "resume"]
