"""The whole way through the API on PostgreSQL, with many asking for the same at once."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlmodel import select

from fleet.events import Event
from fleet.requests import Request
from fleet.runtime import Runtime
from ingestion.models import Bag, Delivery
from ingestion.signatures import sign
from missions.models import Mission
from orchestration.intake import drain

pytestmark = pytest.mark.proof
CROWD = 8


@pytest.fixture
def runtime(postgres_runtime: Runtime) -> Runtime:
    """The API stands on PostgreSQL."""
    return postgres_runtime


@pytest.fixture
def at_once():
    """The answers to CROWD calls at the same time."""

    def do(call):
        with ThreadPoolExecutor(CROWD) as crowd:
            return list(crowd.map(lambda _: call(), range(CROWD)))

    return do


@pytest.mark.parametrize("round_", range(5))
def test_the_same_request_asked_for_at_once_is_one(runtime: Runtime, operator, at_once, round_: int):
    wanted = {"kind": "train-rul", "key": f"k-{round_}", "parameters": {}}
    answers = at_once(lambda: operator.post("/v1/requests", json=wanted))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    with runtime.reading() as session:
        assert len(session.exec(select(Request)).all()) == 1


def test_the_same_mission_asked_for_at_once_is_one(runtime: Runtime, operator, at_once):
    wanted = {"site": "north", "name": "look", "key": "k-1", "tasks": [{"kind": "go_to", "station": "gate"}]}
    answers = at_once(lambda: operator.post("/v1/missions", json=wanted))
    assert {answer.status_code for answer in answers} <= {200, 201}
    with runtime.reading() as session:
        (mission,) = session.exec(select(Mission)).all()
    assert {answer.json()["id"] for answer in answers} == {str(mission.id)}
    canceled = at_once(lambda: operator.post(f"/v1/missions/{mission.id}/commands", json={"command": "cancel"}))
    assert {answer.status_code for answer in canceled} <= {202, 409}
    assert operator.get(f"/v1/missions/{mission.id}").json()["status"] == "CANCELED"


def test_an_upload_completed_at_once_is_one_bag(runtime: Runtime, device, at_once):
    content = os.urandom(200_000)
    wanted = {"filename": "a.mcap", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    path = device.post("/v1/uploads", json=wanted).headers["location"]
    for number in range(4):
        device.put(f"{path}/parts/{number + 1}", content=content[number * 50_000 : (number + 1) * 50_000])
    answers = at_once(lambda: device.post(f"{path}/complete"))
    assert {answer.status_code for answer in answers} == {200}
    with runtime.reading() as session:
        bag = session.exec(select(Bag)).one()
        assert len(session.exec(select(Request)).all()) == 1
    assert {answer.json()["bag_id"] for answer in answers} == {str(bag.id)}
    assert runtime.objects.read(bag.object_key) == content


def test_parts_sent_at_once_are_all_there(runtime: Runtime, device):
    content = os.urandom(80_000)
    wanted = {"filename": "a.mcap", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    path = device.post("/v1/uploads", json=wanted).headers["location"]

    def put(number: int) -> int:
        part = content[(number - 1) * 10_000 : number * 10_000]
        return device.put(f"{path}/parts/{number}", content=part).status_code

    with ThreadPoolExecutor(CROWD) as crowd:
        assert set(crowd.map(put, [8, 1, 7, 2, 6, 3, 5, 4])) == {204}
    assert device.get(path).json()["parts"] == {str(number): 10_000 for number in range(1, 9)}
    assert device.post(f"{path}/complete").status_code == 200


def test_a_webhook_becomes_an_event_and_an_alert_that_readers_see(runtime: Runtime, world, anonymous, operator, clock):
    stamp = int(clock.now().timestamp() * 1_000_000)
    notice = {"type": "NOTICE", "noticeId": "n-1", "code": "LOW_CHARGE", "stampUs": stamp, "unitSn": "SN-amr-01"}
    body = json.dumps({"entries": [notice]}).encode()
    for delivery_id in ("d-1", "d-1", "d-2"):
        signature = sign(world.account.webhook_secret, delivery_id=delivery_id, sent_at=clock.now(), body=body)
        headers = {
            "webhook-id": delivery_id,
            "webhook-timestamp": str(int(clock.now().timestamp())),
            "webhook-signature": signature,
        }
        assert anonymous.post(f"/v1/webhooks/{world.account.id}", content=body, headers=headers).status_code == 202
    assert drain(runtime) == 2
    with runtime.reading() as session:
        assert len(session.exec(select(Delivery)).all()) == 2
        assert [event.kind for event in session.exec(select(Event)).all()] == ["battery_low"]
    shown = {robot["name"]: robot for robot in operator.get("/v1/robots").json()["items"]}
    assert [alert["rule"] for alert in shown["amr-01"]["alerts"]] == ["battery_low"]
    assert shown["amr-02"]["alerts"] == []


def test_pages_hold_every_mission_once_and_strangers_see_none(operator, stranger):
    for number in range(7):
        wanted = {"site": "north", "name": "look", "key": f"k-{number}", "tasks": [{"kind": "wait"}]}
        assert operator.post("/v1/missions", json=wanted).status_code == 201
    seen, cursor = [], ""
    while cursor is not None:
        page = operator.get("/v1/missions", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        seen += [one["key"] for one in page["items"]]
        cursor = page["next"]
    assert seen == [f"k-{number}" for number in reversed(range(7))]
    assert stranger.get("/v1/missions").json()["items"] == []
