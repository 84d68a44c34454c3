"""Robots that record by their policy: the span around a trigger, once a trigger, also when the site is killed between."""

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from fleet.adapter import Accepted, Order, OrderTask, TaskKind
from fleet.adapters.simulated.journal import Journal
from fleet.adapters.simulated.policy import Policy
from fleet.adapters.simulated.recorder import write_bag
from fleet.adapters.simulated.site import _write_finished
from fleet.adapters.simulated.world import Plan, World

AT = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
SERIAL = "SIM-0001"
GO = OrderTask(position=0, kind=TaskKind.go_to, station="press-1")
ERROR = {"on": "error", "topics": [{"pattern": "*"}], "before_s": 30, "after_s": 20}
REQUEST = {"id": "request/k", "topics": [{"pattern": "*"}], "before_s": 10, "after_s": 5}


def policy(*triggers, requests=(), continuous=(), version=1, split_s=60.0):
    document = {"triggers": triggers, "continuous": continuous, "split_s": split_s}
    return Policy.model_validate({"name": "n", "version": version, "policy": document, "requests": requests})


@pytest.fixture
def opened(tmp_path):
    """Opens the site's world on its folder, as after a start; what was open before is left as a kill leaves it."""
    journals = []

    def open_world(at=AT):
        journal = Journal(tmp_path / "journal.db")
        journals.append(journal)
        return World(Plan(history_lives=0, blocked_once=("press-1",)), journal, at)

    yield open_world
    for journal in journals:
        journal.close()


def live(world, seconds):
    """Live for simulated seconds."""
    end = world.at + timedelta(seconds=seconds / world.plan.speed)
    while world.at < end - timedelta(seconds=0.02):
        world.advance(min(end, world.at + timedelta(seconds=1)))


def fail(world, key="m/1"):
    """Send the robot to the blocked station; live until it has failed there."""
    order = Order(key=key, fence=1, serial_number=SERIAL, mission_id="m", tasks=(GO,))
    assert isinstance(world.submit(order), Accepted)
    for _ in range(300):
        live(world, 1)
        if world.query(SERIAL, key).status == "failed":
            return
    raise AssertionError("the station was not blocked")


def messages(path):
    """How many messages each topic has."""
    with AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        return {one.topic: one.msgcount for one in reader.connections}


def bags(folder):
    return sorted(folder.glob("*.mcap"))


def test_without_a_policy_a_failure_is_not_recorded(opened):
    world = opened()
    fail(world)
    live(world, 60)
    assert world.recordings() == []


def test_a_failure_is_recorded_from_before_it_to_after_it(opened):
    world = opened()
    world.follow(SERIAL, policy(ERROR))
    live(world, 40)
    fail(world)
    assert world.recordings() == []
    live(world, 25)
    (recording,) = world.recordings()
    spans = [(sample.at_ns - recording.samples[0].at_ns) / 1e9 * world.plan.speed for sample in recording.samples]
    assert len(spans) == 2 * (30 + 20)
    assert spans[-1] == pytest.approx(49.5, abs=0.5)
    assert spans == sorted(spans)
    assert '"event":"m/1/failed"' in recording.trigger
    assert '"policy":"n@1"' in recording.trigger
    assert recording.mission_id is None or recording.mission_id == "m"


