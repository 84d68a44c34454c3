"""Threads pass the turnstile one by one, the urgent first."""

from collections.abc import Callable
from threading import Event, Thread

import pytest

from fleet.turnstile import Turnstile


@pytest.fixture
def until():
    """Waits for a condition that another thread brings about."""

    def wait(holds: Callable[[], bool]) -> None:
        for _ in range(5000):
            if holds():
                return
            Event().wait(0.001)
        pytest.fail("it did not come about")

    return wait


@pytest.fixture
def passed(until):
    """Names in the order in which they passed, of threads that all had to wait for a first one."""

    def run(*wanted: tuple[str, bool]) -> list[str]:
        turnstile, order, threads = Turnstile(), [], []

        def enter(name: str, urgent: bool) -> None:
            with turnstile.passing(urgent=urgent):
                order.append(name)

        with turnstile.passing():
            for count, (name, urgent) in enumerate(wanted, start=1):
                threads.append(Thread(target=enter, args=(name, urgent)))
                threads[-1].start()
                until(lambda count=count: turnstile.waiting == count)
            assert order == []
        for thread in threads:
            thread.join(5.0)
        return order

    return run


def test_those_who_wait_pass_in_the_order_in_which_they_came(passed):
    assert passed(("a", False), ("b", False), ("c", False)) == ["a", "b", "c"]


def test_the_urgent_pass_before_all_others_who_wait(passed):
    assert passed(("a", False), ("b", False), ("c", True), ("d", True)) == ["c", "d", "a", "b"]


def test_a_thread_that_is_within_may_enter_again_and_others_wait_until_it_has_left_as_often(until):
    turnstile, order = Turnstile(), []

    def enter() -> None:
        with turnstile.passing(urgent=True):
            order.append("other")

    thread = Thread(target=enter)
    with turnstile.passing():
        thread.start()
        until(lambda: turnstile.waiting == 1)
        with turnstile.passing():
            order.append("again")
        order.append("still")
    thread.join(5.0)
    assert order == ["again", "still", "other"]


def test_whoever_leaves_with_an_error_lets_the_next_pass():
    turnstile = Turnstile()
    with pytest.raises(ValueError, match="wrong"), turnstile.passing():
        raise ValueError("wrong")
    with turnstile.passing():
        assert turnstile.waiting == 0
