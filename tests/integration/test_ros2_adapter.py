"""Orders over real DDS to a robot with more than Nav2, and the cases that the contract suite does not ask of every link."""

import asyncio
import contextlib
import sqlite3

import pytest
import structlog

from deployments.links import own_domain
from fleet.adapter import (
    Accepted,
    Activity,
    Observation,
    Order,
    OrderReport,
    OrderStatus,
    OrderTask,
    Refused,
    TaskKind,
    Unknown,
)
from fleet.adapters import push_opener
from fleet.adapters.ros2.adapter import serving
from fleet.adapters.ros2.dds import open_dds
from fleet.adapters.ros2.link import GoalStatus
from fleet.adapters.ros2.options import options_of
from fleet.adapters.ros2.peer import open_peer
from fleet.adapters.ros2.runs import goal_id
from fleet.errors import Unavailable
from fleet.journal import JournalFile
from fleet.push import PushAccount
from fleet.timepieces import SystemClock

NAVIGATE = "nav2_msgs/action/NavigateToPose"
FOLLOW = "nav2_msgs/action/FollowWaypoints"
MEASURE = "acme_msgs/action/Measure"
TRIGGER = "std_srvs/srv/Trigger"
DEFINITIONS = {MEASURE: "string what\n---\nfloat64 value\nstring unit\n---\nfloat32 done\n"}
STOP = {"service": "stop", "type": TRIGGER}
SAID = {"success": "success", "message": "message"}
THERMOMETER = {"topic": "temperature", "type": "sensor_msgs/msg/Temperature", "value": "temperature", "unit": "=degC"}
GOAL = {"what": "$parameters.quantity"}
OPTIONS = {
    "definitions": DEFINITIONS,
    "telemetry": {"battery": {"topic": "battery_state"}},
    "bindings": {
        "reading": {"action": "measure", "type": MEASURE, "goal": GOAL, "value": "value", "unit": "unit"},
        "record_bag": {"service": "record", "type": TRIGGER, "stop": STOP, **SAID},
        "action": {"temperature": THERMOMETER, "jam": {"service": "jam", "type": TRIGGER, **SAID}},
    },
}
SEEN = {
    f"/r/{name}" for name in ("navigate_to_pose", "measure", "record", "stop", "jam", "temperature", "battery_state")
}
OVER = (OrderStatus.succeeded, OrderStatus.failed, OrderStatus.canceled, OrderStatus.rejected)


class Robot:
    """/r: drives, measures, records; a goal to x=1 ends at once, to x=50 when cancelled, to x=7 is aborted."""

    def __init__(self, peer):
        self.peer, self.calls, self.goals, self.works = peer, [], [], set()
        self.stops = {}
        self.disobeys = False
        self.nav = self._serve("navigate_to_pose", NAVIGATE, self._drive)
        self.measure = self._serve("measure", MEASURE, self._measure)
        for name in ("record", "stop", "jam"):
            peer.service("/r/recorder", f"/r/{name}", TRIGGER, lambda _, name=name: self._called(name))
        self.temperature = peer.publisher("/r/base", "/r/temperature", "sensor_msgs/msg/Temperature")
        self.battery = peer.publisher("/r/base", "/r/battery_state", "sensor_msgs/msg/BatteryState")
        self.begin(self._publish())

    def begin(self, work):
        task = asyncio.create_task(work)
        self.works.add(task)
        task.add_done_callback(self.works.discard)

    def _serve(self, name, type, work):
        def on_goal(goal, fields):
            self.goals.append(goal)
            self.begin(work(goal, fields))
            return True

        return self.peer.action_server("/r/node", f"/r/{name}", type, on_goal, self._cancel)

    def _cancel(self, goal):
        if goal in self.stops and not self.disobeys:
            self.stops[goal].set()
        return goal in self.stops

    def _called(self, name):
        self.calls.append(name)
        return {"success": name != "jam", "message": f"{name} done"}

    async def _drive(self, goal, fields):
        x = fields["pose"]["pose"]["position"]["x"]
        await asyncio.sleep(0.02)
        self.nav.executing(goal)
        if x == 7:
            return self.nav.finish(goal, GoalStatus.aborted, {"error_code": 206, "error_msg": "a pallet"})
        stop = self.stops[goal] = asyncio.Event()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), None if x >= 50 else 0.05)
        return self.nav.finish(goal, GoalStatus.canceled if stop.is_set() else GoalStatus.succeeded)

    async def _measure(self, goal, fields):
        await asyncio.sleep(0.02)
        self.measure.executing(goal)
        self.measure.finish(goal, GoalStatus.succeeded, {"value": 36.6, "unit": f"{fields['what']}/degC"})

    async def _publish(self):
        while True:
            self.temperature.publish({"temperature": 21.5})
            self.battery.publish({"percentage": 0.5})
            await asyncio.sleep(0.1)


