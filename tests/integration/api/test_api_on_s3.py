"""Uploads and reports on an S3 server at the socket: the same calls, the same bytes, and a server that goes away is told."""

import hashlib
import os
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlmodel import select

from fleet.errors import Unavailable
from fleet.runtime import Runtime, open_runtime
from ingestion import parts, uploads
from ingestion.models import Bag, Upload, UploadStatus
from orchestration import retention
from reports.publish import publish

CONTENT = os.urandom(600_000)


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def runtime(runtime: Runtime, clock, s3_url: str, tmp_path) -> Iterator[Runtime]:
    """The API stands on a bucket."""
    bucket = f"bucket-{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}"
    where = {
        "objects_url": f"s3://{bucket}/yard",
        "objects_endpoint_url": s3_url,
        "objects_access_key": "key",
        "objects_secret_key": "secret",
    }
    made = open_runtime(type(runtime.settings)(var_dir=runtime.settings.var_dir, **where), clock=clock)
    made.objects.file_system.mkdir(bucket)
    yield made
    made.engine.dispose()


@pytest.fixture
def upload(device) -> str:
    """The path of an upload whose three parts were sent."""
    wanted = {"filename": "a.mcap", "size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
    path = device.post("/v1/uploads", json=wanted).headers["location"]
    for number in (3, 1, 2):
        part = CONTENT[(number - 1) * 200_000 : number * 200_000]
        assert device.put(f"{path}/parts/{number}", content=part).status_code == 204
    return path


def test_parts_become_one_object_and_are_gone(runtime: Runtime, world, device, upload: str):
    first, second = device.post(f"{upload}/complete"), device.post(f"{upload}/complete")
    assert (first.status_code, first.json()) == (200, second.json())
    key = f"{world.organisation.id}/bags/{hashlib.sha256(CONTENT).hexdigest()}"
    assert runtime.objects.read(key) == CONTENT
    assert runtime.objects.list(str(world.organisation.id)) == [key]


def test_whoever_reads_parts_that_another_took_away_gets_the_same_bag(
    runtime: Runtime, world, device, upload: str, monkeypatch
):
    real, calls = uploads._store, []

    def overtaken(*given) -> None:
        calls.append(given)
        if len(calls) == 1:
            assert device.post(f"{upload}/complete").status_code == 200
            runtime.objects.delete(f"{world.organisation.id}/bags/{hashlib.sha256(CONTENT).hexdigest()}")
        real(*given)

    monkeypatch.setattr(uploads, "_store", overtaken)
    assert device.post(f"{upload}/complete").status_code == 200
    with runtime.reading() as session:
        assert session.exec(select(Upload.status)).one() is UploadStatus.complete
        bag = session.exec(select(Bag)).one()
    assert not runtime.objects.exists(bag.object_key)  # not half of it under the name of the whole


def test_a_report_is_published_and_downloaded_in_ranges(runtime: Runtime, world, customer, clock):
    report = publish(
        transaction=runtime.transaction,
        objects=runtime.objects,
        organisation_id=world.organisation.id,
        site_id=world.site.id,
        period_from=clock.now() - timedelta(days=1),
        period_to=clock.now(),
        key="night",
        who="user:ops",
    )
    path = f"/v1/reports/{report.id}/files/pdf"
    whole = customer.get(path).content
    assert whole.startswith(b"%PDF")
    part = customer.get(path, headers={"Range": "bytes=10-99"})
    assert (part.status_code, part.content) == (206, whole[10:100])
    assert customer.get(path, headers={"Range": "bytes=-7"}).content == whole[-7:]
    assert customer.head(path).headers["content-length"] == str(len(whole))


def test_a_store_that_does_not_answer_is_told_and_loses_nothing(runtime: Runtime, device, upload: str, monkeypatch):

    def away(*_given, **_options):
        raise Unavailable("The object store could not be asked.")

    with monkeypatch.context() as patched:
        patched.setattr(type(runtime.objects), "open", away)
        refused = device.post(f"{upload}/complete")
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert device.post(f"{upload}/complete").status_code == 200


def test_parts_of_what_is_over_are_removed_from_the_bucket_and_others_are_kept(
    runtime: Runtime, world, device, upload: str, monkeypatch
):
    with monkeypatch.context() as patched:
        patched.setattr(parts, "remove", lambda *_: None)
        assert device.post(f"{upload}/complete").status_code == 200
    wanted = {"filename": "b.mcap", "size": 3, "sha256": hashlib.sha256(b"two").hexdigest()}
    other = device.post("/v1/uploads", json=wanted).headers["location"]
    device.put(f"{other}/parts/1", content=b"two")
    assert retention.remove_left(runtime) == 3
    assert list(map(len, parts.lying(runtime.objects, world.organisation.id).values())) == [1]
    assert device.post(f"{other}/complete").status_code == 200
