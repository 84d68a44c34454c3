"""The short way for missions and webhooks: it takes what is as it should be, and passes everything else on as it came."""

import json
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from starlette.datastructures import State

from api.deps import Doorman
from api.edge import BodyLimit
from api.express import Express
from api.group_commit import deliveries, missions
from api.reception import Reception
from api.routes.webhooks import Letterbox
from fleet.errors import Unavailable
from fleet.organisations import Principal, PrincipalKind, Station, issue_token
from fleet.runtime import Runtime
from ingestion.signatures import sign

WANTED = {"site": "north", "name": "look", "key": "k-1", "tasks": [{"kind": "go_to", "station": "gate"}]}


class Behind:
    """The application behind: keeps what reaches it and answers 418."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope, receive, send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 418, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def behind() -> Behind:
    return Behind()


@pytest.fixture
def state(runtime: Runtime) -> Iterator[State]:
    """The doorman, the reception and the letterbox over the test's database."""
    inbox, asked = deliveries(runtime.transaction), missions(runtime.transaction)
    for writer in (inbox, asked):
        writer.start()
    parts = {"letterbox": Letterbox(runtime, inbox), "reception": Reception(runtime, asked)}
    yield State({"doorman": Doorman(runtime), **parts})
    for writer in (inbox, asked):
        writer.stop()


