"""The inbox is drained beside the dispatcher, or by a process apart from it."""

import asyncio

import pytest
from sqlmodel import select

from ingestion import inbox
from ingestion.models import Delivery, DeliveryStatus
from orchestration.dispatcher import Dispatcher
from orchestration.postbox import Postbox, run_apart

LOOKS = 2000  # a hundredth of a second apart


@pytest.fixture
def delivery(world, runtime, clock):
    """A delivery that waits, and how it stands now."""
    with runtime.transaction() as session:
        arriving = inbox.arriving(
            world.account, key="d-1", source="webhook", headers={}, body=b'{"entries": []}', received_at=clock.now()
        )
        inbox.receive(session, arriving)

    def status() -> DeliveryStatus:
        with runtime.reading() as session:
            return session.exec(select(Delivery.status)).one()

    return status


async def test_a_dispatcher_that_leaves_the_inbox_drains_nothing(runtime, delivery):
    dispatcher = Dispatcher(runtime, drains=False)
    await dispatcher.turn()
    await dispatcher.close()
    assert delivery() is DeliveryStatus.received


async def test_a_process_apart_drains_what_the_dispatcher_leaves(runtime, delivery):
    apart = asyncio.create_task(run_apart(runtime))
    for _ in range(LOOKS):
        if delivery() is DeliveryStatus.applied:
            break
        await asyncio.sleep(0.01)
    apart.cancel()
    await asyncio.gather(apart, return_exceptions=True)
    assert delivery() is DeliveryStatus.applied


async def test_more_than_one_drain_takes_is_drained_to_the_last(runtime, world, clock, monkeypatch):
    monkeypatch.setattr("ingestion.inbox.BATCH_MAX_BYTES", 20)  # one delivery at a time, whatever else waits
    with runtime.transaction() as session:
        for number in range(5):
            arriving = inbox.arriving(
                world.account,
                key=f"d-{number}",
                source="webhook",
                headers={},
                body=b'{"entries": []}',
                received_at=clock.now(),
            )
            inbox.receive(session, arriving)
    applied = []
    postbox = Postbox(runtime, lambda: applied.append(1))
    postbox.look()
    await postbox.idle()
    with runtime.reading() as session:
        assert set(session.exec(select(Delivery.status)).all()) == {DeliveryStatus.applied}
    assert len(applied) == 5


async def test_a_crowd_is_drained_in_ever_larger_portions_so_that_it_gets_behind_no_further(runtime, world, clock):
    crowd = [
        inbox.arriving(
            world.account,
            key=f"d-{number}",
            source="webhook",
            headers={},
            body=b'{"entries": []}',
            received_at=clock.now(),
        )
        for number in range(150)
    ]
    with runtime.transaction() as session:
        inbox.receive_all(session, crowd)
    applied = []
    postbox = Postbox(runtime, lambda: applied.append(1))
    postbox.look()
    await postbox.idle()
    with runtime.reading() as session:
        assert set(session.exec(select(Delivery.status)).all()) == {DeliveryStatus.applied}
    assert len(applied) == 5  # 8, 16, 32, 64 and what is left


async def test_what_is_more_urgent_is_let_pass_before_each_transaction(runtime, delivery):
    passed = []

    async def let_pass() -> None:
        passed.append(delivery())

    postbox = Postbox(runtime, lambda: None, let_pass)
    postbox.look()
    await postbox.idle()
    assert passed[0] is DeliveryStatus.received
    assert delivery() is DeliveryStatus.applied
