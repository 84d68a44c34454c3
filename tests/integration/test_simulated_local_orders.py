"""Orders given at the robot itself: carried out like any other, once a word, and unknown to the manufacturer's cloud."""

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from fleet.adapter import (
    Accepted,
    Activity,
    Happening,
    Observation,
    Order,
    OrderReport,
    OrderStatus,
    OrderTask,
    Refused,
    TaskKind,
    Unsupported,
)
from fleet.adapters.simulated import translate
from fleet.adapters.simulated.journal import Journal
from fleet.adapters.simulated.recordings import QUIET
from fleet.adapters.simulated.world import Plan, World
from fleet.errors import NotFound

AT = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
ROBOT = "SIM-0001"
DRIVE = OrderTask(position=0, kind=TaskKind.go_to, station="gate", x_m=20.0, y_m=2.0)
RECORD = OrderTask(position=0, kind=TaskKind.record_bag)
LONG_WAIT = OrderTask(position=0, kind=TaskKind.wait, parameters={"duration_s": 3600.0}, timeout_s=7200)


@pytest.fixture
def opened(tmp_path):
    """Opens the world on the test's folder, again and again."""
    journals = []

    def open_world(at=AT, **plan):
        for journal in journals:
            journal.close()
        journals.append(Journal(tmp_path / "journal.db"))
        return World(Plan(**{"history_lives": 0, **plan}), journals[-1], at)

    yield open_world
    with closing(journals[-1]):
        pass


def live(world, seconds):
    """Live for simulated seconds."""
    for _ in range(int(seconds / 20) + 1):
        world.advance(world.at + timedelta(seconds=min(seconds, 20) / world.plan.speed))


def told(world):
    entries = ",".join(one.entry for one in world.journal.feed_after(0, limit=10_000))
    return translate.events_from(f'{{"entries":[{entries}]}}'.encode())


def test_the_robot_does_what_it_was_told_directly(opened):
    world = opened()
    assert isinstance(world.give(ROBOT, "goal-1", [DRIVE]), Accepted)
    live(world, 25)
    assert world.given(ROBOT, "goal-1").status is OrderStatus.succeeded
    look = world.look(ROBOT)
    assert (look.word, look.sample.body.x_m) == ("goal-1", 20.0)


def test_its_cloud_sees_the_robot_work_but_not_on_what(opened):
    world = opened()
    world.give(ROBOT, "goal-1", [DRIVE])
    live(world, 5)
    assert any(one.activity is Activity.executing for one in told(world) if isinstance(one, Observation))
    assert [one for one in (*told(world), *world.status()) if isinstance(one, OrderReport)] == []
    assert {one.order_key for one in (*told(world), *world.status()) if isinstance(one, Observation)} == {None}


def test_a_failure_of_it_is_no_matter_of_the_cloud(opened):
    world = opened(blocked_once=("gate",))
    world.give(ROBOT, "goal-1", [DRIVE])
    live(world, 60)
    assert "blocked" in world.given(ROBOT, "goal-1").reason
    assert [one for one in told(world) if isinstance(one, Happening)] == []


def test_an_order_of_the_cloud_is_told_to_the_cloud_as_ever(opened):
    world = opened()
    world.submit(Order(key="m/1", fence=1, serial_number=ROBOT, mission_id="m", tasks=(DRIVE,)))
    live(world, 60)
    assert {one.key for one in told(world) if isinstance(one, OrderReport)} == {"m/1"}


def test_a_busy_robot_takes_no_second_order_from_either_side(opened):
    world = opened()
    world.give(ROBOT, "goal-1", [LONG_WAIT])
    assert isinstance(world.give(ROBOT, "goal-2", [DRIVE]), Refused)
    cloud = Order(key="m/1", fence=1, serial_number=ROBOT, mission_id="m", tasks=(DRIVE,))
    assert isinstance(world.submit(cloud), Refused)


