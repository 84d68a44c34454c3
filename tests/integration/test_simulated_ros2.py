"""The simulated robots over real DDS, from another process: what a stranger's ROS 2 client would see of them."""

import asyncio
import math
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from deployments.links import Links, own_domain
from fleet.adapter import OrderStatus
from fleet.adapters.ros2.dds import open_dds
from fleet.adapters.ros2.link import (
    AlreadyOver,
    Canceling,
    Declined,
    Ended,
    GoalStatus,
    RosLink,
    Taken,
    UnknownGoal,
)
from fleet.adapters.simulated import ros2_interface as interface
from fleet.adapters.simulated.record import read_record
from fleet.adapters.simulated.ros2_goals import ACTIONS
from fleet.adapters.simulated.site import SiteOptions

PATIENCE_S = 30.0
PROGRAM = "import sys; from fleet.adapters.simulated.site import *; serve(SiteOptions.model_validate_json(sys.argv[1]))"
GATE, PRESS, FAR = (20.0, 2.0), (8.0, 10.0), (37.0, 22.0)


class Robots:
    """A site as a process of its own, which may be ended and started again."""

    def __init__(self, folder: Path, domain: int, **options: object) -> None:
        self.folder, self.url = folder, Links(domain).ros2_url
        given = {"credential": "c", "history_lives": 0, "robots": 3, "speed": 20, "ros2_url": self.url}
        self._text = SiteOptions(bags_dir=folder, **given | options).model_dump_json()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", PROGRAM, self._text])

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(PATIENCE_S)

    @property
    def record(self):
        return read_record(self.folder / "journal.db")


@pytest.fixture(scope="module")
def domain() -> Iterator[int]:
    """A DDS domain for this file's tests."""
    with own_domain() as chosen:
        yield chosen


@pytest.fixture(scope="module")
def robots(domain, tmp_path_factory) -> Iterator[Robots]:
    """Three robots for all tests that leave them alive; each test drives its own."""
    site = Robots(tmp_path_factory.mktemp("site"), domain)
    site.start()
    yield site
    assert site.end() == 0


@pytest.fixture
def mortal(tmp_path) -> Iterator[Callable[..., Robots]]:
    """Robots in a domain of their own, that the test ends and starts again."""
    with ExitStack() as stack:
        sites = list[Robots]()

        def start(**options: object) -> Robots:
            site = Robots(tmp_path / "site", stack.enter_context(own_domain()), robots=1, **options)
            site.start()
            sites.append(site)
            return site

        yield start
        for site in sites:
            site.end(signal.SIGKILL)


@pytest.fixture
def seen() -> Callable[[RosLink, str], Awaitable[None]]:
    """Waits until a robot's every action can be seen."""

    async def wait(link: RosLink, name: str) -> None:
        wanted = {f"{name}/{action}" for action in ACTIONS}
        async with asyncio.timeout(PATIENCE_S):
            while not wanted <= {one.name for one in link.endpoints() if not one.complaint}:
                await link.changed()

    return wait


@pytest.fixture
async def link(robots, seen):
    """A link that sees all three robots."""
    async with open_dds(robots.url, distro="jazzy", definitions=interface.DEFINITIONS) as opened:
        for number in (1, 2, 3):
            await seen(opened, f"/amr_0{number}")
        yield opened


def drive(place: tuple[float, float], frame: str = "map") -> dict[str, object]:
    position = {"x": place[0], "y": place[1]}
    return {"pose": {"header": {"frame_id": frame}, "pose": {"position": position}}}


async def end_of(link: RosLink, action: str, goal: UUID, type: str = interface.NAVIGATE_TYPE) -> Ended:
    answer = await link.result(action, type, goal, timeout_s=PATIENCE_S)
    assert isinstance(answer, Ended)
    return answer


async def test_a_robot_exposes_what_its_readme_says_and_nothing_that_a_client_could_not_use(link):
    mine = {(one.kind, one.name, one.type) for one in link.endpoints() if one.namespace == "/amr_01"}
    wanted = {("action", f"/amr_01/{name}", form.type) for name, form in ACTIONS.items()}
    wanted |= {("publisher", f"/amr_01/{topic}", type) for topic, type in interface.TOPICS.items()}
    wanted |= {("service", "/amr_01/stop_recording", interface.TRIGGER_TYPE)}
    assert mine >= wanted
    assert {one.complaint for one in link.endpoints() if one.namespace == "/amr_01"} == {""}


async def test_a_goal_is_driven_to_its_end_once_however_often_it_is_sent(link, robots):
    goal, name = uuid4(), "/amr_01/navigate_to_pose"
    assert isinstance(await link.send_goal(name, interface.NAVIGATE_TYPE, goal, drive(GATE)), Taken)
    assert await link.send_goal(name, interface.NAVIGATE_TYPE, goal, drive(GATE)) == Declined()
    ended = await end_of(link, name, goal)
    assert (ended.status, ended.result["error_code"]) == (GoalStatus.succeeded, 0)
    assert await link.send_goal(name, interface.NAVIGATE_TYPE, goal, drive(GATE)) == Declined()
    assert robots.record.reports[str(goal)].status is OrderStatus.succeeded


@pytest.mark.parametrize("goal", [drive((math.nan, 1.0)), drive(GATE, frame="odom")])
async def test_a_goal_that_makes_no_sense_is_declined_and_moves_nothing(link, robots, goal):
    refused = uuid4()
    assert await link.send_goal("/amr_01/navigate_to_pose", interface.NAVIGATE_TYPE, refused, goal) == Declined()
    assert str(refused) not in robots.record.reports


