"""A full disk: what cannot be stored is answered with 503 and not acknowledged; when there is room again it goes on."""

import errno
import hashlib
import os
import resource
import signal
import sys

import pytest
from sqlmodel import select

from fleet.requests import Request
from fleet.runtime import Runtime
from ingestion.models import Bag, Delivery, Upload, UploadStatus
from ingestion.signatures import sign

CONTENT = os.urandom(300_000)
ROOM = 4096


@pytest.fixture
def full(runtime: Runtime):
    """While entered, no file of this process may grow beyond ROOM bytes, as on a disk that is full."""

    class Full:
        def __enter__(self) -> None:
            self.kept = resource.getrlimit(resource.RLIMIT_FSIZE)
            self.handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, self.kept[1]))

        def __exit__(self, *_: object) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, self.kept)
            signal.signal(signal.SIGXFSZ, self.handler)

    return Full()


@pytest.fixture
def upload(device):
    """The path of an upload of CONTENT that waits for its parts."""
    wanted = {"filename": "a.mcap", "size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
    return device.post("/v1/uploads", json=wanted).headers["location"]


@pytest.fixture
def files(runtime: Runtime):
    """Every file in the object store, half ones too."""
    root = runtime.settings.var_dir / "objects"
    return lambda: sorted(file.name for file in root.rglob("*") if file.is_file())


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a file size limit with SIGXFSZ is Linux's")


def test_the_limit_of_these_tests_is_that_of_a_full_disk(tmp_path, full):
    with full, pytest.raises(OSError, match="too large") as told, (tmp_path / "file").open("wb", buffering=0) as file:
        file.write(b"x" * ROOM)
        file.write(b"x")
    assert told.value.errno == errno.EFBIG


def test_a_part_that_has_no_room_is_refused_and_sent_again_later(runtime: Runtime, device, upload, full, files):
    with full:
        refused = device.put(f"{upload}/parts/1", content=CONTENT)
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert "Free space" in refused.json()["detail"]
    assert refused.headers["retry-after"] == "2"
    assert files() == []
    assert device.get(upload).json()["parts"] == {}
    assert device.put(f"{upload}/parts/1", content=CONTENT).status_code == 204
    assert device.post(f"{upload}/complete").status_code == 200


def test_an_upload_that_cannot_be_put_together_stays_open_with_its_parts(runtime: Runtime, device, upload, full, files):
    device.put(f"{upload}/parts/1", content=CONTENT[:100_000])
    device.put(f"{upload}/parts/2", content=CONTENT[100_000:])
    with full:
        refused = device.post(f"{upload}/complete")
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert files() == ["000001", "000002"]
    with runtime.reading() as session:
        assert session.exec(select(Upload.status)).one() is UploadStatus.open
        assert session.exec(select(Bag)).all() == session.exec(select(Request)).all() == []
    assert device.post(f"{upload}/complete").status_code == 200
    assert files() == [hashlib.sha256(CONTENT).hexdigest()]


def test_a_webhook_that_has_no_room_is_not_acknowledged_and_comes_again(
    runtime: Runtime, world, anonymous, full, clock
):
    body = CONTENT[:100_000]
    headers = {
        "webhook-id": "d-1",
        "webhook-timestamp": str(int(clock.now().timestamp())),
        "webhook-signature": sign(world.account.webhook_secret, delivery_id="d-1", sent_at=clock.now(), body=body),
    }
    path = f"/v1/webhooks/{world.account.id}"
    with full:
        refused = anonymous.post(path, content=body, headers=headers)
        assert anonymous.get("/healthz").status_code == 200
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    with runtime.reading() as session:
        assert session.exec(select(Delivery)).all() == []
    assert anonymous.post(path, content=body, headers=headers).status_code == 202
    with runtime.reading() as session:
        assert session.exec(select(Delivery.body)).one() == body


def test_a_request_that_has_no_room_is_refused_and_can_be_asked_again(operator, full):
    wanted = {"kind": "train-rul", "key": "k-1", "parameters": {"note": "x" * 100_000}}
    with full:
        refused = operator.post("/v1/requests", json=wanted)
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert operator.post("/v1/requests", json=wanted).status_code == 202