@pytest.fixture
def client(state: State, behind: Behind) -> httpx.AsyncClient:
    """Someone before the short way alone."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(Express(behind, state=state)), base_url="http://yard.test")


@pytest.fixture
def token_of(runtime: Runtime, world):
    """The header of a token of a principal of this kind."""

    def make(kind: str = "user") -> dict[str, str]:
        with runtime.transaction() as session:
            principal = Principal(PrincipalKind(kind), "ops", world.organisation.id)
            return {"Authorization": f"Bearer {issue_token(session, principal, now=runtime.clock.now())}"}

    return make


@pytest.fixture
def signed(world, clock):
    def make(body: bytes) -> dict[str, str]:
        made = sign(world.account.webhook_secret, delivery_id="d-1", sent_at=clock.now(), body=body)
        stamp = str(int(clock.now().timestamp()))
        return {"webhook-id": "d-1", "webhook-timestamp": stamp, "webhook-signature": made}

    return make


async def test_a_mission_is_taken_and_a_second_of_its_key_too(client, behind, token_of):
    headers = token_of()
    answers = [await client.post("/v1/missions", json=WANTED, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].headers["location"] == f"/v1/missions/{answers[0].json()['id']}"
    assert answers[0].json() == answers[1].json()
    assert behind.bodies == []


async def test_a_webhook_is_taken(client, behind, signed, world):
    answer = await client.post(f"/v1/webhooks/{world.account.id}", content=b"{}", headers=signed(b"{}"))
    assert (answer.status_code, answer.content, behind.bodies) == (202, b"", [])


async def test_a_webhook_for_nobody_is_not_found_before_its_body_is_read(client, behind):
    async def never():
        raise AssertionError("the body was read")
        yield

    answer = await client.post(f"/v1/webhooks/{uuid4()}", content=never())
    assert (answer.status_code, answer.json()["code"], behind.bodies) == (404, "not_found", [])


@pytest.mark.parametrize(
    "odd",
    [
        {"name": ""},
        {"surprise": 1},
        {"site": "no\0rth"},
        {"tasks": [{"station": "gate", "parameters": {"x": float("nan")}}]},
        {"not_after_at": "tomorrow"},
    ],
)
async def test_what_is_odd_about_a_mission_goes_the_long_way_as_it_came(client, behind, token_of, odd):
    body = json.dumps(WANTED | odd).encode()
    headers = token_of() | {"content-type": "application/json"}
    assert (await client.post("/v1/missions", content=body, headers=headers)).status_code == 418
    assert behind.bodies == [body]


async def test_what_does_not_say_that_it_is_json_goes_the_long_way(client, behind, token_of):
    body = json.dumps(WANTED).encode()
    assert (await client.post("/v1/missions", content=body, headers=token_of())).status_code == 418
    assert behind.bodies == [body]


async def test_who_may_only_look_and_who_shows_no_token_go_the_long_way(client, behind, token_of):
    for headers in (token_of("customer"), {}, {"Authorization": "Basic eDp4"}):
        assert (await client.post("/v1/missions", json=WANTED, headers=headers)).status_code == 418
    assert len(behind.bodies) == 3


@pytest.mark.parametrize("odd", ["Bearer  {}", "Bearer {} ", "Bearer "])
async def test_a_token_with_spaces_around_it_goes_the_long_way_which_takes_it(client, behind, token_of, odd: str):
    token = token_of()["Authorization"].removeprefix("Bearer ")
    answer = await client.post("/v1/missions", json=WANTED, headers={"Authorization": odd.format(token)})
    assert answer.status_code == 418


async def test_a_mission_that_is_written_is_answered_although_the_database_went_away_since(
    client, token_of, monkeypatch
):
    def away(*_: object) -> None:
        raise Unavailable("The database did not answer.")

    monkeypatch.setattr("missions.snapshot.waiting_for", away)
    answer = await client.post("/v1/missions", json=WANTED, headers=token_of())
    assert (answer.status_code, answer.json()["waiting_for"]) == (201, "")


async def test_an_unknown_token_is_told(client, behind):
    answer = await client.post("/v1/missions", json=WANTED, headers={"Authorization": "Bearer ym_x"})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_other_requests_are_not_touched(client, behind):
    for method, path in (("GET", "/v1/missions"), ("POST", "/v1/missions/1/commands"), ("POST", "/v1/webhooks/x")):
        assert (await client.request(method, path)).status_code == 418


async def test_a_body_in_parts_is_one_body(client, behind, signed, world):
    async def parts():
        for part in (b'{"a":', b" 1", b"}"):
            yield part

    answer = await client.post(f"/v1/webhooks/{world.account.id}", content=parts(), headers=signed(b'{"a": 1}'))
    assert answer.status_code == 202


async def test_a_body_that_is_too_large_is_told_behind_where_all_such_are_told(state, token_of):
    told: list[type] = []

    async def behind(scope, receive, send) -> None:
        try:
            while (await receive()).get("more_body", False):
                pass
        except Exception as error:
            told.append(type(error))
        await send({"type": "http.response.start", "status": 413, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def flood():
        for _ in range(3):
            yield b" " * 400

    bounded = BodyLimit(Express(behind, state=state), limit_of=lambda path: (1000, 5.0))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(bounded), base_url="http://yard.test") as client:
        headers = token_of() | {"content-type": "application/json"}
        assert (await client.post("/v1/missions", content=flood(), headers=headers)).status_code == 413
    assert [error.__name__ for error in told] == ["HTTPException"]


@pytest.mark.parametrize("news", [{}, {"approval_needed": True, "priority": 7}, {"robot": "amr-02"}])
def test_both_ways_answer_alike(operator, news):
    told = []
    for key, content_type in (("short", "application/json"), ("long", 'application/json; profile="x"')):
        body = json.dumps(WANTED | news | {"key": key}).encode()
        answer = operator.post("/v1/missions", content=body, headers={"content-type": content_type})
        assert answer.status_code == 201
        varying = {"id", "key"}
        shown = {name: value for name, value in answer.json().items() if name not in varying}
        headers = {name: value for name, value in answer.headers.items() if name not in {"location", "content-length"}}
        told.append((shown, {name: value for name, value in headers.items() if name != "date"}))
    assert told[0] == told[1]


def test_a_station_and_a_capability_that_were_just_added_may_be_named_at_once(
    app: FastAPI, operator, runtime: Runtime, world
):
    asked = WANTED | {"required_capabilities": ["inspect"]}
    assert operator.post("/v1/missions", json=asked).status_code == 201
    new = WANTED | {"key": "k-2", "tasks": [{"station": "ramp"}], "required_capabilities": ["lift"]}
    assert operator.post("/v1/missions", json=new).status_code == 422
    with runtime.transaction() as session:
        owned = {"organisation_id": world.organisation.id, "site_id": world.site.id}
        session.add(Station(**owned, name="ramp", x_m=1.0, y_m=1.0))
        session.merge(world.robots["amr-01"]).capabilities = ["drive", "inspect", "lift"]
    assert operator.post("/v1/missions", json=new).status_code == 201


def test_a_site_that_nobody_knows_is_told(operator):
    answer = operator.post("/v1/missions", json=WANTED | {"site": "south"})
    assert (answer.status_code, "known sites: north" in answer.json()["detail"]) == (404, True)
