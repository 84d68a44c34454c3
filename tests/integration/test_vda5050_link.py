"""The VDA 5050 link against a simulated vehicle at a real broker: once, whatever is lost, restarted or nonsense."""

import asyncio
import contextlib
import json
import sqlite3
from dataclasses import replace

import pytest

from fleet.adapter import (
    Accepted,
    Acknowledged,
    Activity,
    Observation,
    Order,
    OrderReport,
    OrderStatus,
    OrderTask,
    Refused,
    TaskKind,
    Unknown,
    Unsupported,
)
from fleet.adapters.simulated.vda5050_fleet import Speech, run_vehicle
from fleet.adapters.simulated.vda5050_ground import BenchGround
from fleet.adapters.simulated.vda5050_messages import Fault, Identity
from fleet.adapters.simulated.vda5050_vehicle import Vehicle
from fleet.adapters.vda5050.adapter import open_push
from fleet.adapters.vda5050.runs import order_id
from fleet.errors import Unavailable
from fleet.journal import JournalFile
from fleet.mqtt import open_mqtt
from fleet.push import Heard as HeardWell
from fleet.push import Hearing, PushAccount, events_from
from fleet.timepieces import SystemClock

ADDRESS = "bench/V1"
OPTIONS = {"confirm_s": 2.0, "resend_s": 0.2, "quiet_after_s": 0.6, "silent_after_s": 1.5}
PATIENCE_S = 20.0


class Bench:
    """A vehicle and a gateway's link at one broker; both can be ended and begun again."""

    def __init__(self, broker, folder) -> None:
        self.broker, self.clock = broker, SystemClock()
        self.account = PushAccount(name="bench", url=broker.url, options=OPTIONS)
        self.journal = JournalFile(folder / "journal.db")
        self.ground = BenchGround(self.clock)
        self.speech = Speech("bench", "2.1.0", "uagv", 0.2)
        self.vehicle = Vehicle(self.ground, Identity("bench", "V1", "2.1.0"))
        self.told = []
        self._tasks = {}
        self._stack = contextlib.AsyncExitStack()

    def speak(self, version: str) -> None:
        self.speech = replace(self.speech, version=version)
        self.vehicle.who = replace(self.vehicle.who, version=version)

    def drive(self) -> None:
        self._tasks["vehicle"] = asyncio.create_task(
            run_vehicle(self.vehicle, self.broker.url, self.speech, self.clock)
        )

    async def stop(self, name: str = "vehicle") -> None:
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def open(self, journal=None):
        self.adapter = await self._stack.enter_async_context(
            open_push(self.account, (journal or self.journal).of("bench"))
        )
        await self.adapter.hold(frozenset({ADDRESS}))
        self._tasks["told"] = asyncio.create_task(self._listen())
        return self.adapter

    @property
    def telling(self):
        return self._tasks["told"]

    async def _listen(self) -> None:
        async for one in self.adapter.told():
            self.told.append(one)

    async def close(self) -> None:
        await self.stop("told")
        await self._stack.aclose()

    async def until(self, key, *wanted):
        async with asyncio.timeout(PATIENCE_S):
            while True:
                said = await self.adapter.query(ADDRESS, key)
                if isinstance(said, OrderReport) and said.status in wanted:
                    return said
                await asyncio.sleep(0.02)

    async def until_told(self, is_it):
        async with asyncio.timeout(PATIENCE_S):
            while not any(is_it(one) for one in self.told):  # noqa: ASYNC110 - what is told comes from the adapter
                await asyncio.sleep(0.02)

    @property
    def reports(self):
        return [report for one in self.journal.waiting(limit=1000) for report in events_from(one.body)]

    async def accepted(self, order) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not isinstance(await self.adapter.submit(order), Accepted):
                pass


@pytest.fixture
async def bench(broker, tmp_path):
    found = Bench(broker, tmp_path)
    found.drive()
    await found.open()
    await found.until_told(lambda one: isinstance(one, HeardWell) and one.hearing is Hearing.well)
    found.told.clear()
    yield found
    await found.close()
    await found.stop()
    found.journal.close()


