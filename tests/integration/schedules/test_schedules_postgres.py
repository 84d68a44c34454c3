"""Schedules on a real PostgreSQL: the same rows and locks, several processes' worth of threads at once."""

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from fleet.errors import Conflict
from missions.schedules import overlap, retention
from missions.schedules.holidays import import_calendar
from missions.schedules.upcoming import past, schedule_view

pytestmark = pytest.mark.proof

AT_23 = datetime(2026, 3, 1, 23, tzinfo=UTC)
HOLIDAYS = (
    "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//t//EN\nBEGIN:VEVENT\nUID:x\nSUMMARY:Feast\n"
    "DTSTART;VALUE=DATE:20260302\nEND:VEVENT\nEND:VCALENDAR\n"
)


@pytest.fixture
def at_once():
    """Runs these at the same moment, each in a thread, and gives what each returned or raised."""

    def run(*works) -> list[object]:
        results: list[object] = []
        barrier = threading.Barrier(len(works))

        def one(work) -> None:
            barrier.wait()
            try:
                results.append(work())
            except Exception as error:
                results.append(error)

        threads = [threading.Thread(target=one, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    return run


@pytest.fixture
def timetable(postgres_timetable):
    return postgres_timetable


def test_the_life_of_a_schedule(timetable):
    schedule = timetable.create(jitter_s=30, misfire="coalesce", overlap="cancel_older", skip_holidays=True)
    timetable.fire_after(hours=1, minutes=1)
    timetable.cancel(schedule, AT_23 + timedelta(hours=1))
    timetable.move(schedule, AT_23 + timedelta(hours=2), AT_23 + timedelta(hours=2, minutes=30))
    timetable.revise(schedule, recurrence=timetable.recurrence(overlap="cancel_older"))
    for _ in range(5):
        timetable.fire_after(minutes=30)
    timetable.control(schedule, "pause")
    timetable.fire_after(hours=1)
    timetable.clock.step(3600)
    timetable.control(schedule, "resume")
    timetable.blackout(begins="2026-03-02T05:30:00", ends="2026-03-02T06:30:00", rule="FREQ=DAILY")
    timetable.fire_after(minutes=30)
    timetable.fire_after(hours=1)
    timetable.control(schedule, "end")
    told = [f"{row.revision} {row.recurrence_id:%H:%M} {row.status}" for row in timetable.rows(schedule)]
    assert told == [
        "1 23:00 fired",
        "1 00:00 canceled",
        "2 00:00 canceled",
        "1 01:00 canceled",
        "2 01:00 fired",
        "2 02:00 skipped",
        "2 03:00 skipped",
        "2 04:00 fired",
        "2 05:00 skipped",
    ]
    with timetable.runtime.reading() as session:
        assert schedule_view(session, schedule.organisation_id, "s").status == "ended"
        assert len(past(session, schedule)) == len(told)


def test_one_key_asked_for_by_three_at_once_is_one_schedule(timetable, at_once):
    made = at_once(*[timetable.create] * 3)
    assert len({one.id for one in made}) == 1


def test_a_cancelled_occurrence_either_does_not_start_or_the_cancelling_is_refused(timetable, at_once):
    for number in range(15):
        schedule = timetable.create(key=f"s{number}", begins="2026-03-01T22:00:00")
        first = timetable.coming(per_schedule=1)[-1].recurrence_id

        def cancel(schedule=schedule, first=first) -> str:
            try:
                return timetable.cancel(schedule, first).status.value
            except Conflict:
                return "refused"

        timetable.clock.step((first - timetable.clock.now()).total_seconds() - 1e-6)
        answers = at_once(cancel, lambda: timetable.fire_after(seconds=1e-6))
        timetable.fire()  # whoever fired may have passed over the schedule while the cancelling was looked at
        (row,) = [row for row in timetable.rows(schedule) if row.recurrence_id == first]
        assert (row.status.value == "canceled") == ("canceled" in answers), answers
        assert (row.round_id is not None) == ("refused" in answers), answers
        timetable.control(schedule, "end")


def test_a_calendar_imported_by_three_at_once_is_there_once(timetable, at_once):
    def take_in() -> int:
        with timetable.runtime.transaction() as session:
            return import_calendar(
                session, site=timetable.world.site, calendar="state", content=HOLIDAYS, who="user:ops"
            )

    assert at_once(take_in, take_in, take_in) == [1, 1, 1]
    assert timetable.changes("blackout") == ["imported"]


def test_two_that_forget_at_once_remove_each_row_once(timetable, at_once):
    schedule = timetable.create("*/5 * * * *", misfire="skip")
    timetable.clock.step(86_400)
    while timetable.fire():
        pass
    kept = timetable.counted(schedule)["queued"]
    timetable.finish()
    timetable.control(schedule, "end")
    timetable.clock.step(40 * 86_400)

    def forget() -> int:
        with timetable.runtime.transaction() as session:
            return retention.forget(session, before=timetable.clock.now() - timedelta(days=30), limit=200)

    removed = at_once(forget, forget)
    assert sum(removed) == 288, (removed, kept)
    assert timetable.counted(schedule) == Counter()


def test_an_older_mission_that_ends_just_before_it_is_cancelled_holds_nothing_up(timetable, monkeypatch):
    schedule = timetable.create(overlap="cancel_older", grace_s=0)
    timetable.fire_after(hours=1)
    look = overlap.live_missions

    def slow(session, schedule):
        found = look(session, schedule)
        monkeypatch.setattr(overlap, "live_missions", look)
        other = threading.Thread(target=timetable.finish)
        other.start()
        other.join()
        return found

    monkeypatch.setattr(overlap, "live_missions", slow)
    assert timetable.fire_after(hours=1) == 1
    assert timetable.said(schedule) == ["23:00 fired", "00:00 fired"]
