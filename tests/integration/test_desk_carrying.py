"""The desk between our rows and a Prefect server that is replaced at its HTTP interface: every answer it may give."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from sqlmodel import select

from fleet import requests
from fleet.errors import Invalid, Unavailable
from fleet.requests import Request, RequestStatus
from fleet.runtime import Runtime
from missions import create
from missions.models import MissionCreate, TaskCreate
from orchestration import desk
from orchestration.desk_requests import Errand, carry_all, carry_once, claim_errands, settle_ended, start

DEPLOYMENT_ID, FLOW_ID = uuid4(), uuid4()
Ask = Callable[..., UUID]


@dataclass
class Server:
    """Answers as Prefect's server does, or as it is told to; remembers what it was asked for."""

    refusal: httpx.Response | None = None
    has_deployment: bool = True
    is_away: bool = False
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.is_away:
            raise httpx.ConnectError("connection refused", request=request)
        path = request.url.path
        if "/deployments/name/" in path:
            return self._deployment(path)
        if path.endswith("/create_flow_run"):
            return self.refusal or self._created(json.loads(request.content))
        if path.endswith("/flow_runs/filter"):
            wanted = json.loads(request.content)["flow_runs"]["id"]["any_"]
            return httpx.Response(200, json=[self.runs[run_id] for run_id in wanted if run_id in self.runs])
        return httpx.Response(404, json={"detail": path})

    def _deployment(self, path: str) -> httpx.Response:
        if not self.has_deployment:
            return httpx.Response(404, json={"detail": "Deployment not found"})
        name = path.rpartition("/")[2]
        row = {"id": str(DEPLOYMENT_ID), "flow_id": str(FLOW_ID), "name": name, "tags": ["data"]}
        return httpx.Response(200, json=row)

    def _created(self, body: dict[str, Any]) -> httpx.Response:
        self.bodies.append(body)
        key = body["idempotency_key"]
        run = self.runs.setdefault(key, {"id": str(uuid4()), "flow_id": str(FLOW_ID), "name": "quick fox"})
        return httpx.Response(201, json=run)

    def ends(self, run_id: str, state_type: str, name: str, message: str | None = None) -> None:
        state = {"type": state_type, "name": name, "message": message}
        self.runs[run_id] = {"id": run_id, "flow_id": str(FLOW_ID), "name": "quick fox", "state": state}


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def through(server: Server) -> Callable[[Callable[[PrefectClient], Any]], Any]:
    """What a coroutine function gives that talks to the server."""

    def ask(errand: Callable[[PrefectClient], Any]) -> Any:
        async def talk() -> Any:
            transport = httpx.MockTransport(server.answer)
            address = "http://127.0.0.1:9/api"
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
                async with PrefectClient(address, httpx_settings={"transport": transport}) as client:
                    return await errand(client)

        return asyncio.run(talk())

    return ask


@pytest.fixture
def asked(runtime: Runtime, world) -> Ask:
    def ask(key: str, kind: str = "train-rul", **parameters: object) -> UUID:
        with runtime.transaction() as session:
            return requests.ask(
                session,
                organisation_id=world.organisation.id,
                kind=kind,
                key=key,
                parameters=parameters,
                requested_by="test",
            ).id

    return ask


@pytest.fixture
def row(runtime: Runtime) -> Callable[[UUID], Request]:
    def read(request_id: UUID) -> Request:
        with runtime.reading() as session:
            return session.exec(select(Request).where(Request.id == request_id)).one()

    return read


@pytest.fixture
def claimed(runtime: Runtime) -> Callable[[], list[Errand]]:
    def claim() -> list[Errand]:
        with runtime.transaction() as session:
            return claim_errands(session)

    return claim


@pytest.fixture
def carried(runtime: Runtime, claimed, through) -> Callable[[], None]:
    def carry() -> None:
        for errand in claimed():
            through(lambda client, errand=errand: carry_once(client, errand, runtime.transaction))

    return carry


