"""Whatever people do to schedules and the clock does meanwhile, each instant starts at most once and is accounted for."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from fleet.errors import Conflict, Invalid, NotFound

BEGIN = datetime(2026, 3, 1, 22, tzinfo=UTC)
REFUSALS = (Conflict, Invalid, NotFound)
RULES = ("FREQ=MINUTELY;INTERVAL=20", "*/15 * * * *", "FREQ=HOURLY;BYMINUTE=0,30", "10 * * * *")


@pytest.fixture
def person(timetable):
    """Does something to the schedule, by chance."""

    def act(schedule, chance: Random) -> None:
        at = timetable.clock.now().replace(second=0, microsecond=0) + timedelta(minutes=chance.randrange(0, 180))
        at -= timedelta(minutes=at.minute % 5)
        wish = chance.choice(["move", "move", "cancel", "revise", "pause", "resume", "resume", "finish"])
        if wish == "move":
            timetable.move(schedule, at, timetable.clock.now() + timedelta(minutes=chance.randrange(-5, 240)))
        elif wish == "cancel":
            timetable.cancel(schedule, at)
        elif wish == "revise":
            timetable.revise(schedule, recurrence=_recurrence(timetable, chance))
        elif wish == "finish":
            timetable.finish()
        else:
            timetable.control(schedule, wish)

    return act


def _recurrence(timetable, chance: Random):
    return timetable.recurrence(
        chance.choice(RULES),
        misfire=chance.choice(["skip", "run_once", "coalesce", "all"]),
        overlap=chance.choice(["queue", "skip", "cancel_older"]),
        jitter_s=chance.choice([0, 0, 600]),
        grace_s=chance.choice([60, 1200]),
        start_within_s=chance.choice([None, 3000]),
    )


@pytest.mark.parametrize("seed", range(8))
def test_each_instant_starts_once_and_every_round_belongs_to_its_occurrence(timetable, person, seed):
    chance = Random(seed)
    schedule = timetable.create()
    reached = timetable.schedule(schedule).decided_until_at
    for _ in range(60):
        timetable.clock.step(60 * chance.choice([3, 10, 10, 30, 180, -45]))
        if chance.random() < 0.7:
            timetable.fire()
        if chance.random() < 0.5:
            try:
                person(schedule, chance)
            except REFUSALS:
                continue
        cursor = timetable.schedule(schedule).decided_until_at
        assert cursor >= reached
        reached = cursor
    timetable.clock.step(6 * 3600)
    while timetable.fire():
        timetable.finish()
    rows = timetable.rows(schedule)
    started = [row for row in rows if row.status.value == "fired"]
    assert max(Counter(row.recurrence_id for row in started).values(), default=0) <= 1
    assert (
        len({row.round_id for row in started}) == len(started) == len(timetable.rounds()) == len(timetable.missions())
    )
    assert all(row.round_id is None for row in rows if row.status.value != "fired")
    assert all(row.reason and row.decided_at for row in rows if row.status.value not in {"fired", "planned", "queued"})
    assert [row for row in rows if row.status.value == "planned" and row.due_at <= timetable.clock.now()] == []