@pytest.fixture
def order():
    def make(key="m/1", *, x_m=1.0, fence=1, tasks=None):
        go = OrderTask(position=0, kind=TaskKind.go_to, station="there", x_m=x_m, y_m=0.0)
        return Order(key=key, fence=fence, serial_number=ADDRESS, mission_id="m", tasks=tasks or (go,))

    return make


@pytest.mark.parametrize("version", ["2.0.0", "2.1.0", "3.0.0"])
async def test_an_order_is_carried_out_and_told_in_every_version(bench, order, version):
    await bench.stop()
    bench.speak(version)
    bench.drive()
    wait = OrderTask(position=1, kind=TaskKind.wait, parameters={"duration_s": 0.2})
    wanted = order(tasks=(*order().tasks, wait))
    await bench.accepted(wanted)
    report = await bench.until("m/1", OrderStatus.succeeded)
    assert [task.status for task in report.tasks] == ["succeeded", "succeeded"]
    assert bench.ground.begun == [f"vda5050/{order_id('m/1')}"]
    sequences = [report.sequence for report in bench.reports]
    assert sequences == sorted(set(sequences))
    assert bench.reports[-1].status is OrderStatus.succeeded


async def test_an_order_that_is_lost_on_the_way_is_sent_until_a_state_shows_it_and_begins_once(bench, order):
    bench.vehicle.faults.drop_orders = 3
    assert isinstance(await bench.adapter.submit(order(x_m=60.0)), Accepted)
    assert isinstance(await bench.adapter.submit(order(x_m=60.0)), Accepted)
    assert len(bench.ground.begun) == 1


async def test_what_the_robot_refuses_is_refused_in_its_own_words(bench, order):
    refused = await bench.adapter.submit(order(x_m=999.0))
    assert refused == Refused(reason="orderError: there is no way to that place")
    assert await bench.adapter.submit(order(x_m=999.0)) == refused
    assert isinstance(await bench.adapter.submit(order("m/2")), Accepted)


async def test_pause_resume_and_cancel_hold_when_the_state_agrees(bench, order):
    bench.vehicle.faults.drop_instant = 1
    await bench.accepted(order(x_m=60.0))
    assert await bench.adapter.pause(ADDRESS, "m/1", 1) == Acknowledged()
    await bench.until("m/1", OrderStatus.paused)
    assert await bench.adapter.resume(ADDRESS, "m/1", 1) == Acknowledged()
    await bench.until("m/1", OrderStatus.running)
    bench.vehicle.faults.drop_instant = 2
    assert await bench.adapter.cancel(ADDRESS, "m/1", 1) == Acknowledged()
    await bench.until("m/1", OrderStatus.canceled)
    assert isinstance(await bench.adapter.submit(order("m/2")), Accepted)


async def test_a_robot_that_lists_no_instant_actions_is_cancelled_all_the_same(bench, order):
    bench.vehicle.faults.lists_instant = False
    await bench.accepted(order(x_m=60.0))
    await bench.adapter.cancel(ADDRESS, "m/1", 1)
    assert (await bench.until("m/1", OrderStatus.canceled)).reason == "canceled on request"


async def test_a_paused_order_that_is_cancelled_leaves_the_robot_fit_for_the_next(bench, order):
    await bench.accepted(order(x_m=60.0))
    await bench.adapter.pause(ADDRESS, "m/1", 1)
    await bench.until("m/1", OrderStatus.paused)
    await bench.adapter.cancel(ADDRESS, "m/1", 1)
    await bench.until("m/1", OrderStatus.canceled)
    await bench.accepted(order("m/2"))
    await bench.until("m/2", OrderStatus.succeeded)


