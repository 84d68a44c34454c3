"""What goes on beside on a link is seen to its end."""

import asyncio

import pytest
from structlog.testing import capture_logs

from fleet.adapters.ros2 import works
from fleet.adapters.ros2.works import Works


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Nothing waits for long."""
    monkeypatch.setattr(works, "AGAIN_FIRST_S", 0.001)


async def test_what_must_go_on_is_told_when_it_fails_and_begun_again():
    goes, begun = Works(), []
    done = asyncio.Event()

    async def work():
        begun.append(work)
        if len(begun) < 3:
            raise KeyError("nobody foresaw it")
        done.set()

    def begin():
        goes.begin(work(), again=begin)

    with capture_logs() as logs:
        begin()
        async with asyncio.timeout(5):
            await done.wait()
    await goes.close()
    assert len(begun) == 3
    assert [one["event"] for one in logs] == ["work on a link ended with an error"] * 2


async def test_what_was_stopped_is_not_begun_again():
    goes, begun = Works(), []

    async def work():
        raise KeyError("nobody foresaw it")

    goes.begin(work(), again=lambda: begun.append(1))
    await asyncio.sleep(0)
    goes.stop()
    await asyncio.sleep(0.02)  # longer than until it would begin
    assert begun == []


async def test_the_pauses_grow_and_are_bounded(monkeypatch):
    goes = Works()
    rests = [goes._rest_s() for _ in range(20)]
    assert rests == sorted(rests)
    assert rests[-1] == works.AGAIN_MAX_S
