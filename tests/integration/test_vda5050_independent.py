"""The link against a vehicle that is not ours: the vehicle side of vda5050-sdk from pip, in a process of its own."""

import asyncio
import importlib.util
import sys

import pytest

from fleet.adapter import Accepted, Order, OrderReport, OrderStatus, OrderTask, TaskKind
from fleet.adapters.vda5050.adapter import open_push
from fleet.journal import JournalFile
from fleet.push import PushAccount

ADDRESS = "acme/sdk-1"
PATIENCE_S = 30.0
VEHICLE = """
import asyncio, sys
from vda5050 import ActionStatus, VehicleClient, VehicleConfig

async def main(url):
    config = VehicleConfig(manufacturer="acme", serial_number="sdk-1", broker_url=url, state_interval=0.5)
    async with VehicleClient(config) as vehicle:
        said = vehicle.publisher
        said.update_position(x=0.0, y=0.0, theta=0.0, map_id="hall")
        jobs = []

        async def drive(order):
            print(order.order_id, flush=True)
            for node in order.nodes:
                if node.sequence_id:
                    said.set_driving(True)
                    await asyncio.sleep(0.3)
                    said.update_position(x=node.node_position.x, y=node.node_position.y, theta=0.0, map_id="hall")
                    said.mark_edge_traversed(f"e{node.sequence_id - 1}", node.sequence_id - 1)
                    said.set_driving(False)
                said.mark_node_traversed(node.node_id, node.sequence_id)
                for action in node.actions:
                    said.report_action(action.action_id, ActionStatus.RUNNING)
                    await asyncio.sleep(0.2)
                    if said.action_status(action.action_id) is ActionStatus.RUNNING:
                        said.report_action(action.action_id, ActionStatus.FINISHED)

        vehicle.on_order(lambda order: jobs.append(asyncio.create_task(drive(order))))
        await vehicle.publish_state()
        await asyncio.Event().wait()

asyncio.run(main(sys.argv[1]))
"""
EXECUTOR = """
import asyncio, sys
from vda5050 import VehicleClient, VehicleConfig
from vda5050.client.agv.executor import OrderExecutor

class Executor(OrderExecutor):
    async def visit_node(self, node):
        print("node", node.sequence_id, flush=True)
        await super().visit_node(node)

    async def run_action(self, action, **where):
        print("action", action.action_id, flush=True)
        await super().run_action(action, **where)

async def main(url):
    config = VehicleConfig(manufacturer="acme", serial_number="sdk-1", broker_url=url, state_interval=0.5)
    async with VehicleClient(config) as vehicle:
        vehicle.publisher.update_position(x=0.0, y=0.0, theta=0.0, map_id="hall")
        executor = Executor(vehicle.publisher, node_delay=0.2, action_delay=0.2, enforce_arrival=False)
        turns = asyncio.Lock()

        async def drive(order):
            async with turns:
                await executor.run(order)

        vehicle.on_order(lambda order: asyncio.create_task(drive(order)) and None)
        await vehicle.publish_state()
        await asyncio.Event().wait()

asyncio.run(main(sys.argv[1]))
"""
pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(
        importlib.util.find_spec("vda5050") is None or importlib.util.find_spec("aiomqtt") is None,
        reason="vda5050-sdk[mqtt] is not installed",
    ),
]


@pytest.fixture(params=[(VEHICLE, {})])
async def link(request, broker, tmp_path):
    text, options = request.param
    program = tmp_path / "vehicle.py"
    program.write_text(text)
    vehicle = await asyncio.create_subprocess_exec(sys.executable, str(program), broker.url, stdout=-1)
    file = JournalFile(tmp_path / "journal.db")
    async with open_push(PushAccount(name="a", url=broker.url, options=options), file.of("a")) as adapter:
        await adapter.hold(frozenset({ADDRESS}))
        yield adapter, vehicle
    file.close()
    if vehicle.returncode is None:
        vehicle.kill()
    await vehicle.wait()


@pytest.fixture
def order():
    def make(key: str) -> Order:
        tasks = (
            OrderTask(position=0, kind=TaskKind.go_to, station="press", x_m=8.0, y_m=10.0),
            OrderTask(position=1, kind=TaskKind.wait, parameters={"duration_s": 1.0}),
            OrderTask(position=2, kind=TaskKind.go_to, station="dock", x_m=1.0, y_m=1.0),
        )
        return Order(key=key, fence=1, serial_number=ADDRESS, mission_id="m", tasks=tasks)

    return make


async def _until(adapter, key, *wanted):
    async with asyncio.timeout(PATIENCE_S):
        while True:
            said = await adapter.query(ADDRESS, key)
            if isinstance(said, OrderReport) and said.status in wanted:
                return said
            await asyncio.sleep(0.05)


async def test_an_independent_vehicle_is_ordered_paused_and_cancelled_and_begins_everything_once(link, order):
    adapter, vehicle = link
    async with asyncio.timeout(PATIENCE_S):
        while not isinstance(await adapter.submit(order("m/1")), Accepted):
            pass
    assert isinstance(await adapter.submit(order("m/1")), Accepted)
    done = await _until(adapter, "m/1", OrderStatus.succeeded)
    assert [task.status for task in done.tasks] == ["succeeded"] * 3
    assert isinstance(await adapter.submit(order("m/2")), Accepted)
    await adapter.pause(ADDRESS, "m/2", 1)
    await _until(adapter, "m/2", OrderStatus.paused)
    await adapter.resume(ADDRESS, "m/2", 1)
    await adapter.cancel(ADDRESS, "m/2", 1)
    await _until(adapter, "m/2", OrderStatus.canceled)
    assert isinstance(await adapter.submit(order("m/3")), Accepted)
    await _until(adapter, "m/3", OrderStatus.succeeded)
    vehicle.kill()
    began = (await vehicle.stdout.read()).split()
    assert len(began) == len(set(began)) == 3
    assert (await adapter.exposure(ADDRESS)).endpoints[0].complaint == ""


@pytest.mark.parametrize("link", [(EXECUTOR, {"horizon": 1}), (EXECUTOR, {"horizon": 2})], indirect=True)
async def test_an_independent_vehicle_carries_out_an_order_that_is_released_stop_by_stop_once(link, order):
    adapter, vehicle = link
    async with asyncio.timeout(PATIENCE_S):
        while not isinstance(await adapter.submit(order("m/1")), Accepted):
            pass
    done = await _until(adapter, "m/1", OrderStatus.succeeded)
    assert [task.status for task in done.tasks] == ["succeeded"] * 3
    vehicle.kill()
    did = (await vehicle.stdout.read()).decode().split()
    assert len(did) == len(set(zip(did[::2], did[1::2], strict=True))) * 2, "nothing was done twice"
    assert did.count("action") == 1
