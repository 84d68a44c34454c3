"""Runs that Prefect cancelled at once, without our worker: their missions are cancelled by the desk that looks back."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.orchestration import PrefectClient
from sqlmodel import select

from missions import commands, create
from missions.models import Mission, MissionCreate, MissionStatus, TaskCreate
from orchestration.desk_cancel import catch_up


@pytest.fixture
def mission(runtime, world) -> Callable[[str], UUID]:
    def make(key: str) -> UUID:
        wanted = MissionCreate(name="Look", key=key, tasks=[TaskCreate(station="press-1")])
        with runtime.transaction() as session:
            return create.create(session, site=world.site, wanted=wanted, who="test").id

    return make


@pytest.fixture
def tell(runtime, world):
    def command(mission_id: UUID, name: commands.CommandName) -> UUID:
        with runtime.transaction() as session:
            return commands.command(
                session,
                organisation_id=world.organisation.id,
                mission_id=mission_id,
                command=name,
                who="user:ops",
                why="by hand",
            ).id

    return command


@pytest.fixture
def status(runtime) -> Callable[[UUID], MissionStatus]:
    def read(mission_id: UUID) -> MissionStatus:
        with runtime.reading() as session:
            return session.exec(select(Mission.status).where(Mission.id == mission_id)).one()

    return read


@pytest.fixture
def asked() -> list[dict[str, object]]:
    """What Prefect was asked for."""
    return []


@pytest.fixture
def look_back(runtime, clock, asked):
    """One look of the desk at a Prefect that lists these runs as cancelled now."""

    def look(*run_ids: UUID) -> None:
        at = clock.now().isoformat()
        state = {"type": "CANCELLED", "name": "Cancelled", "timestamp": at}
        runs = [{"id": str(run), "flow_id": str(uuid4()), "name": "evening round", "state": state} for run in run_ids]

        def answer(request: httpx.Request) -> httpx.Response:
            if not request.url.path.endswith("/flow_runs/filter"):
                return httpx.Response(404, json={"detail": request.url.path})
            asked.append(json.loads(request.content))
            return httpx.Response(200, json=runs)

        async def talk() -> None:
            transport = httpx.MockTransport(answer)
            async with PrefectClient("http://127.0.0.1:9/api", httpx_settings={"transport": transport}) as client:
                await catch_up(client, clock.now() - timedelta(days=1), runtime.transaction, runtime.reading)

        asyncio.run(talk())

    return look


def test_a_suspended_run_that_prefect_cancelled_while_nobody_looked_cancels_its_missions(mission, look_back, status):
    run_id = uuid4()
    mine, foreign = mission(f"{run_id}/0"), mission(f"{uuid4()}/0")
    look_back(run_id)
    assert (status(mine), status(foreign)) == (MissionStatus.canceled, MissionStatus.scheduled)


def test_only_runs_of_our_pool_that_were_cancelled_since_the_last_look_are_asked_for(look_back, asked, clock):
    look_back()
    (form,) = asked
    assert form["flow_runs"]["state"]["type"]["any_"] == ["CANCELLED"]
    assert form["flow_runs"]["end_time"]["after_"].startswith(f"{clock.now() - timedelta(days=1):%Y-%m-%dT%H:%M}")
    assert form["flow_runs"]["state"]["name"]["not_any_"] == ["Skipped"]
    assert form["work_pools"]["name"]["any_"] == ["yardmaster"]


def test_a_mission_that_was_retried_after_its_run_was_cancelled_goes_on(mission, tell, look_back, status, clock):
    run_id = uuid4()
    first = mission(f"{run_id}/0")
    tell(first, "cancel")
    cancelled_at = clock.now()
    clock.step(60)
    again = tell(first, "retry")
    clock.step(-60)
    assert clock.now() == cancelled_at
    look_back(run_id)
    assert status(again) is MissionStatus.scheduled


def test_looking_twice_changes_nothing_more(mission, look_back, status, runtime):
    run_id = uuid4()
    mine = mission(f"{run_id}/0")
    look_back(run_id)
    with runtime.reading() as session:
        version = session.get_one(Mission, mine).version
    look_back(run_id)
    with runtime.reading() as session:
        assert session.get_one(Mission, mine).version == version
