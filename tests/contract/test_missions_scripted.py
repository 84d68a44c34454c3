"""The scripted robots keep the promises of the adapter seam, so that what is proved on them means something."""

from datetime import UTC, datetime
from random import Random

import pytest

from fleet.adapter import (
    Accepted,
    Acknowledged,
    Activity,
    Order,
    OrderStatus,
    OrderTask,
    Refused,
    TaskKind,
    Unknown,
    Unsupported,
)
from fleet.clock import SteppableClock
from missions.scripted import Faults, ScriptedRobots


@pytest.fixture
def steady() -> SteppableClock:
    return SteppableClock(datetime(2026, 3, 1, 22, 0, tzinfo=UTC))


@pytest.fixture
def robots(steady) -> ScriptedRobots:
    return ScriptedRobots(["S1", "S2"], clock=steady, chance=Random(1), faults=Faults())


@pytest.fixture
def order():
    def make(key: str = "m/1", fence: int = 1, tasks: int = 1) -> Order:
        todo = tuple(OrderTask(position=position, kind=TaskKind.wait) for position in range(tasks))
        return Order(key=key, fence=fence, serial_number="S1", mission_id=key.partition("/")[0], tasks=todo)

    return make


@pytest.fixture
def live(robots, steady):
    """Lets time pass in steps of two seconds."""

    def run(steps: int) -> None:
        for _ in range(steps):
            steady.step(2)
            robots.step(2)

    return run


async def test_one_key_sent_twice_is_one_execution(robots, order):
    assert [await robots.submit(order()) for _ in range(2)] == [Accepted(reference="m/1")] * 2
    assert len(robots.history) == 1


async def test_an_order_is_done_task_by_task_and_told_with_rising_sequence(robots, order, live):
    await robots.submit(order(tasks=2))
    live(6)
    said = sorted(robots.reports(), key=lambda report: report.sequence)
    assert [report.status.value for report in said] == ["accepted", "running", "running", "succeeded"]
    assert [sum(task.status == "succeeded" for task in report.tasks) for report in said] == [0, 0, 1, 2]
    assert [report.sequence for report in said] == [1, 2, 3, 4]


async def test_an_order_below_the_highest_fence_is_refused(robots, order):
    await robots.submit(order("a/1", fence=5))
    assert await robots.submit(order("b/1", fence=4)) == Refused(reason="fence 4 is below 5")


async def test_an_unknown_order_is_not_found(robots):
    assert (await robots.query("S1", "never/1")).status is OrderStatus.not_found


async def test_a_cancelled_order_stops_and_stays_cancelled(robots, order, live):
    await robots.submit(order())
    live(1)
    assert await robots.cancel("S1", "m/1", 1) == Acknowledged()
    live(5)
    assert (await robots.query("S1", "m/1")).status is OrderStatus.canceled


async def test_a_cancel_that_comes_before_its_order_keeps_it_from_starting(robots, order, live):
    await robots.cancel("S1", "m/1", 1)
    await robots.submit(order())
    live(3)
    assert ((await robots.query("S1", "m/1")).status, robots.history) == (OrderStatus.canceled, [])


async def test_a_robot_that_forgets_cancels_says_that_it_has_no_such_order(robots):
    robots.faults.remembers_cancels = False
    assert isinstance(await robots.cancel("S1", "m/1", 1), Unsupported)
    assert isinstance(await robots.pause("S1", "m/1", 1), Unsupported)


async def test_a_paused_order_makes_no_progress_until_it_is_resumed(robots, order, live):
    await robots.submit(order())
    live(1)
    await robots.pause("S1", "m/1", 1)
    live(5)
    assert (await robots.query("S1", "m/1")).status is OrderStatus.paused
    await robots.resume("S1", "m/1", 1)
    live(3)
    assert (await robots.query("S1", "m/1")).status is OrderStatus.succeeded


async def test_a_lost_answer_leaves_an_order_that_runs(robots, order, live):
    robots.faults.answer_lost = 1.0
    assert isinstance(await robots.submit(order()), Unknown)
    robots.faults.answer_lost = 0.0
    live(1)
    assert (await robots.query("S1", "m/1")).status is OrderStatus.running


async def test_a_late_order_turns_up_after_its_time(robots, order, live):
    robots.faults.request_late = 1.0
    assert isinstance(await robots.submit(order()), Unknown)
    live(4)
    assert (await robots.query("S1", "m/1")).status is OrderStatus.not_found
    live(2)
    assert (await robots.query("S1", "m/1")).status is not OrderStatus.not_found


async def test_robots_are_found_and_observed_and_a_page_says_what_they_said(robots, order):
    await robots.submit(order())
    page = await robots.observe_all()
    seen = robots.events_from(page.body)
    assert [robot.serial_number for robot in await robots.discover()] == ["S1", "S2"]
    assert [(each.serial_number, each.activity, each.order_key) for each in seen] == [
        ("S1", Activity.executing, "m/1"),
        ("S2", Activity.idle, None),
    ]
    assert [page async for page in robots.pages("")] == []
