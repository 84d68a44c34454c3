"""The site as a process of its own: it is up, it ends cleanly, and a killed one has forgotten nothing."""

import asyncio
import signal
import subprocess
import sys

import pytest

from fleet.adapter import Accepted, AdapterAccount, Order, OrderReport, OrderStatus, OrderTask, TaskKind
from fleet.adapters.simulated.adapter import open_adapter
from fleet.adapters.simulated.site import SiteOptions
from fleet.transport import probe

PATIENCE_S = 60.0
PROGRAM = "import sys; from fleet.adapters.simulated.site import *; serve(SiteOptions.model_validate_json(sys.argv[1]))"


async def until(holds, what="the condition"):
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if await holds():
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"{what} did not come about")


@pytest.fixture
async def start(tmp_path, unused_tcp_port):
    """Starts the site on a folder of the test, waits until it answers; what is left of it is killed at the end."""
    options = SiteOptions(port=unused_tcp_port, credential="c", history_lives=0, speed=50, bags_dir=tmp_path / "site")
    text = options.model_dump_json()
    url = f"http://127.0.0.1:{unused_tcp_port}"
    processes = []

    def launch():
        processes.append(subprocess.Popen([sys.executable, "-c", PROGRAM, text], stderr=subprocess.PIPE))
        return processes[-1]

    async def started():
        process = launch()

        async def is_up():
            assert process.poll() is None, process.stderr.read().decode()
            return await asyncio.to_thread(probe, f"{url}/healthz") == 200

        await until(is_up, "the site")
        return process, url

    yield started
    for process in processes:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_site_with_exit_code_0(start, number):
    process, url = await start()
    process.send_signal(number)
    assert await asyncio.to_thread(process.wait, PATIENCE_S) == 0
    assert await asyncio.to_thread(probe, f"{url}/healthz") is None


async def test_a_killed_site_knows_its_orders_when_it_is_started_again(start):
    process, url = await start()
    short = OrderTask(position=0, kind=TaskKind.wait, parameters={"duration_s": 1.0})
    orders = [
        Order(key=f"m{number}/1", fence=1, serial_number=f"SIM-000{number}", mission_id=f"m{number}", tasks=(short,))
        for number in (1, 2, 3)
    ]
    async with open_adapter(AdapterAccount(name="a", base_url=url, credential="c")) as adapter:
        outcomes = [await adapter.submit(order) for order in orders]
        process.kill()
        process.wait()
        await start()

        async def are_done():
            said = [await adapter.query(order.serial_number, order.key) for order in orders]
            return all(isinstance(one, OrderReport) and one.status is OrderStatus.succeeded for one in said)

        assert all(isinstance(outcome, Accepted) for outcome in outcomes)
        await until(are_done, "the end of the orders")
        assert [await adapter.submit(order) for order in orders] == outcomes