@pytest.mark.parametrize("lists_instant", [True, False])
async def test_a_pause_that_reaches_the_robot_after_the_end_of_its_order_is_lifted(bench, order, lists_instant):
    bench.vehicle.faults.lists_instant = lists_instant
    taken, late = bench.vehicle.take_instant, []
    bench.vehicle.take_instant = late.append  # whatever is asked comes when the order is over, in its order
    await bench.accepted(order())
    await bench.adapter.pause(ADDRESS, "m/1", 1)
    await bench.until("m/1", OrderStatus.succeeded)
    assert late[0]["actions"][0]["actionType"] == "startPause"
    bench.vehicle.take_instant = taken
    for message in late:
        taken(message)
    await bench.accepted(order("m/2"))
    await bench.until("m/2", OrderStatus.succeeded)
    assert bench.vehicle.memory.is_paused is False


async def test_a_cancel_before_the_order_came_declines_it_for_ever(bench, order):
    await bench.accepted(order("m/0"))
    assert await bench.adapter.cancel(ADDRESS, "m/1", 1) == Acknowledged()
    assert isinstance(await bench.adapter.submit(order("m/1")), Refused)
    assert (await bench.until("m/1", OrderStatus.canceled)).sequence > 0
    assert len(bench.ground.begun) == 1


async def test_a_cancel_while_the_robot_is_mute_reaches_it_when_it_speaks_again(bench, order):
    await bench.accepted(order("m/0"))
    await bench.until("m/0", OrderStatus.succeeded)
    bench.vehicle.faults.is_mute = True
    assert isinstance(await bench.adapter.submit(order(x_m=60.0)), Unknown)
    assert await bench.adapter.cancel(ADDRESS, "m/1", 1) == Acknowledged()
    bench.vehicle.faults.is_mute = False
    await bench.until("m/1", OrderStatus.canceled)
    assert not bench.vehicle.shown().nodes


async def test_an_older_hold_is_refused(bench, order):
    await bench.accepted(order(x_m=60.0, fence=5))
    assert isinstance(await bench.adapter.cancel(ADDRESS, "m/1", 4), Unsupported)
    assert isinstance(await bench.adapter.pause(ADDRESS, "m/1", 4), Unsupported)
    await bench.adapter.cancel(ADDRESS, "m/1", 5)
    await bench.until("m/1", OrderStatus.canceled)
    assert isinstance(await bench.adapter.submit(order("m/2", fence=4)), Refused)


async def test_a_gateway_that_ends_mid_order_follows_it_again_from_its_journal(bench, order):
    await bench.accepted(order(x_m=60.0))
    await bench.close()
    await bench.open()
    await bench.until("m/1", OrderStatus.running)
    assert isinstance(await bench.adapter.submit(order(x_m=60.0)), Accepted)
    await bench.adapter.cancel(ADDRESS, "m/1", 1)
    await bench.until("m/1", OrderStatus.canceled)
    assert len(bench.ground.begun) == 1


async def test_a_gateway_that_ends_before_the_order_was_confirmed_sends_the_same_again(bench, order):
    await bench.accepted(order("m/0"))
    await bench.until("m/0", OrderStatus.succeeded)
    bench.vehicle.faults.drop_orders = 10**6
    assert isinstance(await bench.adapter.submit(order()), Unknown)
    await bench.close()
    bench.vehicle.faults.drop_orders = 0
    await bench.open()
    await bench.until("m/1", OrderStatus.succeeded)
    assert bench.ground.begun.count(f"vda5050/{order_id('m/1')}") == 1


async def test_another_gateway_with_an_empty_journal_recognises_the_order(bench, order, tmp_path):
    await bench.accepted(order(x_m=60.0))
    await bench.close()
    other = JournalFile(tmp_path / "other.db")
    await bench.open(other)
    assert isinstance(await bench.adapter.submit(order(x_m=60.0)), Accepted)
    await bench.adapter.cancel(ADDRESS, "m/1", 1)
    await bench.until("m/1", OrderStatus.canceled)
    assert len(bench.ground.begun) == 1
    other.close()


