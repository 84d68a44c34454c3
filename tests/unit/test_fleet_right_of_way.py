"""Whoever goes first is waited for, and not for ever."""

from threading import Event, Thread

import pytest

from fleet import right_of_way
from fleet.right_of_way import RightOfWay


@pytest.fixture
def way(monkeypatch):
    """A right of way that is waited for as long as it takes."""
    monkeypatch.setattr(right_of_way, "LONGEST_S", 30.0)
    return RightOfWay()


def test_nobody_stops_while_nobody_is_urgent(way):
    way.give()  # in thirty seconds the test would have failed


def test_who_is_not_urgent_goes_on_when_the_last_that_is_has_ended(way):
    began, done = Event(), Event()

    def other() -> None:
        began.set()
        way.give()
        done.set()

    with way.taken():
        with way.taken():
            thread = Thread(target=other)
            thread.start()
            began.wait(10)
        assert not done.wait(0.02)
    thread.join(10)
    assert done.is_set()


def test_it_is_free_again_when_the_urgent_one_fails(way):
    with pytest.raises(ValueError, match="broken"), way.taken():
        raise ValueError("broken")
    way.give()


def test_nobody_is_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(right_of_way, "LONGEST_S", 0.001)
    way = RightOfWay()
    with way.taken():
        way.give()
