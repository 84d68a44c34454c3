"""An order that is released piece by piece, against a simulated vehicle at a real broker: every update once, whatever dies."""

import asyncio
import contextlib

import orjson
import pytest

from fleet.adapter import Accepted, Order, OrderReport, OrderStatus, OrderTask, TaskKind
from fleet.adapters.simulated.vda5050_fleet import Speech, run_vehicle
from fleet.adapters.simulated.vda5050_ground import BenchGround
from fleet.adapters.simulated.vda5050_messages import Identity
from fleet.adapters.simulated.vda5050_vehicle import Vehicle
from fleet.adapters.vda5050.adapter import open_push
from fleet.journal import JournalFile
from fleet.push import PushAccount
from fleet.timepieces import SystemClock

ADDRESS = "bench/V1"
OPTIONS = {"confirm_s": 2.0, "resend_s": 0.2, "quiet_after_s": 0.6, "silent_after_s": 1.5, "horizon": 1}
PATIENCE_S = 20.0
LONG_M = 60.0


class Ear(Vehicle):
    """The vehicle, that keeps what it was sent and may miss an update or judge it wrongly."""

    def __init__(self, ground, identity) -> None:
        self.heard = []
        self.misses_update = 0
        super().__init__(ground, identity)

    def take_order(self, message) -> None:
        self.heard.append(message)
        if message["orderUpdateId"] and self.misses_update:
            self.misses_update -= 1
            return
        super().take_order(message)

    @property
    def update_ids(self):
        return list(dict.fromkeys(message["orderUpdateId"] for message in self.heard))


class Bench:
    """A vehicle and a gateway's link; the gateway dies by `close` and comes back by `open`."""

    def __init__(self, broker, folder, version) -> None:
        self.broker, self.version = broker, version
        self.journal = JournalFile(folder / "journal.db")
        self.ground = BenchGround(SystemClock())
        self.vehicle = Ear(self.ground, Identity("bench", "V1", version))
        self.vehicle.faults.asks_for_base = False
        self._stack = contextlib.AsyncExitStack()

    async def open(self, journal=None):
        account = PushAccount(name="bench", url=self.broker.url, options=OPTIONS)
        self.adapter = await self._stack.enter_async_context(open_push(account, (journal or self.journal).of("bench")))
        await self.adapter.hold(frozenset({ADDRESS}))

    async def close(self) -> None:
        await self._stack.aclose()

    async def submit(self, order) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not isinstance(await self.adapter.submit(order), Accepted):
                pass

    async def until(self, holds):
        async with asyncio.timeout(PATIENCE_S):
            while not (said := holds()):  # noqa: ASYNC110 - the vehicle lives by the clock
                await asyncio.sleep(0.01)
        return said

    async def ended(self, order):
        async with asyncio.timeout(PATIENCE_S):
            while True:
                said = await self.adapter.query(ADDRESS, order.key)
                if isinstance(said, OrderReport) and said.status in {
                    OrderStatus.succeeded,
                    OrderStatus.failed,
                    OrderStatus.canceled,
                    OrderStatus.rejected,
                }:
                    return said
                await asyncio.sleep(0.02)


@pytest.fixture(params=["2.1.0", pytest.param("3.0.0", marks=pytest.mark.proof)])
async def bench(request, broker, tmp_path):
    found = Bench(broker, tmp_path, request.param)
    speech = Speech("bench", request.param, "uagv", 0.2)
    driving = asyncio.create_task(run_vehicle(found.vehicle, broker.url, speech, SystemClock()))
    await found.open()
    yield found
    await found.close()
    driving.cancel()
    await asyncio.gather(driving, return_exceptions=True)
    found.journal.close()


@pytest.fixture
def order():
    """Three stops, with a wait at the first; `x_m` is where the last one is."""

    def make(key="m/1", *, x_m=3.0):
        tasks = (
            OrderTask(position=0, kind=TaskKind.go_to, station="a", x_m=1.0, y_m=0.0),
            OrderTask(position=1, kind=TaskKind.wait, parameters={"duration_s": 0.1}),
            OrderTask(position=2, kind=TaskKind.go_to, station="b", x_m=2.0, y_m=0.0),
            OrderTask(position=3, kind=TaskKind.go_to, station="c", x_m=x_m, y_m=0.0),
        )
        return Order(key=key, fence=1, serial_number=ADDRESS, mission_id="m", tasks=tasks)

    return make


async def test_an_order_is_released_stop_by_stop_and_carried_out_once(bench, order):
    await bench.submit(order())
    done = await bench.ended(order())
    assert done.status is OrderStatus.succeeded
    assert [task.status for task in done.tasks] == ["succeeded"] * 4
    assert bench.vehicle.update_ids == [0, 1, 2]
    assert len(bench.ground.begun) == len(set(bench.ground.begun)) == 3
    free = [[node["nodeId"] for node in message["nodes"] if node["released"]] for message in bench.vehicle.heard]
    assert [names[-1] for names in free if names] == [
        {0: "a", 1: "b", 2: "c"}[m["orderUpdateId"]] for m in bench.vehicle.heard
    ]


async def test_a_vehicle_that_asks_for_a_new_base_need_not_stop(bench, order):
    bench.vehicle.faults.asks_for_base = True
    bench.ground.place = (0.0, 0.0)
    await bench.submit(order(x_m=LONG_M))
    await bench.until(lambda: bench.vehicle.memory.update_id == 2)
    assert bench.vehicle.shown().is_base_wanted is False
    await bench.adapter.cancel(ADDRESS, "m/1", 1)
    assert (await bench.ended(order())).status is OrderStatus.canceled


