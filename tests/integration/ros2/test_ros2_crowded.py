"""A killed server is seen beside its heir until its lease is over: an order that comes meanwhile waits, and is not failed."""

from contextlib import closing

import pytest

from fleet.adapter import Accepted, Order, OrderTask, Refused, TaskKind, Unknown
from fleet.adapters.ros2.adapter import open_push
from fleet.adapters.ros2.admission import CROWDED_S
from fleet.adapters.ros2.peer import open_peer
from fleet.clock import SteppableClock, SystemClock
from fleet.journal import JournalFile
from fleet.push import PushAccount

ROBOT, ACTION, NAVIGATE = "/robot_01", "/robot_01/navigate_to_pose", "nav2_msgs/action/NavigateToPose"
HEIR = "/robot_01/bt_navigator_again"


@pytest.fixture
def clock() -> SteppableClock:
    """Only for how long it is waited."""
    return SteppableClock(SystemClock().now())


@pytest.fixture
async def adapter(url, navigator, clock, tmp_path):
    """Holds the robot."""
    account = PushAccount(name="robots", url=url)
    with closing(JournalFile(tmp_path / "journal.db")) as file:
        async with open_push(account, file.of("robots"), clock=clock) as found:
            await found.hold(frozenset({ROBOT}))
            yield found


@pytest.fixture
async def crowded(adapter, url, until):
    """Another server of the action is there, too, and takes nothing; gives what reached it."""
    link, reached = adapter._ground.link, []
    await until(lambda: not link.objection(ACTION, NAVIGATE))
    async with open_peer(url, node=HEIR) as heir:
        heir.action_server(HEIR, ACTION, NAVIGATE, lambda *_: bool(reached.append(1)), lambda _: True)
        await until(lambda: link.is_crowded(ACTION, NAVIGATE))
        yield reached


def _order() -> Order:
    go = OrderTask(position=0, kind=TaskKind.go_to, station="press", x_m=1.0, y_m=2.0)
    return Order(key="m/1", fence=1, serial_number=ROBOT, mission_id="m", tasks=(go,))


async def test_an_order_waits_until_one_server_is_left_and_then_goes_to_it(adapter, navigator, url, until):
    link = adapter._ground.link
    await until(lambda: not link.objection(ACTION, NAVIGATE))
    async with open_peer(url, node=HEIR) as heir:
        heir.action_server(HEIR, ACTION, NAVIGATE, lambda *_: False, lambda _: True)
        await until(lambda: link.is_crowded(ACTION, NAVIGATE))
        said = await adapter.submit(_order())
    assert isinstance(said, Unknown)
    assert said.is_unsent
    assert "More than one server" in said.why
    await until(lambda: not link.is_crowded(ACTION, NAVIGATE))
    assert isinstance(await adapter.submit(_order()), Accepted)
    assert len(navigator.began) == 1


async def test_servers_that_are_several_for_good_get_no_order_and_that_is_told(adapter, navigator, crowded, clock):
    assert isinstance(await adapter.submit(_order()), Unknown)
    clock.step(CROWDED_S / 2)
    assert isinstance(await adapter.submit(_order()), Unknown)
    clock.step(CROWDED_S / 2)
    refused = await adapter.submit(_order())
    assert isinstance(refused, Refused)
    assert "More than one server" in refused.reason
    assert (navigator.began, crowded) == ([], [])


async def test_that_several_were_seen_an_hour_ago_is_another_time(adapter, crowded, clock):
    for _ in range(3):
        assert isinstance(await adapter.submit(_order()), Unknown)
        clock.step(3600.0)
