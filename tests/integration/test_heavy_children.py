"""Heavy work in real child processes: results, errors, limits, and nobody left behind."""

import asyncio
import math
import operator
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest

from fleet.adapters import opener
from fleet.errors import Invalid, NotFound, Rejected, Unavailable
from orchestration import heavy

GIGABYTE = 1_000_000_000
Children = Callable[[], list[psutil.Process]]
Eventually = Callable[[Callable[[], object]], None]
PARENT = """
import asyncio, time
from orchestration import heavy
asyncio.run(heavy.run(time.sleep, 60, memory_max_bytes=10**9, timeout_s=60))
"""


@pytest.fixture
def children() -> Children:
    def found() -> list[psutil.Process]:
        return [child for child in psutil.Process().children() if "orchestration.heavy" in child.cmdline()]

    return found


@pytest.fixture
def eventually() -> Eventually:
    def wait(condition: Callable[[], object]) -> None:
        until = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < until, "it did not come to pass"
            time.sleep(0.02)

    return wait


async def test_the_result_comes_back():
    assert await heavy.run(operator.add, 2, 3, memory_max_bytes=GIGABYTE, timeout_s=30) == 5


async def test_the_work_is_done_in_another_process():
    assert await heavy.run(os.getpid, memory_max_bytes=GIGABYTE, timeout_s=30) != os.getpid()


@pytest.mark.skipif(sys.platform != "linux", reason="Arrow has it on Linux")
@pytest.mark.parametrize(("given", "found"), [(None, "jemalloc"), ("system", "system")])
async def test_all_that_arrow_does_in_a_child_allocates_by_jemalloc_unless_somebody_chose(given, found, monkeypatch):
    monkeypatch.delenv("ARROW_DEFAULT_MEMORY_POOL", raising=False)
    if given is not None:
        monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", given)
    assert await heavy.run(os.getenv, "ARROW_DEFAULT_MEMORY_POOL", memory_max_bytes=GIGABYTE, timeout_s=30) == found


async def test_an_error_comes_back_with_its_words_and_its_trace():
    with pytest.raises(ValueError, match="math domain error") as raised:
        await heavy.run(math.sqrt, -1.0, memory_max_bytes=GIGABYTE, timeout_s=30)
    assert "In the heavy child" in raised.value.__notes__[0]


async def test_an_error_of_ours_keeps_its_fields():
    with pytest.raises(NotFound) as raised:
        await heavy.run(opener, "nobody", memory_max_bytes=GIGABYTE, timeout_s=30)
    assert raised.value.fields == {"manufacturer": "nobody"}


async def test_news_are_heard_before_the_result():
    heard: list[object] = []
    await heavy.run(heavy.tell, (1, 2), memory_max_bytes=GIGABYTE, timeout_s=30, on_news=heard.append)
    assert heard == [(1, 2)]


def test_news_outside_of_a_heavy_child_go_nowhere():
    heavy.tell("nobody listens")


async def test_more_memory_than_allowed_is_refused_with_the_limit():
    with pytest.raises(Rejected, match="more than its 400000000 bytes of memory"):
        await heavy.run(bytearray, 2 * GIGABYTE, memory_max_bytes=400_000_000, timeout_s=30)


async def test_native_code_that_aborts_is_told_and_hurts_nobody_else():
    with pytest.raises(Unavailable, match="SIGABRT"):
        await heavy.run(os.abort, memory_max_bytes=GIGABYTE, timeout_s=30)
    assert await heavy.run(operator.add, 1, 1, memory_max_bytes=GIGABYTE, timeout_s=30) == 2


async def test_work_that_takes_too_long_is_ended(children: Children):
    with pytest.raises(Unavailable, match=r"sleep took longer than 0\.5 s"):
        await heavy.run(time.sleep, 60, memory_max_bytes=GIGABYTE, timeout_s=0.5)
    assert children() == []


async def test_cancelling_the_caller_ends_the_child(children: Children, eventually: Eventually):
    task = asyncio.create_task(heavy.run(time.sleep, 60, memory_max_bytes=GIGABYTE, timeout_s=60))
    await asyncio.to_thread(eventually, children)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() == []


async def test_a_child_that_is_killed_is_reported(children: Children, eventually: Eventually):
    task = asyncio.create_task(heavy.run(time.sleep, 60, memory_max_bytes=GIGABYTE, timeout_s=60))
    await asyncio.to_thread(eventually, children)
    children()[0].kill()
    with pytest.raises(Unavailable, match="SIGKILL"):
        await task


def test_a_child_dies_with_a_parent_that_is_killed(eventually: Eventually):
    parent = psutil.Popen([sys.executable, "-c", PARENT], stderr=subprocess.DEVNULL)
    eventually(parent.children)
    (child,) = parent.children()
    eventually(lambda: child.nice() == heavy.NICENESS)  # it got so far that it watches its parent
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


async def test_a_function_that_has_no_name_is_refused_at_once():
    with pytest.raises(Invalid, match="cannot be found by name"):
        await heavy.run(lambda: 1, memory_max_bytes=GIGABYTE, timeout_s=30)