async def test_a_cancelled_goal_ends_canceled_and_another_goal_is_declined_until_then(link, robots):
    goal, name = uuid4(), "/amr_02/navigate_to_pose"
    assert isinstance(await link.send_goal(name, interface.NAVIGATE_TYPE, goal, drive(FAR)), Taken)
    wait = await link.send_goal("/amr_02/wait", interface.WAIT_TYPE, uuid4(), {"time": {"sec": 1}})
    assert wait == Declined()
    assert await link.cancel_goal(name, interface.NAVIGATE_TYPE, goal) == Canceling()
    assert (await end_of(link, name, goal)).status is GoalStatus.canceled
    assert await link.cancel_goal(name, interface.NAVIGATE_TYPE, goal) == AlreadyOver()
    assert robots.record.reports[str(goal)].status is OrderStatus.canceled


async def test_a_goal_that_was_never_sent_is_unknown(link):
    answer = await link.result("/amr_02/wait", interface.WAIT_TYPE, uuid4(), timeout_s=PATIENCE_S)
    assert isinstance(answer, UnknownGoal)


async def test_a_run_is_recorded_with_a_reading_for_the_mission_that_was_named(link, robots):
    record, read = uuid4(), uuid4()
    await link.send_goal("/amr_03/record_run", interface.RECORD_TYPE, record, {"mission_id": "m-1"})
    assert (await end_of(link, "/amr_03/record_run", record, interface.RECORD_TYPE)).status is GoalStatus.succeeded
    wanted = {"point": "press-1", "quantity": "thermal"}
    assert isinstance(await link.send_goal("/amr_03/take_reading", interface.READ_TYPE, read, wanted), Taken)
    ended = await end_of(link, "/amr_03/take_reading", read, interface.READ_TYPE)
    assert ended.result["unit"] == "degC"
    assert 30.0 < ended.result["value"] < 70.0
    stopped = await link.call("/amr_03/stop_recording", interface.TRIGGER_TYPE, {}, timeout_s=PATIENCE_S)
    assert stopped["success"]
    bag = robots.folder / f"{stopped['message']}.mcap"
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if bag.exists():
                return
            await asyncio.sleep(0.05)


async def test_a_robot_says_where_it_is_and_how_full_its_battery_is(link):
    heard: dict[str, object] = {}
    told = asyncio.Event()

    def hear(topic: str) -> Callable[[object], None]:
        def keep(sample) -> None:
            heard[topic] = sample.fields
            if set(heard) == set(interface.TOPICS):
                told.set()

        return keep

    for topic, type in interface.TOPICS.items():
        link.listen(f"/amr_03/{topic}", type, hear(topic), max_rate_hz=10)
    await asyncio.wait_for(told.wait(), PATIENCE_S)
    assert 0.0 < heard["battery_state"]["percentage"] <= 1.0
    assert heard["odom"]["header"]["frame_id"] == "odom"


async def test_robots_of_another_platform_on_the_same_machine_are_not_heard(link, mortal, seen):
    alone = mortal()
    async with open_dds(alone.url, distro="jazzy", definitions=interface.DEFINITIONS) as other:
        await seen(other, "/amr_01")
        assert {one.namespace for one in other.endpoints()} >= {"/amr_01"}
        assert not {"/amr_02", "/amr_03"} & {one.namespace for one in other.endpoints()}
        assert {"/amr_02", "/amr_03"} <= {one.namespace for one in link.endpoints()}


async def test_a_restarted_robot_stands_still_knows_no_goal_and_counts_one_that_comes_again(mortal, seen):
    site = mortal()
    goal, name = uuid4(), "/amr_01/navigate_to_pose"
    async with open_dds(site.url, distro="jazzy", definitions=interface.DEFINITIONS) as link:
        await seen(link, "/amr_01")
        assert isinstance(await link.send_goal(name, interface.NAVIGATE_TYPE, goal, drive(FAR)), Taken)
    site.end(signal.SIGKILL)
    site.start()
    async with open_dds(site.url, distro="jazzy", definitions=interface.DEFINITIONS) as link:
        await seen(link, "/amr_01")
        assert isinstance(await link.result(name, interface.NAVIGATE_TYPE, goal, timeout_s=PATIENCE_S), UnknownGoal)
        assert await link.send_goal(name, interface.NAVIGATE_TYPE, goal, drive(FAR)) == Declined()
    record = site.record
    assert record.reports[str(goal)].status is OrderStatus.canceled
    assert record.again == {str(goal): 1}


async def test_a_robot_that_keeps_a_journal_goes_on_after_a_restart_and_tells_the_end(mortal, seen):
    site = mortal(remembers_orders=True)
    goal, name = uuid4(), "/amr_01/navigate_to_pose"
    async with open_dds(site.url, distro="jazzy", definitions=interface.DEFINITIONS) as link:
        await seen(link, "/amr_01")
        assert isinstance(await link.send_goal(name, interface.NAVIGATE_TYPE, goal, drive(PRESS)), Taken)
    site.end(signal.SIGKILL)
    site.start()
    async with open_dds(site.url, distro="jazzy", definitions=interface.DEFINITIONS) as link:
        await seen(link, "/amr_01")
        assert (await end_of(link, name, goal)).status is GoalStatus.succeeded
    assert site.record.again == {}
