"""Occurrences fire once: in time, after an outage by their policy, and whatever the clock does."""

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import col, select, update

from missions.models import Mission
from missions.schedules import firing
from missions.schedules.models import Schedule, ScheduleRevision


def test_an_occurrence_makes_its_round_at_its_time_and_not_before(timetable):
    schedule = timetable.create()
    assert timetable.fire_after(minutes=59) == 0
    assert timetable.fire_after(minutes=1) == 1
    assert timetable.fire() == 0
    assert timetable.rounds() == [f"{schedule.id}/1/2026-03-01T23:00:00Z"]
    assert [mission.key for mission in timetable.missions()] == [f"{schedule.id}/1/2026-03-01T23:00:00Z/0"]
    assert timetable.said(schedule) == ["23:00 fired"]
    assert timetable.changes("occurrence") == ["fired"]


def test_its_missions_expire_when_they_do_not_begin_within_the_window(timetable):
    timetable.create(start_within_s=600)
    timetable.fire_after(hours=1, seconds=2)
    (mission,) = timetable.missions()
    assert mission.not_after_at == datetime(2026, 3, 1, 23, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("skip", ["23:00 missed", "00:00 missed", "01:00 missed", "02:00 missed"]),
        ("run_once", ["23:00 missed", "00:00 missed", "01:00 missed", "02:00 fired"]),
        ("coalesce", ["23:00 coalesced", "00:00 coalesced", "01:00 coalesced", "02:00 fired"]),
        ("all", ["23:00 missed", "00:00 fired", "01:00 fired", "02:00 fired"]),
    ],
)
def test_after_an_outage_of_four_hours_the_policy_decides(timetable, policy, said):
    schedule = timetable.create(misfire=policy, catch_up_max=3, overlap="cancel_older")
    timetable.fire_after(hours=4, minutes=30)
    assert timetable.said(schedule) == said
    assert len(timetable.rounds()) == Counter(one.split()[1] for one in said)["fired"]


@pytest.mark.parametrize(("policy", "fired"), [("skip", 0), ("run_once", 1), ("all", 100)])
def test_a_year_of_every_twenty_minutes_is_worked_off_in_parts_with_one_policy(timetable, policy, fired):
    schedule = timetable.create("*/20 * * * *", misfire=policy, catch_up_max=100, overlap="cancel_older", grace_s=0)
    timetable.clock.step(60 * 86_400 + 60)
    while timetable.fire():
        pass
    assert timetable.counted(schedule) == Counter(missed=60 * 72 - fired, **({"fired": fired} if fired else {}))
    keys = [row.status.value for row in timetable.rows(schedule)]
    assert keys == ["missed"] * (60 * 72 - fired) + ["fired"] * fired


def test_no_transaction_decides_more_than_a_batch(timetable):
    schedule = timetable.create("* * * * *")
    timetable.clock.step(86_400)
    assert firing.fire_due(timetable.runtime.transaction, who="test", limit=1) <= 1000
    assert len(timetable.rows(schedule)) <= 1000


def test_one_schedule_with_a_long_way_to_catch_up_keeps_no_other_waiting(timetable):
    timetable.create("* * * * *", key="behind")
    timetable.clock.step(3 * 86_400)
    fresh = timetable.create("* * * * *", key="fresh")
    timetable.clock.step(61)
    firing.fire_due(timetable.runtime.transaction, who="test", limit=2)
    assert timetable.counted(fresh) == Counter(fired=1)


def test_a_clock_set_back_makes_nothing_twice(timetable):
    schedule = timetable.create(overlap="cancel_older")
    timetable.fire_after(hours=3)
    before = timetable.said(schedule)
    timetable.fire_after(hours=-2)
    timetable.fire_after(hours=1)
    timetable.fire_after(hours=1)
    assert timetable.said(schedule) == before
    timetable.fire_after(hours=1)
    assert timetable.said(schedule) == [*before, "02:00 fired"]


def test_a_clock_set_ahead_misses_by_policy_and_goes_on(timetable):
    schedule = timetable.create(misfire="run_once", overlap="cancel_older")
    timetable.fire_after(hours=3, minutes=30)
    timetable.fire_after(hours=-3)
    for _ in range(8):
        timetable.fire_after(minutes=30)
    assert timetable.said(schedule) == ["23:00 missed", "00:00 missed", "01:00 fired", "02:00 fired"]


def test_jitter_starts_each_within_its_spread_and_once(timetable):
    schedule = timetable.create("*/5 * * * *", jitter_s=900, overlap="cancel_older")
    for _ in range(120):
        timetable.fire_after(minutes=1)
    assert timetable.counted(schedule)["fired"] >= 21
    for row in timetable.rows(schedule):
        if row.status.value == "fired":
            assert row.due_at <= row.decided_at < row.due_at + timedelta(minutes=1)
    assert len({row.due_at - row.recurrence_id for row in timetable.rows(schedule)}) > 15


