"""Requests over HTTP: work that a flow does is asked for once per key, within the caller's organisation."""

import pytest
from sqlmodel import select

from fleet import requests
from fleet.requests import RequestStatus
from fleet.runtime import Runtime
from ingestion.models import Bag

NOBODY = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def bag(runtime: Runtime, world, clock) -> Bag:
    row = Bag(
        organisation_id=world.organisation.id,
        sha256="0" * 64,
        size=1,
        filename="a.mcap",
        object_key="k",
        uploaded_at=clock.now(),
    )
    with runtime.transaction() as session:
        session.add(row)
    return row


def test_a_request_is_written_for_the_callers_organisation(runtime: Runtime, world, operator):
    wanted = {"kind": "publish-report", "key": "night-1", "parameters": {"site": "north"}}
    response = operator.post("/v1/requests", json=wanted)
    assert (response.status_code, response.json()["status"]) == (202, "pending")
    with runtime.reading() as session:
        (row,) = session.exec(select(requests.Request)).all()
    assert (row.organisation_id, row.kind, row.parameters) == (
        world.organisation.id,
        "publish-report",
        {"site": "north"},
    )
    assert row.requested_by == "user:a-user"


def test_asking_twice_is_one_request(operator):
    wanted = {"kind": "train-rul", "key": "a"}
    first, second = (operator.post("/v1/requests", json=wanted).json() for _ in range(2))
    assert first["id"] == second["id"]


def test_the_same_key_with_other_parameters_is_a_conflict(operator):
    operator.post("/v1/requests", json={"kind": "train-rul", "key": "a", "parameters": {"seed": 1}})
    response = operator.post("/v1/requests", json={"kind": "train-rul", "key": "a", "parameters": {"seed": 2}})
    assert response.status_code == 409


def test_how_far_it_got_is_shown(runtime: Runtime, operator):
    path = operator.post("/v1/requests", json={"kind": "train-rul", "key": "a"}).headers["location"]
    with runtime.transaction() as session:
        (row,) = session.exec(select(requests.Request)).all()
        requests.settle(session, row.id, RequestStatus.failed, error="too few lives")
    shown = operator.get(path).json()
    assert (shown["status"], shown["error"]) == ("failed", "too few lives")


def test_another_organisation_sees_no_request(operator, stranger):
    path = operator.post("/v1/requests", json={"kind": "train-rul", "key": "a"}).headers["location"]
    assert stranger.get(path).status_code == 404
    assert operator.get(f"/v1/requests/{NOBODY}").status_code == 404


def test_what_the_platform_does_for_itself_cannot_be_asked_for(operator):
    for kind in ["poll-manufacturer", "receive-webhooks", "rm -rf", ""]:
        assert operator.post("/v1/requests", json={"kind": kind, "key": "a"}).status_code == 422, kind


def test_own_bags_may_be_processed_again(operator, bag):
    wanted = {"kind": "process-bag", "key": "again", "parameters": {"bag_ids": [str(bag.id)]}}
    assert operator.post("/v1/requests", json=wanted).status_code == 202


def test_bags_of_others_or_none_are_refused(operator, stranger, bag):
    for ids in [[str(bag.id)], [NOBODY], ["x"], [], "all", None]:
        wanted = {"kind": "process-bag", "key": "k", "parameters": {"bag_ids": ids}}
        assert stranger.post("/v1/requests", json=wanted).status_code == 422, ids
    assert operator.post("/v1/requests", json={"kind": "process-bag", "key": "k"}).status_code == 422
