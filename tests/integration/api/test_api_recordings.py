"""Whole recordings in one request, streamed; and what a robot is told that would like to delete its own."""

import hashlib
import os
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlmodel import select

from api.routes import recordings
from fleet.requests import Request
from fleet.runtime import Runtime
from ingestion.bags.processing import process
from ingestion.models import Bag, Upload, UploadStatus

CONTENT = os.urandom(3_000_001)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PATH = f"/v1/bags/by-sha256/{SHA256}"
NAMED = {"filename": "night.mcap"}


@pytest.fixture
def stored(runtime: Runtime, world):
    return lambda: runtime.objects.list(str(world.organisation.id))


@pytest.fixture
def bags(runtime: Runtime):
    def read() -> list[Bag]:
        with runtime.reading() as session:
            return list(session.exec(select(Bag)).all())

    return read


@pytest.fixture
def talk(url: str, device):
    """Sends this head and body on a connection of its own; gives the first of the answer."""

    def do(head: list[str], body: bytes, *, ends: bool = False) -> bytes:
        host, port = url.removeprefix("http://").split(":")
        lines = [*head, f"Host: {host}", f"Authorization: {device.headers['authorization']}", "", ""]
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall("\r\n".join(lines).encode() + body)
            if ends:
                connection.shutdown(socket.SHUT_WR)
            return connection.recv(65_536)

    return do


def test_a_whole_recording_is_stored_and_asks_for_its_conversion(runtime: Runtime, device, bags):
    response = device.put(PATH, params=NAMED | {"robot": "amr-01"}, content=CONTENT)
    assert response.status_code == 201
    (bag,) = bags()
    assert (str(bag.id), bag.robot_name, bag.size) == (response.json()["bag_id"], "amr-01", len(CONTENT))
    assert runtime.objects.read(bag.object_key) == CONTENT
    with runtime.reading() as session:
        assert session.exec(select(Request.parameters)).one() == {"bag_ids": [str(bag.id)]}


def test_the_same_content_again_and_at_once_is_one_bag(device, bags, stored, monkeypatch):
    monkeypatch.setattr(recordings, "WHOLE_AT_ONCE", 6)
    with ThreadPoolExecutor(4) as crowd:
        answers = list(crowd.map(lambda _: device.put(PATH, params=NAMED, content=CONTENT), range(4)))
    again = device.put(PATH, params=NAMED | {"robot": "amr-02"}, content=CONTENT)
    assert {answer.status_code for answer in [*answers, again]} == {201}
    assert {answer.json()["bag_id"] for answer in [*answers, again]} == {str(bag.id) for bag in bags()}
    assert len(bags()) == len(stored()) == 1


def test_other_content_is_refused_also_when_it_is_stored_already(device, stored, bags):
    refused = device.put(PATH, params=NAMED, content=CONTENT[::-1])
    assert (refused.status_code, refused.json()["fields"]["expected"]) == (422, SHA256)
    assert stored() == []
    assert device.put(PATH, params=NAMED, content=CONTENT).status_code == 201
    assert device.put(PATH, params=NAMED, content=CONTENT[::-1]).status_code == 422
    assert len(bags()) == 1


def test_fewer_bytes_than_declared_store_nothing_and_can_be_sent_again(runtime: Runtime, device, talk, stored, bags):
    head = [f"PUT {PATH}?filename=night.mcap HTTP/1.1", f"Content-Length: {len(CONTENT)}"]
    talk(head, CONTENT[:2_000_000], ends=True)
    assert (stored(), bags()) == ([], [])
    with runtime.reading() as session:
        assert session.exec(select(Upload.status)).one() is UploadStatus.open
    assert device.put(PATH, params=NAMED, content=CONTENT).status_code == 201


def test_more_bytes_than_declared_are_not_read(talk, device, stored):
    head = [f"PUT {PATH}?filename=night.mcap HTTP/1.1", "Content-Length: 10"]
    assert talk(head, CONTENT[:1000]).startswith(b"HTTP/1.1 4")
    assert stored() == []


def test_without_a_length_it_is_refused(talk):
    head = [f"PUT {PATH}?filename=night.mcap HTTP/1.1", "Transfer-Encoding: chunked"]
    assert talk(head, b"3\r\nabc\r\n0\r\n\r\n").startswith(b"HTTP/1.1 411 ")


def test_a_sender_that_falls_silent_is_given_up(talk, stored, monkeypatch):
    monkeypatch.setattr(recordings, "BODY_SECONDS", 0.3)
    head = [f"PUT {PATH}?filename=night.mcap HTTP/1.1", "Content-Length: 1000"]
    assert talk(head, b"x").startswith(b"HTTP/1.1 408 ")
    assert stored() == []


