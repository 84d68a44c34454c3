"""Inbox and intake on PostgreSQL: many writers and several drains at once keep and apply each delivery once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlmodel import select

from fleet.adapter import Happening
from fleet.adapters.simulated import translate, wire
from fleet.events import Alert, Event
from fleet.runtime import Runtime
from ingestion import inbox
from ingestion.models import Delivery, DeliveryStatus
from orchestration.intake import drain, replay

pytestmark = pytest.mark.proof


@pytest.fixture
def posted(postgres_runtime: Runtime, postgres_world, clock):
    """Stores 60 deliveries from eight writers, each by two of them; one in ten is nonsense."""

    def body(number: int) -> bytes:
        if number % 10 == 9:
            return b"nonsense"
        seen = Happening(
            key=f"n-{number}",
            kind="component_failed",
            occurred_at=clock.now() + timedelta(seconds=number),
            serial_number="SN-amr-01",
            severity="error",
            fields={"component": "drive_motor"},
        )
        return wire.Batch(entries=(translate.entry_from(seen),)).model_dump_json(by_alias=True).encode()

    def store(number: int) -> int:
        delivery = inbox.arriving(
            postgres_world.account,
            key=f"d-{number % 60:02}",
            source="webhook",
            headers={},
            body=body(number % 60),
            received_at=clock.now(),
        )
        with postgres_runtime.transaction() as session:
            return inbox.receive_all(session, [delivery])

    with ThreadPoolExecutor(8) as writers:
        return sum(writers.map(store, range(120)))


@pytest.fixture
def drain_from_four(postgres_runtime: Runtime):
    """Drains in small bites from four threads until nothing is due."""

    def lane(_number: int) -> None:
        while drain(postgres_runtime, limit=7):
            pass

    def do() -> None:
        with ThreadPoolExecutor(4) as lanes:
            list(lanes.map(lane, range(4)))

    return do


def test_each_delivery_is_kept_once_and_applied_once(postgres_runtime: Runtime, posted, drain_from_four):
    drain_from_four()
    with postgres_runtime.reading() as session:
        deliveries, events = session.exec(select(Delivery)).all(), session.exec(select(Event)).all()
        alerts = session.exec(select(Alert)).all()
    assert (posted, len(deliveries)) == (60, 60)
    assert {row.tries for row in deliveries} == {1}
    statuses = [row.status for row in deliveries]
    assert (statuses.count(DeliveryStatus.applied), statuses.count(DeliveryStatus.rejected)) == (54, 6)
    kinds = [event.kind for event in events]
    assert (kinds.count("component_failed"), kinds.count("delivery_rejected")) == (54, 6)
    assert [alert.rule for alert in alerts] == ["component_failed/drive_motor"]


def test_replaying_everything_changes_nothing(postgres_runtime: Runtime, posted, drain_from_four):
    drain_from_four()
    with postgres_runtime.reading() as session:
        ids = session.exec(select(Delivery.id)).all()
        before = len(session.exec(select(Event)).all())
    assert replay(postgres_runtime, ids) == 60
    drain_from_four()
    with postgres_runtime.reading() as session:
        assert len(session.exec(select(Event)).all()) == before
        assert len(session.exec(select(Alert)).all()) == 1