def test_in_the_night_without_two_oclock_a_fixed_time_fires_once_an_hour_later(timetable):
    schedule = timetable.create(
        "30 2 * * *", begins="2026-03-27T00:00:00", timezone="Europe/Berlin", overlap="cancel_older"
    )
    timetable.clock.step((datetime(2026, 3, 27, tzinfo=UTC) - timetable.clock.now()).total_seconds())
    for _ in range(4 * 48):
        timetable.fire_after(minutes=30)
    at = [row.recurrence_id for row in timetable.rows(schedule) if row.status.value == "fired"]
    # 02:30 does not exist on 29 March in Berlin; by the offset before the gap it is 03:30 CEST, 01:30 UTC.
    assert [f"{one:%d %H:%M}" for one in at] == ["27 01:30", "28 01:30", "29 01:30", "30 00:30"]


def test_in_the_night_with_two_oclock_twice_a_fixed_time_fires_once_and_hourly_ones_25_times(timetable):
    timetable.clock.step((datetime(2026, 10, 24, 22, tzinfo=UTC) - timetable.clock.now()).total_seconds())
    news = {"begins": "2026-10-25T00:00:00", "timezone": "Europe/Berlin", "overlap": "cancel_older", "grace_s": 0}
    fixed = timetable.create("FREQ=DAILY;BYHOUR=2;BYMINUTE=30", key="fixed", **news)
    hourly = timetable.create("FREQ=HOURLY;BYMINUTE=30", key="hourly", **news)
    for _ in range(50):  # from local midnight to the next one: 25 hours
        timetable.fire_after(minutes=30)
    assert [f"{row.recurrence_id:%H:%M} {row.status}" for row in timetable.rows(fixed)] == ["00:30 fired"]
    assert timetable.counted(hourly) == Counter(fired=25)


def test_a_mission_that_no_longer_fits_the_site_fails_its_occurrence_and_the_schedule_goes_on(timetable):
    schedule = timetable.create(missions=[{"name": "m", "robot": "amr-01", "tasks": [{"station": "gate"}]}])
    _rename(timetable, "amr-01", "gone")
    timetable.fire_after(hours=1)
    _rename(timetable, "gone", "amr-01")
    timetable.fire_after(hours=1)
    assert timetable.said(schedule) == ["23:00 failed", "00:00 fired"]
    assert "amr-01" in timetable.rows(schedule)[0].reason
    assert len(timetable.rounds()) == len(timetable.missions()) == 1


def _rename(timetable, old: str, new: str) -> None:
    robot = timetable.world.robots["amr-01"]
    with timetable.runtime.transaction() as session:
        session.exec(update(type(robot)).where(col(type(robot).name) == old).values(name=new))


def test_a_schedule_that_cannot_be_read_rests_and_keeps_no_other_waiting(timetable):
    broken, sound = timetable.create(key="broken"), timetable.create(key="sound")
    with timetable.runtime.transaction() as session:
        session.get_one(ScheduleRevision, (broken.id, 1)).recurrence = {"rule": "nonsense"}
    assert timetable.fire_after(hours=1) == 1
    assert timetable.said(sound) == ["23:00 fired"]
    assert timetable.schedule(broken).next_due_at == timetable.clock.now() + timedelta(seconds=60)


def _at_once(work, count: int) -> list[object]:
    results: list[object] = []
    barrier = threading.Barrier(count)

    def run() -> None:
        barrier.wait()
        try:
            results.append(work())
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def _fire_at_once(timetable) -> None:
    schedules = [timetable.create(key=f"s{number}", overlap="cancel_older") for number in range(6)]
    for _ in range(3):
        timetable.clock.step(3600)
        results = _at_once(timetable.fire, 3)
        assert all(isinstance(one, int) for one in results), results
        assert sum(results) == 6
    assert [timetable.said(one) for one in schedules] == [["23:00 fired", "00:00 fired", "01:00 fired"]] * 6
    assert len(timetable.rounds()) == len(timetable.missions()) == 18


def test_three_schedulers_at_once_make_each_round_once(timetable):
    _fire_at_once(timetable)


@pytest.mark.proof
def test_three_schedulers_at_once_make_each_round_once_on_postgresql(postgres_timetable):
    _fire_at_once(postgres_timetable)


@pytest.mark.proof
def test_overlap_and_queue_work_on_postgresql(postgres_timetable):
    timetable = postgres_timetable
    schedule = timetable.create(jitter_s=60)
    timetable.fire_after(hours=1, minutes=1)
    timetable.fire_after(hours=1, minutes=1)
    assert timetable.said(schedule) == ["23:00 fired", "00:00 queued"]
    timetable.finish()
    timetable.fire()
    assert timetable.said(schedule) == ["23:00 fired", "00:00 fired"]


def test_two_missions_of_one_template_have_keys_of_their_own(timetable):
    timetable.create(missions=[{"name": "m", "tasks": [{"station": "gate"}]}] * 2)
    timetable.fire_after(hours=1)
    with timetable.runtime.reading() as session:
        keys = session.exec(select(Mission.key)).all()
        (schedule,) = session.exec(select(Schedule)).all()
    assert sorted(keys) == [f"{schedule.id}/1/2026-03-01T23:00:00Z/{index}" for index in (0, 1)]
