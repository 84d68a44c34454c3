"""A schedule is asked for: once per key, and only when it can be."""

import pytest
from sqlmodel import select

from fleet.errors import Conflict, Invalid, NotFound
from missions.schedules.models import Schedule, ScheduleRevision


def _count(timetable) -> int:
    with timetable.runtime.reading() as session:
        return len(session.exec(select(Schedule)).all()) + len(session.exec(select(ScheduleRevision)).all())


def test_the_same_request_twice_is_one_schedule(timetable):
    first, second = timetable.create(), timetable.create()
    assert first.id == second.id
    assert _count(timetable) == 2
    assert timetable.changes("schedule") == ["created"]


def test_one_key_with_other_content_is_a_conflict_that_says_what_differs(timetable):
    timetable.create()
    with pytest.raises(Conflict, match="another recurrence already"):
        timetable.create("FREQ=DAILY")
    with pytest.raises(Conflict, match="another missions already"):
        timetable.create(missions=[{"name": "other", "tasks": [{"station": "gate"}]}])


def test_after_a_revision_the_request_it_was_made_by_is_still_the_same(timetable):
    schedule = timetable.create()
    timetable.revise(schedule, recurrence=timetable.recurrence("FREQ=DAILY"), name="renamed")
    assert timetable.create().id == schedule.id


@pytest.mark.parametrize(
    ("news", "sentence"),
    [
        ({"rule": "FREQ=NEVER"}, "NEVER"),
        ({"rule": "FREQ=SECONDLY"}, "60 s"),
        ({"timezone": "Europe/Berlim"}, "Europe/Berlin"),
        ({"begins": "tomorrow"}, "begins: 'tomorrow' is no local time"),
        ({"begins": "2026-03-01"}, "no local time"),
        ({"begins": "9999-12-31T23:30:00", "jitter_s": 3600}, "years 1900 to 2999"),
        ({"exdates": ["x"]}, "exdates: 'x'"),
        ({"rule": "FREQ=DAILY;UNTIL=20260227T000000Z", "begins": "2026-02-20T00:00:00"}, "no time after"),
        ({"rule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"}, "no time after"),
        ({"missions": [{"name": "m", "tasks": [{"station": "moon"}]}]}, "Mission 1 'm': .*'moon'"),
        ({"missions": [{"name": "m", "tasks": [{"kind": "go_to"}]}]}, "Mission 1 'm'"),
        (
            {"missions": [{"name": "m", "tasks": [{"station": "gate"}], "not_after_at": "2027-01-01T00:00:00Z"}]},
            "not_after_at; leave them empty",
        ),
    ],
)
def test_what_can_never_happen_is_refused_and_nothing_is_written(timetable, news, sentence):
    with pytest.raises(Invalid, match=sentence):
        timetable.create(**news)
    assert _count(timetable) == 0
    assert timetable.changes("schedule") == []


def test_a_mission_for_a_robot_that_is_not_there_is_refused(timetable):
    with pytest.raises(NotFound, match=r"Mission 1 'm': .*r2"):
        timetable.create(missions=[{"name": "m", "robot": "r2", "tasks": [{"station": "gate"}]}])
    assert _count(timetable) == 0