async def test_a_question_about_a_robot_that_was_only_just_taken_over_waits_for_its_first_state(
    bench, order, tmp_path, monkeypatch
):
    await bench.accepted(order(x_m=60.0))
    await bench.close()
    other = JournalFile(tmp_path / "other.db")
    await bench.open(other)
    said = await bench.adapter.query(ADDRESS, "m/1")
    assert isinstance(said, OrderReport)
    assert said.status in {OrderStatus.accepted, OrderStatus.running}
    await bench.close()
    await bench.stop()  # the vehicle, which says nothing any more
    monkeypatch.setattr("fleet.adapters.vda5050.waiting.TAKEN_S", 0.05)
    await bench.open(other)
    said = await bench.adapter.query(ADDRESS, "m/1")
    assert isinstance(said, Unknown)
    assert "not been heard lately" in said.why
    other.close()


async def test_another_gateway_learns_how_an_order_ended_that_it_never_saw(bench, order, tmp_path):
    await bench.accepted(order())
    await bench.until("m/1", OrderStatus.succeeded)
    await bench.close()
    other = JournalFile(tmp_path / "other.db")
    await bench.open(other)
    await bench.until("m/1", OrderStatus.accepted)  # it is there; how it stands is told once it is followed
    assert isinstance(await bench.adapter.submit(order()), Accepted)
    await bench.until("m/1", OrderStatus.succeeded)
    assert len(bench.ground.begun) == 1
    other.close()


async def test_a_robot_that_was_restarted_and_forgot_ends_the_order_as_lost_and_is_sent_nothing(bench, order):
    await bench.accepted(order(x_m=60.0))
    bench.vehicle.restart(forgets=True)
    report = await bench.until("m/1", OrderStatus.failed)
    assert "restarted" in report.reason
    assert isinstance(await bench.adapter.submit(order(x_m=60.0)), Accepted)  # it had it; nothing is begun anew
    assert len(bench.ground.begun) == 1


async def test_a_robot_that_fails_on_its_way_fails_the_order_with_its_words(bench, order):
    await bench.accepted(order(x_m=60.0))
    about = (("orderId", order_id("m/1")),)
    bench.vehicle.faults.extra = (Fault("wheelError", "WHEEL_ERROR", "FATAL", "a wheel is stuck", about),)
    report = await bench.until("m/1", OrderStatus.failed)
    assert report.reason == "wheelError: a wheel is stuck"
    await bench.until_told(lambda one: getattr(one, "kind", "") == "robot_error")


async def test_an_order_that_a_person_ends_at_the_robot_is_canceled_and_not_sent_again(bench, order):
    await bench.accepted(order(x_m=60.0))
    await bench.until("m/1", OrderStatus.running)
    bench.ground.turn(f"vda5050/{order_id('m/1')}", OrderStatus.canceled)
    assert "at the robot itself" in (await bench.until("m/1", OrderStatus.canceled)).reason
    assert len(bench.ground.begun) == 1


async def test_an_order_that_is_not_ours_is_shown_and_nothing_is_put_on_top(bench, order):
    await bench.accepted(order("m/0"))
    await bench.until("m/0", OrderStatus.succeeded)
    foreign = {
        "headerId": 1,
        "orderId": "theirs",
        "orderUpdateId": 0,
        "nodes": [
            {"nodeId": "there", "sequenceId": 0, "released": True, "actions": []},
            {"nodeId": "far", "sequenceId": 2, "released": True, "actions": [], "nodePosition": {"x": 60, "y": 0}},
        ],
        "edges": [],
    }
    bench.vehicle.take_order(foreign)
    await bench.until_told(
        lambda one: isinstance(one, Observation) and one.activity is Activity.executing and one.order_key is None
    )
    refused = await bench.adapter.submit(order())
    assert "'theirs', which is not ours" in refused.reason
    assert await bench.adapter.cancel(ADDRESS, "m/1", 1) == Acknowledged()
    assert bench.vehicle.shown().nodes, "an order of others was cancelled"