def test_it_may_be_canceled_paused_and_gone_on_with(opened):
    world = opened()
    world.give(ROBOT, "goal-1", [DRIVE])
    live(world, 5)
    world.turn(ROBOT, "goal-1", OrderStatus.paused)
    stood = world.look(ROBOT).sample.body
    live(world, 20)
    assert world.look(ROBOT).sample.body.x_m == stood.x_m
    world.turn(ROBOT, "goal-1", OrderStatus.running)
    live(world, 2)
    assert world.look(ROBOT).sample.body.x_m > stood.x_m
    world.turn(ROBOT, "goal-1", OrderStatus.canceled)
    assert world.given(ROBOT, "goal-1").status is OrderStatus.canceled


def test_a_word_that_was_never_given_cannot_be_turned(opened):
    world = opened()
    assert isinstance(world.turn(ROBOT, "goal-9", OrderStatus.canceled), Unsupported)
    assert world.given(ROBOT, "goal-9") is None
    assert world.look(ROBOT).word is None


def test_an_unknown_robot_is_said_to_be_unknown(opened):
    world = opened()
    assert isinstance(world.give("SIM-0009", "goal-1", [DRIVE]), Refused)
    with pytest.raises(NotFound, match="SIM-0009"):
        world.look("SIM-0009")


def test_a_robot_that_was_started_anew_stands_still_and_has_forgotten_its_order(opened):
    world = opened()
    world.give(ROBOT, "goal-1", [LONG_WAIT])
    live(world, 5)
    again = opened(world.at)
    assert again.given(ROBOT, "goal-1").status is OrderStatus.canceled
    assert "started anew" in again.given(ROBOT, "goal-1").reason
    assert again.look(ROBOT).seen.activity is not Activity.executing


def test_a_robot_that_remembers_goes_on_with_it(opened):
    world = opened()
    world.give(ROBOT, "goal-1", [LONG_WAIT])
    live(world, 5)
    again = opened(world.at, remembers_local_orders=True)
    live(again, 5)
    assert again.given(ROBOT, "goal-1").status is OrderStatus.running


def test_the_same_order_again_is_counted_and_starts_nothing(opened):
    world = opened()
    world.give(ROBOT, "goal-1", [DRIVE])
    live(world, 60)
    again = opened(world.at)
    orders = again.robots[ROBOT].memory.orders
    for _ in range(2):
        assert isinstance(again.give(ROBOT, "goal-1", [DRIVE]), Refused)
    assert again.robots[ROBOT].memory.orders == orders
    assert again.journal.given_again() == {"local/goal-1": 2}


def test_a_run_of_orders_is_one_recording_of_the_mission_that_was_named(opened):
    world = opened()
    world.give(ROBOT, "goal-1", [RECORD], mission_id="m")
    live(world, 1)
    world.give(ROBOT, "goal-2", [DRIVE])
    live(world, 25)
    assert world.stop_recording(ROBOT)
    (recording,) = world.recordings()
    assert recording.mission_id == "m"
    assert max(sample.body.x_m for sample in recording.samples) == 20.0


def test_a_recording_ends_by_itself_when_nothing_follows(opened):
    world = opened()
    world.give(ROBOT, "goal-1", [RECORD], mission_id="m")
    live(world, 1)
    world.give(ROBOT, "goal-2", [DRIVE])
    live(world, 25)
    assert world.recordings() == []
    live(world, QUIET.total_seconds() * world.plan.speed + 5)
    (recording,) = world.recordings()
    assert recording.mission_id == "m"
    assert world.stop_recording(ROBOT) == ""


def test_the_next_recording_ends_the_one_before(opened):
    world = opened()
    for mission in ("m", "n"):
        world.give(ROBOT, f"goal-{mission}", [RECORD], mission_id=mission)
        live(world, 1)
        world.give(ROBOT, f"drive-{mission}", [DRIVE])
        live(world, 25)
    world.stop_recording(ROBOT)
    recordings = world.recordings()
    assert [one.mission_id for one in recordings] == ["m", "n"]
    assert len({one.name for one in recordings}) == 2
