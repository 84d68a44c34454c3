"""What the mirror finds to do, from what our calendars say and what Prefect has, and what it writes into our rows."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Scheduled

from fleet.errors import Conflict, NotFound
from missions.schedules.models import OccurrenceStatus
from orchestration import mirrored
from orchestration.desk_cancel import missions_of_run
from orchestration.desk_mirror import Steps, compare
from orchestration.flows.occurrences import due_within_minute
from orchestration.mirrored import Wanted

HOUR = timedelta(hours=1)
Look = Callable[[], dict[str, Wanted]]


@pytest.fixture
def wanted(timetable) -> Look:
    def read() -> dict[str, Wanted]:
        with timetable.runtime.reading() as session:
            return mirrored.wanted(session)

    return read


def _run(one: Wanted, at: datetime | None = None, **news: Any) -> FlowRun:
    """The run of `one` as Prefect has it, waiting for its time or for `at`."""
    values = {
        "id": uuid4(),
        "flow_id": uuid4(),
        "name": one.run_name,
        "parameters": one.shown.model_dump(mode="json"),
        "idempotency_key": one.shown.key,
        "state": Scheduled(scheduled_time=at or one.shown.due_at),
        "next_scheduled_start_time": at or one.shown.due_at,
    }
    return FlowRun(**{**values, **news})


def _counts(steps: Steps) -> dict[str, int]:
    found = {name: len(getattr(steps, name)) for name in ("moved", "retimed", "renamed", "stale", "missing")}
    return {name: number for name, number in found.items() if number}


def test_an_empty_prefect_misses_the_next_five_of_each_schedule_and_a_full_one_nothing(timetable, wanted: Look):
    timetable.create(key="a")
    timetable.create(key="b")
    ahead = wanted()
    assert _counts(compare(ahead, [], timetable.clock.now())) == {"missing": 10}
    assert _counts(compare(ahead, [_run(one) for one in ahead.values()], timetable.clock.now())) == {}


def test_two_hundred_are_mirrored_in_all_the_next_ones_first(timetable, wanted: Look):
    for number in range(45):
        timetable.create("FREQ=HOURLY" if number % 2 else "FREQ=DAILY", key=f"s{number}")
    due = [one.shown.due_at for one in wanted().values()]
    assert len(due) == 200
    assert due == sorted(due)


def test_a_time_given_in_prefect_is_a_move_and_one_moved_here_is_followed(timetable, wanted: Look):
    schedule = timetable.create()
    one = next(iter(wanted().values()))
    in_prefect = compare(wanted(), [_run(one, one.shown.due_at + HOUR / 2)], timetable.clock.now())
    assert [run.name for run, _ in in_prefect.moved] == [one.run_name]
    timetable.move(schedule, one.shown.recurrence_id, one.shown.due_at + HOUR / 4)
    here = compare(wanted(), [_run(one)], timetable.clock.now())
    assert (len(here.retimed), len(here.moved)) == (1, 0)


def test_after_a_move_in_prefect_was_taken_over_the_run_only_learns_what_it_shows(timetable, wanted: Look):
    timetable.create()
    one, to = next(iter(wanted().values())), timetable.clock.now() + HOUR * 1.5
    with timetable.runtime.transaction() as session:
        mirrored.move(session, one.shown, to)
    assert _counts(compare(wanted(), [_run(one, to)], timetable.clock.now())) == {"renamed": 1, "missing": 4}
    assert wanted()[one.shown.key].shown.due_at == to


def test_a_move_to_the_past_means_now(timetable, wanted: Look):
    schedule = timetable.create()
    one = next(iter(wanted().values()))
    with timetable.runtime.transaction() as session:
        mirrored.move(session, one.shown, timetable.clock.now() - HOUR)
    assert timetable.fire_after(seconds=2) == 1
    assert timetable.said(schedule) == ["23:00 fired"]


def test_runs_of_what_is_no_more_are_stale_unless_their_time_has_come(timetable, wanted: Look):
    schedule = timetable.create()
    runs = [_run(one) for one in wanted().values()]
    timetable.control(schedule, "pause")
    assert _counts(compare(wanted(), runs, timetable.clock.now())) == {"stale": 5}
    timetable.clock.step(3600)
    assert _counts(compare(wanted(), runs, timetable.clock.now())) == {"stale": 4}


def test_a_copy_that_somebody_made_by_hand_is_left_alone(timetable, wanted: Look):
    timetable.create()
    one = next(iter(wanted().values()))
    copies = [_run(one, one.shown.due_at + HOUR, idempotency_key=key) for key in (None, "other")]
    assert _counts(compare(wanted(), copies, timetable.clock.now())) == {"missing": 5}


def test_a_run_cancelled_in_prefect_cancels_its_occurrence_once_and_only_while_it_is_open(timetable, wanted: Look):
    schedule = timetable.create()
    first, second, *_ = (one.shown for one in wanted().values())

    def cancel(shown: mirrored.Shown) -> OccurrenceStatus | None:
        with timetable.runtime.transaction() as session:
            return mirrored.cancel(session, shown)

    assert [cancel(second), cancel(second)] == [OccurrenceStatus.canceled] * 2
    timetable.fire_after(hours=1)
    assert cancel(first) is OccurrenceStatus.fired
    assert timetable.said(schedule) == ["23:00 fired", "00:00 canceled"]


def test_a_run_of_an_older_revision_cancels_nothing_of_the_new_one(timetable, wanted: Look):
    schedule = timetable.create()
    shown = next(iter(wanted().values())).shown
    timetable.revise(schedule, recurrence=timetable.recurrence(jitter_s=10), missions=None)
    with timetable.runtime.transaction() as session:
        assert mirrored.cancel(session, shown) is None
    assert timetable.rows(schedule) == []


def test_a_run_of_an_occurrence_that_started_cannot_be_moved(timetable, wanted: Look):
    timetable.create()
    shown = next(iter(wanted().values())).shown
    timetable.fire_after(hours=1)
    with timetable.runtime.transaction() as session, pytest.raises(Conflict, match="fired already"):
        mirrored.move(session, shown, timetable.clock.now() + HOUR)


def test_a_mirrored_run_has_the_missions_of_its_round_and_no_others(timetable, wanted: Look):
    timetable.create()
    first, second, *_ = wanted().values()
    timetable.fire_after(hours=1)
    with timetable.runtime.reading() as session:
        (mission,) = missions_of_run(session, uuid4(), first.shown.model_dump(mode="json"))
        assert missions_of_run(session, uuid4(), second.shown.model_dump(mode="json")) == []
    assert mission.key == f"{first.shown.key}/0"


def test_a_run_is_called_by_the_local_time_of_its_schedule(timetable, wanted: Look):
    timetable.create("FREQ=DAILY", key="Night round", begins="2026-03-28T02:30:00", timezone="Europe/Berlin")
    names = [one.run_name for one in wanted().values()]
    assert names[:3] == [
        "Night round, Sat 28 Mar 02:30",
        "Night round, Sun 29 Mar 03:30",
        "Night round, Mon 30 Mar 02:30",
    ]


def test_an_occurrence_is_named_by_the_minute_in_which_it_is_due_now(timetable, wanted: Look):
    schedule = timetable.create(jitter_s=30)
    first, second, *_ = (one.shown for one in wanted().values())
    timetable.move(schedule, first.recurrence_id, first.due_at + HOUR / 4)
    with timetable.runtime.reading() as session:
        named = due_within_minute(session, schedule, second.due_at.replace(second=0, microsecond=0))
        assert named == second.recurrence_id
        assert due_within_minute(session, schedule, first.due_at + HOUR / 4) == first.recurrence_id
        with pytest.raises(NotFound, match="the next are: 2026-03-01T23:"):
            due_within_minute(session, schedule, first.due_at)
