"""Addresses without a token: good for one thing and a quarter of an hour, on a local store and on S3."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import pytest
from sqlmodel import select

from fleet.runtime import Runtime, open_runtime
from ingestion import parts, storing
from ingestion.models import Bag, Upload
from orchestration.retention import forget

CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FOLDER = {"a/x": b"abc", "b\u2028c  \u0085d": b"xyz"}


@pytest.fixture
def upload(device) -> str:
    """The path of an open upload of CONTENT."""
    wanted = {"filename": "a.mcap", "size": len(CONTENT), "sha256": SHA256}
    return device.post("/v1/uploads", json=wanted).headers["location"]


@pytest.fixture
def bag_id(device) -> str:
    answer = device.put(f"/v1/bags/by-sha256/{SHA256}", params={"filename": "a.mcap"}, content=CONTENT)
    return answer.json()["bag_id"]


@pytest.fixture
def local():
    """An address as the test's client takes it; the settings name another port."""

    def path(told: dict) -> str:
        address = urlsplit(told["url"])
        return f"{address.path}?{address.query}"

    return path


def test_a_recording_is_read_by_its_address_alone_and_in_ranges(customer, anonymous, bag_id, local):
    (told,) = customer.post(f"/v1/bags/{bag_id}/addresses").json()
    assert told["path"] == "a.mcap"
    assert anonymous.get(local(told)).content == CONTENT
    assert anonymous.get(local(told), headers={"Range": "bytes=10-19"}).content == CONTENT[10:20]


def test_an_address_is_good_for_a_quarter_of_an_hour(customer, anonymous, bag_id, local, clock):
    (told,) = customer.post(f"/v1/bags/{bag_id}/addresses").json()
    clock.step(899)
    assert anonymous.get(local(told)).status_code == 200
    clock.step(2)
    assert anonymous.get(local(told)).status_code == 403


def test_an_address_that_was_changed_opens_nothing(customer, anonymous, bag_id, local):
    (told,) = customer.post(f"/v1/bags/{bag_id}/addresses").json()
    path, expires = local(told), int(local(told).split("expires=")[1].split("&")[0])
    for wrong in [
        path.replace(f"={expires}", f"={expires + 1}"),
        path.replace(f"={expires}", "=" + "9" * 30),
        path.replace(f"={expires}", "=-1"),
        path[:-1] + ("0" if path[-1] != "0" else "1"),
        path[:-64] + "%C3%BC",
        path.replace("/content/0", "/content/1"),
        path.replace(bag_id, "00000000-0000-0000-0000-000000000000"),
    ]:
        assert anonymous.get(wrong).status_code in {403, 422}, wrong


def test_no_address_of_another_organisation_is_given(stranger, device, bag_id, upload):
    assert stranger.post(f"/v1/bags/{bag_id}/addresses").status_code == 404
    assert stranger.post(f"{upload}/parts/1/address", json={"size": 5}).status_code == 404
    assert device.post(f"/v1/bags/{bag_id}/addresses").status_code == 403


def test_a_part_is_sent_by_its_address_alone(runtime: Runtime, device, anonymous, upload, local):
    told = device.post(f"{upload}/parts/1/address", json={"size": len(CONTENT)}).json()
    assert anonymous.put(local(told), content=CONTENT).status_code == 204
    assert device.post(f"{upload}/complete").status_code == 200
    with runtime.reading() as session:
        assert runtime.objects.read(session.exec(select(Bag.object_key)).one()) == CONTENT


def test_a_part_of_another_size_or_number_is_refused(device, anonymous, upload, local):
    told = device.post(f"{upload}/parts/1/address", json={"size": 10}).json()
    assert anonymous.put(local(told), content=b"x" * 11).status_code == 403
    assert anonymous.put(local(told).replace("/parts/1/", "/parts/2/"), content=b"x" * 10).status_code == 403
    assert anonymous.get(f"/v1/bags/{upload[-36:]}/content/0?{local(told).split('?')[1]}").status_code == 403
    assert device.get(upload).json()["parts"] == {}
    for size in (0, -1, len(CONTENT) + 1):
        assert device.post(f"{upload}/parts/1/address", json={"size": size}).status_code in {413, 422}


def test_six_who_complete_at_once_what_went_past_us_get_the_same_bag(runtime: Runtime, world, device, upload):
    with runtime.reading() as session:
        row = session.exec(select(Upload)).one()
    runtime.objects.put(parts.key(row, 1), CONTENT[:1000])
    runtime.objects.put(parts.key(row, 2), CONTENT[1000:])
    with ThreadPoolExecutor(6) as crowd:
        answers = list(crowd.map(lambda _: device.post(f"{upload}/complete"), range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["bag_id"] for answer in answers}) == 1
    assert runtime.objects.list(str(world.organisation.id)) == [f"{world.organisation.id}/bags/{SHA256}"]


