"""The robots together with their journal on disk: once a key, fences, restarts, the same again for the same seed."""

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from fleet.adapter import (
    Accepted,
    Acknowledged,
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
from fleet.adapters.simulated.journal import Journal, OutgoingBag
from fleet.adapters.simulated.world import Plan, World

AT = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
READ_PRESS = OrderTask(position=0, kind=TaskKind.reading, station="press-1")
RECORD = OrderTask(position=0, kind=TaskKind.record_bag)
LONG_WAIT = OrderTask(position=0, kind=TaskKind.wait, parameters={"duration_s": 3600.0}, timeout_s=7200)


def order(key="m/1", serial_number="SIM-0001", fence=1, tasks=(READ_PRESS,)):
    return Order(key=key, fence=fence, serial_number=serial_number, mission_id=key.partition("/")[0], tasks=tasks)


@pytest.fixture
def opened(tmp_path):
    """Opens a world on a folder of the test; each is closed at the end."""
    journals = []

    def open_world(name="site", at=AT, **plan):
        journal = Journal(tmp_path / name / "journal.db")
        journals.append(journal)
        return World(Plan(**{"history_lives": 0, **plan}), journal, at)

    yield open_world
    for journal in journals:
        journal.close()


def live(world, seconds):
    """Live for simulated seconds, in one go (at most what the world makes up for)."""
    for _ in range(int(seconds / 20) + 1):
        world.advance(world.at + timedelta(seconds=min(seconds, 20) / world.plan.speed))


def told(world, after=0):
    entries = ",".join(one.entry for one in world.journal.feed_after(after, limit=10_000))
    return translate.events_from(f'{{"entries":[{entries}]}}'.encode())


def test_time_runs_faster_within_and_instants_are_those_of_the_wall_clock(opened):
    world = opened(speed=20)
    world.submit(order(tasks=(OrderTask(position=0, kind=TaskKind.wait, parameters={"duration_s": 40.0}),)))
    world.advance(AT + timedelta(seconds=1.9))
    assert world.query("SIM-0001", "m/1").status is OrderStatus.running
    world.advance(AT + timedelta(seconds=2.2))
    assert world.query("SIM-0001", "m/1").status is OrderStatus.succeeded
    assert AT < world.query("SIM-0001", "m/1").observed_at <= AT + timedelta(seconds=2.2)


def test_a_machine_that_slept_for_an_hour_makes_up_for_five_seconds_only(opened):
    world = opened(speed=1)
    world.submit(order(tasks=(LONG_WAIT,)))
    world.advance(AT + timedelta(hours=2))
    assert world.query("SIM-0001", "m/1").status is OrderStatus.running


def test_an_order_sent_twice_is_taken_once_also_after_it_is_over(opened):
    world = opened()
    first = world.submit(order())
    live(world, 60)
    assert isinstance(first, Accepted)
    assert world.submit(order()) == first
    assert world.robots["SIM-0001"].memory.orders == 1


def test_a_key_that_another_robot_has_is_refused(opened):
    world = opened()
    world.submit(order())
    assert isinstance(world.submit(order(serial_number="SIM-0002")), Refused)


def test_an_order_for_an_unknown_robot_is_refused(opened):
    assert "SIM-9999" in opened().submit(order(serial_number="SIM-9999")).reason


def test_a_command_under_an_outdated_fence_changes_nothing(opened):
    world = opened()
    world.submit(order(fence=5, tasks=(LONG_WAIT,)))
    outcome = world.command("SIM-0001", "m/1", OrderStatus.canceled, 4)
    assert isinstance(outcome, Unsupported)
    assert world.query("SIM-0001", "m/1").status is OrderStatus.accepted


def test_a_newer_fence_outdates_the_older_one_after_a_restart_too(opened):
    world = opened()
    world.command("SIM-0001", "m/1", OrderStatus.canceled, 7)
    world.journal.close()
    assert isinstance(opened().submit(order(key="m/2", fence=6)), Refused)


def test_pausing_an_order_that_nobody_knows_is_not_possible(opened):
    outcome = opened().command("SIM-0001", "m/9", OrderStatus.paused, 1)
    assert isinstance(outcome, Unsupported)
    assert "m/9" in outcome.reason


def test_a_command_for_one_robot_does_not_touch_the_order_of_another(opened):
    world = opened()
    world.submit(order(tasks=(LONG_WAIT,)))
    assert isinstance(world.command("SIM-0002", "m/1", OrderStatus.paused, 1), Unsupported)
    assert world.query("SIM-0001", "m/1").status is OrderStatus.accepted


def test_a_cancel_sent_to_the_wrong_robot_leaves_the_order_of_the_right_one(opened):
    world = opened()
    world.submit(order(tasks=(LONG_WAIT,)))
    outcome = world.command("SIM-0002", "m/1", OrderStatus.canceled, 1)
    assert isinstance(outcome, Unsupported)
    assert world.query("SIM-0001", "m/1").status is OrderStatus.accepted
    assert world.query("SIM-0002", "m/1") is None


def test_whatever_a_robot_says_is_in_the_history_in_order(opened):
    world = opened(speed=20)
    world.submit(order())
    live(world, 60)
    said = told(world)
    statuses = [one.status for one in said if isinstance(one, OrderReport)]
    assert statuses[0] is OrderStatus.accepted
    assert statuses[-1] is OrderStatus.succeeded
    assert [one.sequence for one in said if isinstance(one, OrderReport)] == list(range(1, len(statuses) + 1))
    assert {one.serial_number for one in said if isinstance(one, Observation)} == {"SIM-0001"}


def test_a_refusal_is_remembered_and_told(opened):
    world = opened()
    lost = order(tasks=(OrderTask(position=0, kind=TaskKind.go_to, station="atlantis"),))
    world.submit(lost)
    assert world.query("SIM-0001", "m/1").status is OrderStatus.rejected
    assert [one.status for one in told(world)] == [OrderStatus.rejected]


def test_a_world_opened_again_goes_on_where_it_was(opened):
    world = opened(speed=20)
    world.submit(order(tasks=(OrderTask(position=0, kind=TaskKind.go_to, station="gate"), LONG_WAIT)))
    live(world, 30)
    world.save()
    before, where = world.query("SIM-0001", "m/1"), world.robots["SIM-0001"].memory.body
    world.journal.close()
    again = opened(speed=20, at=AT + timedelta(minutes=1))
    assert again.query("SIM-0001", "m/1") == before
    assert again.robots["SIM-0001"].memory.body == where
    live(again, 2)
    assert isinstance(again.command("SIM-0001", "m/1", OrderStatus.canceled, 1), Acknowledged)
    assert again.query("SIM-0001", "m/1").sequence > before.sequence


def test_a_station_that_was_blocked_once_is_not_blocked_again_after_a_restart(opened):
    plan = {"blocked_once": ("press-1",), "speed": 20}
    world = opened(**plan)
    world.submit(order())
    live(world, 60)
    assert world.query("SIM-0001", "m/1").status is OrderStatus.failed
    world.journal.close()
    again = opened(**plan)
    again.submit(order(key="m/2"))
    live(again, 60)
    assert again.query("SIM-0001", "m/2").status is OrderStatus.succeeded


def test_the_past_is_told_once_however_often_the_site_is_opened(opened):
    opened(history_lives=2).journal.close()
    again = opened(history_lives=2, at=AT + timedelta(days=1))
    happened = [one for one in told(again) if isinstance(one, Happening)]
    assert len(happened) == 4 * 2 * 2
    assert len({one.key for one in happened}) == len(happened)
    assert again.opened_at == AT
    assert all(entry.is_past for entry in again.journal.feed_after(0, limit=100))


def test_a_robot_begins_with_the_age_that_its_past_gave_it(opened):
    world = opened(history_lives=2)
    present = world.past()[2]
    assert world.robots["SIM-0001"].memory.life == 3
    assert world.robots["SIM-0001"].memory.operating_h == present.hours


def test_a_mission_with_record_bag_leaves_one_recording_of_its_run(opened):
    world = opened(speed=20)
    world.submit(order(tasks=(RECORD, READ_PRESS.model_copy(update={"position": 1}))))
    live(world, 60)
    (recording,) = world.recordings()
    assert (recording.robot, recording.mission_id) == ("amr-01", "m")
    assert len(recording.samples) > 30
    assert world.recordings() == []


def test_a_canceled_mission_leaves_the_recording_of_what_was_done(opened):
    world = opened(speed=20)
    world.submit(order(tasks=(RECORD, LONG_WAIT.model_copy(update={"position": 1}))))
    live(world, 30)
    world.command("SIM-0001", "m/1", OrderStatus.canceled, 1)
    (recording,) = world.recordings()
    assert recording.samples


def test_the_same_seed_and_orders_give_the_same_readings_and_recordings(opened):
    told_by, recorded = [], []
    for name in ("one", "two"):
        world = opened(name, speed=20, seed=11)
        world.submit(order(tasks=(RECORD, READ_PRESS.model_copy(update={"position": 1}))))
        live(world, 60)
        told_by.append(world.query("SIM-0001", "m/1").tasks)
        recorded.append(world.recordings())
    assert told_by[0] == told_by[1]
    assert recorded[0] == recorded[1]


def test_another_seed_gives_other_readings(opened):
    values = []
    for seed in (1, 2):
        world = opened(str(seed), speed=20, seed=seed)
        world.submit(order())
        live(world, 60)
        values.append(world.query("SIM-0001", "m/1").tasks[0].value)
    assert values[0] != values[1]


def test_the_journal_hands_out_bags_oldest_first_until_they_are_ended(tmp_path):
    with closing(Journal(tmp_path / "journal.db")) as journal:
        for name in ("b", "a"):
            journal.add_bag(OutgoingBag(name, "amr-01", None))
            journal.add_bag(OutgoingBag(name, "amr-01", None))
        assert journal.waiting_bag() == OutgoingBag("b", "amr-01", None)
        journal.end_bag("b", "uploaded")
        assert journal.waiting_bag().name == "a"
        journal.end_bag("a", "refused")
        assert journal.waiting_bag() is None
        assert journal.knows_bag("b")


def test_the_journal_waits_for_the_disk_at_every_write(tmp_path):
    always = (2, "wal")  # synchronous FULL: https://www.sqlite.org/pragma.html#pragma_synchronous
    with closing(Journal(tmp_path / "journal.db")) as journal:
        ((synchronous,), (mode,)) = (journal._rows(f"PRAGMA {name}")[0] for name in ("synchronous", "journal_mode"))
    assert (synchronous, mode) == always
