"""What comes next, what was, and what is forgotten."""

from datetime import UTC, datetime, timedelta

import pytest

from fleet.errors import Invalid, NotFound
from missions.schedules import retention
from missions.schedules.models import ScheduleRevision
from missions.schedules.rows import schedule_of
from missions.schedules.upcoming import past, schedule_view, schedules_of

AT_23 = datetime(2026, 3, 1, 23, tzinfo=UTC)


def _coming(timetable, **news: int) -> list[str]:
    return [f"{one.schedule} {one.due_at:%H:%M}" for one in timetable.coming(**news)]


def test_the_next_of_each_schedule_come_in_order_of_time(timetable):
    timetable.create(key="hourly")
    timetable.create("30 */2 * * *", key="half")
    assert _coming(timetable, per_schedule=2) == ["half 22:30", "hourly 23:00", "hourly 00:00", "half 00:30"]
    assert _coming(timetable, per_schedule=2, limit=3) == ["half 22:30", "hourly 23:00", "hourly 00:00"]
    first = timetable.coming()[0]
    assert (first.organisation, first.site, first.revision) == ("acme", "north", 1)


def test_moved_ones_stand_where_they_were_moved_to_and_cancelled_ones_nowhere(timetable):
    schedule = timetable.create(key="s")
    timetable.cancel(schedule, AT_23)
    timetable.move(schedule, AT_23 + timedelta(hours=1), AT_23 + timedelta(hours=2, minutes=30))
    assert _coming(timetable, per_schedule=3) == ["s 01:00", "s 01:30", "s 02:00"]
    moved = timetable.coming()[1]
    assert moved.is_moved
    assert moved.recurrence_id == AT_23 + timedelta(hours=1)


def test_what_a_blackout_keeps_out_does_not_come(timetable):
    timetable.create(key="s")
    timetable.blackout(begins="2026-03-02T00:30:00", ends="2026-03-02T01:30:00")
    assert _coming(timetable, per_schedule=3) == ["s 23:00", "s 01:00", "s 02:00"]


def test_what_comes_in_years_is_looked_up_without_all_the_windows_in_between(timetable):
    timetable.create("FREQ=YEARLY", begins="2026-03-01T23:00:00", key="yearly")
    timetable.blackout(begins="2026-03-01T22:50:00", ends="2026-03-01T23:10:00", rule="FREQ=HOURLY", timezone="UTC")
    assert timetable.coming() == []
    with timetable.runtime.reading() as session:
        view = schedule_view(session, timetable.world.organisation.id, "yearly")
    assert [one.due_at.year for one in view.next] == [2026, 2027, 2028, 2029, 2030]
    assert {one.closed_by for one in view.next} == {"shutdown"}


def test_a_schedule_that_cannot_be_read_hides_no_other(timetable):
    broken = timetable.create(key="broken")
    timetable.create(key="sound")
    with timetable.runtime.transaction() as session:
        row = session.get_one(ScheduleRevision, (broken.id, 1))
        row.recurrence = row.recurrence | {"timezone": "Europe/Atlantis"}
    assert _coming(timetable, per_schedule=1) == ["sound 23:00"]
    with timetable.runtime.reading() as session:
        views = schedules_of(session, broken.organisation_id)
    assert {view.name: len(view.next) for view in views} == {"broken": 0, "sound": 5}


def test_a_paused_schedule_has_nothing_to_come(timetable):
    schedule = timetable.create()
    timetable.control(schedule, "pause")
    assert _coming(timetable) == []


def test_a_schedule_is_shown_with_its_newest_revision_and_what_comes_next(timetable):
    schedule = timetable.create()
    timetable.revise(schedule, recurrence=timetable.recurrence("FREQ=DAILY", begins="2026-03-01T23:00:00"))
    with timetable.runtime.reading() as session:
        view = schedule_view(session, schedule.organisation_id, schedule.key)
    assert (view.revision, view.recurrence.rule, view.site) == (2, "FREQ=DAILY", "north")
    assert [one.due_at for one in view.next] == [AT_23 + timedelta(days=day) for day in range(5)]


def test_a_schedule_is_found_by_id_key_or_name_within_its_organisation(timetable):
    schedule = timetable.create(key="one")
    timetable.revise(timetable.create("FREQ=DAILY", key="two"), name="twin")
    timetable.revise(timetable.create("FREQ=DAILY", key="three"), name="twin")
    with timetable.runtime.reading() as session:
        owner = schedule.organisation_id
        assert schedule_of(session, owner, str(schedule.id)).id == schedule.id
        assert schedule_of(session, owner, "one").id == schedule.id
        with pytest.raises(Invalid, match="Several"):
            schedule_of(session, owner, "twin")
        with pytest.raises(NotFound):
            schedule_of(session, timetable.world.site.id, str(schedule.id))


def test_the_past_is_told_newest_first_with_reasons(timetable):
    schedule = timetable.create(misfire="skip")
    timetable.fire_after(hours=2)
    with timetable.runtime.reading() as session:
        told = past(session, schedule)
    assert [(f"{one.due_at:%H:%M}", one.status.value) for one in told] == [("00:00", "fired"), ("23:00", "missed")]
    assert "misfire policy skip" in told[1].reason


def _forget(timetable, limit: int = 100) -> int:
    with timetable.runtime.transaction() as session:
        return retention.forget(session, before=timetable.clock.now() - timedelta(days=30), limit=limit)


def test_what_was_decided_long_ago_is_forgotten_and_nothing_fires_again(timetable):
    schedule = timetable.create("FREQ=DAILY", begins="2026-03-01T23:00:00", misfire="run_once", overlap="cancel_older")
    timetable.cancel(schedule, AT_23 + timedelta(days=45))
    for _ in range(40):
        timetable.fire_after(days=1)
    timetable.finish()
    rounds = timetable.rounds()
    assert _forget(timetable, limit=6) == 6
    assert _forget(timetable) == 3
    assert _forget(timetable) == 0
    assert timetable.fire() == 0
    assert timetable.rounds() == rounds
    for _ in range(8):
        timetable.fire_after(days=1)
    canceled = [row for row in timetable.rows(schedule) if row.status.value == "canceled"]
    assert [row.recurrence_id for row in canceled] == [AT_23 + timedelta(days=45)]


def test_an_occurrence_whose_round_is_not_over_is_kept(timetable):
    timetable.create("FREQ=DAILY", begins="2026-03-01T23:00:00", overlap="skip")
    timetable.fire_after(hours=1)
    timetable.clock.step(60 * 86_400)
    assert _forget(timetable) == 0
    timetable.finish()
    assert _forget(timetable) == 1


def test_of_schedules_with_one_name_the_one_that_has_not_ended_is_meant(timetable):
    over = timetable.revise(timetable.create(key="first"), name="Night round")
    live = timetable.revise(timetable.create("FREQ=DAILY", key="second"), name="Night round")
    owner = timetable.world.organisation.id
    with timetable.runtime.reading() as session, pytest.raises(Invalid, match=str(live.id)):
        schedule_of(session, owner, "Night round")
    timetable.control(over, "end")
    with timetable.runtime.reading() as session:
        assert schedule_of(session, owner, "Night round").id == live.id