def test_a_request_becomes_a_run_under_its_own_id_with_the_rows_organisation(server, asked, carried, row):
    request_id = asked("one", organisation="somebody else", seed=3)
    carried()
    (body,) = server.bodies
    assert body["idempotency_key"] == str(request_id)
    assert body["parameters"] == {"seed": 3, "organisation": "acme"}
    assert body["tags"] == ["data", "organisation:acme"]
    assert row(request_id).status is RequestStatus.started
    assert row(request_id).flow_run_id == server.runs[str(request_id)]["id"]


def test_a_request_carried_twice_is_one_run(server, asked, claimed, through):
    asked("one")
    (errand,) = claimed()
    first = through(lambda client: start(client, errand))
    second = through(lambda client: start(client, errand))
    assert first.id == second.id
    assert len(server.runs) == 1


def test_bags_go_together_and_the_same_bags_have_the_same_key_in_any_order(server, asked, claimed):
    for key in ("a", "b"):
        asked(key, "process-bag", bag_ids=[key])
    (errand,) = claimed()
    turned = Errand(errand.kind, errand.organisation, errand.parameters, errand.request_ids[::-1])
    assert errand.parameters["bag_ids"] == ["a", "b"]
    assert errand.key == turned.key


def test_a_form_that_prefect_refuses_fails_the_request_with_prefects_words(server, asked, carried, row):
    server.refusal = httpx.Response(409, json={"detail": "Validation failed for field 'seed'"})
    request_id = asked("one")
    carried()
    assert row(request_id).status is RequestStatus.failed
    assert "Prefect refused 'train-rul'" in row(request_id).error
    assert "Validation failed for field 'seed'" in row(request_id).error


def test_a_kind_that_nobody_knows_fails_and_never_reaches_prefect(server, asked, carried, row):
    request_id = asked("one", "make-coffee")
    carried()
    assert row(request_id).status is RequestStatus.failed
    assert "'make-coffee' is not something that can be asked for" in row(request_id).error
    assert server.bodies == []


def test_with_prefect_away_the_request_waits_and_is_carried_when_it_is_back(server, asked, carried, row):
    request_id = asked("one")
    server.is_away = True
    with pytest.raises(Unavailable, match="Prefect did not answer"):
        carried()
    assert (row(request_id).status, row(request_id).claimed_until) == (RequestStatus.pending, None)
    server.is_away = False
    carried()
    assert row(request_id).status is RequestStatus.started


def test_before_the_flows_are_deployed_a_request_waits(server, asked, carried, row):
    server.has_deployment = False
    request_id = asked("one")
    with pytest.raises(Unavailable, match=r"python -m orchestration\.deploy"):
        carried()
    assert row(request_id).status is RequestStatus.pending


def test_an_unknown_kind_is_an_error_of_the_one_who_asks(through):
    errand = Errand("make-coffee", "acme", {}, (uuid4(),))
    with pytest.raises(Invalid, match="known kinds: process-bag, cut-bag, train-rul"):
        through(lambda client: start(client, errand))


@pytest.mark.parametrize(
    ("state", "status", "error"),
    [
        (("COMPLETED", "Completed"), RequestStatus.done, None),
        (("FAILED", "Failed", "no bags"), RequestStatus.failed, "Failed: no bags"),
        (("CRASHED", "Crashed"), RequestStatus.failed, "Crashed: no message"),
        (("CANCELLED", "Cancelled", "by hand"), RequestStatus.failed, "Cancelled: by hand"),
    ],
    ids=lambda part: part[0] if isinstance(part, tuple) else "",
)
def test_the_end_of_the_run_is_the_end_of_the_request(
    runtime, server, asked, carried, through, row, state, status, error
):
    request_id = asked("one")
    carried()
    server.ends(row(request_id).flow_run_id, *state)
    assert through(lambda client: settle_ended(client, runtime.transaction)) == 0
    assert (row(request_id).status, row(request_id).error) == (status, error)


