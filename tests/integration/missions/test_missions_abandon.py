"""A person says that a lost robot no longer has its order: the mission goes on, and nothing is given to the robot."""

import pytest

from fleet.adapter import Acknowledged, OrderStatus
from fleet.errors import Conflict
from missions.models import Command, OutboxStatus


def test_an_abandoned_order_has_failed_its_mission_goes_on_and_its_robot_is_held(yard, clock):
    mission, _ = yard.lose()
    yard.command(mission, "abandon")
    view = yard.view(mission)
    assert (view.status, view.attempts[0].status, yard.leases()) == ("SCHEDULED", "FAILED", {})
    assert view.reason == "given up by user:ops, who says the robot no longer has the order: because"
    clock.step(3)
    assert yard.assign("amr-01") == []
    (again,) = yard.assign("amr-01", "amr-02")
    assert again.robot_id == yard.world.robots["amr-02"].id


def test_the_robot_is_used_again_when_a_person_releases_it(yard, clock):
    mission, _ = yard.lose()
    yard.command(mission, "abandon")
    (held,) = yard.holds()
    assert (held.robot, held.who, held.released_at) == ("amr-01", "user:ops", None)
    assert held.reason == ("its order was given up without its word (because); release it when it is safe to use")
    yard.release(held)
    clock.step(3)
    assert len(yard.assign("amr-01")) == 1


def test_abandoning_twice_is_harmless(yard):
    mission, _ = yard.lose()
    yard.command(mission, "abandon")
    before = yard.view(mission)
    yard.command(mission, "abandon")
    assert (yard.view(mission), len(yard.holds())) == (before, 1)


def test_the_robot_of_an_abandoned_order_is_told_to_end_it_in_case_a_copy_is_still_on_its_way(yard):
    mission, attempt = yard.lose()
    yard.command(mission, "abandon")
    assert yard.outbox(OutboxStatus.pending) == ["cancel"]
    (parcel,) = yard.begin()
    assert (parcel.key, parcel.command) == (attempt.key, Command.cancel)


def test_an_abandoned_order_that_runs_after_all_is_told_to_end_once_more(yard):
    mission, attempt = yard.lose()
    yard.command(mission, "abandon")
    assert yard.send() == [Acknowledged()]
    yard.say(attempt, OrderStatus.running, 5)
    assert yard.outbox(OutboxStatus.pending) == ["cancel"]
    assert yard.status(mission) == "SCHEDULED"


def test_the_last_try_and_a_cancel_that_was_never_obeyed_end_the_mission_when_it_is_abandoned(yard, clock):
    last, _ = yard.lose("last", attempts_max=1)
    yard.command(last, "abandon")
    assert yard.status(last) == "FAILED"
    yard.release(yard.holds()[0])
    yard.send()  # the robot is told to end the order that was given up before it is told anything else
    unwilling, _ = yard.lose("unwilling")
    yard.command(unwilling, "cancel")
    yard.command(unwilling, "abandon")
    assert yard.status(unwilling) == "CANCELED"


@pytest.mark.parametrize("begin", ["request", "running"])
def test_only_a_lost_order_is_abandoned(yard, begin):
    made = getattr(yard, begin)("m")
    mission = made[0] if isinstance(made, tuple) else made
    with pytest.raises(
        Conflict, match=r"'m' is not lost: (no robot has it|its robot is heard of \(RUNNING\)).*cancel ends"
    ):
        yard.command(mission, "abandon")
    assert yard.holds() == []


def test_a_robot_that_holds_and_goes_on_instead_of_ending_a_cancelled_order_may_be_given_up_all_the_same(yard, clock):
    mission, attempt = yard.running()
    yard.command(mission, "cancel")
    for number, status in enumerate([OrderStatus.paused, OrderStatus.running, OrderStatus.paused], start=3):
        clock.step(25)
        yard.say(attempt, status, number)
    yard.command(mission, "abandon")
    assert yard.status(mission) == "CANCELED"
