"""Recording policies over HTTP: operators write them, robots read theirs by a tag, uploads carry their trigger."""

import hashlib

import pytest

POLICY = {"applies_to": {"everywhere": True}, "triggers": [{"on": "error"}]}


def put(client, name="night", policy=None, why="because"):
    return client.put(f"/v1/recording-policies/{name}", json={"policy": policy or POLICY, "why": why})


def test_a_robot_without_a_policy_records_nothing(device):
    told = device.get("/v1/robots/amr-01/recording-policy")
    assert told.status_code == 200
    assert (told.json()["name"], told.json()["version"], told.json()["policy"]["triggers"]) == (None, 0, [])


def test_a_robot_reads_its_policy_by_name_or_id_once_a_version(operator, device, world):
    assert put(operator).json()["version"] == 1
    told = device.get("/v1/robots/amr-01/recording-policy")
    by_id = device.get(f"/v1/robots/{world.robots['amr-01'].id}/recording-policy")
    assert told.json() == by_id.json()
    assert told.json()["policy"]["triggers"][0]["before_s"] == 300
    same = {"If-None-Match": told.headers["ETag"]}
    again = device.get("/v1/robots/amr-01/recording-policy", headers=same)
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", told.headers["ETag"])
    put(operator, policy={**POLICY, "split_s": 60})
    changed = device.get("/v1/robots/amr-01/recording-policy", headers=same)
    assert (changed.status_code, changed.json()["version"]) == (200, 2)


def test_a_request_changes_the_tag_and_is_told(operator, device):
    tag = device.get("/v1/robots/amr-01/recording-policy").headers["ETag"]
    asked = operator.post("/v1/robots/amr-01/recordings", json={"key": "k", "why": "it squeaks"})
    assert (asked.status_code, asked.json()["status"]) == (201, "asked")
    again = operator.post("/v1/robots/amr-01/recordings", json={"key": "k", "why": "it squeaks"})
    assert (again.status_code, again.json()["id"]) == (200, asked.json()["id"])
    told = device.get("/v1/robots/amr-01/recording-policy", headers={"If-None-Match": tag})
    assert [order["id"] for order in told.json()["requests"]] == ["request/k"]


@pytest.fixture
def announce(device):
    """Announces content as the recording of a trigger."""

    def send(content, trigger="event/x", robot="amr-01"):
        wanted = {"filename": "a.mcap", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        told = {"id": trigger, "kind": "error", "at": "2026-03-01T22:00:00Z", "event": "x", "policy": "night@1"}
        return device.post("/v1/uploads", json={**wanted, "robot": robot, "trigger": told})

    return send


def test_an_upload_with_its_trigger_becomes_a_recording_with_a_bag(operator, device, announce):
    begun = announce(b"one").json()
    assert operator.get("/v1/recordings").json()["items"][0]["status"] == "arriving"
    device.put(f"/v1/uploads/{begun['id']}/parts/1", content=b"one")
    bag = device.post(f"/v1/uploads/{begun['id']}/complete").json()["bag_id"]
    (shown,) = operator.get("/v1/recordings").json()["items"]
    assert (shown["status"], shown["bag_id"], shown["event"], shown["robot"]) == ("stored", bag, "x", "amr-01")
    (began,) = operator.get(f"/v1/bags/{bag}").json()["recordings"]
    assert (began["trigger"], began["kind"], began["policy"]) == ("event/x", "error", "night@1")
    again = announce(b"one").json()
    assert (again["id"], again["status"], again["bag_id"]) == (begun["id"], "complete", bag)
    other = announce(b"two")
    assert (other.status_code, other.json()["code"]) == (409, "conflict")


def test_a_trigger_without_a_robot_is_refused(announce):
    refused = announce(b"one", robot=None)
    assert refused.status_code == 422
    assert "a trigger needs the name of its robot" in refused.text


def test_versions_are_shown_newest_first_with_who_and_why(operator, customer):
    put(operator, why="first")
    put(operator, policy={**POLICY, "split_s": 60}, why="shorter")
    shown = customer.get("/v1/recording-policies/night/versions").json()
    assert [(one["version"], one["why"], one["written_by"]) for one in shown] == [
        (2, "shorter", "user:a-user"),
        (1, "first", "user:a-user"),
    ]
    assert [one["version"] for one in customer.get("/v1/recording-policies").json()] == [2]


def test_a_wrong_policy_is_refused_with_the_place(operator):
    refused = put(operator, policy={"triggers": [{"on": "error", "before_s": 4000}]})
    assert refused.status_code == 422
    assert "before_s" in refused.text
    assert operator.get("/v1/recording-policies").json() == []


@pytest.mark.parametrize("name", ["%00", "..", "a/b", "-x", "x" * 101])
def test_a_name_that_is_none_is_refused(operator, name):
    assert put(operator, name=name).status_code in {404, 405, 422}
    assert operator.get("/v1/recording-policies").json() == []


def test_another_organisation_sees_and_changes_nothing(operator, stranger, world):
    put(operator)
    assert stranger.get("/v1/recording-policies").json() == []
    assert stranger.get("/v1/recording-policies/night/versions").status_code == 404
    for robot in ("amr-01", world.robots["amr-01"].id):
        assert stranger.get(f"/v1/robots/{robot}/recording-policy").status_code == 404
        asked = stranger.post(f"/v1/robots/{robot}/recordings", json={"key": "k", "why": "w"})
        assert asked.status_code == 404
    assert operator.get("/v1/recordings").json()["items"] == []


def test_robots_may_not_write_policies_nor_customers_read_a_robots(device, customer, anonymous):
    assert put(device).status_code == 403
    assert device.post("/v1/robots/amr-01/recordings", json={"key": "k", "why": "w"}).status_code == 403
    assert customer.get("/v1/robots/amr-01/recording-policy").status_code == 403
    assert anonymous.get("/v1/robots/amr-01/recording-policy").status_code == 401


def test_an_instant_without_its_offset_from_utc_is_refused_by_name(device):
    told = {"id": "event/x", "kind": "error", "at": "2026-03-01T22:00:00"}
    wanted = {"filename": "a.mcap", "size": 3, "sha256": "0" * 64, "robot": "amr-01", "trigger": told}
    answer = device.post("/v1/uploads", json=wanted)
    assert answer.status_code == 422
    assert "trigger.at" in answer.json()["detail"]
    assert "timezone" in answer.json()["detail"]
