"""What happens to an occurrence while missions of an earlier one are under way."""

from collections import Counter


def test_queued_ones_start_in_order_each_when_the_one_before_is_over(timetable):
    schedule = timetable.create(overlap="queue")
    for _ in range(3):
        timetable.fire_after(hours=1)
    assert timetable.said(schedule) == ["23:00 fired", "00:00 queued", "01:00 queued"]
    assert "mission 'look' (SCHEDULED)" in timetable.rows(schedule)[1].reason
    timetable.finish()
    assert timetable.fire() == 1
    assert timetable.said(schedule) == ["23:00 fired", "00:00 fired", "01:00 queued"]
    assert timetable.fire() == 0
    timetable.finish()
    assert timetable.fire() == 1
    assert timetable.counted(schedule) == Counter(fired=3)
    assert len(timetable.rounds()) == 3


def test_a_queued_one_whose_window_passes_is_skipped_at_that_time(timetable):
    schedule = timetable.create(overlap="queue", start_within_s=1800)
    timetable.fire_after(hours=1)
    timetable.fire_after(hours=1)
    assert timetable.schedule(schedule).next_due_at == timetable.rows(schedule)[1].due_at.replace(minute=30)
    timetable.fire_after(minutes=30)
    assert timetable.said(schedule)[:2] == ["23:00 fired", "00:00 skipped"]
    assert "window passed" in timetable.rows(schedule)[1].reason


def test_no_more_than_a_hundred_are_queued(timetable):
    schedule = timetable.create("* * * * *", overlap="queue", grace_s=86_400)
    timetable.clock.step(103 * 60)
    while timetable.fire():
        pass
    assert timetable.counted(schedule) == Counter(fired=1, queued=100, skipped=2)


def test_skip_leaves_out_what_overlaps_and_says_with_what(timetable):
    schedule = timetable.create(overlap="skip")
    timetable.fire_after(hours=1)
    timetable.fire_after(hours=1)
    timetable.finish()
    timetable.fire_after(hours=1)
    assert timetable.said(schedule) == ["23:00 fired", "00:00 skipped", "01:00 fired"]
    assert timetable.rows(schedule)[1].reason.startswith("Overlaps with mission 'look'")


def test_cancel_older_ends_the_missions_before_and_starts(timetable):
    schedule = timetable.create(overlap="cancel_older")
    timetable.fire_after(hours=1)
    timetable.fire_after(hours=1)
    assert [mission.status.value for mission in timetable.missions()] == ["CANCELED", "SCHEDULED"]
    assert "cancels earlier ones" in timetable.missions()[0].reason
    assert timetable.said(schedule) == ["23:00 fired", "00:00 fired"]


def test_cancel_older_also_ends_what_an_earlier_revision_had_queued(timetable):
    schedule = timetable.create(overlap="queue")
    for _ in range(3):
        timetable.fire_after(hours=1)
    timetable.revise(schedule, recurrence=timetable.recurrence(overlap="cancel_older"))
    timetable.fire_after(hours=1)
    assert timetable.said(schedule) == ["23:00 fired", "00:00 canceled", "01:00 canceled", "02:00 fired"]
    assert "cancels earlier ones" in timetable.rows(schedule)[1].reason
    timetable.finish()
    assert timetable.fire() == 0


def test_missions_of_another_schedule_are_no_overlap(timetable):
    one, other = timetable.create(key="one", overlap="skip"), timetable.create(key="other", overlap="skip")
    timetable.fire_after(hours=1)
    assert timetable.said(one) == timetable.said(other) == ["23:00 fired"]


def test_what_is_caught_up_with_is_queued_like_any_other(timetable):
    schedule = timetable.create(overlap="queue", misfire="all", catch_up_max=3)
    timetable.fire_after(hours=4, minutes=30)
    assert timetable.said(schedule) == ["23:00 missed", "00:00 fired", "01:00 queued", "02:00 queued"]
