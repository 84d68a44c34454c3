"""The clock: what is stepped is told, and instants are aware UTC."""

from datetime import UTC, datetime, timedelta, timezone

from fleet.clock import SteppableClock, SystemClock, database_now
from fleet.runtime import Runtime


def test_a_steppable_clock_stands_still_until_it_is_stepped():
    clock = SteppableClock(datetime(2026, 1, 1, tzinfo=UTC))
    assert clock.now() == clock.now()
    clock.step(1.5)
    assert clock.now() == datetime(2026, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    assert clock.monotonic() == 1.5


def test_the_wall_clock_may_step_back_and_durations_never_do():
    clock = SteppableClock(datetime(2026, 1, 1, tzinfo=UTC))
    clock.step(10)
    clock.step(-3600)
    assert clock.now() < datetime(2026, 1, 1, tzinfo=UTC)
    assert clock.monotonic() == 10


def test_a_start_in_another_zone_is_told_in_utc():
    clock = SteppableClock(datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))))
    assert clock.now().utcoffset() == timedelta(0)
    assert clock.now().hour == 0


def test_the_system_clock_is_aware_and_its_durations_rise():
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()


def test_leases_are_judged_by_the_steppable_clock_where_there_is_one(runtime: Runtime, clock: SteppableClock):
    with runtime.reading() as session:
        before = database_now(session)
        clock.step(60)
        assert database_now(session) - before == timedelta(seconds=60)
