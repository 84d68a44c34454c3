"""A pace: at once after a rest, and then no more often than it says; who waits meanwhile goes together."""

import asyncio

from orchestration.loops import Pace


async def _begins(pace: Pace, count: int) -> list[float]:
    loop = asyncio.get_running_loop()
    began = []

    async def one() -> None:
        await pace.keep()
        began.append(loop.time())

    await asyncio.gather(*(one() for _ in range(count)))
    return sorted(began)


async def test_the_first_begins_at_once():
    loop = asyncio.get_running_loop()
    before = loop.time()
    await Pace(60.0).keep()
    assert loop.time() - before < 10.0


async def test_the_next_begins_when_its_time_has_come():
    pace = Pace(0.05)
    first, second = await _begins(pace, 1), await _begins(pace, 1)
    assert second[0] - first[0] >= 0.049


async def test_those_who_wait_begin_together():
    pace = Pace(0.2)
    await pace.keep()
    began = await _begins(pace, 5)
    assert began[-1] - began[0] < 0.15


async def test_after_a_rest_it_begins_at_once_again():
    pace = Pace(0.01)
    await pace.keep()
    loop = asyncio.get_running_loop()
    rested = loop.time() + 0.05
    await asyncio.wait([asyncio.create_task(_until(rested))])
    before = loop.time()
    await pace.keep()
    assert loop.time() - before < 0.01


async def _until(at: float) -> None:
    loop = asyncio.get_running_loop()
    reached = loop.create_future()
    loop.call_at(at, reached.set_result, None)
    await reached
