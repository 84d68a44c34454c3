"""A robot's process dies, is stopped, and comes back: what the link says meanwhile. Real processes over real DDS."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from fleet.adapters.ros2.dds import DdsLink, open_dds
from fleet.adapters.ros2.link import Ended, GoalStatus, NoAnswer, Refusal, Sample, Taken, UnknownGoal

pytestmark = pytest.mark.proof
ACTION, NAVIGATE = "/robot_01/navigate_to_pose", "nav2_msgs/action/NavigateToPose"
ROBOT = Path(__file__).parents[2] / "load" / "ros2.py"
LEASE_S = 10.0  # after which DDS takes a silent participant for dead

Started = Callable[..., Awaitable[subprocess.Popen[str]]]


@pytest.fixture
async def started(url) -> AsyncIterator[Started]:
    """Starts the robot of the load test in a process of its own; all of them end with the test."""
    processes: list[subprocess.Popen[str]] = []

    async def start(*arguments: str) -> subprocess.Popen[str]:
        domain = url.partition("domain=")[2].partition("&")[0]
        command = [sys.executable, str(ROBOT), "robot", domain, *arguments]
        environment = os.environ | {"PYTHONPATH": str(ROBOT.parents[2])}
        process = subprocess.Popen(  # noqa: ASYNC220  # it is a process, not a program that is waited for
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        processes.append(process)
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


async def test_a_killed_robot_is_told_from_its_successor_and_the_goal_of_before_is_not_known(
    link, started, goal, until
):
    first = await started()
    before = uuid4()
    assert isinstance(await link.send_goal(ACTION, NAVIGATE, before, goal), Taken)
    assert await link.result(ACTION, NAVIGATE, before, timeout_s=5.0) == Ended(
        GoalStatus.succeeded, {"error_code": 0, "error_msg": ""}
    )
    incarnation = link.incarnation(ACTION)

    first.send_signal(signal.SIGKILL)
    await started()
    await until(lambda: link.objection(ACTION, NAVIGATE).startswith("More than one server"))
    refused = await link.send_goal(ACTION, NAVIGATE, uuid4(), goal)

    assert isinstance(refused, Refusal)
    assert refused.may_pass
    assert link.incarnation(ACTION) == ""
    await until(lambda: link.incarnation(ACTION) not in ("", incarnation), timeout_s=LEASE_S + 5)
    assert await link.result(ACTION, NAVIGATE, before, timeout_s=5.0) == UnknownGoal()
    assert isinstance(await link.send_goal(ACTION, NAVIGATE, uuid4(), goal), Taken)


async def test_a_stopped_robot_leaves_no_answer_and_takes_the_goal_when_it_goes_on(link, started, goal):
    robot = await started()
    assert isinstance(await link.send_goal(ACTION, NAVIGATE, uuid4(), goal), Taken)
    goal_id = uuid4()

    robot.send_signal(signal.SIGSTOP)
    answer = await link.send_goal(ACTION, NAVIGATE, goal_id, goal)
    robot.send_signal(signal.SIGCONT)

    assert isinstance(answer, NoAnswer)
    ended = await link.result(ACTION, NAVIGATE, goal_id, timeout_s=5.0)
    assert isinstance(ended, Ended)


async def test_a_robot_that_ends_in_order_is_gone_at_once(link, started, until):
    robot = await started()
    await until(lambda: any(seen.kind == "action" for seen in link.endpoints()))

    robot.communicate("\n")
    await until(lambda: not link.endpoints(), timeout_s=3.0)

    assert "No server of /robot_01/navigate_to_pose is seen" in link.objection(ACTION, NAVIGATE)


async def test_a_flood_of_telemetry_does_not_grow_the_memory(url, started, until):
    heard: list[Sample] = []
    async with open_dds(url) as link:
        for number in range(40):
            link.listen(f"/robot_01/topic_{number}", "nav_msgs/msg/Odometry", _keep_newest(heard), max_rate_hz=2.0)
        await started("nav_msgs/msg/Odometry", "100")
        await until(lambda: heard)
        await asyncio.sleep(3.0)
        began = psutil.Process().memory_info().rss
        await asyncio.sleep(10.0)
        grown = psutil.Process().memory_info().rss - began

    assert grown < 4_000_000
    assert heard[0].missed > 0


def _keep_newest(heard: list[Sample]) -> Callable[[Sample], None]:
    def keep(sample: Sample) -> None:
        heard[:] = [sample]

    return keep


async def _whole_pool() -> None:
    """Begin every thread that the loop's pool may have: it begins them as they are needed, whoever needs them."""
    most = min(32, (os.cpu_count() or 1) + 4)
    together = threading.Barrier(most)
    await asyncio.gather(*(asyncio.to_thread(together.wait) for _ in range(most)))


async def test_links_that_come_and_go_leave_nothing_behind(url, navigator, goal):
    async def visit() -> None:
        async with open_dds(url, node="/visitor") as visitor:
            assert isinstance(await _sent(visitor, goal), Taken)

    await _whole_pool()
    for _ in range(5):
        await visit()
    process = psutil.Process()
    before = (process.num_threads(), process.num_fds(), process.memory_info().rss)
    for _ in range(30):
        await visit()
    after = (process.num_threads(), process.num_fds(), process.memory_info().rss)

    assert after[:2] == before[:2]
    assert after[2] - before[2] < 4_000_000


async def _sent(link: DdsLink, goal: dict[str, object]) -> object:
    return await link.send_goal(ACTION, NAVIGATE, uuid4(), goal)
