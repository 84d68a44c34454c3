"""What was claimed in a transaction that the database refused is never sent: the order was never written."""

import pytest
from sqlmodel import select

from missions.models import Attempt, Mission, Transition
from orchestration.dispatcher import Dispatcher


@pytest.fixture
def refused(yard, runtime) -> Mission:
    """A mission whose next line of history the database refuses, beside one that is well."""
    yard.request("well")
    mission = yard.request("refused")
    for name in ("amr-01", "amr-02"):
        yard.observe(name)
    with runtime.transaction() as session:
        row = session.get_one(Mission, mission.id)
        taken = Transition(
            organisation_id=row.organisation_id, mission_id=row.id, subject="mission", subject_id=row.id,
            to_status="ASSIGNED", version=row.version + 1, who="nobody", why="in the way", at=yard.clock.now(),
        )  # fmt: skip
        session.add(taken)
    return mission


async def test_orders_of_a_refused_transaction_are_not_sent(runtime, refused, monkeypatch):
    sent = []

    async def note(_dispatcher: Dispatcher, parcel) -> None:
        sent.append(parcel)

    monkeypatch.setattr(Dispatcher, "_send", note)
    dispatcher = Dispatcher(runtime)
    await dispatcher.turn()
    await dispatcher.lanes.idle()
    await dispatcher.turn()
    await dispatcher.lanes.idle()
    await dispatcher.close()
    with runtime.reading() as session:
        attempts = {attempt.key: attempt.mission_id for attempt in session.exec(select(Attempt)).all()}
    assert refused.id not in attempts.values()
    assert [parcel.key for parcel in sent] == list(attempts)
