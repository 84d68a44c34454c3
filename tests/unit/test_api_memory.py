"""What the API remembers: a few seconds, a bounded number, and never what was not found."""

import pytest

from api.memory import Remembered
from fleet.clock import SteppableClock


@pytest.fixture
def asked() -> list[str]:
    """The keys that were really looked up."""
    return []


@pytest.fixture
def recall(clock: SteppableClock, asked: list[str]):
    """Recalls a key from a memory of 5 seconds and 2 answers; nobody knows "nobody"."""
    memory: Remembered[str, str] = Remembered(clock, seconds=5, size=2)

    def look_up(key: str) -> str | None:
        asked.append(key)
        return None if key == "nobody" else key.upper()

    return lambda key: memory.recall(key, lambda: look_up(key))


def test_an_answer_is_looked_up_once(recall, asked):
    assert [recall("a"), recall("a")] == ["A", "A"]
    assert asked == ["a"]


def test_an_answer_is_forgotten_after_its_seconds(recall, asked, clock):
    recall("a")
    clock.step(4.9)
    recall("a")
    clock.step(0.1)
    recall("a")
    assert asked == ["a", "a"]


def test_what_was_not_found_is_looked_up_each_time(recall, asked):
    assert [recall("nobody"), recall("nobody")] == [None, None]
    assert asked == ["nobody", "nobody"]


def test_of_too_many_answers_the_oldest_goes(recall, asked):
    for key in ["a", "b", "c", "b", "c", "a"]:
        recall(key)
    assert asked == ["a", "b", "c", "a"]


def test_an_answer_that_is_gone_is_not_remembered_as_it_was(clock):
    memory: Remembered[str, str] = Remembered(clock, seconds=5)
    memory.recall("a", lambda: "A")
    clock.step(6)
    assert memory.recall("a", lambda: None) is None
    assert memory.get("a") is None