async def test_a_robot_in_another_mode_than_automatic_is_not_given_anything(bench, order):
    await bench.accepted(order("m/0"))
    await bench.until("m/0", OrderStatus.succeeded)
    bench.vehicle.faults.mode = "MANUAL"
    await bench.until_told(lambda one: isinstance(one, Observation) and one.activity is Activity.maintenance)
    assert "MANUAL" in (await bench.adapter.submit(order())).reason
    assert "MANUAL" in (await bench.adapter.exposure(ADDRESS)).refusals[0]


async def test_a_retained_online_and_a_retained_state_are_not_believed(bench, order):
    await bench.accepted(order("m/0"))
    await bench.until("m/0", OrderStatus.succeeded)
    state = json.dumps({"headerId": 1, "orderId": "", "nodeStates": [], "edgeStates": [], "actionStates": []})
    await bench.stop()
    await bench.close()
    async with open_mqtt(bench.broker.url) as liar:
        await liar.heard()
        liar.publish("uagv/v2/bench/V1/state", state.encode(), is_retained=True)
        liar.publish("uagv/v2/bench/V1/connection", b'{"connectionState": "ONLINE"}', qos=1, is_retained=True)
        liar.subscribe({"uagv/v2/bench/V1/order": 0})
        await bench.open()
        unknown = await bench.adapter.submit(order())
        assert "nothing was sent" in unknown.why
        assert isinstance(await bench.adapter.query(ADDRESS, "m/1"), Unknown)
        await bench.until_told(lambda one: isinstance(one, HeardWell) and one.hearing is Hearing.silent)


async def test_nonsense_and_ten_megabytes_leave_the_link_alive_and_are_complained_of(bench, order):
    await bench.accepted(order("m/0"))
    async with open_mqtt(bench.broker.url) as liar:
        await liar.heard()
        for payload in (b"", b"\x00\xff", b"[]", b'{"orderId": 4}', b"{" * 50_000, b"x" * 10_000_000):
            for name in ("state", "connection", "factsheet", "visualization"):
                liar.publish(f"uagv/v2/bench/V1/{name}", payload)
        await bench.until("m/0", OrderStatus.succeeded)
        await bench.accepted(order("m/1", x_m=2.0))
        await bench.until("m/1", OrderStatus.succeeded)
    exposure = await bench.adapter.exposure(ADDRESS)
    complaints = {one.name.rpartition("/")[2]: one.complaint for one in exposure.endpoints}
    assert "no JSON came" in complaints["state"]


async def test_a_broker_that_is_restarted_interrupts_hearing_and_not_the_order(bench, order):
    await bench.accepted(order(x_m=60.0))
    bench.broker.stop()
    await bench.until_told(lambda one: isinstance(one, HeardWell) and one.hearing is Hearing.trouble)
    assert isinstance(await bench.adapter.submit(order(x_m=60.0)), Accepted)
    bench.told.clear()
    bench.broker.start()
    await bench.until_told(lambda one: isinstance(one, HeardWell) and one.hearing is Hearing.well)
    await bench.adapter.cancel(ADDRESS, "m/1", 1)
    await bench.until("m/1", OrderStatus.canceled)
    assert len(bench.ground.begun) == 1


async def test_a_robot_that_goes_away_is_silent_and_offline_until_a_fresh_state(bench, order):
    await bench.accepted(order("m/0"))
    await bench.stop()
    await bench.until_told(lambda one: isinstance(one, HeardWell) and one.hearing is Hearing.silent)
    await bench.until_told(lambda one: isinstance(one, Observation) and one.activity is Activity.offline)
    bench.told.clear()
    bench.drive()
    await bench.until_told(lambda one: isinstance(one, HeardWell) and one.hearing is Hearing.well)


