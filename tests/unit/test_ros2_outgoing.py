"""What waits to be told: of a robot's observations the newest only, everything else in its order."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from fleet.adapter import Activity, Happening, Observation
from fleet.adapters.ros2.outgoing import Outgoing
from fleet.push import Heard, Hearing

NOW = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)


@pytest.fixture
def taken():
    async def made(outgoing, count):
        told = outgoing.stream()
        async with asyncio.timeout(5):
            return [await anext(told) for _ in range(count)]

    return made


def _seen(robot, seconds):
    return Observation(serial_number=robot, observed_at=NOW + timedelta(seconds=seconds), activity=Activity.idle)


async def test_a_newer_observation_takes_the_place_of_one_that_waits_and_is_counted(taken):
    outgoing = Outgoing()
    for robot, seconds in (("a", 1), ("b", 1), ("a", 2), ("a", 3)):
        outgoing.put(_seen(robot, seconds))
    assert await taken(outgoing, 2) == [_seen("a", 3), _seen("b", 1)]
    assert outgoing.conflated == 2


async def test_what_happened_is_never_conflated_and_comes_before_observations(taken):
    outgoing = Outgoing()
    happened = [Happening(key=str(number), kind="component_failed", occurred_at=NOW) for number in range(3)]
    outgoing.put(_seen("a", 1))
    for one in happened:
        outgoing.put(one)
    assert await taken(outgoing, 4) == [*happened, _seen("a", 1)]


async def test_of_how_well_a_robot_is_heard_only_the_last_word_waits(taken):
    outgoing = Outgoing()
    for hearing in (Hearing.silent, Hearing.trouble, Hearing.well):
        outgoing.put(Heard(serial_number="a", hearing=hearing, since=NOW))
    outgoing.put(Heard(serial_number="b", hearing=Hearing.silent, since=NOW))
    told = await taken(outgoing, 2)
    assert [(one.serial_number, one.hearing) for one in told] == [("a", Hearing.well), ("b", Hearing.silent)]


async def test_a_reader_that_comes_early_waits(taken):
    outgoing = Outgoing()
    reading = asyncio.create_task(taken(outgoing, 1))
    await asyncio.sleep(0)
    outgoing.put(_seen("a", 1))
    assert await reading == [_seen("a", 1)]
