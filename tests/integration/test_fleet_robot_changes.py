"""The feed is told when a robot does something else, falls silent, comes back, or has little battery: each once."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlmodel import col, select

from fleet.adapter import Activity, Observation
from fleet.changes import Change
from fleet.clock import SteppableClock
from fleet.runtime import Runtime
from fleet.states import observe, tell_changes

Say = Callable[..., None]
Kinds = Callable[[], list[str]]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.proof)])
def place(request: pytest.FixtureRequest) -> tuple[Runtime, object]:
    prefix = "" if request.param == "sqlite" else "postgres_"
    return request.getfixturevalue(f"{prefix}runtime"), request.getfixturevalue(f"{prefix}world")


@pytest.fixture
def say(place, clock: SteppableClock) -> Say:
    def saying(activity: Activity = Activity.idle, battery: float | None = 0.9, *, age_s: float = 0.0) -> None:
        runtime, world = place
        seen = Observation(
            serial_number="SN-amr-01", observed_at=clock.now(), activity=activity, battery_fraction=battery
        )
        with runtime.transaction() as session:
            observe(session, world.robots["amr-01"], seen, received_at=clock.now() - timedelta(seconds=age_s))
        clock.step(1)

    return saying


@pytest.fixture
def told(place) -> Kinds:
    """What the feed is told at a look, in order."""
    runtime, _ = place
    seen: set[int] = set()

    def look() -> list[str]:
        with runtime.transaction() as session:
            tell_changes(session, silence_s=150)
        query = select(Change).where(Change.subject == "robot").order_by(col(Change.id))
        with runtime.reading() as session:
            new = [change for change in session.exec(query).all() if change.id not in seen]
        seen.update(change.id for change in new)
        return [change.kind for change in new]

    return look


def test_a_robot_that_was_never_heard_of_is_not_told_of(told: Kinds):
    assert told() == []


def test_a_robot_heard_of_comes_online_and_each_new_activity_is_told_once(say: Say, told: Kinds):
    say()
    assert told() == ["online", "idle"]
    say()
    assert told() == []
    say(Activity.charging)
    assert told() == ["charging"]


def test_a_robot_that_fell_silent_is_offline_until_it_is_heard_of_again(say: Say, told: Kinds, clock: SteppableClock):
    say()
    told()
    clock.step(160)
    assert told() == ["offline"]
    assert told() == []
    say()
    assert told() == ["online", "idle"]


def test_a_robot_whose_connection_is_told_to_be_lost_is_offline_at_once(say: Say, told: Kinds):
    say()
    told()
    say(Activity.offline)
    assert told() == ["offline"]


def test_a_battery_around_its_minimum_does_not_flicker(say: Say, told: Kinds):
    said = []
    for battery in (0.3, 0.19, 0.21, 0.19, 0.26, 0.24, None):  # the minimum is 0.2
        say(battery=battery)
        said += told()
    assert said == ["online", "idle", "battery_low", "battery_recovered"]