async def test_a_journal_that_can_no_longer_be_written_ends_the_link_for_its_gateway_to_open_anew(bench, order):
    await bench.accepted(order("m/0", x_m=60.0))
    bench.journal.close()
    bench.vehicle.take_instant({"actions": [{"actionId": "p", "actionType": "startPause"}]})
    with pytest.raises(Unavailable, match="journal"):
        async with asyncio.timeout(PATIENCE_S):
            await bench.telling


async def test_an_order_that_was_given_up_while_the_journal_was_slow_is_never_said_not_to_be_there(
    bench, order, tmp_path
):
    given = order("m/0", x_m=20.0)
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as slow:
        slow.execute("BEGIN IMMEDIATE")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bench.adapter.submit(given), 0.3)
        asked = asyncio.create_task(bench.adapter.query(ADDRESS, given.key))
        await asyncio.wait({asked}, timeout=0.3)
        slow.execute("ROLLBACK")
    said = await asked
    assert not (isinstance(said, OrderReport) and said.status is OrderStatus.not_found)
    await bench.until(given.key, OrderStatus.running, OrderStatus.succeeded)


async def test_messages_that_were_lost_on_the_way_are_told(bench, order):
    await bench.accepted(order("m/0"))
    state = {
        "version": "2.1.0",
        "orderId": "",
        "orderUpdateId": 0,
        "nodeStates": [],
        "edgeStates": [],
        "actionStates": [],
    }
    await bench.stop()
    async with open_mqtt(bench.broker.url) as robot:
        await robot.heard()
        for number in (10_001, 10_005):
            stamp = bench.clock.now().isoformat()
            robot.publish(
                "uagv/v2/bench/V1/state", json.dumps(state | {"headerId": number, "timestamp": stamp}).encode()
            )
        await bench.until_told(lambda one: getattr(one, "kind", "") == "messages_lost" and one.fields["state"] >= 3)


async def test_an_address_that_is_none_is_refused(bench, order):
    refused = await bench.adapter.submit(order().model_copy(update={"serial_number": "/amr_01"}))
    assert "manufacturer/serialNumber" in refused.reason


async def test_a_robot_is_discovered_with_what_its_factsheet_says(bench, order):
    await bench.accepted(order("m/0"))
    async with asyncio.timeout(PATIENCE_S):
        while not (found := await bench.adapter.discover()) or not found[0].capabilities:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert (found[0].serial_number, found[0].model) == (ADDRESS, "Simulated AMR 200")
    assert TaskKind.wait in bench.adapter.capabilities(ADDRESS).tasks
    exposure = await bench.adapter.exposure(ADDRESS)
    assert exposure.facts["version"] == "2.1.0"
    assert {"cancelOrder", "wait"} <= {one.name for one in exposure.endpoints if one.kind == "action"}


async def test_a_robot_of_3_0_that_asks_for_a_zone_is_answered_by_the_options(bench, order):
    await bench.close()
    bench.account = bench.account.model_copy(update={"options": OPTIONS | {"zones": {"gate": "grant"}}})
    await bench.stop()
    await bench.open()
    asks = [
        {"requestId": name, "requestType": "ACCESS", "zoneId": name, "zoneSetId": "s", "requestStatus": "REQUESTED"}
        for name in ("gate", "vault")
    ]
    state = {"headerId": 1, "version": "3.0.0", "orderId": "", "orderUpdateId": 0, "zoneRequests": asks}
    async with open_mqtt(bench.broker.url) as robot:
        robot.subscribe({"uagv/v3/bench/V1/responses": 0})
        async with asyncio.timeout(PATIENCE_S):
            answered = None
            while answered is None:
                state["headerId"] += 1
                robot.publish("uagv/v3/bench/V1/state", json.dumps(state).encode())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        messages = (await robot.heard()).messages
                        answered = json.loads(messages[0].payload)["responses"] if messages else None
    assert {one["requestId"]: one["grantType"] for one in answered} == {"gate": "GRANTED", "vault": "REJECTED"}
