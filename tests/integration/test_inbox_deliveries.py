"""The inbox: stored raw once, handed out when due, settled, put off and put back."""

from datetime import timedelta

import pytest
from sqlmodel import select

from fleet.clock import SteppableClock
from fleet.runtime import Runtime
from ingestion import inbox
from ingestion.models import Delivery, DeliveryStatus


@pytest.fixture
def arriving(world, clock: SteppableClock):
    """Makes a delivery of the world's account that has not been stored."""

    def make(key: str, body: bytes = b"{}") -> Delivery:
        return inbox.arriving(
            world.account, key=key, source="webhook", headers={"a": "b"}, body=body, received_at=clock.now()
        )

    return make


@pytest.fixture
def stored(runtime: Runtime, arriving):
    """Stores deliveries with these keys in order and gives their ids."""

    def store(*keys: str) -> list:
        deliveries = [arriving(key) for key in keys]
        with runtime.transaction() as session:
            inbox.receive_all(session, deliveries)
        return [delivery.id for delivery in deliveries]

    return store


@pytest.fixture
def rows(runtime: Runtime):
    """Every delivery in the database, by key."""

    def read() -> dict[str, Delivery]:
        with runtime.reading() as session:
            return {row.key: row for row in session.exec(select(Delivery)).all()}

    return read


@pytest.fixture
def settle(runtime: Runtime):
    """Claims one delivery and lets the given function of the inbox settle it."""

    def do(delivery_id, how, *arguments):
        with runtime.transaction() as session:
            (held,) = inbox.claim_due(session, [delivery_id])
            return how(session, held, *arguments)

    return do


def test_a_delivery_is_stored_byte_for_byte_with_its_headers(runtime: Runtime, arriving, rows, clock):
    body = bytes(range(256))
    with runtime.transaction() as session:
        assert inbox.receive(session, arriving("d-1", body)) is True
    row = rows()["d-1"]
    assert (row.body, row.headers, row.received_at) == (body, {"a": "b"}, clock.now())
    assert (row.status, row.tries) == (DeliveryStatus.received, 0)


def test_a_duplicate_delivery_collapses_into_one_row_and_the_first_bytes_stand(runtime: Runtime, arriving, rows):
    with runtime.transaction() as session:
        inbox.receive(session, arriving("d-1", b"first"))
    with runtime.transaction() as session:
        assert inbox.receive(session, arriving("d-1", b"second")) is False
    assert {key: row.body for key, row in rows().items()} == {"d-1": b"first"}


def test_duplicates_within_one_batch_collapse_too(runtime: Runtime, arriving, rows):
    with runtime.transaction() as session:
        assert inbox.receive_all(session, [arriving("d-1"), arriving("d-2"), arriving("d-1")]) == 2
    assert set(rows()) == {"d-1", "d-2"}


def test_an_empty_batch_stores_nothing(runtime: Runtime, world, rows):
    with runtime.transaction() as session:
        assert inbox.receive_all(session, []) == 0
    assert rows() == {}


def test_the_bell_is_rung_for_a_new_delivery_and_not_for_a_duplicate(runtime: Runtime, arriving):
    with runtime.doorbell.listen() as listener:
        with runtime.transaction() as session:
            inbox.receive(session, arriving("d-1"))
        assert listener.wait(1.0) is True
        with runtime.transaction() as session:
            inbox.receive(session, arriving("d-1"))
        assert listener.wait(0.0) is False


def test_the_oldest_are_due_first_and_no_more_than_the_limit(runtime: Runtime, stored):
    stored("d-1", "d-2", "d-3")
    with runtime.reading() as session:
        assert [row.key for row in inbox.due(session, limit=2)] == ["d-1", "d-2"]


def test_large_bodies_bound_a_batch_but_one_always_comes(runtime: Runtime, arriving, monkeypatch):
    monkeypatch.setattr(inbox, "BATCH_MAX_BYTES", 10)
    with runtime.transaction() as session:
        inbox.receive_all(session, [arriving("d-1", b"x" * 20), arriving("d-2", b"y")])
    with runtime.reading() as session:
        assert [row.key for row in inbox.due(session, limit=9)] == ["d-1"]


def test_what_is_applied_or_rejected_is_no_longer_due(runtime: Runtime, stored, settle, rows, clock):
    first, second = stored("d-1", "d-2")
    settle(first, inbox.apply)
    settle(second, inbox.reject, "not ours")
    with runtime.reading() as session:
        assert inbox.due(session, limit=9) == []
    assert (rows()["d-1"].status, rows()["d-1"].applied_at) == (DeliveryStatus.applied, clock.now())
    assert (rows()["d-2"].status, rows()["d-2"].error) == (DeliveryStatus.rejected, "not ours")


def test_a_settled_delivery_is_not_handed_out_again(runtime: Runtime, stored, settle):
    (delivery_id,) = stored("d-1")
    settle(delivery_id, inbox.apply)
    with runtime.transaction() as session:
        assert inbox.claim_due(session, [delivery_id]) == []


def test_a_postponed_delivery_waits_about_twice_as_long_each_time(runtime: Runtime, stored, settle, rows, clock):
    (delivery_id,) = stored("d-1")
    for expected_s in (1, 2, 4, 8):
        assert settle(delivery_id, inbox.postpone, "busy") is True
        waits_s = (rows()["d-1"].next_try_at - clock.now()).total_seconds()
        assert 0.7 * expected_s <= waits_s <= 1.3 * expected_s


def test_a_postponed_delivery_is_due_again_when_its_time_has_come(runtime: Runtime, stored, settle, clock):
    (delivery_id,) = stored("d-1")
    settle(delivery_id, inbox.postpone, "busy")
    with runtime.reading() as session:
        assert inbox.due(session, limit=9) == []
    clock.step(2)
    with runtime.reading() as session:
        assert [row.id for row in inbox.due(session, limit=9)] == [delivery_id]


def test_after_twelve_tries_it_is_rejected_with_the_last_reason(stored, settle, rows):
    (delivery_id,) = stored("d-1")
    outcomes = [settle(delivery_id, inbox.postpone, "busy") for _ in range(12)]
    assert outcomes == [True] * 11 + [False]
    row = rows()["d-1"]
    assert (row.status, row.tries) == (DeliveryStatus.rejected, 12)
    assert "busy" in row.error


def test_a_rejected_delivery_put_back_is_due_at_once_with_its_bytes(runtime: Runtime, stored, settle, clock):
    (delivery_id,) = stored("d-1")
    settle(delivery_id, inbox.reject, "not ours")
    clock.step(60)
    with runtime.transaction() as session:
        assert inbox.put_back(session, [delivery_id]) == 1
    with runtime.reading() as session:
        (row,) = inbox.due(session, limit=9)
    assert (row.body, row.error, row.tries) == (b"{}", None, 0)


def test_putting_back_what_still_waits_changes_nothing(runtime: Runtime, stored, rows, clock):
    (delivery_id,) = stored("d-1")
    before = rows()["d-1"].next_try_at
    clock.step(60)
    with runtime.transaction() as session:
        assert inbox.put_back(session, [delivery_id]) == 0
    assert rows()["d-1"].next_try_at == before + timedelta(0)
