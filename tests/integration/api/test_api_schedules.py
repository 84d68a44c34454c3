"""Schedules and blackouts over HTTP."""

HOLIDAY = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//t//EN\r\nBEGIN:VEVENT\r\nUID:x\r\nSUMMARY:Feast\r\n"
    "DTSTART;VALUE=DATE:20260302\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)


def _wanted(**news) -> dict:
    recurrence = {"rule": "FREQ=HOURLY", "begins": "2026-03-01T22:00:00", "timezone": "UTC"}
    missions = [{"name": "look", "tasks": [{"station": "press-1"}]}]
    return {"site": "north", "name": "s", "key": "s", "recurrence": recurrence, "missions": missions} | news


def test_a_schedule_asked_for_is_shown_with_what_comes_next(operator):
    response = operator.post("/v1/schedules", json=_wanted())
    assert response.status_code == 201
    shown = operator.get(response.headers["location"]).json()
    assert (shown["status"], shown["site"], shown["revision"]) == ("active", "north", 1)
    assert [one["due_at"] for one in shown["next"][:2]] == ["2026-03-01T23:00:00Z", "2026-03-02T00:00:00Z"]
    again = operator.post("/v1/schedules", json=_wanted())
    assert (again.status_code, again.json()["id"]) == (200, shown["id"])
    assert [one["id"] for one in operator.get("/v1/schedules").json()["items"]] == [shown["id"]]
    assert operator.get("/v1/schedules?status=paused").json()["items"] == []


def test_what_is_wrong_with_a_schedule_is_told(operator):
    for change, status, told in [
        ({"site": "moon"}, 404, "moon"),
        ({"recurrence": _wanted()["recurrence"] | {"timezone": "Mars/Olympus"}}, 422, "Mars/Olympus"),
        ({"recurrence": _wanted()["recurrence"] | {"rule": "FREQ=DAILY;COUNT=0"}}, 422, "COUNT"),
        ({"recurrence": _wanted()["recurrence"] | {"grace_s": -1}}, 422, "not as expected"),
        ({"missions": [{"name": "m", "tasks": [{"station": "moon"}]}]}, 422, "moon"),
        ({"missions": []}, 422, "not as expected"),
    ]:
        response = operator.post("/v1/schedules", json=_wanted() | change)
        assert response.status_code == status, response.text
        assert told in response.text or told == "not as expected"
    assert operator.get("/v1/schedules").json()["items"] == []


def test_a_schedule_is_revised_paused_resumed_and_ended(operator):
    place = operator.post("/v1/schedules", json=_wanted()).headers["location"]
    daily = _wanted()["recurrence"] | {"rule": "FREQ=DAILY"}
    revised = operator.patch(place, json={"recurrence": daily, "name": "daily", "status": "paused"}).json()
    assert (revised["revision"], revised["name"], revised["status"], revised["next"]) == (2, "daily", "paused", [])
    assert operator.patch(place, json={"status": "active"}).json()["status"] == "active"
    assert operator.delete(place).json()["status"] == "ended"
    assert operator.delete(place).status_code == 200
    assert operator.patch(place, json={"status": "paused"}).status_code == 409


def test_an_occurrence_is_moved_and_cancelled_and_listed(operator):
    place = operator.post("/v1/schedules", json=_wanted()).headers["location"]
    first, second = (f"{place}/occurrences/2026-03-0{at}:00:00Z" for at in ("1T23", "2T00"))
    assert operator.post(first, json={"command": "cancel", "why": "fair"}).json()["reason"] == "fair"
    moved = operator.post(second, json={"command": "move", "to": "2026-03-02T00:30:00Z"})
    assert (moved.status_code, moved.json()["due_at"]) == (200, "2026-03-02T00:30:00Z")
    listed = operator.get(f"{place}/occurrences").json()
    assert [one["due_at"] for one in listed["next"][:2]] == ["2026-03-02T00:30:00Z", "2026-03-02T01:00:00Z"]
    assert [one["status"] for one in listed["past"]] == ["canceled"]
    assert operator.post(first, json={"command": "move", "to": "2026-03-02T00:30:00Z"}).status_code == 409
    assert operator.post(second, json={"command": "move"}).status_code == 422
    assert operator.post(f"{place}/occurrences/2026-03-02T00:01:00Z", json={"command": "cancel"}).status_code == 404


def test_what_is_anothers_is_not_found(operator, stranger):
    place = operator.post("/v1/schedules", json=_wanted()).headers["location"]
    blackout = {
        "site": "north",
        "name": "b",
        "key": "b",
        "begins": "2026-03-02T00:00:00",
        "ends": "2026-03-02T01:00:00",
    }
    closed = operator.post("/v1/blackouts", json=blackout).json()["id"]
    assert stranger.get(place).status_code == 404
    assert stranger.patch(place, json={"status": "paused"}).status_code == 404
    assert stranger.delete(place).status_code == 404
    assert stranger.get(f"{place}/occurrences").status_code == 404
    assert stranger.delete(f"/v1/blackouts/{closed}").status_code == 404
    assert stranger.get("/v1/schedules").json()["items"] == stranger.get("/v1/blackouts").json()["items"] == []


def test_who_may_only_look_changes_nothing(client_of, operator):
    place = operator.post("/v1/schedules", json=_wanted()).headers["location"]
    customer = client_of("customer")
    assert customer.get(place).status_code == 200
    assert customer.post("/v1/schedules", json=_wanted(key="t")).status_code == 403
    assert customer.delete(place).status_code == 403


def test_a_blackout_is_added_listed_and_removed(operator):
    wanted = {"site": "north", "name": "b", "key": "b", "begins": "2026-03-02T00:00:00", "ends": "2026-03-02T01:00:00"}
    added = operator.post("/v1/blackouts", json=wanted)
    assert (added.status_code, added.json()["begins_at"]) == (201, "2026-03-01T23:00:00Z")
    assert operator.post("/v1/blackouts", json=wanted | {"name": "c"}).status_code == 409
    assert [one["name"] for one in operator.get("/v1/blackouts").json()["items"]] == ["b"]
    assert operator.delete(f"/v1/blackouts/{added.json()['id']}").status_code == 200
    assert operator.get("/v1/blackouts").json()["items"] == []


def test_a_calendar_is_imported_from_the_body(operator):
    params = {"site": "north", "calendar": "state"}
    text = {"Content-Type": "text/calendar"}
    response = operator.post("/v1/blackouts/imports", params=params, content=HOLIDAY, headers=text)
    assert (response.status_code, response.json()) == (200, {"calendar": "state", "count": 1})
    (feast,) = operator.get("/v1/blackouts").json()["items"]
    assert (feast["name"], feast["kind"], feast["ends_at"]) == ("Feast", "holiday", "2026-03-02T23:00:00Z")
    wrong = operator.post("/v1/blackouts/imports", params=params, content="nonsense", headers=text)
    assert wrong.status_code == 422
    large = operator.post("/v1/blackouts/imports", params=params, content=b"x" * 5_000_100, headers=text)
    assert large.status_code == 413
    named = operator.post("/v1/blackouts/imports", params=params | {"calendar": "a/b"}, content=HOLIDAY, headers=text)
    assert named.status_code == 422
