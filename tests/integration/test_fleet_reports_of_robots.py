"""What robots say: the newest state wins by the robot's own time, a happening is told once."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sqlmodel import delete, select

from fleet.adapter import Activity, Happening, Observation
from fleet.events import Event, record
from fleet.runtime import Runtime
from fleet.states import RobotState, observe

START = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)


def _seen(at_s: float, battery: float = 0.5) -> Observation:
    return Observation(
        serial_number="SN-amr-01",
        observed_at=START + timedelta(seconds=at_s),
        activity=Activity.idle,
        battery_fraction=battery,
        x_m=1.0,
        y_m=2.0,
        yaw_rad=0.5,
    )


def _observe(runtime: Runtime, world, seen: Observation, received_s: float = 100.0) -> bool:
    with runtime.transaction() as session:
        return observe(session, world.robots["amr-01"], seen, received_at=START + timedelta(seconds=received_s))


def _state(runtime: Runtime) -> RobotState:
    with runtime.reading() as session:
        return session.exec(select(RobotState)).one()


def test_the_first_observation_is_the_state_with_both_times_and_the_skew(runtime: Runtime, world):
    assert _observe(runtime, world, _seen(10), received_s=12.5) is True
    state = _state(runtime)
    assert (state.observed_at, state.received_at) == (START + timedelta(seconds=10), START + timedelta(seconds=12.5))
    assert state.skew_s == 2.5


def test_an_older_observation_that_arrives_later_changes_nothing(runtime: Runtime, world):
    _observe(runtime, world, _seen(10, battery=0.9))
    assert _observe(runtime, world, _seen(9, battery=0.1), received_s=200) is False
    assert _state(runtime).battery_fraction == 0.9


def test_the_same_observation_twice_changes_nothing(runtime: Runtime, world):
    _observe(runtime, world, _seen(10), received_s=11)
    assert _observe(runtime, world, _seen(10), received_s=99) is False
    assert _state(runtime).received_at == START + timedelta(seconds=11)


def test_a_stamp_from_the_future_does_not_freeze_the_robot_until_then(runtime: Runtime, world):
    assert _observe(runtime, world, _seen(86_400, battery=0.1), received_s=10) is True
    assert _observe(runtime, world, _seen(11, battery=0.9), received_s=12) is True
    assert _state(runtime).battery_fraction == 0.9


def test_a_robot_whose_clock_is_always_ahead_is_followed_by_its_own_time(runtime: Runtime, world):
    assert _observe(runtime, world, _seen(3600 + 10, battery=0.8), received_s=10) is True
    assert _observe(runtime, world, _seen(3600 + 9, battery=0.7), received_s=11) is False
    assert _observe(runtime, world, _seen(3600 + 12, battery=0.6), received_s=12) is True
    assert _state(runtime).battery_fraction == 0.6


@effort(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(times=st.lists(st.integers(0, 1000), min_size=1, max_size=8))
def test_in_whatever_order_they_arrive_the_newest_stands(runtime: Runtime, world, times: list[int]):
    with runtime.transaction() as session:
        session.exec(delete(RobotState))
    for at_s in times:
        _observe(runtime, world, _seen(at_s), received_s=1000)
    assert _state(runtime).observed_at == START + timedelta(seconds=max(times))


@pytest.mark.parametrize("battery", [-0.1, 1.1])
def test_a_battery_outside_nought_to_one_is_refused_at_the_border(battery: float):
    with pytest.raises(ValueError, match="battery_fraction"):
        _seen(0, battery=battery)


def _record(runtime: Runtime, world, key: str) -> Event | None:
    seen = Happening(key=key, kind="battery_low", occurred_at=START, severity="warning", fields={"battery": 0.1})
    with runtime.transaction() as session:
        return record(
            session,
            organisation_id=world.organisation.id,
            robot_id=world.robots["amr-01"].id,
            seen=seen,
            received_at=START,
        )


def test_a_happening_told_twice_is_one_event(runtime: Runtime, world):
    first, second = _record(runtime, world, "e-1"), _record(runtime, world, "e-1")
    assert (first is not None, second) == (True, None)
    with runtime.reading() as session:
        event = session.exec(select(Event)).one()
    assert (event.kind, event.severity, event.fields) == ("battery_low", "warning", {"battery": 0.1})


def test_another_happening_is_another_event(runtime: Runtime, world):
    assert _record(runtime, world, "e-1") is not None
    assert _record(runtime, world, "e-2") is not None