class Bench:
    def __init__(self, adapter, robot, url):
        self.adapter, self.robot, self.url = adapter, robot, url
        self.told = []
        self.orders = 0

    def order(self, *tasks, fence=1):
        self.orders += 1
        numbered = tuple(task.model_copy(update={"position": number}) for number, task in enumerate(tasks))
        return Order(
            key=f"m{self.orders}/1", fence=fence, serial_number="/r", mission_id=f"m{self.orders}", tasks=numbered
        )

    async def until(self, order, *wanted):
        said = None
        async with asyncio.timeout(20):
            while not (isinstance(said, OrderReport) and said.status in wanted):
                await asyncio.sleep(0.02)
                said = await self.adapter.query("/r", order.key)
        return said

    async def eventually(self, holds):
        async with asyncio.timeout(20):
            while not await holds():  # noqa: ASYNC110  what it waits for comes over a network
                await asyncio.sleep(0.02)

    async def is_seen(self):
        if not await self.adapter.discover():
            return False
        return {one.name for one in (await self.adapter.exposure("/r")).endpoints} >= SEEN

    async def listen(self):
        async for told in self.adapter.told():
            self.told.append(told)


@pytest.fixture
async def bench(tmp_path):
    with own_domain() as domain, contextlib.closing(JournalFile(tmp_path / "journal.db")) as journal:
        url = f"dds://?domain={domain}&peers=127.0.0.1"
        account = PushAccount(name="bench", url=url, options=OPTIONS)
        async with (
            open_peer(url, definitions=DEFINITIONS) as peer,
            push_opener("ros2")(account, journal.of("bench")) as adapter,
        ):
            robot = Robot(peer)
            found = Bench(adapter, robot, url)
            listening = asyncio.create_task(found.listen())
            await adapter.hold(frozenset({"/r"}))
            await found.eventually(found.is_seen)
            yield found
            listening.cancel()
            for work in list(robot.works):
                work.cancel()


def _go(x_m=1.0, **fields):
    return OrderTask(position=0, kind=TaskKind.go_to, station="press", x_m=x_m, y_m=2.0, **fields)


def _task(kind, **parameters):
    return OrderTask(position=0, kind=kind, parameters=parameters, timeout_s=20.0)


async def test_a_mission_of_all_kinds_of_tasks_is_carried_out_with_its_readings(bench):
    tasks = (
        _go(),
        _task(TaskKind.reading, quantity="thermal"),
        _task(TaskKind.record_bag),
        _task(TaskKind.action, name="temperature"),
        _task(TaskKind.wait, duration_s=0.05),
    )
    order = bench.order(*tasks)
    assert isinstance(await bench.adapter.submit(order), Accepted)
    report = await bench.until(order, *OVER)
    assert report.status is OrderStatus.succeeded, report
    assert [(task.value, task.unit) for task in report.tasks] == [
        (None, None),
        (36.6, "thermal/degC"),
        (None, None),
        (21.5, "degC"),
        (None, None),
    ]
    assert report.tasks[2].message == "record done"

    async def is_stopped():
        return bench.robot.calls == ["record", "stop"]

    await bench.eventually(is_stopped)