def test_only_the_topics_of_the_policy_are_recorded_and_not_faster(opened, tmp_path):
    world = opened()
    topics = [{"pattern": "/imu", "max_rate_hz": 0.5}, {"pattern": "/o*"}]
    world.follow(SERIAL, policy({**ERROR, "topics": topics}))
    fail(world)
    live(world, 25)
    _write_finished(tmp_path, world)
    (bag,) = bags(tmp_path)
    found = messages(bag)
    assert set(found) == {"/imu", "/odom"}
    assert found["/imu"] == -(-found["/odom"] // 4)


def test_another_kind_of_trigger_records_nothing(opened):
    world = opened()
    world.follow(SERIAL, policy({**ERROR, "on": "poor_performance"}))
    fail(world)
    live(world, 60)
    assert world.recordings() == []


def test_a_worn_drive_that_shakes_is_an_anomaly_once(opened):
    world = opened()
    world.follow(SERIAL, policy({**ERROR, "on": "anomaly", "after_s": 2}))
    robot = world.robots[SERIAL]
    robot.memory.operating_h = robot.life.length_h * 0.97
    fail(world)
    live(world, 40)
    (recording,) = world.recordings()
    assert '"kind":"anomaly"' in recording.trigger
    assert recording.samples[-5].signs.vibration_m_s2 > 1.8


def test_a_request_is_recorded_once_however_often_it_is_told(opened):
    world = opened()
    world.follow(SERIAL, policy(ERROR))
    live(world, 40)
    for _ in range(3):
        world.follow(SERIAL, policy(ERROR, requests=[REQUEST]))
        live(world, 10)
    (recording,) = world.recordings()
    assert len(recording.samples) == 2 * (10 + 5)
    world.follow(SERIAL, policy(ERROR, requests=[REQUEST]))
    live(world, 10)
    assert world.recordings() == []


def test_a_request_without_a_policy_is_recorded_from_then_on(opened):
    world = opened()
    world.follow(SERIAL, policy(requests=[{**REQUEST, "after_s": 8}]))
    live(world, 10)
    assert [len(one.samples) for one in world.recordings()] == [16]


def test_a_request_of_the_past_only_is_recorded_at_once(opened):
    world = opened()
    world.follow(SERIAL, policy(ERROR))
    live(world, 40)
    world.follow(SERIAL, policy(ERROR, requests=[{**REQUEST, "after_s": 0}]))
    live(world, 1)
    assert len(world.recordings()[0].samples) in {20, 21}


def test_a_site_killed_after_the_trigger_brings_the_recording_when_it_is_back(opened, tmp_path):
    world = opened()
    world.follow(SERIAL, policy(ERROR))
    live(world, 40)
    fail(world)
    live(world, 3)
    back = opened(world.at + timedelta(seconds=30))
    live(back, 25)
    (recording,) = back.recordings()
    assert 2 * (30 + 20) - 8 <= len(recording.samples) <= 2 * (30 + 20) + 2
    assert '"event":"m/1/failed"' in recording.trigger
    _write_finished(tmp_path, back)


def test_a_site_killed_before_the_bag_is_written_writes_it_when_it_is_back(opened, tmp_path):
    world = opened()
    world.follow(SERIAL, policy(ERROR))
    fail(world)
    live(world, 25)
    (recording,) = world.recordings()
    back = opened(world.at)
    assert back.recordings() == [recording]


def test_a_site_killed_between_the_file_and_its_row_writes_the_same_file_again(opened, tmp_path):
    world = opened()
    world.follow(SERIAL, policy(ERROR))
    fail(world)
    live(world, 25)
    (recording,) = world.recordings()
    first = write_bag(tmp_path, recording).read_bytes()
    back = opened(world.at)
    _write_finished(tmp_path, back)
    (bag,) = bags(tmp_path)
    assert bag.read_bytes() == first
    assert back.journal.waiting_bag().name == bag.stem


def test_a_written_recording_waits_with_its_trigger_and_is_not_made_again(opened, tmp_path):
    world = opened()
    world.follow(SERIAL, policy(ERROR))
    fail(world)
    live(world, 25)
    _write_finished(tmp_path, world)
    with closing(Journal(tmp_path / "journal.db")) as journal:
        waiting = journal.waiting_bag()
        assert waiting.name == bags(tmp_path)[0].stem
        assert '"event":"m/1/failed"' in waiting.trigger
        assert journal.captured_samples(SERIAL, "event/m/1/failed") == []
    back = opened(world.at)
    live(back, 30)
    assert back.recordings() == []


def test_robots_follow_their_last_policy_while_the_platform_is_away(opened):
    opened().follow(SERIAL, policy(ERROR))
    back = opened()
    fail(back)
    live(back, 25)
    assert len(back.recordings()) == 1


def test_what_is_recorded_all_the_time_comes_in_stretches_and_slowly(opened, tmp_path):
    world = opened()
    world.follow(SERIAL, policy(continuous=[{"pattern": "/odom", "max_rate_hz": 0.5}]))
    live(world, 190)
    found = world.recordings()
    assert len(found) == 3
    assert [one.trigger for one in found] == [None] * 3
    assert all(28 <= len(one.samples) <= 31 for one in found)
    assert len({one.name for one in found}) == 3
    _write_finished(tmp_path, world)


def test_a_new_policy_ends_what_is_recorded_all_the_time(opened):
    world = opened()
    slow = [{"pattern": "/odom", "max_rate_hz": 0.5}]
    world.follow(SERIAL, policy(continuous=slow, split_s=86_400))
    live(world, 60)
    world.follow(SERIAL, policy(version=2))
    live(world, 2)
    assert len(world.recordings()) == 1


def test_a_policy_of_topics_that_the_robot_does_not_have_gives_an_empty_bag(opened, tmp_path):
    world = opened()
    world.follow(SERIAL, policy({**ERROR, "topics": [{"pattern": "/camera/*"}]}))
    fail(world)
    live(world, 25)
    _write_finished(tmp_path, world)
    assert messages(bags(tmp_path)[0]) == {}
