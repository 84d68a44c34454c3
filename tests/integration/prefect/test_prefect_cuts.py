"""A cut that was asked for over HTTP is made by a run in a real Prefect, and an operator cuts by the form."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import select

from ingestion.bags.processing import process
from ingestion.models import Bag

pytestmark = [pytest.mark.serial, pytest.mark.proof, pytest.mark.timeout(900)]
START = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)


@pytest.fixture
def bag(prefect, demo_site, recording) -> Bag:
    """A minute of /voltage, converted."""
    sha256 = hashlib.sha256(recording).hexdigest()
    prefect.runtime.objects.put(f"{demo_site}/bags/{sha256}", recording)
    known = {"filename": "run.mcap", "object_key": f"{demo_site}/bags/{sha256}", "uploaded_at": START}
    row = Bag(organisation_id=demo_site, sha256=sha256, size=len(recording), **known)
    with prefect.runtime.transaction() as session:
        session.add(row)
    process(transaction=prefect.runtime.transaction, objects=prefect.runtime.objects, bag_id=row.id)
    return row


def test_a_run_makes_a_cut_once_and_refuses_what_it_cannot_cut(prefect, bag):
    span = {"begin": (START + timedelta(seconds=10)).isoformat(), "end": (START + timedelta(seconds=20)).isoformat()}
    for _ in range(2):
        run_id = prefect.press("cut-bag", bag=str(bag.id), **span)
        assert prefect.state(run_id)["type"] == "COMPLETED"
    with prefect.runtime.reading() as session:
        made = session.exec(select(Bag).where(Bag.cut_of_id == bag.id)).one()
    assert made.messages == 10
    assert "/voltage" in prefect.artifacts(run_id)["cut"]
    refused = prefect.state(prefect.press("cut-bag", bag="run.mcap"))
    assert refused["type"] == "FAILED"
    assert "Say what is to be cut out" in refused["message"]
