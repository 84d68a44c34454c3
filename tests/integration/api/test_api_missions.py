"""Missions over HTTP: asked for once per key, listed page by page, commanded, and shown with their history."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest


@pytest.fixture
def wanted():
    """The body that asks for a mission with this key."""

    def make(key: str = "k-1", **more) -> dict:
        tasks = [{"kind": "go_to", "station": "gate"}, {"kind": "reading", "station": "press-1"}]
        return {"site": "north", "name": f"look {key}", "key": key, "tasks": tasks, **more}

    return make


def test_a_mission_asked_for_is_scheduled_and_shown(operator, wanted):
    response = operator.post("/v1/missions", json=wanted(robot="amr-01", priority=5))
    assert response.status_code == 201
    shown = operator.get(response.headers["location"]).json()
    assert (shown["status"], shown["desired"], shown["priority"]) == ("SCHEDULED", "run", 5)
    assert [task["station"] for task in shown["tasks"]] == ["gate", "press-1"]
    assert shown["requested_by"] == "user:a-user"
    assert [one["to_status"] for one in shown["transitions"]] == ["CREATED", "SCHEDULED"]


def test_asking_again_with_the_same_key_is_the_same_mission(operator, wanted):
    first, second = (operator.post("/v1/missions", json=wanted()) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    assert len(operator.get("/v1/missions").json()["items"]) == 1


def test_of_many_asked_for_at_once_each_gets_its_own_answer_and_few_commits_are_made(
    operator, wanted, runtime, monkeypatch
):
    commits = []
    monkeypatch.setattr(runtime.doorbell, "ring", lambda: commits.append("rung"))
    keys = [f"k-{number % 20}" for number in range(40)]  # each twice

    def ask(number: int) -> int:
        news = {"tasks": [{"station": "moon"}]} if number % 20 == 7 else {}
        return operator.post("/v1/missions", json=wanted(keys[number], **news)).status_code

    with ThreadPoolExecutor(40) as crowd:
        statuses = list(crowd.map(ask, range(40)))
    assert Counter(statuses) == {201: 19, 200: 19, 422: 2}
    assert len(operator.get("/v1/missions").json()["items"]) == 19
    assert len(commits) < 19


def test_a_nonsense_parameter_is_named(operator, wanted):
    nonsense = {
        "body.tasks": {"tasks": []},
        "body.priority": {"priority": 1000},
        "body.surprise": {"surprise": 1},
        "body.not_after_at": {"not_after_at": "tomorrow"},
        "body.earliest_start_at": {"earliest_start_at": "2026-03-01T22:00:00"},
        "body.key": {"key": ""},
        "body.tasks.0.kind": {"tasks": [{"kind": "fly"}]},
    }
    for told, change in nonsense.items():
        response = operator.post("/v1/missions", json=wanted() | change)
        assert response.status_code == 422
        assert [fault["where"] for fault in response.json()["errors"]] == [told]


def test_an_unknown_station_is_told_with_the_known_ones(operator, wanted):
    response = operator.post("/v1/missions", json=wanted(tasks=[{"kind": "go_to", "station": "moon"}]))
    assert response.status_code == 422
    assert "'moon'" in response.json()["detail"]
    assert "dock-1" in response.json()["detail"]


def test_an_unknown_robot_is_told_with_the_known_ones(operator, wanted):
    response = operator.post("/v1/missions", json=wanted(robot="amr-99"))
    assert response.status_code == 404
    assert "amr-01" in response.json()["detail"]


def test_nothing_is_written_when_a_mission_is_refused(operator, wanted):
    operator.post("/v1/missions", json=wanted(robot="amr-99"))
    assert operator.get("/v1/missions").json()["items"] == []


def test_pages_hold_every_mission_once_newest_first(operator, wanted):
    keys = [f"k-{number}" for number in range(7)]
    for key in keys:
        operator.post("/v1/missions", json=wanted(key))
    seen, cursor = [], None
    for _ in range(4):
        page = operator.get("/v1/missions", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [mission["key"] for mission in page["items"]]
        cursor = page["next"]
    assert seen == keys[::-1]
    assert cursor is None


def test_a_mission_added_meanwhile_does_not_shift_the_pages(operator, wanted):
    for number in range(4):
        operator.post("/v1/missions", json=wanted(f"k-{number}"))
    first = operator.get("/v1/missions", params={"limit": 2}).json()
    operator.post("/v1/missions", json=wanted("late"))
    second = operator.get("/v1/missions", params={"limit": 2, "cursor": first["next"]}).json()
    assert [mission["key"] for mission in second["items"]] == ["k-1", "k-0"]


def test_a_cursor_that_is_not_ours_is_refused(operator):
    for cursor in ["x", "!!!!", "AAAA", "ü"]:
        response = operator.get("/v1/missions", params={"cursor": cursor})
        assert response.status_code == 422, cursor
        assert "cursor" in response.json()["detail"]


def test_a_limit_outside_its_range_is_refused(operator):
    for limit in [0, 501, "many"]:
        assert operator.get("/v1/missions", params={"limit": limit}).status_code == 422, limit


def test_the_list_is_narrowed_by_status(operator, wanted):
    operator.post("/v1/missions", json=wanted("k-1"))
    other = operator.post("/v1/missions", json=wanted("k-2")).json()["id"]
    operator.post(f"/v1/missions/{other}/commands", json={"command": "cancel"})
    listed = operator.get("/v1/missions", params={"status": "CANCELED"}).json()["items"]
    assert [mission["key"] for mission in listed] == ["k-2"]


def test_a_cancelled_mission_tells_who_and_why(operator, wanted):
    mission_id = operator.post("/v1/missions", json=wanted()).json()["id"]
    response = operator.post(f"/v1/missions/{mission_id}/commands", json={"command": "cancel", "why": "gate is shut"})
    assert (response.status_code, response.json()["status"]) == (202, "CANCELED")
    last = response.json()["transitions"][-1]
    assert (last["who"], last["why"]) == ("user:a-user", "gate is shut")


def test_a_command_on_a_mission_that_has_ended_is_a_conflict(operator, wanted):
    mission_id = operator.post("/v1/missions", json=wanted()).json()["id"]
    operator.post(f"/v1/missions/{mission_id}/commands", json={"command": "cancel"})
    response = operator.post(f"/v1/missions/{mission_id}/commands", json={"command": "pause"})
    assert (response.status_code, response.json()["code"]) == (409, "conflict")


def test_retrying_answers_with_the_new_mission(operator, wanted):
    mission_id = operator.post("/v1/missions", json=wanted()).json()["id"]
    operator.post(f"/v1/missions/{mission_id}/commands", json={"command": "cancel"})
    again = operator.post(f"/v1/missions/{mission_id}/commands", json={"command": "retry"}).json()
    assert again["id"] != mission_id
    assert (again["retry_of"], again["status"]) == (mission_id, "SCHEDULED")


def test_an_unknown_command_is_told_with_the_known_ones(operator, wanted):
    mission_id = operator.post("/v1/missions", json=wanted()).json()["id"]
    response = operator.post(f"/v1/missions/{mission_id}/commands", json={"command": "explode"})
    assert response.status_code == 422
    assert "'cancel'" in response.json()["detail"]


def test_a_strangers_command_reaches_nothing(operator, stranger, wanted):
    mission_id = operator.post("/v1/missions", json=wanted()).json()["id"]
    assert stranger.post(f"/v1/missions/{mission_id}/commands", json={"command": "cancel"}).status_code == 404
    assert operator.get(f"/v1/missions/{mission_id}").json()["status"] == "SCHEDULED"


def test_a_mission_that_waits_says_why(operator, wanted):
    asked = operator.post("/v1/missions", json=wanted("look")).json()
    shown = operator.get(f"/v1/missions/{asked['id']}").json()
    assert shown["waiting_for"] == asked["waiting_for"] != ""
    assert "amr-01 is not heard of yet" in shown["waiting_for"]
