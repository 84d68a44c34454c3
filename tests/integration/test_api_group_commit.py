"""Group commit: nobody is answered before the commit, nobody is left waiting, one bad delivery spoils no batch."""

import asyncio
from contextlib import contextmanager
from uuid import uuid4

import pytest
from sqlmodel import select

from api.group_commit import deliveries
from fleet import group_commit
from fleet.errors import Invalid, Unavailable
from fleet.group_commit import GroupCommit
from fleet.runtime import Runtime
from ingestion.inbox import arriving
from ingestion.models import Delivery


@pytest.fixture
def arriving_as(world, clock):
    """Makes a delivery with this key."""

    def make(key: str, **changed) -> Delivery:
        delivery = arriving(world.account, key=key, source="webhook", headers={}, body=b"{}", received_at=clock.now())
        return delivery.model_copy(update=changed)

    return make


@pytest.fixture
def keys(runtime: Runtime):
    """The keys in the database."""

    def read() -> list[str]:
        with runtime.reading() as session:
            return list(session.exec(select(Delivery.key).order_by(Delivery.key)).all())

    return read


@pytest.fixture
def writer(runtime: Runtime):
    """A writer that has not begun, so that what is stored meets in one batch; it is ended after the test."""
    writer = deliveries(runtime.transaction)
    yield writer
    if writer.is_alive:
        writer.stop()


@pytest.fixture
def store_all(writer, monkeypatch):
    """Puts deliveries into one batch, then lets the writer begin; gives what became of each."""

    async def do(arriving: list[Delivery]) -> list:
        with monkeypatch.context() as patched:
            patched.setattr(GroupCommit, "is_alive", True)
            calls = [asyncio.ensure_future(writer.write(delivery)) for delivery in arriving]
            await asyncio.sleep(0)
        writer.start()
        return await asyncio.gather(*calls, return_exceptions=True)

    return do


async def test_what_is_answered_is_committed(store_all, arriving_as, keys):
    assert await store_all([arriving_as(f"d-{number}") for number in range(5)]) == [None] * 5
    assert keys() == [f"d-{number}" for number in range(5)]


async def test_duplicates_in_one_batch_are_all_answered_and_stored_once(store_all, arriving_as, keys):
    assert await store_all([arriving_as("d-1"), arriving_as("d-1")]) == [None, None]
    assert keys() == ["d-1"]


async def test_one_delivery_that_the_database_refuses_spoils_no_other(store_all, arriving_as, keys):
    outcomes = await store_all([arriving_as("d-1"), arriving_as("bad", account_id=uuid4()), arriving_as("d-3")])
    assert [type(outcome) for outcome in outcomes] == [type(None), Invalid, type(None)]
    assert keys() == ["d-1", "d-3"]


async def test_a_stopping_writer_writes_what_waits(store_all, writer, arriving_as, keys):
    await store_all([arriving_as("d-1")])
    waiting = asyncio.ensure_future(writer.write(arriving_as("d-2")))
    await asyncio.sleep(0)
    await asyncio.to_thread(writer.stop)
    assert await waiting is None
    assert keys() == ["d-1", "d-2"]


async def test_a_writer_that_has_ended_takes_nothing(writer, arriving_as, keys):
    writer.start()
    await asyncio.to_thread(writer.stop)
    with pytest.raises(Unavailable):
        await writer.write(arriving_as("d-1"))
    assert keys() == []


@pytest.mark.parametrize("bound", ["WAITING_MAX", "WAITING_MAX_BYTES"])
async def test_when_too_much_waits_the_next_is_told_to_come_again(writer, arriving_as, monkeypatch, bound: str):
    monkeypatch.setattr(group_commit, bound, 1)
    monkeypatch.setattr(GroupCommit, "is_alive", True)
    first = asyncio.ensure_future(writer.write(arriving_as("d-1")))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="in a moment"):
        await writer.write(arriving_as("d-2"))
    monkeypatch.undo()
    writer.start()
    assert await first is None


async def test_a_sender_that_gave_up_does_not_hurt_the_writer(writer, arriving_as, keys, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(GroupCommit, "is_alive", True)
        gone, here = (asyncio.ensure_future(writer.write(arriving_as(key))) for key in ("d-1", "d-2"))
        await asyncio.sleep(0)
    gone.cancel()
    writer.start()
    assert await here is None
    assert keys() == ["d-1", "d-2"]


async def test_an_error_that_nobody_foresaw_leaves_nobody_waiting_and_does_not_end_the_writer(arriving_as):
    @contextmanager
    def broken():
        raise RuntimeError("nobody foresaw this")
        yield

    writer = deliveries(broken)
    writer.start()
    with pytest.raises(Unavailable):
        await writer.write(arriving_as("d-1"))
    assert writer.is_alive
    await asyncio.to_thread(writer.stop)
    assert not writer.is_alive
