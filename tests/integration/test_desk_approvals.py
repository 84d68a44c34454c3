"""Who is asked about missions that need approval, and when asking stops; the database's side, and Prefect at its socket."""

import asyncio
import json
from collections.abc import Callable
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled, Paused, Suspended
from pydantic import ValidationError
from sqlmodel import select

from fleet import requests
from fleet.requests import Request, RequestStatus
from missions import commands, create
from missions.models import MissionCreate, TaskCreate
from orchestration import desk_approvals
from orchestration.desk_requests import claim_errands
from orchestration.flows.approvals import Approval


@pytest.fixture
def mission(runtime, world) -> Callable[..., UUID]:
    def make(key: str, *, approval_needed: bool = True) -> UUID:
        wanted = MissionCreate(
            name="Look", key=key, tasks=[TaskCreate(station="press-1")], approval_needed=approval_needed
        )
        with runtime.transaction() as session:
            return create.create(session, site=world.site, wanted=wanted, who="test").id

    return make


@pytest.fixture
def ask(runtime) -> Callable[[], int]:
    return lambda: asyncio.run(desk_approvals.ask(runtime.transaction, runtime.reading))


@pytest.fixture
def asked(runtime) -> Callable[[], list[Request]]:
    def read() -> list[Request]:
        with runtime.reading() as session:
            return list(session.exec(select(Request).where(Request.kind == "approve-mission")).all())

    return read


@pytest.fixture
def approve(runtime, world) -> Callable[[UUID], None]:
    def tell(mission_id: UUID) -> None:
        with runtime.transaction() as session:
            commands.command(
                session,
                organisation_id=world.organisation.id,
                mission_id=mission_id,
                command="approve",
                who="user:ops",
                why="by phone",
            )

    return tell


@pytest.fixture
def states() -> dict[str, dict[str, object]]:
    """The states that Prefect was told, by run."""
    return {}


@pytest.fixture
def prefect(states) -> Callable[[Callable[[PrefectClient], object]], None]:
    """Does something with a client of a Prefect that takes every state."""

    def answer(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/set_state"):
            return httpx.Response(404, json={"detail": request.url.path})
        told = json.loads(request.content)
        states[request.url.path.split("/")[-2]] = {**told["state"], "force": told["force"]}
        return httpx.Response(201, json={"status": "ACCEPT", "details": {"type": "accept_details"}, "state": None})

    def talk(errand):
        async def run() -> None:
            transport = httpx.MockTransport(answer)
            async with PrefectClient("http://127.0.0.1:9/api", httpx_settings={"transport": transport}) as client:
                await errand(client)

        asyncio.run(run())

    return talk


@pytest.fixture
def question() -> Callable[[UUID], FlowRun]:
    """The run that asks about a mission."""

    def make(mission_id: UUID) -> FlowRun:
        state = Suspended(timeout_seconds=60, pause_key="1")
        state.state_details.run_input_keyset = {"schema": "suspended-1-schema"}
        tags = ["missions", desk_approvals.mission_tag(mission_id)]
        return FlowRun(id=uuid4(), flow_id=uuid4(), name="Approve Look", tags=tags, state=state)

    return make


def test_every_mission_that_waits_for_approval_is_asked_about_once(mission, ask, asked):
    ids = {str(mission("one")), str(mission("two"))}
    mission("free", approval_needed=False)
    assert (ask(), ask()) == (2, 0)
    assert {row.key for row in asked()} == {str(row.parameters["mission"]) for row in asked()} == ids


def test_the_run_that_asks_is_started_for_the_missions_own_organisation(runtime, world, mission, ask):
    mission_id = mission("one")
    ask()
    with runtime.transaction() as session:
        (errand,) = claim_errands(session)
    assert errand.kind == "approve-mission"
    assert errand.parameters == {"mission": str(mission_id), "organisation": world.organisation.name}


def test_only_so_many_are_asked_about_at_once_and_the_next_when_one_was_answered(
    runtime, mission, ask, asked, monkeypatch
):
    monkeypatch.setattr(desk_approvals, "AT_ONCE", 2)
    for key in ("one", "two", "three"):
        mission(key)
    assert (ask(), ask()) == (2, 0)
    with runtime.transaction() as session:
        requests.settle(session, asked()[0].id, RequestStatus.done)
    assert ask() == 1


def test_a_question_that_was_answered_or_cancelled_is_not_asked_again(runtime, mission, ask, asked):
    mission("one")
    ask()
    with runtime.transaction() as session:
        requests.settle(session, asked()[0].id, RequestStatus.failed, error="Cancelled: no message")
    assert ask() == 0


def test_a_mission_that_was_decided_before_anybody_was_asked_is_not_asked_about(mission, ask, approve):
    approve(mission("one"))
    assert ask() == 0


def test_a_question_about_a_mission_decided_elsewhere_ends_and_says_so(
    runtime, mission, approve, question, prefect, states
):
    decided, open_ = mission("one"), mission("two")
    approve(decided)
    runs = [question(decided), question(open_)]
    prefect(lambda client: desk_approvals.close_decided(client, runs, runtime.reading))
    assert list(states) == [str(runs[0].id)]
    told = states[str(runs[0].id)]
    assert (told["type"], told["name"]) == ("COMPLETED", "Not needed")
    assert "it is SCHEDULED (by phone)" in told["message"]


def test_a_cancelled_question_says_that_its_mission_still_waits_and_says_it_once(question, prefect, states):
    mute = question(uuid4()).model_copy(update={"state": Cancelled()})
    told = question(uuid4()).model_copy(update={"state": Cancelled(message="said already")})
    other = FlowRun(id=uuid4(), flow_id=uuid4(), name="evening round", state=Cancelled())
    prefect(lambda client: desk_approvals.explain(client, [mute, told, other]))
    assert list(states) == [str(mute.id)]
    assert "still waits for approval" in states[str(mute.id)]["message"]


def test_a_run_that_an_operator_paused_is_no_question(question):
    paused = FlowRun(id=uuid4(), flow_id=uuid4(), name="evening round", state=Paused())
    assert [desk_approvals.waits_for_answer(run) for run in (question(uuid4()), paused)] == [True, False]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"decision": "approve"}, "approved"),
        ({"decision": "approve", "your_name": "Ada"}, "approved by Ada"),
        ({"decision": "reject", "comment": " wet floor ", "your_name": "Ada"}, "rejected by Ada: wet floor"),
    ],
)
def test_what_is_kept_with_the_mission_says_who_decided_and_why(answer, why):
    assert Approval.model_validate(answer).why == why


@pytest.mark.parametrize(
    "answer", [{"decision": "reject"}, {"decision": "reject", "comment": "  "}, {}, {"decision": "?"}]
)
def test_an_answer_without_a_decision_or_a_reason_to_reject_is_no_answer(answer):
    with pytest.raises(ValidationError):
        Approval.model_validate(answer)


@pytest.mark.proof
def test_on_postgresql_too_every_mission_is_asked_about_once(postgres_runtime, postgres_world):
    wanted = MissionCreate(name="Look", key="one", tasks=[TaskCreate(station="press-1")], approval_needed=True)
    with postgres_runtime.transaction() as session:
        create.create(session, site=postgres_world.site, wanted=wanted, who="test")
    counts = [asyncio.run(desk_approvals.ask(postgres_runtime.transaction, postgres_runtime.reading)) for _ in "ab"]
    assert counts == [1, 0]
    with postgres_runtime.transaction() as session:
        (errand,) = claim_errands(session)
    assert errand.kind == "approve-mission"
