"""Understood deliveries and published changes of long ago are removed in small steps; nothing else ever is."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlmodel import col, select
from structlog.testing import capture_logs

from fleet import changes
from fleet.changes import Change
from fleet.clock import SteppableClock
from fleet.runtime import Runtime, open_runtime
from fleet.settings import Settings
from ingestion import inbox
from ingestion.models import Delivery
from missions.create import create
from missions.models import MissionCreate, TaskCreate, Transition
from orchestration import retention
from orchestration.retention import Forgotten

DAY_S = 86_400.0
KEEP_DAYS = 90


@pytest.fixture
def deliver(runtime: Runtime, world, clock: SteppableClock) -> Callable[..., None]:
    """Stores deliveries with these keys and settles each by the given function of the inbox, if any."""

    def run(*keys: str, settle: Callable[..., object] | None = inbox.apply, **more: object) -> None:
        with runtime.transaction() as session:
            for key in keys:
                arriving = inbox.arriving(
                    world.account, key=key, source="webhook", headers={}, body=b"{}", received_at=clock.now()
                )
                inbox.receive(session, arriving)
                if settle is not None:
                    settle(session, session.exec(select(Delivery).where(Delivery.key == key)).one(), **more)

    return run


@pytest.fixture
def tell(runtime: Runtime, world) -> Callable[..., None]:
    """Writes changes of these kinds and publishes them, unless told otherwise."""

    def run(*kinds: str, is_published: bool = True) -> None:
        for kind in kinds:
            with runtime.transaction() as session:
                changes.record(
                    session, organisation_id=world.organisation.id, subject="robot", subject_id="r", kind=kind
                )
        if is_published:
            with runtime.transaction() as session:
                changes.publish(session)

    return run


@pytest.fixture
def deliveries(runtime: Runtime) -> Callable[[], list[str]]:
    def read() -> list[str]:
        with runtime.reading() as session:
            return list(session.exec(select(Delivery.key).order_by(col(Delivery.id))).all())

    return read


@pytest.fixture
def feed(runtime: Runtime) -> Callable[[], list[tuple[str, int | None]]]:
    def read() -> list[tuple[str, int | None]]:
        with runtime.reading() as session:
            return [(row.kind, row.position) for row in session.exec(select(Change).order_by(col(Change.id))).all()]

    return read


def test_applied_deliveries_go_when_their_days_are_over_and_not_before(runtime, deliver, deliveries, clock):
    deliver("old")
    clock.step(1)
    deliver("young")
    clock.step(KEEP_DAYS * DAY_S - 1)
    assert retention.forget(runtime).deliveries == 0
    clock.step(1)
    assert retention.forget(runtime).deliveries == 1
    assert deliveries() == ["young"]


def test_rejected_and_waiting_deliveries_stay_however_old(runtime, deliver, deliveries, clock):
    deliver("rejected", settle=inbox.reject, error="not ours")
    deliver("waiting", settle=None)
    deliver("postponed", settle=inbox.postpone, error="busy")
    clock.step(10 * 365 * DAY_S)
    assert retention.forget(runtime) == Forgotten(0, 0)
    assert deliveries() == ["rejected", "waiting", "postponed"]


def test_a_delivery_that_was_rejected_long_and_applied_late_counts_from_then(runtime, deliver, deliveries, clock):
    deliver("late", settle=inbox.reject, error="not ours")
    clock.step(KEEP_DAYS * DAY_S)
    with runtime.transaction() as session:
        (row,) = session.exec(select(Delivery)).all()
        inbox.put_back(session, [row.id])
        session.refresh(row)
        inbox.apply(session, row)
    clock.step(10)
    assert retention.forget(runtime).deliveries == 0
    assert deliveries() == ["late"]


def test_a_delivery_that_was_removed_may_come_again(runtime, deliver, deliveries, clock):
    deliver("d")
    clock.step(KEEP_DAYS * DAY_S + 1)
    retention.forget(runtime)
    deliver("d", settle=None)
    assert deliveries() == ["d"]


def test_the_oldest_go_first_and_a_batch_is_no_larger_than_asked(runtime, deliver, deliveries, tell, feed, clock):
    for number in range(5):
        deliver(f"d-{number}")
        tell(f"c-{number}")
        clock.step(1)
    clock.step(KEEP_DAYS * DAY_S)
    before = len(feed())
    assert retention.forget(runtime, limit=2) == Forgotten(2, 2)
    assert deliveries() == ["d-2", "d-3", "d-4"]
    assert (len(feed()), feed()[0][1]) == (before - 2, 3)


def test_a_change_without_a_position_is_never_removed(runtime, tell, feed, clock):
    tell("published", "newest")
    tell("waits", is_published=False)
    clock.step(10 * 365 * DAY_S)
    retention.forget(runtime)
    assert feed() == [("newest", 2), ("waits", None)]


def test_the_next_position_goes_on_although_everything_old_was_removed(runtime, tell, feed, clock):
    tell("a", "b", "c")
    clock.step(KEEP_DAYS * DAY_S + 1)
    assert retention.forget(runtime).changes == 2
    tell("d")
    assert feed() == [("c", 3), ("d", 4)]


def test_an_empty_database_is_left_alone(runtime):
    assert retention.forget(runtime) == Forgotten(0, 0)


def test_what_a_mission_went_through_stays_for_ever(runtime, world, clock):
    with runtime.transaction() as session:
        wanted = MissionCreate(name="m", key="m", tasks=[TaskCreate(station="gate")])
        create(session, site=world.site, wanted=wanted, who="user:ops")
    clock.step(10 * 365 * DAY_S)
    retention.forget(runtime)
    with runtime.reading() as session:
        assert len(session.exec(select(Transition)).all()) == 2


async def test_a_sweep_goes_on_until_nothing_old_is_left(runtime, deliver, deliveries, tell, feed, clock):
    deliver(*(f"d-{number}" for number in range(7)))
    tell(*(f"c-{number}" for number in range(3)))
    clock.step(KEEP_DAYS * DAY_S + 1)
    with capture_logs() as logs:
        await retention.sweep(runtime, limit=2, rest_s=0)
    assert (deliveries(), len(feed())) == ([], 1)
    assert [(line["event"], line["deliveries"], line["changes"]) for line in logs] == [("old rows removed", 7, 2)]


async def test_a_sweep_with_nothing_to_do_says_nothing(runtime):
    with capture_logs() as logs:
        await retention.sweep(runtime)
    assert logs == []


async def test_a_database_that_does_not_take_it_leaves_the_sweep_to_the_next_hour(tmp_path, clock):
    bare = open_runtime(Settings(var_dir=tmp_path / "bare"), clock=clock)  # no table is there
    with capture_logs() as logs:
        await retention.sweep(bare)
    bare.engine.dispose()
    assert [line["event"] for line in logs] == ["the sweep is left to the next hour"]


def test_the_days_are_a_setting(runtime, deliver, deliveries, clock):
    deliver("d")
    clock.step(timedelta(days=2).total_seconds())
    assert retention.forget(runtime).deliveries == 0
    short = type(runtime)(
        runtime.settings.model_copy(update={"keep_days": 1}), runtime.engine, runtime.clock, runtime.doorbell
    )
    assert retention.forget(short).deliveries == 1
    assert deliveries() == []


async def test_several_sweeps_at_once_remove_each_row_once(runtime, deliver, deliveries, clock):
    deliver(*(f"d-{number}" for number in range(20)))
    clock.step(KEEP_DAYS * DAY_S + 1)
    with capture_logs() as logs:
        await asyncio.gather(*(retention.sweep(runtime, limit=3, rest_s=0) for _ in range(3)))
    assert deliveries() == []
    assert sum(line["deliveries"] for line in logs) == 20