def test_larger_than_the_limit_is_refused_before_it_is_read(talk):
    head = [f"PUT {PATH}?filename=night.mcap HTTP/1.1", "Content-Length: 8000000001"]
    assert talk(head, b"").startswith(b"HTTP/1.1 413 ")


def test_more_than_a_few_at_once_are_told_to_wait(talk, device, monkeypatch):
    monkeypatch.setattr(recordings, "WHOLE_AT_ONCE", 0)
    refused = device.put(PATH, params=NAMED, content=b"")
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many")


@pytest.mark.parametrize("name", ["../a.mcap", "a/b", "", "x" * 256, "a\nb"])
def test_a_name_with_a_way_in_it_is_refused(device, stored, name: str):
    assert device.put(PATH, params={"filename": name}, content=CONTENT).status_code == 422
    assert stored() == []


def test_what_is_no_hash_is_refused(device):
    for name in ["abc", "g" * 64, "0" * 65, "..%2f..%2fetc"]:
        assert device.put(f"/v1/bags/by-sha256/{name}", params=NAMED, content=b"x").status_code in {404, 422}


def test_a_robot_may_delete_only_what_is_stored_and_verified(runtime: Runtime, device, world):
    assert device.get(PATH).status_code == device.head(PATH).status_code == 404
    path = device.post("/v1/uploads", json=NAMED | {"size": len(CONTENT), "sha256": SHA256}).headers["location"]
    device.put(f"{path}/parts/1", content=CONTENT)
    assert device.head(PATH).status_code == 404  # all has arrived, and nothing is verified
    device.post(f"{path}/complete")
    told = device.get(PATH).json()
    assert (told["stored"], told["converted"], told["safe_to_delete"], told["status"]) == (True, False, True, "stored")
    assert device.head(PATH.upper().replace("/V1/BAGS/BY-SHA256", "/v1/bags/by-sha256")).status_code == 200


def test_what_the_store_lost_is_not_safe_and_sent_again_it_is(runtime: Runtime, device, bags):
    device.put(PATH, params=NAMED, content=CONTENT)
    (bag,) = bags()
    runtime.objects.put(bag.object_key, CONTENT[:-1])
    told = device.get(PATH).json()
    assert (told["stored"], told["safe_to_delete"], device.head(PATH).status_code) == (False, False, 404)
    device.put(PATH, params=NAMED, content=CONTENT)
    assert device.head(PATH).status_code == 200
    assert runtime.objects.read(bag.object_key) == CONTENT


def test_what_is_refused_by_the_converter_is_stored_and_not_converted(runtime: Runtime, device, bags):
    device.put(PATH, params=NAMED, content=CONTENT)
    process(transaction=runtime.transaction, objects=runtime.objects, bag_id=bags()[0].id)
    told = device.get(PATH).json()
    assert (told["status"], told["converted"], told["safe_to_delete"]) == ("refused", False, True)


def test_another_organisation_is_told_nothing_and_its_own_is_another(device, stranger, bags):
    device.put(PATH, params=NAMED, content=CONTENT)
    assert stranger.get(PATH).status_code == stranger.head(PATH).status_code == 404
    assert stranger.put(PATH, params=NAMED, content=CONTENT).status_code == 201
    assert len(bags()) == 2


def test_those_who_look_send_nothing(customer):
    assert customer.put(PATH, params=NAMED, content=CONTENT).status_code == 403


def test_a_folder_is_announced_with_its_files_and_sent_in_parts(device, bags):
    files = [{"path": p, "size": 3, "sha256": hashlib.sha256(c).hexdigest()} for p, c in [("b", b"xyz"), ("a", b"abc")]]
    listed = "".join(f"{file['sha256']}  {file['path']}\n" for file in sorted(files, key=lambda file: file["path"]))
    sha256 = hashlib.sha256(listed.encode()).hexdigest()
    wanted = {"filename": "drive", "size": 6, "sha256": sha256, "files": files}
    path = device.post("/v1/uploads", json=wanted).headers["location"]
    device.put(f"{path}/parts/1", content=b"abcx")
    device.put(f"{path}/parts/2", content=b"yz")
    assert device.post(f"{path}/complete").status_code == 200
    assert device.head(f"/v1/bags/by-sha256/{sha256}").status_code == 200
    evil = [files[0] | {"path": "../b"}]
    assert device.post("/v1/uploads", json=wanted | {"files": evil}).status_code == 422
