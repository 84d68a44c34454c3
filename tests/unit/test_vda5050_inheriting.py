"""Whether an order that another gateway may have sent never came to a VDA 5050 robot: only its own state can say so."""

import pytest

from fleet.adapters.vda5050.inheriting import doubt_of
from fleet.adapters.vda5050.runs import order_id
from fleet.adapters.vda5050.wire import read_state
from fleet.push import Inheritance


@pytest.fixture
def doubt():
    """Why it is not certain, for a robot whose state shows this order."""

    def doubt(shown: str, **known) -> str:
        state = read_state(f'{{"orderId": "{shown}", "nodeStates": [], "edgeStates": []}}'.encode(), [])
        found = doubt_of(state, Inheritance(since_s=20.0, **known))
        return found.why if found else ""

    return doubt


def test_it_never_came_while_the_order_before_it_is_still_the_last_one(doubt):
    assert doubt(order_id("m/0"), earlier=("n/1", "m/0"), has_worked=True) == ""


def test_it_never_came_to_a_robot_that_never_had_an_order(doubt):
    assert doubt("") == ""


def test_a_robot_that_was_started_anew_may_have_done_it(doubt):
    assert "restart" in doubt("", earlier=("m/0",), has_worked=True)


def test_a_robot_that_was_given_something_by_others_may_have_done_it_before(doubt):
    assert "'theirs'" in doubt("theirs", earlier=("m/0",), has_worked=True)


def test_an_order_that_it_was_told_to_have_is_not_said_never_to_have_come(doubt):
    assert "does not show it now" in doubt(order_id("m/0"), earlier=("m/0",), has_worked=True, is_begun=True)
