"""Uploads over HTTP: parts in any order, twice or after an interruption, become one bag that is to be converted."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

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


@pytest.fixture
def mission_id(operator):
    """A mission of the organisation."""
    wanted = {"site": "north", "name": "look", "key": "k-1", "tasks": [{"kind": "wait"}]}
    return operator.post("/v1/missions", json=wanted).json()["id"]


def test_a_recording_may_belong_to_a_mission_of_the_organisation(runtime: Runtime, device, announced, mission_id):
    path = device.post("/v1/uploads", json=announced(mission_id=mission_id)).headers["location"]
    device.put(f"{path}/parts/1", content=CONTENT)
    assert device.post(f"{path}/complete").status_code == 200
    with runtime.reading() as session:
        assert str(session.exec(select(Bag)).one().mission_id) == mission_id


def test_a_mission_of_another_organisation_is_not_there_for_an_upload(stranger, announced, mission_id):
    wanted = announced(mission_id=mission_id)
    del wanted["robot"]
    response = stranger.post("/v1/uploads", json=wanted)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("number", ["0", "-1", "1000000000", "9" * 40, "1.5", "x", "%00", "..%2f1"])
def test_a_part_number_that_is_none_is_refused(device, sent, number: str):
    response = device.put(f"{sent}/parts/{number}", content=b"x")
    assert response.status_code in (404, 422)
    assert set(device.get(sent).json()["parts"]) == {"1", "2"}


def test_six_who_complete_at_once_get_the_same_bag(runtime: Runtime, device, sent):
    with ThreadPoolExecutor(6) as crowd:
        answers = list(crowd.map(lambda _: device.post(f"{sent}/complete"), range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["bag_id"] for answer in answers}) == 1
    with runtime.reading() as session:
        assert runtime.objects.read(session.exec(select(Bag)).one().object_key) == CONTENT
        assert len(session.exec(select(Request)).all()) == 1


@pytest.mark.parametrize("name", ["../a.mcap", "a/b.mcap", "..\\a.mcap", "..", "", "a\nb.mcap", "x" * 256])
def test_a_name_with_a_way_in_it_is_refused(device, announced, name: str):
    assert device.post("/v1/uploads", json=announced(filename=name)).status_code == 422


@pytest.mark.parametrize("name", ["é" * 255, "CON", "-rf", "名.mcap", " "])
def test_a_strange_name_is_only_a_name(runtime: Runtime, device, announced, name: str):
    path = device.post("/v1/uploads", json=announced(filename=name)).headers["location"]
    device.put(f"{path}/parts/1", content=CONTENT)
    device.post(f"{path}/complete")
    with runtime.reading() as session:
        bag = session.exec(select(Bag)).one()
    assert bag.filename == name
    assert bag.object_key.endswith(f"/bags/{bag.sha256}")
