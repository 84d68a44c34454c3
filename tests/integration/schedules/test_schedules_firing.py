"""Occurrences fire once: in time, after an outage by their policy, and whatever the clock does."""

import threading
from datetime import timedelta

import pytest


def test_an_occurrence_makes_its_round_at_its_time_and_not_before(timetable):
    schedule = timetable.create()
    assert timetable.fire_after(minutes=59) == 0
    assert timetable.fire_after(minutes=1) == 1
    assert timetable.fire() == 0
    assert timetable.rounds() == [f"{schedule.id}/1/2026-03-01T23:00:00Z"]
    assert [mission.key for mission in timetable.missions()] == [f"{schedule.id}/1/2026-03-01T23:00:00Z/0"]
    assert timetable.said(schedule) == ["23:00 fired"]
