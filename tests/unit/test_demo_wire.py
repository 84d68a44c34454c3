"""The demo notices when the robots' own record and the platform's do not agree."""

from datetime import UTC, datetime

import pytest

from deployments.demo.wire import Driven, goals_compared, orders_compared
from fleet.adapter import OrderReport, OrderStatus
from fleet.adapters.ros2.runs import goal_id
from fleet.adapters.simulated.record import SiteRecord
from fleet.adapters.vda5050.runs import order_id

AT = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
DONE, LIVE, CANCELED = OrderStatus.succeeded, OrderStatus.running, OrderStatus.canceled
ROS2 = Driven("amr-01", "ros2", "m/1", is_done=True, done=frozenset({0, 1}))
VDA5050 = Driven("amr-04", "vda5050", "n/1", is_done=True, done=frozenset({0}))
ORDER = f"vda5050/{order_id('n/1')}"


@pytest.fixture
def record():
    """What the site wrote down: these words with how they ended."""

    def build(**words: OrderStatus) -> SiteRecord:
        told = {
            word: OrderReport(key=f"local/{word}", serial_number="s", status=status, observed_at=AT)
            for word, status in words.items()
        }
        return SiteRecord(told, {})

    return build


@pytest.fixture
def goals(record):
    """The same for goals: position and run of the mission's tasks."""

    def build(ends: dict[tuple[int, int], OrderStatus]) -> SiteRecord:
        return record(**{str(goal_id("m/1", position, run)): status for (position, run), status in ends.items()})

    return build


def test_a_task_that_was_paused_and_then_done_was_done_once(goals):
    found = goals_compared([ROS2], goals({(0, 0): DONE, (1, 0): CANCELED, (1, 1): DONE}))
    assert (found.orders, found.twice, found.missing, found.strange, found.live) == (3, (), (), (), ())


def test_a_task_that_was_done_twice_is_named(goals):
    found = goals_compared([ROS2], goals({(0, 0): DONE, (1, 0): DONE, (1, 1): DONE}))
    assert found.twice == ("task 1 of m/1 on amr-01",)


def test_a_task_that_no_robot_did_is_named(goals):
    assert goals_compared([ROS2], goals({(0, 0): DONE})).missing == ("task 1 of m/1 on amr-01",)


def test_a_goal_that_nobody_asked_for_is_named(record):
    stranger = str(goal_id("other/1", 0, 0))
    assert goals_compared([], record(**{stranger: DONE})).strange == (stranger,)


def test_a_goal_that_is_left_running_is_named(goals):
    found = goals_compared([ROS2], goals({(0, 0): DONE, (1, 0): DONE, (2, 0): LIVE}))
    assert found.live == (str(goal_id("m/1", 2, 0)),)


def test_orders_and_goals_are_not_mistaken_for_each_other(record):
    both = record(**{ORDER: DONE, str(goal_id("m/1", 0, 0)): DONE})
    assert orders_compared([VDA5050, ROS2], both).orders == 1
    assert goals_compared([VDA5050, ROS2], both).orders == 1


def test_an_order_that_the_vehicle_never_finished_is_named(record):
    assert orders_compared([VDA5050], record(**{ORDER: CANCELED})).missing == ("n/1",)
    assert orders_compared([VDA5050], record(**{ORDER: DONE})).missing == ()


def test_an_order_that_nobody_asked_for_or_that_runs_on_is_named(record):
    found = orders_compared([], record(**{ORDER: LIVE}))
    assert (found.strange, found.live) == ((ORDER,), (ORDER,))
