"""Robots that work on what was not ordered here are tolerated, given nothing, and shown."""

import pytest

from fleet.adapter import OrderStatus
from missions.foreign import foreign_orders


@pytest.fixture
def foreign(yard, runtime):
    """The foreign orders of the yard's organisation: robot -> order."""

    def read() -> dict[str, str]:
        with runtime.reading() as session:
            found = foreign_orders(session, [yard.world.organisation.id])
        return {each.robot: each.order for each in found.values()}

    return read


def test_a_robot_with_an_order_of_its_own_is_shown_and_given_nothing(yard, foreign):
    mission = yard.request()
    yard.observe("amr-01", "executing", order_key="by-hand-7")
    assert foreign() == {"amr-01": "by-hand-7"}
    assert yard.assign("amr-02")[0].robot_id == yard.world.robots["amr-02"].id
    assert yard.view(mission).robot == "amr-02"


def test_our_own_orders_are_not_foreign_also_when_they_have_just_ended(yard, foreign):
    _, attempt = yard.running()
    yard.observe("amr-01", "executing", order_key=attempt.key)
    assert foreign() == {}
    yard.say(attempt, OrderStatus.succeeded, 3)
    assert foreign() == {}


def test_an_idle_robot_that_still_names_an_old_order_is_not_at_work(yard, foreign):
    yard.observe("amr-01", "idle", order_key="yesterday")
    assert foreign() == {}
    yard.request()
    assert len(yard.assign("amr-01")) == 1


def test_our_order_on_another_robot_is_foreign_there(yard, foreign):
    _, attempt = yard.running()
    yard.observe("amr-02", "executing", order_key=attempt.key)
    assert foreign() == {"amr-02": attempt.key}


def test_a_report_of_a_foreign_order_changes_no_mission(yard, foreign):
    mission, attempt = yard.running()
    before = yard.view(mission)
    strange = attempt.model_copy(update={"key": "by-hand-7"})
    yard.say(strange, OrderStatus.failed, 9)
    assert yard.view(mission) == before
