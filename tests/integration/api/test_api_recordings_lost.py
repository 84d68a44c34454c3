"""Recordings of triggers whose upload ends badly: they are told as lost, come again, and nothing of them is left behind."""

import hashlib

import pytest
from sqlmodel import select

from fleet.changes import Change
from fleet.settings import Settings
from ingestion import parts
from ingestion.folders import Piece, list_of
from ingestion.models import Upload
from orchestration import retention

DAY_S = 86_400.0


@pytest.fixture
def settings(tmp_path) -> Settings:
    """An organisation may store a thousand bytes."""
    return Settings(var_dir=tmp_path / "var", stored_max_bytes=1000)


@pytest.fixture
def announce(device):
    """Announces content as the recording of a trigger of amr-01."""

    def send(content: bytes, trigger: str = "event/x", **also):
        wanted = {"filename": "a.mcap", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        told = {"id": trigger, "kind": "error", "at": "2026-03-01T22:00:00Z"}
        return device.post("/v1/uploads", json={**wanted, "robot": "amr-01", "trigger": told, **also})

    return send


@pytest.fixture
def send(device):
    """Sends the bytes of an upload and completes it."""

    def sent(upload: dict, content: bytes):
        device.put(f"/v1/uploads/{upload['id']}/parts/1", content=content)
        return device.post(f"/v1/uploads/{upload['id']}/complete")

    return sent


@pytest.fixture
def shown(operator):
    """The recordings, newest first."""
    return lambda: operator.get("/v1/recordings").json()["items"]


@pytest.fixture
def lying(runtime, world):
    """The parts in the store."""
    return lambda: sum(map(len, parts.lying(runtime.objects, world.organisation.id).values()))


def test_two_triggers_with_the_same_content_are_both_stored(announce, send, shown):
    first, second = announce(b"one", "event/x").json(), announce(b"one", "anomaly/y").json()
    assert first["id"] == second["id"]
    bag = send(first, b"one").json()["bag_id"]
    assert [(row["status"], row["bag_id"]) for row in shown()] == [("stored", bag)] * 2


def test_a_recording_whose_upload_was_abandoned_is_lost_until_it_comes_again(
    runtime, announce, send, shown, clock, device, lying
):
    begun = announce(b"one").json()
    device.put(f"/v1/uploads/{begun['id']}/parts/1", content=b"o")
    clock.step(8 * DAY_S)
    assert retention.forget(runtime).uploads == 1
    (row,) = shown()
    assert row["status"] == "lost"
    assert row["lost_at"].startswith("2026-03-09T22:00:00")
    assert "nothing was sent for too long" in row["lost_why"]
    assert "system:retention" in row["lost_why"]
    with runtime.reading() as session:
        told = session.exec(select(Change).where(Change.subject == "recording", Change.kind == "lost")).one()
    assert (told.fields["who"], told.fields["trigger"]) == ("system:retention", "event/x")
    again = announce(b"one").json()
    assert [row["status"] for row in shown()] == ["arriving"]
    assert send(again, b"one").status_code == 200
    assert [(row["status"], row["lost_at"], row["lost_why"]) for row in shown()] == [("stored", None, "")]
    assert lying() == 0


def test_a_recording_with_the_wrong_content_is_lost_at_once(announce, send, shown):
    assert send(announce(b"one").json(), b"two").status_code == 422
    (row,) = shown()
    assert (row["status"], "was announced" in row["lost_why"]) == ("lost", True)
    assert send(announce(b"one").json(), b"one").status_code == 200
    assert shown()[0]["status"] == "stored"


def test_a_request_whose_recording_was_lost_is_told_to_the_robot_as_long_as_it_is_good(
    operator, device, announce, send
):
    operator.post("/v1/robots/amr-01/recordings", json={"key": "k", "why": "it squeaks"})
    send(announce(b"one", "request/k").json(), b"two")
    assert operator.get("/v1/recordings").json()["items"][0]["status"] == "lost"
    told = device.get("/v1/robots/amr-01/recording-policy").json()["requests"]
    assert [order["id"] for order in told] == ["request/k"]


def test_a_folder_is_the_recording_of_a_trigger_too(announce, send, shown):
    pieces = [Piece(path, 3, hashlib.sha256(content).hexdigest()) for path, content in (("a", b"one"), ("b", b"two"))]
    files = [{"path": piece.path, "size": piece.size, "sha256": piece.sha256} for piece in pieces]
    sha256 = hashlib.sha256(list_of(pieces)).hexdigest()
    bag = send(announce(b"onetwo", filename="night", sha256=sha256, files=files).json(), b"onetwo").json()["bag_id"]
    assert [(row["status"], row["bag_id"]) for row in shown()] == [("stored", bag)]


def test_a_trigger_for_which_there_is_no_room_leaves_nothing_behind(announce, shown, device):
    assert announce(b"x" * 1001).status_code == 507
    assert shown() == []


def test_what_the_store_has_lost_is_taken_again_although_it_was_stored(runtime, announce, send, device):
    begun = announce(b"one").json()
    send(begun, b"one")
    sha256 = hashlib.sha256(b"one").hexdigest()
    with runtime.reading() as session:
        owner = session.exec(select(Upload.organisation_id)).first()
    runtime.objects.delete(f"{owner}/bags/{sha256}")
    assert device.get(f"/v1/bags/by-sha256/{sha256}").json()["safe_to_delete"] is False
    again = announce(b"one").json()
    assert again["status"] == "open"
    assert send(again, b"one").status_code == 200
    assert device.get(f"/v1/bags/by-sha256/{sha256}").json()["safe_to_delete"] is True
    assert announce(b"one").json()["status"] == "complete"


def test_parts_left_by_whoever_was_killed_behind_completing_are_removed(
    runtime, announce, send, device, lying, monkeypatch
):
    begun, other = announce(b"one").json(), announce(b"other", "event/y").json()
    device.put(f"/v1/uploads/{other['id']}/parts/1", content=b"oth")
    with monkeypatch.context() as patched:
        patched.setattr(parts, "remove", lambda *_: None)
        assert send(begun, b"one").status_code == 200
    assert lying() == 2
    assert retention.remove_left(runtime) == 1
    assert retention.remove_left(runtime) == 0
    assert device.put(f"/v1/uploads/{other['id']}/parts/2", content=b"er").status_code == 204
    assert device.post(f"/v1/uploads/{other['id']}/complete").status_code == 200
    assert lying() == 0


def test_completing_again_removes_what_whoever_was_killed_left(announce, send, device, lying, monkeypatch):
    begun = announce(b"one").json()
    with monkeypatch.context() as patched:
        patched.setattr(parts, "remove", lambda *_: None)
        send(begun, b"one")
    assert device.post(f"/v1/uploads/{begun['id']}/complete").status_code == 200
    assert lying() == 0


def test_addresses_are_given_for_no_more_than_was_announced_and_none_when_it_is_over(announce, send, device):
    begun = announce(b"0123456789").json()
    path = f"/v1/uploads/{begun['id']}/parts"
    for number, size, status in ((1, 6, 200), (2, 5, 413), (2, 4, 200), (2, 3, 200), (3, 2, 413), (3, 1, 200)):
        assert device.post(f"{path}/{number}/address", json={"size": size}).status_code == status
    assert send(begun, b"0123456789").status_code == 200
    assert device.post(f"{path}/1/address", json={"size": 1}).status_code == 409
