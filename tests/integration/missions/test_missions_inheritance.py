"""What our books tell a gateway of an order that another one may have begun."""

from datetime import timedelta

from fleet.adapter import OrderStatus
from fleet.push import Inheritance
from missions import inheritance


def _told(yard, key: str, *, since_s: float = 20.0) -> Inheritance:
    with yard.runtime.reading() as session:
        at = yard.clock.now() - timedelta(seconds=since_s)
        return inheritance.inheritances(session, {key: at})[key]


def test_it_tells_which_tasks_are_done_and_how_far_reports_have_counted(yard):
    yard.request("m", "press-1", "gate")
    (attempt,) = yard.assign("amr-01")
    yard.send()
    yard.say(attempt, OrderStatus.running, 7, tasks=yard.done(0))
    told = _told(yard, attempt.key)
    assert told == Inheritance(since_s=20.0, done=(0,), is_begun=True, sequence=7)


def test_an_order_of_which_nothing_was_heard_is_not_said_to_be_begun(yard):
    yard.request()
    (attempt,) = yard.assign("amr-01")
    yard.begin()
    assert not _told(yard, attempt.key).is_begun


def test_it_names_what_the_robot_did_before_and_nothing_that_others_did(yard):
    _, before = yard.running("m0")
    yard.request("other")
    yard.assign("amr-02")
    yard.say(before, OrderStatus.succeeded, 3, tasks=yard.done(0))
    yard.request("m1")
    (attempt,) = yard.assign("amr-01")
    told = _told(yard, attempt.key)
    assert (told.earlier, told.has_worked) == ((before.key,), True)


def test_of_an_order_that_is_over_nothing_is_to_go_on(yard):
    _, attempt = yard.running()
    assert (_told(yard, attempt.key).earlier, _told(yard, attempt.key).has_worked) == ((), False)
    yard.say(attempt, OrderStatus.succeeded, 3, tasks=yard.done(0))
    with yard.runtime.reading() as session:
        assert inheritance.inheritances(session, {attempt.key: yard.clock.now()}) == {}


def test_of_a_key_that_is_none_of_ours_only_the_age_is_told(yard):
    assert _told(yard, "x/1") == Inheritance(since_s=20.0)


def test_the_orders_of_live_attempts_are_not_to_be_forgotten(yard):
    _, over = yard.running("m0")
    yard.say(over, OrderStatus.succeeded, 3, tasks=yard.done(0))
    _, attempt = yard.running("m1")
    with yard.runtime.reading() as session:
        assert inheritance.live(session) == [attempt.key]
