"""Recordings over HTTP: found by what is in them, shown with their topics, and never to another organisation."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlmodel import select

from fleet.database import new_id
from fleet.events import Alert, Event
from ingestion.models import Bag, BagStatus, BagTopic
from missions.models import Attempt, Mission


@pytest.fixture
def bags(runtime, world):
    """Two catalogued bags of amr-01 and amr-02; the first has hot diagnostics and an event of its robot."""
    start = runtime.clock.now()
    rows = {}
    with runtime.transaction() as session:
        for number, (name, robot) in enumerate(world.robots.items()):
            bag = Bag(
                organisation_id=world.organisation.id,
                sha256=f"{number}" * 64,
                size=10,
                filename=f"{name}.mcap",
                object_key="none",
                robot_id=robot.id,
                robot_name=name,
                status=BagStatus.complete,
                topics=1,
                started_at=start + timedelta(days=number),
                finished_at=start + timedelta(days=number, seconds=60),
                uploaded_at=start,
            )
            session.add(bag)
            session.flush()
            known = {"bag_id": bag.id, "organisation_id": world.organisation.id, "number": 0, "rows": 600}
            kind, errors = ("sensor_msgs/msg/Imu", "drive: hot\ndrive: stuck") if not number else ("a/b", "")
            session.add(BagTopic(name=f"/topic{number}", type=kind, errors=errors, rate_hz=10.0, gaps=2, **known))
            rows[name] = str(bag.id)
        at = start + timedelta(seconds=5)
        happened = {"organisation_id": world.organisation.id, "robot_id": world.robots["amr-01"].id}
        event = Event(key="k", kind="bumper", severity="error", occurred_at=at, received_at=at, **happened)
        session.add(event)
        session.flush()
        session.add(Alert(event_id=event.id, rule="bumper", message="It hit something.", opened_at=at, **happened))
    return rows


@pytest.mark.parametrize(
    "wanted",
    [
        {"robot": "amr-01"},
        {"topic": "/topic0"},
        {"type": "sensor_msgs/*"},
        {"error": "STUCK"},
        {"error": "bumper"},
        {"anomaly": "hit something"},
        {"text": "amr-01.m"},
        {"until": "2026-03-01", "site": "north", "status": "complete"},
    ],
    ids=str,
)
def test_bags_are_found_by_what_is_in_them(customer, bags, wanted):
    assert [bag["id"] for bag in customer.get("/v1/bags", params=wanted).json()["items"]] == [bags["amr-01"]]


def test_what_is_asked_for_must_all_be_true(customer, bags):
    assert customer.get("/v1/bags", params={"robot": "amr-02", "topic": "/topic0"}).json()["items"] == []
    assert len(customer.get("/v1/bags").json()["items"]) == 2


def test_pages_go_on_within_what_is_asked_for(customer, bags):
    wanted = {"topic": "/topic*", "limit": 1}
    first = customer.get("/v1/bags", params=wanted).json()
    second = customer.get("/v1/bags", params=wanted | {"cursor": first["next"]}).json()
    assert [first["items"][0]["id"], second["items"][0]["id"]] == [bags["amr-02"], bags["amr-01"]]
    assert second["next"] is None


def test_a_bag_is_shown_with_its_topics_and_the_events_of_its_robot(customer, bags):
    shown = customer.get(f"/v1/bags/{bags['amr-01']}").json()
    (topic,) = shown["contents"]
    assert (topic["name"], topic["rows"], topic["rate_hz"], topic["gaps"]) == ("/topic0", 600, 10.0, 2)
    assert topic["errors"] == ["drive: hot", "drive: stuck"]
    (event,) = shown["events"]
    assert (event["kind"], event["severity"], event["alert"]) == ("bumper", "error", "It hit something.")
    other = customer.get(f"/v1/bags/{bags['amr-02']}").json()
    assert (other["events"], other["contents"][0]["errors"]) == ([], [])


def test_an_event_names_the_mission_that_its_robot_was_on(runtime, world, customer, bags):
    at, robot = runtime.clock.now(), world.robots["amr-01"].id
    known = {"organisation_id": world.organisation.id, "created_at": at}
    with runtime.transaction() as session:
        for number, (name, begin_s, end_s) in enumerate([("before", -60, 2), ("during", 3, None), ("after", 30, 40)]):
            row = {"name": name, "key": name, "requested_by": "user:x", "updated_at": at, "site_id": world.site.id}
            mission = Mission(**known, **row)
            session.add(mission)
            session.flush()
            begin, end = (None if s is None else at + timedelta(seconds=s) for s in (begin_s, end_s))
            span = {"created_at": begin, "finished_at": end}
            order = {"organisation_id": world.organisation.id, "mission_id": mission.id, "robot_id": robot}
            session.add(Attempt(number=1, key=name, fence=number, **order, **span))
    (event,) = customer.get(f"/v1/bags/{bags['amr-01']}").json()["events"]
    assert (event["mission"], event["alert"]) == ("during", "It hit something.")
    assert customer.get(f"/v1/missions/{event['mission_id']}").status_code == 200


def test_another_organisation_finds_no_bag(stranger, bags):
    assert stranger.get(f"/v1/bags/{bags['amr-01']}").status_code == 404
    for wanted in ({}, {"topic": "/topic0"}, {"error": "hot"}, {"text": "amr"}, {"site": "north"}):
        assert stranger.get("/v1/bags", params=wanted).json()["items"] == []


def test_a_device_sees_no_recordings(device, bags):
    assert device.get(f"/v1/bags/{bags['amr-01']}").status_code == 403


def test_a_bag_that_is_not_there_is_not_found(customer):
    assert customer.get(f"/v1/bags/{new_id()}").status_code == 404


@pytest.mark.parametrize(
    "wanted",
    [
        {"since": "yesterday"},
        {"mission_id": "x"},
        {"status": "new"},
        {"text": "a" * 301},
        {"text": "a\0b"},
        {"anomaly": "\0"},
        {"topic": "\0*"},
        {"error": "a" * 60_000},
        {"topic": "*a" * 5},
        {"type": "*" * 30},
    ],
    ids=lambda wanted: ascii(wanted)[:30],
)
def test_nonsense_is_refused(customer, wanted):
    assert customer.get("/v1/bags", params=wanted).status_code == 422


def test_every_question_says_what_it_means(anonymous):
    parameters = anonymous.get("/openapi.json").json()["paths"]["/v1/bags"]["get"]["parameters"]
    silent = [known["name"] for known in parameters if "description" not in known | known["schema"]]
    assert silent == []
    assert {"robot", "site", "mission_id", "since", "until", "topic", "type", "status", "error", "text"} <= {
        known["name"] for known in parameters
    }


@pytest.fixture
def event_id(runtime) -> str:
    with runtime.reading() as session:
        return str(session.exec(select(Event.id)).one())


def test_a_cut_is_asked_for_once_and_its_request_tells_how_far_it_is(operator, bags, event_id):
    asked = operator.post(f"/v1/bags/{bags['amr-01']}/cuts", json={"event_id": event_id, "seconds_before": 30})
    assert asked.status_code == 202
    assert asked.json()["status"] == "pending"
    assert operator.get(asked.headers["Location"]).json()["kind"] == "cut-bag"
    again = operator.post(f"/v1/bags/{bags['amr-01']}/cuts", json={"event_id": event_id, "seconds_before": 30})
    assert again.json() == asked.json()
    assert operator.get(f"/v1/bags/by-sha256/{asked.json()['sha256']}").status_code == 404


def test_a_cut_is_also_of_the_time_between_two_instants(operator, bags):
    span = {"from": "2026-03-01T22:00:05Z", "to": "2026-03-01T22:00:10+00:00"}
    assert operator.post(f"/v1/bags/{bags['amr-01']}/cuts", json=span).status_code == 202


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({}, 422),
        ({"from": "2026-03-01T22:00:05Z"}, 422),
        ({"from": "2026-03-01T22:00:05", "to": "2026-03-01T22:00:06"}, 422),
        ({"event_id": str(UUID(int=1))}, 404),
        ({"from": "2027-03-01T22:00:05Z", "to": "2027-03-01T22:00:06Z"}, 404),
        ({"from": "2026-03-01T22:00:05Z", "to": "2026-03-01T22:00:01Z"}, 422),
        ({"from": "0001-01-01T00:00:00+05:00", "to": "2027-03-01T22:00:01Z"}, 422),
        ({"seconds_before": -1}, 422),
    ],
    ids=str,
)
def test_a_cut_of_nothing_is_refused(operator, bags, wanted, status):
    assert operator.post(f"/v1/bags/{bags['amr-01']}/cuts", json=wanted).status_code == status


def test_customers_and_strangers_ask_for_no_cuts(customer, stranger, bags, event_id):
    for who, status in ((customer, 403), (stranger, 404)):
        assert who.post(f"/v1/bags/{bags['amr-01']}/cuts", json={"event_id": event_id}).status_code == status


def test_a_bag_shows_what_was_cut_out_of_it(runtime, customer, bags, event_id):
    known = {"cut_of_id": UUID(bags["amr-01"]), "cut_event_id": UUID(event_id), "uploaded_at": runtime.clock.now()}
    with runtime.transaction() as session:
        whole = session.get_one(Bag, UUID(bags["amr-01"]))
        owner = whole.organisation_id
        cut = Bag(organisation_id=owner, sha256="c" * 64, size=1, filename="cut", object_key="none", **known)
        session.add(cut)
    shown = customer.get(f"/v1/bags/{bags['amr-01']}").json()
    assert [(one["id"], one["cut_event_id"]) for one in shown["cuts"]] == [(str(cut.id), event_id)]
    found = customer.get("/v1/bags", params={"cut_of": bags["amr-01"]}).json()["items"]
    assert [one["cut_of_id"] for one in found] == [bags["amr-01"]]
