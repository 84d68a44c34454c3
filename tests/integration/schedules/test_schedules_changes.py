"""Schedules are revised, paused, resumed and ended, and single occurrences moved and cancelled."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from fleet.errors import Conflict, Invalid, NotFound

AT_23 = datetime(2026, 3, 1, 23, tzinfo=UTC)
AT_00 = AT_23 + timedelta(hours=1)
AT_01 = AT_23 + timedelta(hours=2)
EAST, WEST = timezone(timedelta(hours=12)), timezone(-timedelta(hours=12))


def test_a_revision_counts_from_now_on_and_the_past_stays(timetable):
    schedule = timetable.create(overlap="cancel_older")
    timetable.fire_after(hours=1)
    before = timetable.rows(schedule)
    timetable.clock.step(600)
    revised = timetable.revise(schedule, recurrence=timetable.recurrence("FREQ=HOURLY;BYMINUTE=30"))
    timetable.fire_after(hours=1)
    assert revised.revision == 2
    assert timetable.rows(schedule)[0] == before[0]
    assert [(row.revision, f"{row.recurrence_id:%H:%M}") for row in timetable.rows(schedule)] == [
        (1, "23:00"),
        (2, "23:30"),
    ]


def test_what_the_old_revision_had_due_before_the_change_is_decided_by_it(timetable):
    schedule = timetable.create(misfire="run_once")
    timetable.clock.step(3600 + 60)
    timetable.revise(schedule, recurrence=timetable.recurrence("FREQ=HOURLY;BYMINUTE=30"))
    timetable.fire()
    timetable.fire_after(minutes=30)
    assert [(row.revision, f"{row.recurrence_id:%H:%M}") for row in timetable.rows(schedule)] == [
        (1, "23:00"),
        (2, "23:30"),
    ]


def test_the_same_content_again_is_no_new_revision(timetable):
    schedule = timetable.create()
    assert timetable.revise(schedule, recurrence=timetable.recurrence()).revision == 1
    assert timetable.revise(schedule, name="other").revision == 1
    assert timetable.schedule(schedule).name == "other"
    assert timetable.changes("schedule") == ["created", "renamed"]


def test_a_wrong_revision_changes_nothing(timetable):
    schedule = timetable.create()
    with pytest.raises(Invalid):
        timetable.revise(schedule, recurrence=timetable.recurrence("FREQ=DAILY;BYMONTH=13"))
    assert timetable.schedule(schedule) == schedule


def test_what_people_said_of_single_occurrences_survives_a_revision(timetable):
    schedule = timetable.create()
    timetable.cancel(schedule, AT_00)
    timetable.move(schedule, AT_01, AT_01 + timedelta(minutes=20))
    timetable.revise(schedule, recurrence=timetable.recurrence(overlap="cancel_older"))
    for _ in range(20):
        timetable.fire_after(minutes=10)
    second = [row for row in timetable.rows(schedule) if row.revision == 2]
    assert [(f"{row.recurrence_id:%H:%M}", row.status.value) for row in second] == [
        ("23:00", "fired"),
        ("00:00", "canceled"),
        ("01:00", "fired"),
    ]
    assert second[2].due_at == AT_01 + timedelta(minutes=20)
    assert {row.status.value for row in timetable.rows(schedule) if row.revision == 1} == {"canceled"}


def test_one_that_was_moved_ahead_and_has_started_does_not_start_again_after_a_revision(timetable):
    schedule = timetable.create()
    timetable.move(schedule, AT_01, AT_23 - timedelta(minutes=30))
    timetable.fire_after(minutes=30)
    timetable.revise(schedule, recurrence=timetable.recurrence(overlap="cancel_older"))
    for _ in range(4):
        timetable.fire_after(hours=1)
    at_one = [row for row in timetable.rows(schedule) if row.recurrence_id == AT_01]
    assert [(row.revision, row.status.value) for row in at_one] == [(1, "fired"), (2, "skipped")]


def test_a_paused_schedule_skips_what_falls_into_the_pause_and_catches_up_with_nothing(timetable):
    schedule = timetable.create(misfire="all", overlap="cancel_older")
    timetable.control(schedule, "pause")
    timetable.fire_after(hours=1)
    timetable.clock.step(2 * 3600)
    timetable.control(schedule, "resume")
    timetable.fire_after(hours=1)
    assert timetable.said(schedule) == ["23:00 skipped", "00:00 skipped", "01:00 skipped", "02:00 fired"]
    assert {row.reason for row in timetable.rows(schedule)[:3]} == {"The schedule is paused."}
    assert timetable.changes("schedule") == ["created", "paused", "resumed"]


def test_pausing_and_resuming_twice_is_harmless(timetable):
    schedule = timetable.create()
    for what in ("pause", "pause", "resume", "resume"):
        timetable.control(schedule, what)
    assert timetable.changes("schedule") == ["created", "paused", "resumed"]


def test_what_is_queued_when_a_schedule_is_paused_is_skipped(timetable):
    schedule = timetable.create()
    timetable.fire_after(hours=1)
    timetable.fire_after(hours=1)
    timetable.control(schedule, "pause")
    timetable.finish()
    assert timetable.fire() == 0
    assert timetable.said(schedule) == ["23:00 fired", "00:00 skipped"]


def test_an_ended_schedule_makes_nothing_and_takes_no_command(timetable):
    schedule = timetable.create()
    timetable.move(schedule, AT_23, AT_23 + timedelta(minutes=5))
    timetable.control(schedule, "end")
    timetable.control(schedule, "end")
    assert timetable.fire_after(days=2) == 0
    assert timetable.said(schedule) == ["23:00 canceled"]
    for what in ("pause", "resume"):
        with pytest.raises(Conflict, match="has ended"):
            timetable.control(schedule, what)
    with pytest.raises(Conflict, match="has ended"):
        timetable.revise(schedule, recurrence=timetable.recurrence("FREQ=DAILY"))


def test_a_moved_occurrence_starts_where_it_was_moved_to_before_or_after_others(timetable):
    schedule = timetable.create(overlap="cancel_older")
    timetable.move(schedule, AT_01, AT_23 - timedelta(minutes=30))
    timetable.move(schedule, AT_23, AT_00 + timedelta(minutes=30))
    started = []
    for _ in range(10):
        timetable.fire_after(minutes=30)
        started.append(len(timetable.rounds()))
    # 22:30 (the one of 01:00), 00:00, 00:30 (the one of 23:00), 02:00, 03:00
    assert started == [1, 1, 1, 2, 3, 3, 3, 4, 4, 5]
    assert timetable.said(schedule) == ["23:00 fired", "00:00 fired", "01:00 fired", "02:00 fired", "03:00 fired"]


def test_moving_twice_moves_it_again_and_the_same_again_changes_nothing(timetable):
    schedule = timetable.create()
    timetable.move(schedule, AT_23, AT_01)
    timetable.move(schedule, AT_23, AT_01)
    timetable.move(schedule, AT_23, AT_00)
    assert [row.due_at for row in timetable.rows(schedule)] == [AT_00]
    assert timetable.changes("occurrence") == ["moved", "moved"]


def test_a_moved_occurrence_that_nobody_could_start_follows_the_policy(timetable):
    schedule = timetable.create("FREQ=DAILY", begins="2026-03-01T23:00:00")
    timetable.move(schedule, AT_23, AT_00)
    timetable.fire_after(hours=3)
    assert timetable.said(schedule) == ["23:00 missed"]


def test_a_cancelled_occurrence_does_not_start_and_the_others_do(timetable):
    schedule = timetable.create()
    assert timetable.cancel(schedule, AT_23).id == timetable.cancel(schedule, AT_23).id
    timetable.fire_after(hours=1)
    timetable.fire_after(hours=1)
    assert timetable.said(schedule) == ["23:00 canceled", "00:00 fired"]
    assert timetable.rows(schedule)[0].reason == "Cancelled by user:ops."


def test_a_queued_occurrence_can_be_cancelled(timetable):
    schedule = timetable.create()
    timetable.fire_after(hours=1)
    timetable.fire_after(hours=1)
    timetable.cancel(schedule, AT_00)
    timetable.finish()
    assert timetable.fire() == 0
    assert timetable.said(schedule) == ["23:00 fired", "00:00 canceled"]


def test_what_has_started_or_is_due_is_neither_moved_nor_cancelled(timetable):
    schedule = timetable.create()
    timetable.clock.step(3600)
    with pytest.raises(Conflict, match="due already"):
        timetable.cancel(schedule, AT_23)
    timetable.fire()
    with pytest.raises(Conflict, match="fired already"):
        timetable.cancel(schedule, AT_23)
    with pytest.raises(Conflict, match="fired already"):
        timetable.move(schedule, AT_23, AT_01)
    assert timetable.said(schedule) == ["23:00 fired"]


def test_what_is_no_occurrence_is_not_found_and_the_next_ones_are_named(timetable):
    schedule = timetable.create()
    with pytest.raises(NotFound, match="the next are: 2026-03-01T23:00:00Z, 2026-03-02T00:00:00Z"):
        timetable.cancel(schedule, AT_23 + timedelta(minutes=1))
    with pytest.raises(Invalid, match="has passed"):
        timetable.move(schedule, AT_23, AT_23 - timedelta(hours=2))
    assert timetable.rows(schedule) == []


@pytest.mark.parametrize("wish", ["cancel", "move"])
def test_what_an_older_revision_said_of_a_time_does_not_hide_it_when_the_rule_has_it_again(timetable, wish):
    schedule = timetable.create(overlap="skip")
    timetable.move(schedule, AT_01, AT_01 + timedelta(minutes=30))
    timetable.revise(schedule, recurrence=timetable.recurrence("FREQ=DAILY", overlap="skip"))
    timetable.revise(schedule, recurrence=timetable.recurrence(overlap="skip"))
    if wish == "cancel":
        timetable.cancel(schedule, AT_01)
    else:
        timetable.move(schedule, AT_01, AT_01 + timedelta(hours=9))
    for _ in range(4):
        timetable.fire_after(hours=1)
        timetable.finish()
    assert "01:00 fired" not in timetable.said(schedule)
    assert "00:00 fired" in timetable.said(schedule)


@pytest.mark.parametrize(
    "far", [datetime.max.replace(tzinfo=WEST), datetime.min.replace(tzinfo=EAST), datetime.min.replace(tzinfo=UTC)]
)
def test_times_at_the_edges_of_the_calendar_are_refused(timetable, far):
    schedule = timetable.create()
    with pytest.raises(Invalid, match="1900 to 2999"):
        timetable.cancel(schedule, far)
    with pytest.raises(Invalid, match="1900 to 2999"):
        timetable.move(schedule, AT_23, far)
    assert timetable.rows(schedule) == []


def test_a_missed_occurrence_has_no_missions_to_cancel(timetable):
    schedule = timetable.create()
    timetable.fire_after(hours=3)
    with pytest.raises(Conflict, match="is missed already") as refused:
        timetable.cancel(schedule, AT_23)
    assert "Cancel its missions" not in refused.value.message
    with pytest.raises(Conflict, match="Cancel its missions"):
        timetable.cancel(schedule, AT_01)