async def test_a_robot_whose_address_is_no_name_and_a_topic_of_an_unknown_type_leave_the_others_as_they_are(tmp_path):
    with own_domain() as domain, contextlib.closing(JournalFile(tmp_path / "journal.db")) as journal:
        url = f"dds://?domain={domain}&peers=127.0.0.1"
        strange = {"pose": {"topic": "where", "type": "acme_msgs/msg/Where"}}
        account = PushAccount(name="bench", url=url, options=OPTIONS | {"telemetry": strange})
        async with (
            open_peer(url, definitions=DEFINITIONS) as peer,
            push_opener("ros2")(account, journal.of("bench")) as adapter,
        ):
            bench = Bench(adapter, Robot(peer), url)
            await adapter.hold(frozenset({"/r", "/robot 02"}))
            await bench.eventually(bench.is_seen)

            assert isinstance(await adapter.submit(bench.order(_go())), Accepted)


async def test_a_link_on_which_nothing_can_be_heard_any_more_ends_with_a_sentence(tmp_path):
    with own_domain() as domain, contextlib.closing(JournalFile(tmp_path / "journal.db")) as journal:
        async with (
            open_dds(f"dds://?domain={domain}&peers=127.0.0.1") as link,
            serving(link, None, journal.of("bench"), options_of({}), SystemClock()) as adapter,
        ):
            await adapter.hold(frozenset({"/r"}))
            taker = link._participant._taker
            taker._waitset.__del__()  # as Cyclone's own failure would
            taker._guard.set(True)

            async def listen():
                async for _ in adapter.told():
                    pass

            with pytest.raises(Unavailable, match="has to be opened anew"):
                await asyncio.wait_for(listen(), 5)


async def test_an_aborted_goal_fails_the_order_with_nav2s_words_and_skips_the_rest(bench):
    order = bench.order(_go(x_m=7.0), _go())
    await bench.adapter.submit(order)
    report = await bench.until(order, *OVER)
    assert report.status is OrderStatus.failed
    assert report.reason == "aborted: error_code 206 (planner: GOAL_OCCUPIED): a pallet"
    assert [task.status for task in report.tasks] == ["failed", "skipped"]


async def test_a_service_that_says_it_did_not_succeed_fails_the_order(bench):
    order = bench.order(_task(TaskKind.action, name="jam"))
    await bench.adapter.submit(order)
    report = await bench.until(order, *OVER)
    assert (report.status, bench.robot.calls) == (OrderStatus.failed, ["jam"])
    assert "jam done" in report.reason


async def test_a_task_that_takes_too_long_is_cancelled_and_the_order_failed(bench):
    order = bench.order(_go(x_m=50.0, timeout_s=0.3))
    await bench.adapter.submit(order)
    report = await bench.until(order, *OVER)
    assert report.status is OrderStatus.failed
    assert "within its 0.3 s" in report.reason
    assert bench.robot.stops[bench.robot.goals[0]].is_set()


async def test_a_goal_that_succeeds_although_it_was_cancelled_is_believed(bench):
    order = bench.order(_go(x_m=50.0), _go())
    await bench.adapter.submit(order)
    await bench.until(order, OrderStatus.running)
    bench.robot.disobeys = True
    await bench.adapter.cancel("/r", order.key, 1)
    (goal,) = bench.robot.goals
    bench.robot.nav.finish(goal, GoalStatus.succeeded)
    report = await bench.until(order, *OVER)
    assert report.status is OrderStatus.canceled
    assert [task.status for task in report.tasks] == ["succeeded", "skipped"]


