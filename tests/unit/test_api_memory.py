"""What the API remembers: a few seconds, a bounded number, and never what was not found."""

import asyncio
from threading import Event

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


async def test_who_asks_meanwhile_waits_for_the_same_look_up(clock):
    memory: Remembered[str, str] = Remembered(clock, seconds=5)
    may_go, asked = Event(), []

    def look_up() -> str:
        asked.append(1)
        may_go.wait(5)
        return "A"

    crowd = [asyncio.ensure_future(memory.fetch("a", look_up)) for _ in range(5)]
    await asyncio.sleep(0)
    crowd[0].cancel()  # one who gives up takes nothing from the others
    may_go.set()
    assert await asyncio.gather(*crowd[1:]) == ["A"] * 4
    assert await memory.fetch("a", look_up) == "A"
    assert len(asked) == 1


async def test_a_look_up_that_takes_longer_than_answers_are_kept_is_shared_no_more(clock):
    memory: Remembered[str, str] = Remembered(clock, seconds=5)
    may_go = Event()

    def slow() -> str:
        may_go.wait(5)
        return "old"

    first = asyncio.ensure_future(memory.fetch("a", slow))
    await asyncio.sleep(0)
    clock.step(5)
    assert await memory.fetch("a", lambda: "new") == "new"
    may_go.set()
    assert await first == "old"


async def test_an_error_is_told_to_all_who_wait_and_is_not_remembered(clock):
    memory: Remembered[str, str] = Remembered(clock, seconds=5)

    def fail() -> str:
        raise LookupError("away")

    told = await asyncio.gather(*(memory.fetch("a", fail) for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in told] == [LookupError] * 3
    assert await memory.fetch("a", lambda: "A") == "A"
