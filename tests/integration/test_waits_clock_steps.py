"""The machine's clock is set back while work waits: neither a request nor a delivery waits for the hour to come again."""

from collections.abc import Callable

import pytest
from sqlmodel import col, select, update

from fleet import requests
from fleet.clock import SteppableClock
from fleet.runtime import Runtime
from ingestion import inbox
from ingestion.models import Delivery

HOUR_S = 3600


@pytest.fixture
def claim(runtime: Runtime, world) -> Callable[[], int]:
    """One request waits; claims what may be claimed and gives how many."""
    with runtime.transaction() as session:
        requests.ask(
            session,
            organisation_id=world.organisation.id,
            kind="process-bag",
            key="sha",
            parameters={},
            requested_by="test",
        )

    def run() -> int:
        with runtime.transaction() as session:
            return len(requests.claim_pending(session))

    return run


@pytest.fixture
def receive(runtime: Runtime, world, clock: SteppableClock) -> Callable[[], None]:
    """Stores a delivery of this moment."""

    def run() -> None:
        arriving = inbox.arriving(
            world.account, key="d-1", source="webhook", headers={}, body=b"{}", received_at=clock.now()
        )
        with runtime.transaction() as session:
            inbox.receive(session, arriving)

    return run


@pytest.fixture
def postpone(runtime: Runtime) -> Callable[[int], None]:
    """Puts the one delivery off as if it had been tried so often before."""

    def run(tries: int) -> None:
        with runtime.transaction() as session:
            session.execute(update(Delivery).values(tries=tries))
            inbox.postpone(session, session.exec(select(Delivery)).one(), "busy")

    return run


@pytest.fixture
def due(runtime: Runtime) -> Callable[[], int]:
    def run() -> int:
        with runtime.reading() as session:
            return len(inbox.due(session, limit=9))

    return run


def test_a_request_of_a_desk_that_died_an_hour_ahead_is_claimed_at_once(claim, clock: SteppableClock):
    assert claim() == 1
    clock.step(-HOUR_S)
    assert claim() == 1


def test_a_claim_made_after_the_step_is_respected_to_its_end(claim, clock: SteppableClock):
    clock.step(-HOUR_S)
    assert claim() == 1
    assert claim() == 0
    clock.step(requests.CLAIM_S - 1)
    assert claim() == 0
    clock.step(1)
    assert claim() == 1


def test_a_clock_that_is_corrected_by_a_moment_breaks_no_claim(claim, clock: SteppableClock):
    assert claim() == 1
    clock.step(-0.5)
    assert claim() == 0


def test_a_delivery_stored_an_hour_ahead_is_due_at_once(receive, due, clock: SteppableClock):
    receive()
    clock.step(-HOUR_S)
    assert due() == 1


def test_a_delivery_put_off_an_hour_ahead_is_due_at_once(receive, postpone, due, clock: SteppableClock):
    receive()
    postpone(3)
    clock.step(-HOUR_S)
    assert due() == 1


@pytest.mark.parametrize("tries", range(inbox.TRIES_MAX - 1))
def test_no_pause_of_ours_is_so_long_that_it_is_taken_for_another_clocks(receive, postpone, due, runtime, tries: int):
    receive()
    postpone(tries)
    assert due() == 0
    with runtime.reading() as session:
        (tried,) = session.exec(select(col(Delivery.tries))).all()
    assert tried == tries + 1
