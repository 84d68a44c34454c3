"""Who may do what: a token names a principal, a principal one organisation, a kind what it may do."""

import pytest
from sqlmodel import select

from fleet.organisations import AccessToken
from fleet.runtime import Runtime

MISSION = {"site": "north", "name": "look", "key": "k-1", "tasks": [{"kind": "go_to", "station": "gate"}]}
READABLE = ["/v1/missions", "/v1/robots", "/v1/bags", "/v1/reports"]
NOBODY = "00000000-0000-0000-0000-000000000000"


def test_without_a_token_nothing_is_shown(anonymous):
    for path in [*READABLE, f"/v1/requests/{NOBODY}", f"/v1/uploads/{NOBODY}"]:
        response = anonymous.get(path)
        assert response.status_code == 401, path
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert response.json()["code"] == "unauthorized"


def test_a_token_that_is_nobodys_is_refused(anonymous):
    for value in ["Bearer wrong", "Bearer", "Basic dXNlcjpwYXNz", "nonsense", "Bearer \u00fc"]:
        response = anonymous.get("/v1/robots", headers={"Authorization": value.encode()})
        assert response.status_code == 401, value


def test_health_needs_no_token(anonymous):
    assert anonymous.get("/healthz").json() == {"status": "ok"}
    assert anonymous.get("/readyz").json() == {"status": "ok"}


@pytest.mark.parametrize("kind", ["user", "key", "system", "customer", "partner"])
def test_readers_may_read(client_of, kind: str):
    reader = client_of(kind)
    assert [reader.get(path).status_code for path in READABLE] == [200] * 4


def test_a_device_may_not_read_what_it_does_not_need(device):
    for path in READABLE:
        response = device.get(path)
        assert response.status_code == 403, path
        assert "device" in response.json()["detail"]


@pytest.mark.parametrize("kind", ["customer", "partner", "device"])
def test_only_operators_ask_for_missions_and_flows(client_of, kind: str):
    client = client_of(kind)
    assert client.post("/v1/missions", json=MISSION).status_code == 403
    assert client.post("/v1/requests", json={"kind": "train-rul", "key": "a"}).status_code == 403


@pytest.mark.parametrize("kind", ["customer", "partner"])
def test_those_who_look_upload_nothing(client_of, kind: str):
    wanted = {"filename": "a.mcap", "size": 1, "sha256": "0" * 64}
    assert client_of(kind).post("/v1/uploads", json=wanted).status_code == 403


def test_a_revoked_token_is_refused_within_seconds(runtime: Runtime, operator, clock):
    assert operator.get("/v1/robots").status_code == 200
    with runtime.transaction() as session:
        for token in session.exec(select(AccessToken)).all():
            token.revoked_at = clock.now()
            session.add(token)
    clock.step(3)
    assert operator.get("/v1/robots").status_code == 401


def test_another_organisation_sees_empty_lists(operator, stranger):
    operator.post("/v1/missions", json=MISSION)
    for path in READABLE:
        assert stranger.get(path).json() == {"items": [], "next": None}, path


def test_another_organisations_mission_is_answered_like_one_that_does_not_exist(operator, stranger):
    mission_id = operator.post("/v1/missions", json=MISSION).json()["id"]
    theirs, none = stranger.get(f"/v1/missions/{mission_id}"), stranger.get(f"/v1/missions/{NOBODY}")
    assert (theirs.status_code, none.status_code) == (404, 404)
    assert theirs.json()["detail"].replace(mission_id, "") == none.json()["detail"].replace(NOBODY, "")


def test_another_organisations_site_is_not_there(stranger):
    response = stranger.post("/v1/missions", json=MISSION)
    assert response.status_code == 404
    assert "known sites: none" in response.json()["detail"]
