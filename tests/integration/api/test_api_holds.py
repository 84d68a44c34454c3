"""Holds over HTTP: put once per key, listed, released; and the commands that leave out a task or give up an order."""

from uuid import uuid4

import pytest

from fleet.adapter import Activity, Observation
from fleet.organisations import Organisation
from fleet.states import observe


@pytest.fixture
def mission(operator):
    """A mission of two stops that waits."""
    tasks = [{"kind": "go_to", "station": "gate"}, {"kind": "go_to", "station": "press-1"}]
    asked = {"site": "north", "name": "look", "key": "look", "tasks": tasks}
    return operator.post("/v1/missions", json=asked).json()


@pytest.fixture
def elsewhere(runtime, world):
    """The id of another organisation."""
    with runtime.transaction() as session:
        other = Organisation(name="other", created_at=world.organisation.created_at)
        session.add(other)
        session.flush()
    return other.id


@pytest.fixture
def put(operator):
    """Asks for a hold on amr-01, or what is given."""

    def ask(**more):
        wanted = {"scope": "robot", "robot": "amr-01", "reason": "a wheel squeaks", "key": "h"} | more
        return operator.post("/v1/holds", json=wanted)

    return ask


def test_a_hold_is_put_once_and_shown_with_its_names(put, operator):
    first, again = put(), put()
    assert (first.status_code, again.status_code) == (201, 200)
    (shown,) = operator.get("/v1/holds").json()["items"]
    assert shown == first.json() == again.json()
    assert (shown["robot"], shown["site"], shown["meanwhile"], shown["who"]) == (
        "amr-01",
        None,
        "finish",
        "user:a-user",
    )


def test_a_robot_and_the_missions_that_wait_for_it_say_that_it_is_held(put, operator, mission):
    put()
    robots = {robot["name"]: robot["held_by"] for robot in operator.get("/v1/robots").json()["items"]}
    assert robots == {"amr-01": "held by user:a-user (a wheel squeaks)", "amr-02": None}
    (listed,) = operator.get("/v1/missions").json()["items"]
    assert listed["waiting_for"].startswith("No robot is free: amr-01 is held by user:a-user")


def test_a_released_hold_is_released_once_and_listed_apart(put, operator):
    held = put().json()
    first, again = (operator.post(f"/v1/holds/{held['id']}/release") for _ in range(2))
    assert first.json() == again.json()
    assert first.json()["released_by"] == "user:a-user"
    assert operator.get("/v1/holds", params={"open": True}).json()["items"] == []
    assert len(operator.get("/v1/holds", params={"open": False}).json()["items"]) == 1


@pytest.mark.parametrize(
    ("more", "status", "told"),
    [
        ({"robot": None}, 422, "names a robot"),
        ({"robot": "amr-99"}, 404, "amr-01"),
        ({"scope": "everything"}, 422, ""),
        ({"reason": ""}, 422, ""),
    ],
)
def test_a_wrong_hold_is_refused_with_what_is_wrong(put, operator, more, status, told):
    response = put(**more)
    assert response.status_code == status
    assert told in response.json()["detail"]
    assert operator.get("/v1/holds").json()["items"] == []


def test_the_same_key_for_another_hold_is_a_conflict(put):
    put()
    assert put(robot="amr-02").status_code == 409


def test_holds_are_put_by_operators_and_seen_within_the_organisation_only(put, client_of, customer, elsewhere):
    held = put().json()
    assert customer.post("/v1/holds", json={}).status_code in {403, 422}
    assert len(customer.get("/v1/holds").json()["items"]) == 1
    stranger = client_of("user", elsewhere)
    assert stranger.get("/v1/holds").json()["items"] == []
    assert stranger.post(f"/v1/holds/{held['id']}/release").status_code == 404
    assert stranger.post(f"/v1/holds/{uuid4()}/release").status_code == 404


def test_a_task_is_skipped_by_its_number(operator, mission):
    response = operator.post(
        f"/v1/missions/{mission['id']}/commands", json={"command": "skip", "task": 0, "why": "wet"}
    )
    assert response.status_code == 202
    assert [task["skipped_by"] for task in response.json()["tasks"]] == ["user:a-user", ""]
    wrong = operator.post(f"/v1/missions/{mission['id']}/commands", json={"command": "skip", "task": 2})
    assert (wrong.status_code, "has the tasks 0 to 1" in wrong.json()["detail"]) == (422, True)


def test_what_is_not_lost_is_not_abandoned(operator, mission):
    response = operator.post(f"/v1/missions/{mission['id']}/commands", json={"command": "abandon"})
    assert (response.status_code, response.json()["code"]) == (409, "conflict")
    assert "is not lost: no robot has it" in response.json()["detail"]


def test_the_same_key_with_other_content_is_a_conflict_that_names_what_differs(operator, mission):
    asked = {"site": "north", "name": "look", "key": "look", "tasks": [{"kind": "go_to", "station": "gate"}]}
    response = operator.post("/v1/missions", json=asked)
    assert response.status_code == 409
    assert "it differs in tasks" in response.json()["detail"]


def test_a_robot_that_works_on_what_was_not_ordered_here_is_shown_with_it(operator, runtime, world, clock, mission):
    seen = Observation(
        serial_number="SN-amr-01", observed_at=clock.now(), activity=Activity.executing, order_key="by-hand-7"
    )
    with runtime.transaction() as session:
        observe(session, world.robots["amr-01"], seen, received_at=clock.now())
    robots = {robot["name"]: robot["foreign_order"] for robot in operator.get("/v1/robots").json()["items"]}
    assert robots == {"amr-01": "by-hand-7", "amr-02": None}
    (listed,) = operator.get("/v1/missions").json()["items"]
    assert "amr-01 is busy (with by-hand-7, which was not ordered here)" in listed["waiting_for"]
