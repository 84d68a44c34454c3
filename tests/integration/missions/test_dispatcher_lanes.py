"""Lanes, links and ticks: one slow robot delays nobody, an error is told and passes, a link is opened once."""

import asyncio
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from fleet.errors import NotFound
from orchestration.lanes import Lanes, Links
from orchestration.timers import hourly, ticking

ONE, TWO = UUID(int=1), UUID(int=2)


async def test_a_slow_lane_delays_no_other_and_takes_no_second_work():
    slow, ended = asyncio.Event(), []
    lanes = Lanes(lambda: ended.append("ended"))
    done = []

    async def wait() -> None:
        await slow.wait()
        done.append("slow")

    async def quick() -> None:
        done.append("quick")

    assert lanes.start(ONE, wait)
    assert not lanes.start(ONE, quick)
    assert lanes.start(TWO, quick)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (done, lanes.busy) == (["quick"], {ONE})
    slow.set()
    await lanes.idle()
    assert (done, lanes.busy, ended) == (["quick", "slow"], frozenset(), ["ended", "ended"])


async def test_no_more_lanes_than_the_width_are_busy_at_once():
    never = asyncio.Event()

    async def wait() -> None:
        await never.wait()

    lanes = Lanes(lambda: None, width=1)
    assert lanes.start(ONE, wait)
    assert not lanes.start(TWO, wait)
    await lanes.close()
    assert lanes.free == 1


async def test_an_error_in_a_lane_is_told_and_the_lane_is_free_again():
    lanes = Lanes(lambda: None)

    async def fail() -> None:
        raise LookupError("no such thing")

    with capture_logs() as logs:
        lanes.start(ONE, fail)
        await lanes.idle()
    assert [line["event"] for line in logs] == ["a lane ended with an error; its work is taken up again"]
    assert lanes.busy == frozenset()


async def test_a_link_is_opened_once_and_anew_when_its_account_has_changed(world):
    links = Links()
    account = world.account
    first, again = await asyncio.gather(links.to(account), links.to(account))
    assert first is again
    changed = account.model_copy(update={"credential": "another"})
    assert await links.to(changed) is not first
    await links.close()


async def test_an_account_of_an_unknown_manufacturer_has_no_link(world):
    links = Links()
    with pytest.raises(NotFound, match="'acme-robots'"):
        await links.to(world.account.model_copy(update={"manufacturer": "acme-robots"}))
    await links.close()


async def test_the_safety_net_ticks_until_its_block_ends():
    ticked = asyncio.Event()
    with ticking(ticked.set, every_s=0.01):
        async with asyncio.timeout(10):
            await ticked.wait()


async def test_the_chore_is_run_soon_after_the_start_and_cancelled_at_the_end():
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def chore() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with asyncio.timeout(10):
        with hourly(chore, first_s=0.01):
            await begun.wait()
        await cancelled.wait()
