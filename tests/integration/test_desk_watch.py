"""What is pressed on runs' pages is followed run by run: one that cannot be followed holds up no other."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.orchestration import PrefectClient
from sqlmodel import select

from missions import create
from missions.models import Desired, Mission, MissionCreate, TaskCreate
from orchestration import desk_watch
from orchestration.pool import POOL


class Stop(Exception):
    """Ends the watch after its first look."""


class Server:
    """Answers as Prefect's server does: some runs are being cancelled, and it knows no deployment."""

    def __init__(self, runs: list[UUID], *, status: int) -> None:
        self.runs, self.status = runs, status

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.endswith("/flow_runs/filter") and b"CANCELLING" in request.content:
            return httpx.Response(200, json=[self._run(run_id) for run_id in self.runs])
        if "/deployments/" in path and path.endswith(str(self.runs[0])):
            return httpx.Response(self.status, json={"detail": "no"})
        if "/deployments/" in path:
            return httpx.Response(200, json={"id": str(uuid4()), "flow_id": str(uuid4()), "name": "request-mission"})
        if path.endswith("/csrf-token"):
            return httpx.Response(422, json={"detail": "CSRF protection is disabled."})
        raise Stop(path)

    def _run(self, run_id: UUID) -> dict[str, object]:
        state = {"type": "CANCELLING", "name": "Cancelling"}
        row = {"id": str(run_id), "flow_id": str(uuid4()), "deployment_id": str(run_id), "name": f"run {run_id}"}
        return {**row, "state": state, "state_type": "CANCELLING", "parameters": {}, "work_pool_name": POOL}


@pytest.fixture
def runs() -> list[UUID]:
    """Two runs; the deployment of the first is gone."""
    return [uuid4(), uuid4()]


@pytest.fixture
def missions_of_both(runtime, world, runs) -> None:
    with runtime.transaction() as session:
        for run_id in runs:
            wanted = MissionCreate(name="Look", key=f"{run_id}/0", tasks=[TaskCreate(station="press-1")])
            create.create(session, site=world.site, wanted=wanted, who="test")


@pytest.fixture
def watched(runtime, runs) -> Callable[[int], None]:
    """One look at a server that answers so when it is asked for the first run's deployment."""

    def look(status: int) -> None:
        async def talk() -> None:
            settings = {"transport": httpx.MockTransport(Server(runs, status=status).answer)}
            crew = SimpleNamespace(live={}, left_behind=lambda _runs: [])
            async with PrefectClient("http://127.0.0.1:9/api", httpx_settings=settings) as client:
                await desk_watch.watch(client, lambda: crew, runtime.transaction, runtime.reading)

        asyncio.run(talk())

    return look


@pytest.mark.parametrize("status", [404, 422])
def test_a_run_that_cannot_be_followed_holds_up_no_other(runtime, runs, missions_of_both, watched, status):
    with pytest.raises(Stop):
        watched(status)
    with runtime.reading() as session:
        wishes = {mission.key: mission.desired for mission in session.exec(select(Mission)).all()}
    assert wishes[f"{runs[1]}/0"] is Desired.cancel