async def test_a_pause_during_a_wait_keeps_the_time_that_was_waited(bench):
    order = bench.order(_task(TaskKind.wait, duration_s=0.4))
    await bench.adapter.submit(order)
    await bench.adapter.pause("/r", order.key, 1)
    await bench.until(order, OrderStatus.paused)
    await asyncio.sleep(0.5)
    assert (await bench.adapter.query("/r", order.key)).status is OrderStatus.paused
    await bench.adapter.resume("/r", order.key, 1)
    assert (await bench.until(order, *OVER)).status is OrderStatus.succeeded


async def test_an_order_that_ends_while_the_journals_disk_is_full_is_told_once_there_is_room(bench):
    order = bench.order(_go(50))
    await bench.adapter.submit(order)
    await bench.until(order, OrderStatus.running)
    file = bench.adapter._ground.journal._file
    before = len(file.waiting())
    file.rows("PRAGMA query_only = 1")  # whatever is written is refused, as on a full disk
    with structlog.testing.capture_logs() as logs:
        for stop in bench.robot.stops.values():
            stop.set()
        await bench.eventually(lambda: _has("an order waits for the journal", logs))
    file.rows("PRAGMA query_only = 0")
    await bench.until(order, OrderStatus.canceled)
    assert len(file.waiting()) > before


async def test_an_order_that_was_given_up_while_the_journal_was_slow_is_never_said_not_to_be_there(bench, tmp_path):
    order = bench.order(_go(50))
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as slow:
        slow.execute("BEGIN IMMEDIATE")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bench.adapter.submit(order), 0.3)
        asked = asyncio.create_task(bench.adapter.query("/r", order.key))
        await asyncio.wait({asked}, timeout=0.3)
        slow.execute("ROLLBACK")
    said = await asked
    assert not (isinstance(said, OrderReport) and said.status is OrderStatus.not_found)
    await bench.until(order, OrderStatus.running)
    assert len(bench.robot.goals) == 1
    await bench.adapter.cancel("/r", order.key, 1)
    await bench.until(order, OrderStatus.canceled)


async def _has(event, logs):
    return any(one["event"] == event for one in logs)


async def test_a_goal_of_somebody_else_is_shown_and_gets_no_order_on_top(bench):
    stranger = goal_id("somebody", 0, 0)

    async def is_shown():
        return any(isinstance(told, Observation) and told.activity is Activity.executing for told in bench.told)

    async with open_dds(bench.url) as other:
        pose = {"pose": {"pose": {"position": {"x": 50.0}}}}
        async with asyncio.timeout(20):
            while not other.endpoints():
                await other.changed()
        await other.send_goal("/r/navigate_to_pose", NAVIGATE, stranger, pose)
        await bench.eventually(is_shown)
        outcome = await bench.adapter.submit(bench.order(_go()))
        assert isinstance(outcome, Refused)
        assert str(stranger) in outcome.reason
        await other.cancel_goal("/r/navigate_to_pose", NAVIGATE, stranger)
    assert bench.robot.goals == [stranger]

    async def is_free():
        return isinstance(await bench.adapter.submit(bench.order(_go())), Accepted)

    await bench.eventually(is_free)


async def test_a_task_that_nothing_does_is_refused_and_nothing_of_the_order_is_sent(bench):
    outcome = await bench.adapter.submit(bench.order(_go(), _task(TaskKind.action, name="dance")))
    assert isinstance(outcome, Refused)
    assert "action dance" in outcome.reason
    assert "/r/navigate_to_pose" in outcome.reason
    assert bench.robot.goals == []


async def test_the_goals_ids_follow_from_the_key_the_task_and_the_run(bench):
    order = bench.order(_go(x_m=50.0))
    outcome = await bench.adapter.submit(order)
    assert outcome == Accepted(reference=str(goal_id(order.key, 0, 0)))
    await bench.until(order, OrderStatus.running)
    await bench.adapter.pause("/r", order.key, 1)
    await bench.until(order, OrderStatus.paused)
    await bench.adapter.resume("/r", order.key, 1)
    await bench.until(order, OrderStatus.running)
    await bench.adapter.cancel("/r", order.key, 1)
    await bench.until(order, OrderStatus.canceled)
    assert bench.robot.goals == [goal_id(order.key, 0, 0), goal_id(order.key, 0, 1)]


