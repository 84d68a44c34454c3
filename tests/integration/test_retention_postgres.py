"""Old rows are removed on PostgreSQL by several dispatchers at once, beside a publisher and a replay."""

import asyncio

import pytest
from sqlmodel import select
from structlog.testing import capture_logs

from fleet import changes
from fleet.changes import Change
from fleet.runtime import Runtime
from ingestion import inbox
from ingestion.models import Delivery, DeliveryStatus
from orchestration import retention

pytestmark = pytest.mark.proof

LONG_S = 91 * 86_400.0


@pytest.fixture
def filled(postgres_runtime: Runtime, postgres_world, clock) -> Runtime:
    """Forty applied deliveries and forty published changes, all of long ago."""
    for number in range(40):
        arriving = inbox.arriving(
            postgres_world.account,
            key=f"d-{number}",
            source="poll",
            headers={},
            body=b"{}",
            received_at=clock.now(),
        )
        with postgres_runtime.transaction() as session:
            inbox.receive(session, arriving)
            inbox.apply(session, session.exec(select(Delivery).where(Delivery.key == f"d-{number}")).one())
            changes.record(
                session,
                organisation_id=postgres_world.organisation.id,
                subject="robot",
                subject_id=number,
                kind="seen",
            )
    with postgres_runtime.transaction() as session:
        changes.publish(session)
    clock.step(LONG_S)
    return postgres_runtime


async def test_several_sweeps_at_once_remove_each_row_once_and_the_feed_goes_on(filled, postgres_world):
    with capture_logs() as logs:
        await asyncio.gather(*(retention.sweep(filled, limit=4, rest_s=0) for _ in range(4)))
        await retention.sweep(filled, rest_s=0)
    assert sum(line["deliveries"] for line in logs) == 40
    assert sum(line["changes"] for line in logs) == 39
    with filled.transaction() as session:
        changes.record(
            session, organisation_id=postgres_world.organisation.id, subject="robot", subject_id=1, kind="new"
        )
    with filled.transaction() as session:
        changes.publish(session)
    with filled.reading() as session:
        assert [row.position for row in session.exec(select(Change).order_by(Change.position)).all()] == [40, 41]


def test_rows_that_another_holds_are_passed_over_and_not_waited_for(filled):
    with filled.transaction() as first:
        assert inbox.forget(first, before=filled.clock.now(), limit=30) == 30
        with filled.transaction() as second:
            assert inbox.forget(second, before=filled.clock.now(), limit=30) == 10


def test_a_delivery_that_is_replayed_meanwhile_stays(filled):
    with filled.transaction() as replaying:
        oldest = replaying.exec(select(Delivery).order_by(Delivery.id)).first()
        inbox.put_back(replaying, [oldest.id])
        with filled.transaction() as session:
            assert inbox.forget(session, before=filled.clock.now(), limit=100) == 39
    with filled.reading() as session:
        (row,) = session.exec(select(Delivery)).all()
    assert (row.id, row.status) == (oldest.id, DeliveryStatus.received)