@pytest.fixture
def folder_id(device) -> str:
    """A stored folder; one of its names has signs that some take for the end of a line."""
    files = [{"path": path, "size": 3, "sha256": _sha256(content)} for path, content in FOLDER.items()]
    wanted = {"filename": "drive", "size": 6, "sha256": _sha256(_list(FOLDER)), "files": files}
    path = device.post("/v1/uploads", json=wanted).headers["location"]
    device.put(f"{path}/parts/1", content=b"".join(FOLDER.values()))
    return device.post(f"{path}/complete").json()["bag_id"]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _list(files: dict[str, bytes]) -> bytes:
    return "".join(f"{_sha256(content)}  {path}\n" for path, content in files.items()).encode()


def test_each_file_of_a_folder_has_its_address(device, customer, anonymous, folder_id, local):
    told = customer.post(f"/v1/bags/{folder_id}/addresses").json()
    assert {one["path"]: anonymous.get(local(one)).content for one in told} == FOLDER
    assert device.head(f"/v1/bags/by-sha256/{_sha256(_list(FOLDER))}").status_code == 200


def test_a_file_that_was_made_anew_is_another_to_who_has_the_old_one(runtime, customer, anonymous, folder_id, local):
    told = customer.post(f"/v1/bags/{folder_id}/addresses").json()
    first, second = map(local, told)
    tag = anonymous.get(first).headers["etag"]
    assert anonymous.get(first, headers={"If-None-Match": tag}).status_code == 304
    with runtime.transaction() as session:  # as a cut of a newer converter
        bag = session.exec(select(Bag)).one()
        bag.cut_of_id, bag.converted_at = bag.id, runtime.clock.now() + timedelta(hours=1)
        session.add(bag)
    runtime.objects.put(storing.beside(bag.object_key, "a/x"), b"new")
    runtime.objects.put(bag.object_key, _list({"a/x": b"new"}))
    answer = anonymous.get(first, headers={"If-None-Match": tag})
    assert (answer.status_code, answer.content) == (200, b"new")
    part = {"Range": "bytes=1-", "If-Range": tag}
    assert (anonymous.get(first, headers=part).status_code, anonymous.get(second).status_code) == (200, 404)
    assert answer.headers["last-modified"] == "Sun, 01 Mar 2026 23:00:00 GMT"


def test_who_asks_for_addresses_has_not_abandoned_the_upload(runtime: Runtime, device, upload, clock):
    clock.step(6 * 86_400)
    assert device.post(f"{upload}/parts/1/address", json={"size": 5}).status_code == 200
    clock.step(6 * 86_400)
    assert forget(runtime).uploads == 0


class TestOnS3:
    """The same on an S3 server at the socket, where the addresses lead past us."""

    @pytest.fixture
    def runtime(self, runtime: Runtime, clock, tmp_path):
        from moto.server import ThreadedMotoServer

        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        bucket = f"bucket-{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}"
        where = {
            "objects_url": f"s3://{bucket}/yard",
            "objects_endpoint_url": f"http://{host}:{port}",
            "objects_access_key": "key",
            "objects_secret_key": "secret",
        }
        made = open_runtime(type(runtime.settings)(var_dir=runtime.settings.var_dir, **where), clock=clock)
        made.objects.file_system.mkdir(bucket)
        yield made
        made.engine.dispose()
        server.stop()

    def test_parts_go_to_the_store_itself_and_complete_finds_them(self, runtime, world, device, customer, upload):
        for number, part in [(2, CONTENT[200_000:]), (1, CONTENT[:200_000])]:
            told = device.post(f"{upload}/parts/{number}/address", json={"size": len(part)}).json()
            assert told["url"].startswith(runtime.settings.objects_endpoint_url)
            assert httpx.put(told["url"], content=part, trust_env=False).status_code == 200
        answer = device.post(f"{upload}/complete")
        assert answer.status_code == 200
        assert runtime.objects.list(str(world.organisation.id)) == [f"{world.organisation.id}/bags/{SHA256}"]
        (told,) = customer.post(f"/v1/bags/{answer.json()['bag_id']}/addresses").json()
        assert told["url"].startswith(runtime.settings.objects_endpoint_url)
        assert httpx.get(told["url"], trust_env=False).content == CONTENT

    def test_the_length_of_a_part_is_signed(self, runtime, device, upload):
        told = device.post(f"{upload}/parts/1/address", json={"size": 10}).json()
        assert "content-length" in told["url"]

    def test_other_bytes_at_the_store_fail_the_upload(self, runtime, device, upload):
        told = device.post(f"{upload}/parts/1/address", json={"size": len(CONTENT)}).json()
        httpx.put(told["url"], content=CONTENT[::-1], trust_env=False)
        assert device.post(f"{upload}/complete").status_code == 422
