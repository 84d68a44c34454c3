"""What is not urgent begins right after a round of what is."""

import asyncio

import pytest

from orchestration.rounds import NEEDS_S, Rounds

LONG_S = 30.0  # so long nothing here may take


@pytest.fixture
def begin():
    """Begins what waits for its turn between rounds, and lets it get as far as it can."""

    async def started(rounds: Rounds) -> asyncio.Task[None]:
        waiting = asyncio.create_task(rounds.between())
        await asyncio.sleep(0)
        return waiting

    return started


async def test_it_begins_at_once_after_a_rest(begin):
    waiting = await begin(Rounds(LONG_S, longest_s=LONG_S))
    assert waiting.done()


async def test_it_begins_at_once_while_there_is_time_until_the_next_round(begin):
    rounds = Rounds(LONG_S, longest_s=LONG_S)
    async with rounds.round():
        pass
    assert (await begin(rounds)).done()


async def test_it_waits_for_the_end_of_a_round_that_is_on(begin):
    rounds = Rounds(LONG_S, longest_s=LONG_S)
    async with rounds.round():
        waiting = await begin(rounds)
        assert not waiting.done()
    await asyncio.wait_for(waiting, LONG_S)


async def test_it_waits_for_a_round_that_is_soon_to_come_and_begins_after_it(begin):
    rounds = Rounds(NEEDS_S / 2, longest_s=LONG_S)
    async with rounds.round():
        pass
    waiting = await begin(rounds)
    assert not waiting.done()
    async with rounds.round():
        assert not waiting.done()
    await asyncio.wait_for(waiting, LONG_S)


async def test_it_does_not_wait_for_a_round_that_does_not_come(begin):
    rounds = Rounds(NEEDS_S / 2, longest_s=LONG_S)
    async with rounds.round():
        pass
    waiting = await begin(rounds)
    assert not waiting.done()
    await asyncio.wait_for(waiting, LONG_S)


async def test_a_round_without_end_is_not_waited_for_for_ever(begin):
    rounds = Rounds(LONG_S, longest_s=0.01)
    async with rounds.round():
        waiting = await begin(rounds)
        assert not waiting.done()
        await asyncio.wait_for(waiting, LONG_S)


async def test_after_a_round_that_failed_others_begin(begin):
    rounds = Rounds(LONG_S, longest_s=LONG_S)
    with pytest.raises(ValueError, match="wrong"):
        async with rounds.round():
            waiting = await begin(rounds)
            raise ValueError("wrong")
    await asyncio.wait_for(waiting, LONG_S)


async def test_after_a_round_in_vain_the_next_comes_sooner():
    rounds = Rounds(LONG_S, longest_s=LONG_S)
    async with rounds.round():
        rounds.hasten(0.001)
    async with asyncio.timeout(LONG_S / 2), rounds.round():
        pass
