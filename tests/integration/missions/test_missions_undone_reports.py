"""A delivery that is undone as a whole leaves nothing behind, neither in the database nor for the deliveries after it."""

import pytest

from fleet.adapter import OrderReport, OrderStatus, Reported
from fleet.runtime import Runtime
from ingestion import inbox
from ingestion.models import Delivery, DeliveryStatus
from orchestration import intake


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.proof)])
def yard(request):
    """The yard on both databases."""
    return request.getfixturevalue("yard" if request.param == "sqlite" else "postgres_yard")


@pytest.fixture
def post(yard, monkeypatch):
    """Stores a delivery that says these things, in an account whose words are our own."""
    said: dict[bytes, tuple[Reported, ...]] = {}
    monkeypatch.setattr(intake, "translator", lambda _manufacturer: lambda body: said[body])

    def do(*told: Reported):
        body = f"d-{len(said)}".encode()
        said[body] = told
        delivery = inbox.arriving(
            yard.world.account,
            key=body.decode(),
            source="webhook",
            headers={},
            body=body,
            received_at=yard.clock.now(),
        )
        with yard.runtime.transaction() as session:
            inbox.receive(session, delivery)
        return delivery.id

    return do


@pytest.fixture
def report(yard):
    def make(attempt, status: OrderStatus, sequence: int) -> OrderReport:
        return OrderReport(
            key=attempt.key,
            serial_number="SN-amr-01",
            status=status,
            observed_at=yard.clock.now(),
            sequence=sequence,
        )

    return make


def status_of(runtime: Runtime, delivery_id: object) -> DeliveryStatus:
    with runtime.reading() as session:
        return session.get_one(Delivery, delivery_id).status


@pytest.mark.parametrize("after", [OrderStatus.running, OrderStatus.succeeded])
def test_a_report_undone_with_its_delivery_does_not_hide_the_next_one(yard, post, report, after: OrderStatus):
    mission = yard.request()
    (attempt,) = yard.assign("amr-01")
    yard.send()
    undone = post(report(attempt, OrderStatus.running, 3), report(attempt, OrderStatus.running, 2**70))
    good = post(report(attempt, after, 4))
    intake.drain(yard.runtime)
    assert status_of(yard.runtime, undone) is DeliveryStatus.rejected
    assert status_of(yard.runtime, good) is DeliveryStatus.applied
    assert yard.status(mission) == after.value.upper()
