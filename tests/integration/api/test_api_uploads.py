"""Uploads over HTTP: parts in any order, twice or after an interruption, become one bag that is to be converted."""

import hashlib

import pytest
from sqlmodel import select

from fleet.requests import Request
from fleet.runtime import Runtime
from ingestion.models import Bag

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def announced():
    """The body that announces CONTENT."""

    def make(**changed) -> dict:
        sha256 = hashlib.sha256(CONTENT).hexdigest()
        return {"filename": "night.mcap", "size": len(CONTENT), "sha256": sha256, "robot": "amr-01"} | changed

    return make


@pytest.fixture
def sent(device, announced):
    """An upload whose two parts have been sent; gives its path."""
    upload = device.post("/v1/uploads", json=announced())
    path = upload.headers["location"]
    for number, part in [(2, CONTENT[5000:]), (1, CONTENT[:5000])]:
        assert device.put(f"{path}/parts/{number}", content=part).status_code == 204
    return path


def test_an_upload_says_how_large_a_part_may_be(device, announced):
    response = device.post("/v1/uploads", json=announced())
    assert response.status_code == 201
    assert response.json()["part_max_bytes"] == 8 * 1024 * 1024
    assert response.json()["parts"] == {}


def test_the_parts_become_one_bag_of_the_robot(runtime: Runtime, device, sent):
    response = device.post(f"{sent}/complete")
    assert response.status_code == 200
    with runtime.reading() as session:
        (bag,) = session.exec(select(Bag)).all()
    assert str(bag.id) == response.json()["bag_id"]
    assert (bag.robot_name, bag.filename, bag.size) == ("amr-01", "night.mcap", len(CONTENT))
    assert runtime.objects.read(bag.object_key) == CONTENT


def test_a_complete_upload_asks_for_its_conversion_once(runtime: Runtime, device, sent):
    first, second = device.post(f"{sent}/complete"), device.post(f"{sent}/complete")
    assert first.json() == second.json()
    with runtime.reading() as session:
        (request,) = session.exec(select(Request)).all()
    assert (request.kind, request.parameters) == ("process-bag", {"bag_ids": [first.json()["bag_id"]]})


def test_the_bag_is_listed_for_those_who_read(device, customer, sent):
    bag_id = device.post(f"{sent}/complete").json()["bag_id"]
    (shown,) = customer.get("/v1/bags", params={"robot": "amr-01", "status": "stored"}).json()["items"]
    assert (shown["id"], shown["sha256"]) == (bag_id, hashlib.sha256(CONTENT).hexdigest())
    assert customer.get("/v1/bags", params={"robot": "amr-02"}).json()["items"] == []
    assert customer.get("/v1/bags", params={"status": "refused"}).json()["items"] == []


def test_after_an_interruption_the_parts_that_arrived_are_told(device, sent, announced):
    assert device.get(sent).json()["parts"] == {"1": 5000, "2": len(CONTENT) - 5000}
    assert device.post("/v1/uploads", json=announced()).headers["location"] == sent


def test_wrong_content_is_refused_with_both_hashes(device, announced):
    path = device.post("/v1/uploads", json=announced()).headers["location"]
    device.put(f"{path}/parts/1", content=CONTENT[::-1])
    response = device.post(f"{path}/complete")
    assert response.status_code == 422
    assert hashlib.sha256(CONTENT).hexdigest() in response.json()["detail"]
    assert hashlib.sha256(CONTENT[::-1]).hexdigest() in response.json()["detail"]


def test_a_missing_part_leaves_the_upload_open(device, announced):
    path = device.post("/v1/uploads", json=announced()).headers["location"]
    device.put(f"{path}/parts/1", content=CONTENT[:10])
    assert device.post(f"{path}/complete").status_code == 422
    assert device.get(path).json()["status"] == "open"


def test_a_part_that_is_too_large_is_refused_before_it_is_read(device, sent):
    response = device.put(f"{sent}/parts/1", content=b"x" * (8 * 1024 * 1024 + 1))
    assert (response.status_code, response.json()["code"]) == (413, "too_large")


def test_a_recording_larger_than_the_limit_is_refused_when_it_is_announced(device, announced):
    assert device.post("/v1/uploads", json=announced(size=10**12)).status_code == 413


def test_nonsense_is_refused_and_named(device, announced):
    for changed in [{"sha256": "abc"}, {"filename": "../etc/passwd"}, {"size": -1}, {"mission_id": "x"}]:
        response = device.post("/v1/uploads", json=announced(**changed))
        assert response.status_code == 422, changed
        assert next(iter(changed)).removesuffix("name") in response.text
    assert device.post("/v1/uploads", json=announced(robot="amr-99")).status_code == 404


def test_part_zero_is_refused(device, sent):
    assert device.put(f"{sent}/parts/0", content=b"x").status_code == 422


def test_another_organisation_sees_no_upload(stranger, sent):
    assert stranger.get(sent).status_code == 404
    assert stranger.put(f"{sent}/parts/1", content=b"x").status_code == 404
    assert stranger.post(f"{sent}/complete").status_code == 404