@pytest.mark.parametrize("state", [("RUNNING", "Running"), ("PAUSED", "Suspended"), ("CANCELLING", "Cancelling")])
def test_a_request_whose_run_goes_on_stays_started(runtime, server, asked, carried, through, row, state):
    request_id = asked("one")
    carried()
    server.ends(row(request_id).flow_run_id, *state)
    assert through(lambda client: settle_ended(client, runtime.transaction)) == 1
    assert row(request_id).status is RequestStatus.started


def test_a_run_that_was_deleted_in_prefect_fails_its_request(runtime, server, asked, carried, through, row):
    request_id = asked("one")
    carried()
    server.runs.clear()
    through(lambda client: settle_ended(client, runtime.transaction))
    assert row(request_id).status is RequestStatus.failed
    assert "deleted in Prefect" in row(request_id).error


def test_a_question_that_was_deleted_in_prefect_is_asked_again(runtime, server, asked, carried, through, row, clock):
    request_id = asked("one", kind="approve-mission")
    carried()
    first = row(request_id).flow_run_id
    server.runs.clear()
    through(lambda client: settle_ended(client, runtime.transaction))
    assert row(request_id).status is RequestStatus.pending
    clock.step(requests.CLAIM_S + 1)
    carried()
    assert row(request_id).status is RequestStatus.started
    assert row(request_id).flow_run_id not in {None, first}


def test_nothing_is_asked_of_prefect_when_nothing_was_started(runtime, server, through):
    server.is_away = True
    assert through(lambda client: settle_ended(client, runtime.transaction)) == 0


def test_one_run_of_many_bags_settles_the_request_of_each(runtime, server, asked, carried, through, row):
    ids = [asked(key, "process-bag", bag_ids=[key]) for key in ("a", "b", "c")]
    carried()
    (run_id,) = {row(request_id).flow_run_id for request_id in ids}
    server.ends(run_id, "COMPLETED", "Completed")
    through(lambda client: settle_ended(client, runtime.transaction))
    assert {row(request_id).status for request_id in ids} == {RequestStatus.done}


def test_what_was_claimed_together_is_given_back_together_when_prefect_is_away(
    server, runtime, asked, claimed, through, row
):
    ids = [asked("one"), asked("two"), asked("three")]
    errands, server.is_away = claimed(), True
    with pytest.raises(Unavailable):
        through(lambda client: carry_all(client, errands, runtime.transaction))
    assert [(row(id_).status, row(id_).claimed_until) for id_ in ids] == [(RequestStatus.pending, None)] * 3


def test_what_was_carried_before_prefect_went_away_is_not_given_back(server, runtime, asked, claimed, through, row):
    ids = [asked("one"), asked("two")]
    errands = claimed()
    answer = server.answer

    def goes_away_after_the_first(request: httpx.Request) -> httpx.Response:
        server.is_away = bool(server.bodies)
        return answer(request)

    server.answer = goes_away_after_the_first
    with pytest.raises(Unavailable):
        through(lambda client: carry_all(client, errands, runtime.transaction))
    assert [row(id_).status for id_ in ids] == [RequestStatus.started, RequestStatus.pending]


def test_a_mission_that_waits_for_a_yes_is_asked_about_also_while_prefect_is_away(server, runtime, world, through):
    wanted = MissionCreate(name="Open", key="open", approval_needed=True, tasks=[TaskCreate(station="press-1")])
    with runtime.transaction() as session:
        mission_id = create.create(session, site=world.site, wanted=wanted, who="test").id
    server.is_away = True
    with pytest.raises(Unavailable):
        through(lambda client: desk.carry(client, runtime.transaction, runtime.reading, runtime.doorbell))
    with runtime.reading() as session:
        asking = session.exec(select(Request)).one()
    assert (asking.kind, asking.key, asking.status) == ("approve-mission", str(mission_id), RequestStatus.pending)
