"""How a storm of kills measures: by the books' own times, and without being kept from looking."""

from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from sqlmodel import update

from fleet import states
from fleet.adapter import Observation
from fleet.clock import SteppableClock
from fleet.runtime import Runtime
from missions import dispatch, snapshot
from missions.create import create
from missions.models import Attempt, MissionCreate, TaskCreate
from missions.plan import plan


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """The scripts of the storms, which find each other in their own folder."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "load"))
    import kills
    import wire_kills

    return kills, wire_kills


@pytest.fixture
def storm(load, runtime: Runtime, world):
    """One that has not begun; requests are counted, and no mission is ever left waiting."""

    class Storm(load[1].Storm):
        looks = 0

        def live(self) -> int:
            return 0

        def _post(self, path: str, body: dict[str, object]) -> bool:
            return True

        def look(self) -> None:
            self.looks += 1
            super().look()

    return Storm(runtime, {}, {}, "", "", Random(1))


@pytest.fixture
def attempt(runtime: Runtime, world, clock: SteppableClock) -> Attempt:
    """A mission that was given to amr-01."""
    wanted = MissionCreate(name="m", key="m", tasks=[TaskCreate(station="press-1")])
    with runtime.transaction() as session:
        create(session, site=world.site, wanted=wanted, who="user:ops")
        seen = Observation(serial_number=world.robots["amr-01"].serial_number, observed_at=clock.now(), activity="idle")
        states.observe(session, world.robots["amr-01"], seen, received_at=clock.now())
    with runtime.reading() as session:
        found = snapshot.take(session)
    (given,) = dispatch.carry_out(runtime.transaction, plan(found), found, who="test")
    return given


def test_a_fleet_that_is_faster_than_the_api_keeps_a_storm_from_nothing(storm, load):
    storm.top_up()
    assert storm.result.missions == load[0].WAITING
    assert storm.looks == load[0].WAITING + 1


def test_how_long_it_took_is_told_by_the_books_however_late_somebody_looks(storm, runtime, attempt, clock):
    storm.struck = clock.now(), {attempt.id}
    heard = update(Attempt).where(Attempt.id == attempt.id).values(heard_at=clock.now() + timedelta(seconds=2))
    with runtime.transaction() as session:
        session.execute(heard)
    storm.look()  # the machine's clock is far ahead of the books here
    assert (storm.wire.reconciled_s, storm.struck, storm.late) == ([2.0], None, set())


def test_what_was_not_heard_of_since_the_kill_is_waited_for_and_named_when_that_is_too_long(storm, attempt, clock):
    storm.struck = clock.now(), {attempt.id}
    storm.look()
    assert storm.struck is not None
    assert (storm.wire.reconciled_s, storm.late) == ([], {attempt.id})