async def test_an_update_that_is_lost_on_the_way_is_sent_until_a_state_shows_it(bench, order):
    bench.vehicle.misses_update = 3
    await bench.submit(order())
    assert (await bench.ended(order())).status is OrderStatus.succeeded
    assert [message["orderUpdateId"] for message in bench.vehicle.heard].count(1) >= 4
    sent = {orjson.dumps([one["nodes"], one["edges"]]) for one in bench.vehicle.heard if one["orderUpdateId"] == 1}
    assert len(sent) == 1, "what is sent again is the same"
    assert len(bench.ground.begun) == len(set(bench.ground.begun)) == 3


async def test_a_gateway_that_dies_between_updates_goes_on_from_its_journal(bench, order):
    bench.vehicle.misses_update = 10_000
    await bench.submit(order())
    await bench.until(lambda: 1 in bench.vehicle.update_ids)
    await bench.close()
    bench.vehicle.heard.clear()
    bench.vehicle.misses_update = 0
    await bench.open()
    assert (await bench.ended(order())).status is OrderStatus.succeeded
    assert bench.vehicle.update_ids == [1, 2], "what it had meant to send, and not the order again"
    assert len(bench.ground.begun) == len(set(bench.ground.begun)) == 3


async def test_another_gateway_without_the_journal_releases_the_rest(bench, order, tmp_path):
    await bench.submit(order())
    await bench.until(lambda: bench.vehicle.memory.update_id == 1)
    await bench.close()
    other = JournalFile(tmp_path / "other.db")
    await bench.open(other)
    await bench.submit(order())
    assert (await bench.ended(order())).status is OrderStatus.succeeded
    assert bench.vehicle.update_ids == [0, 1, 2]
    assert len(bench.ground.begun) == len(set(bench.ground.begun)) == 3
    await bench.close()
    other.close()


@pytest.mark.parametrize("phase", ["released", "lost update", "last stop"])
async def test_cancel_ends_it_in_every_phase_and_nothing_is_released_afterwards(bench, order, phase):
    if phase == "lost update":
        bench.vehicle.misses_update = 10_000
    await bench.submit(order(x_m=LONG_M))
    reached = {"released": 0, "lost update": 1, "last stop": 2}[phase]
    await bench.until(lambda: reached in bench.vehicle.update_ids)
    await bench.adapter.cancel(ADDRESS, "m/1", 1)
    assert (await bench.ended(order())).status is OrderStatus.canceled
    heard = len(bench.vehicle.heard)
    shown = bench.vehicle.shown()
    assert shown.nodes == []
    assert len(bench.vehicle.heard) == heard
    assert all(fault.type_2 != "orderUpdateError" for fault in shown.faults)
    bench.vehicle.misses_update = 0
    await bench.submit(order("m/2"))
    assert (await bench.ended(order("m/2"))).status is OrderStatus.succeeded


async def test_a_vehicle_that_fails_a_cancel_without_a_word_is_asked_again_under_another_id(bench, order):
    bench.vehicle.faults.lists_instant = False
    cancel, asked = bench.vehicle._cancel, []

    def reluctant(action_id, action):
        asked.append(action_id)
        return ("FAILED", "not now") if len(asked) == 1 else cancel(action_id, action)

    bench.vehicle._cancel = reluctant
    await bench.submit(order(x_m=LONG_M))
    await bench.adapter.cancel(ADDRESS, "m/1", 1)
    assert (await bench.ended(order())).status is OrderStatus.canceled
    assert len(asked) == len(set(asked)) >= 2
    assert bench.vehicle.shown().nodes == []


async def test_an_update_that_the_vehicle_refuses_ends_the_order_as_failed_with_its_words(bench, order):
    bench.vehicle.memory.instant.clear()
    bench.vehicle._last_of_base = lambda: ("elsewhere", 8)
    await bench.submit(order())
    over = await bench.ended(order())
    assert over.status is OrderStatus.failed
    assert over.reason.startswith("order update 1 is not taken: ")
    assert "the update does not begin at ('elsewhere', 8)" in over.reason
    assert bench.vehicle.shown().nodes == [], "the rest was cancelled"


async def test_an_order_that_a_person_ends_at_the_decision_point_is_not_begun_anew(bench, order):
    bench.vehicle.misses_update = 10_000
    await bench.submit(order())
    await bench.until(lambda: 1 in bench.vehicle.update_ids)
    bench.vehicle._stop()
    bench.vehicle.misses_update = 0
    assert (await bench.ended(order())).status is OrderStatus.canceled
    assert len(bench.ground.begun) == 1


async def test_a_pause_by_a_button_after_we_let_it_go_on_is_not_lifted(bench, order):
    bench.vehicle.faults.lists_instant = False
    await bench.submit(order(x_m=LONG_M))
    await bench.adapter.pause(ADDRESS, "m/1", 1)
    await bench.until(lambda: bench.vehicle.memory.is_paused)
    await bench.adapter.resume(ADDRESS, "m/1", 1)
    await bench.until(lambda: not bench.vehicle.memory.is_paused)
    await bench.until(lambda: bench.adapter._link.robots[ADDRESS].run.is_pause_asked is None)
    bench.vehicle.memory.is_paused = True  # as the button does
    robot = bench.adapter._link.robots[ADDRESS]
    number = robot.sent["instantActions"]
    await bench.until(lambda: robot.state.is_paused)
    seen = robot.state.header.number
    await bench.until(lambda: robot.state.header.number > seen + 2)
    assert bench.vehicle.memory.is_paused
    assert robot.sent["instantActions"] == number
