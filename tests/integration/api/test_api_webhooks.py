"""Webhooks over HTTP: verified, stored once, acknowledged after the commit, and refused in every other case."""

import asyncio
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import event
from sqlmodel import select

from fleet.accounts import ManufacturerAccount
from fleet.events import Event
from fleet.runtime import Runtime
from fleet.states import RobotState
from ingestion.models import Delivery
from ingestion.signatures import sign
from orchestration.intake import drain

BODY = b'{"entries": []}'


@pytest.fixture
def signed(world, clock):
    """The headers of a delivery, signed now with the account's secret."""

    def make(delivery_id: str, body: bytes = BODY, **changed: str) -> dict[str, str]:
        sent_at = clock.now()
        signature = sign(world.account.webhook_secret, delivery_id=delivery_id, sent_at=sent_at, body=body)
        made = {
            "webhook-id": delivery_id,
            "webhook-timestamp": str(int(sent_at.timestamp())),
            "webhook-signature": signature,
        }
        return made | {name.replace("_", "-"): value for name, value in changed.items()}

    return make


@pytest.fixture
def path(world) -> str:
    return f"/v1/webhooks/{world.account.id}"


@pytest.fixture
def stored(runtime: Runtime):
    """Every delivery in the database."""

    def read() -> list[Delivery]:
        with runtime.reading() as session:
            return list(session.exec(select(Delivery).order_by(Delivery.key)).all())

    return read


def test_a_signed_delivery_is_stored_byte_for_byte_before_it_is_acknowledged(anonymous, path, signed, stored):
    body = b'  {"entries": [] , "more": "\xc3\xa9" }\n'
    response = anonymous.post(path, content=body, headers=signed("d-1", body))
    assert (response.status_code, response.content) == (202, b"")
    (row,) = stored()
    assert (row.key, row.source, row.body) == ("d-1", "webhook", body)
    assert row.headers["webhook-id"] == "d-1"


def test_no_credential_is_kept_with_a_delivery(anonymous, path, signed, stored):
    anonymous.post(path, content=BODY, headers=signed("d-1") | {"Authorization": "Bearer x", "Cookie": "a=b"})
    assert {"authorization", "cookie"}.isdisjoint(stored()[0].headers)


def test_a_duplicate_delivery_is_acknowledged_and_stored_once(anonymous, path, signed, stored):
    statuses = [anonymous.post(path, content=BODY, headers=signed("d-1")).status_code for _ in range(3)]
    assert (statuses, len(stored())) == ([202, 202, 202], 1)


def test_a_bad_signature_is_refused_and_leaves_nothing(anonymous, path, signed, stored, runtime: Runtime):
    response = anonymous.post(path, content=BODY + b" ", headers=signed("d-1"))
    assert (response.status_code, response.json()["code"]) == (401, "unauthorized")
    assert (stored(), drain(runtime)) == ([], 0)
    with runtime.reading() as session:
        assert session.exec(select(Event)).all() == []
        assert session.exec(select(RobotState)).all() == []


def test_a_delivery_without_signature_or_from_another_hour_is_refused(anonymous, path, signed, stored, clock):
    old = signed("d-1")
    clock.step(301)
    assert anonymous.post(path, content=BODY).status_code == 401
    assert anonymous.post(path, content=BODY, headers=old).status_code == 401
    assert stored() == []


def test_an_unknown_account_is_not_found(anonymous, signed, stored):
    for account in [uuid4(), "nonsense", "00000000-0000-0000-0000-000000000000"]:
        response = anonymous.post(f"/v1/webhooks/{account}", content=BODY, headers=signed("d-1"))
        assert response.status_code in (404, 422)
        assert response.headers["content-type"] == "application/problem+json"
    assert stored() == []


def test_a_secret_that_was_changed_counts_within_seconds(anonymous, path, signed, runtime: Runtime, world, clock):
    assert anonymous.post(path, content=BODY, headers=signed("d-1")).status_code == 202
    with runtime.transaction() as session:
        session.get_one(ManufacturerAccount, world.account.id).webhook_secret = "whsec_" + "A" * 32
    clock.step(6)
    assert anonymous.post(path, content=BODY, headers=signed("d-2")).status_code == 401


def test_any_method_but_post_is_refused(anonymous, path):
    response = anonymous.get(path)
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")


async def test_many_deliveries_at_once_share_few_commits_and_all_are_stored(
    url, path, signed, stored, runtime: Runtime
):
    commits = []
    event.listen(runtime.engine, "commit", lambda _connection: commits.append(1))
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
        calls = [client.post(path, content=BODY, headers=signed(f"d-{number:03}")) for number in range(200)]
        statuses = [response.status_code for response in await asyncio.gather(*calls)]
    assert statuses == [202] * 200
    assert [row.key for row in stored()] == [f"d-{number:03}" for number in range(200)]
    assert len(commits) < 150


def test_while_the_database_takes_nothing_nothing_is_acknowledged(anonymous, path, signed, stored, app, monkeypatch):
    def full(_session, _deliveries):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("ingestion.inbox.receive_all", full)
        response = anonymous.post(path, content=BODY, headers=signed("d-1"))
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    assert anonymous.post(path, content=BODY, headers=signed("d-1")).status_code == 202
    assert [row.key for row in stored()] == ["d-1"]


def test_a_writer_that_died_is_told_by_readyz_and_nothing_is_acknowledged(anonymous, path, signed, stored, app):
    app.state.group_commit.stop()
    assert anonymous.post(path, content=BODY, headers=signed("d-1")).status_code == 503
    assert anonymous.get("/readyz").status_code == 503
    assert anonymous.get("/healthz").status_code == 200
    assert stored() == []