async def test_another_gateway_without_the_journal_goes_on_where_the_first_one_was(bench, tmp_path):
    order = bench.order(_go(), _go(x_m=50.0), _go())
    await bench.adapter.submit(order)

    async def is_at_the_second():
        return len(bench.robot.goals) == 2 and bench.robot.goals[1] in bench.robot.stops

    await bench.eventually(is_at_the_second)
    await bench.adapter.hold(frozenset())  # the first one lost its lease
    account = PushAccount(name="bench", url=bench.url, options=OPTIONS)
    with contextlib.closing(JournalFile(tmp_path / "another.db")) as journal:
        async with push_opener("ros2")(account, journal.of("bench")) as second:
            bench.adapter = second
            await second.hold(frozenset({"/r"}))
            await bench.eventually(bench.is_seen)
            await bench.until(order, OrderStatus.running)
            assert isinstance(await second.submit(order), Accepted)
            assert len(bench.robot.goals) == 2
            bench.robot.nav.finish(bench.robot.goals[1], GoalStatus.succeeded)
            report = await bench.until(order, *OVER)
    assert report.status is OrderStatus.succeeded
    assert bench.robot.goals == [goal_id(order.key, position, 0) for position in range(3)]


async def test_the_first_question_about_a_robot_that_was_only_just_taken_over_is_answered(bench, tmp_path, monkeypatch):
    order = bench.order(_go(x_m=50.0))
    await bench.adapter.submit(order)
    await bench.until(order, OrderStatus.running)
    await bench.adapter.hold(frozenset())
    account = PushAccount(name="bench", url=bench.url, options=OPTIONS)
    with contextlib.closing(JournalFile(tmp_path / "another.db")) as journal:
        async with push_opener("ros2")(account, journal.of("bench")) as second:
            await second.hold(frozenset({"/r"}))
            said = await second.query("/r", order.key)
            assert isinstance(said, OrderReport)
            assert said.status is OrderStatus.running
            monkeypatch.setattr("fleet.adapters.ros2.held.TAKEN_S", 0.1)
            await second.hold(frozenset({"/r", "/nobody"}))
            assert isinstance(await second.query("/nobody", order.key), Unknown)  # after it had the time to be seen


async def test_that_nothing_is_known_is_said_only_when_a_robot_taken_over_had_the_time_to_tell(
    bench, tmp_path, monkeypatch
):
    account = PushAccount(name="bench", url=bench.url, options=OPTIONS)
    with contextlib.closing(JournalFile(tmp_path / "another.db")) as journal:
        async with push_opener("ros2")(account, journal.of("bench")) as second:
            await second.hold(frozenset({"/r"}))
            asked = asyncio.create_task(second.query("/r", "never/1"))
            done, _ = await asyncio.wait({asked}, timeout=2.5)  # by then it has told all lists that it has
            assert not done
            monkeypatch.setattr("fleet.adapters.ros2.held.TAKEN_S", 0.1)
            said = await asked
            assert isinstance(said, OrderReport)
            assert said.status is OrderStatus.not_found


async def test_a_goal_that_begins_after_its_order_was_given_up_is_cancelled(bench):
    order = bench.order(_go(x_m=50.0, timeout_s=0.2))
    await bench.adapter.submit(order)
    await bench.until(order, OrderStatus.failed)
    (goal,) = bench.robot.goals
    late = goal_id(order.key, 0, 0)
    assert goal == late
    bench.robot.stops[late].clear()
    bench.robot.nav.restore({late: (1, GoalStatus.executing, {})})  # as if the request had been on its way till now
    await bench.eventually(lambda: _is_set(bench.robot.stops[late]))


async def _is_set(stop):
    return stop.is_set()
