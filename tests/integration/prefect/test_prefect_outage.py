"""Prefect's server dies while missions run: they go on, and when it is back the runs show what became of them."""

from uuid import UUID, uuid4

import pytest
from sqlmodel import col, select

from fleet import requests
from fleet.organisations import site_named
from fleet.requests import Request, RequestStatus
from missions import create
from missions.lifecycle import Cause, move_mission
from missions.models import Mission, MissionCreate, MissionStatus, TaskCreate

pytestmark = [pytest.mark.proof, pytest.mark.serial, pytest.mark.timeout(900)]
MISSION = {"name": "Look at the press", "tasks": [{"kind": "go_to", "station": "press-1"}]}
ROBOT = Cause("robot", "as the robot reports")


@pytest.fixture
def missions_of(prefect):
    def read(run_id: str) -> list[Mission]:
        with prefect.runtime.reading() as session:
            query = select(Mission).where(col(Mission.key).startswith(f"{run_id}/")).order_by(col(Mission.key))
            return list(session.exec(query).all())

    return read


@pytest.fixture
def goes(prefect):
    """Lets a mission go through these statuses, as its robot's reports would."""

    def move(mission_id: UUID, *statuses: MissionStatus) -> None:
        for status in statuses:
            with prefect.runtime.transaction() as session:
                move_mission(session, session.get_one(Mission, mission_id), status, ROBOT)

    return move


@pytest.fixture
def running(prefect, missions_of, goes, eventually):
    """Run and mission of a request whose mission is under way; the run is called so."""

    def begin(name: str) -> tuple[str, UUID]:
        run_id = prefect.press("request-mission", mission={**MISSION, "name": name})
        (mission,) = eventually(lambda: missions_of(run_id), bool)
        goes(mission.id, MissionStatus.assigned, MissionStatus.running)
        eventually(lambda: prefect.run(run_id)["state"]["name"], lambda found: found == "Running")
        eventually(lambda: prefect.artifacts(run_id).get("mission", ""), lambda text: "RUNNING" in text)
        return run_id, mission.id

    return begin


@pytest.fixture
def needs_approval(prefect, demo_site):
    def make() -> UUID:
        wanted = MissionCreate(
            name="Open", key=str(uuid4()), approval_needed=True, tasks=[TaskCreate(station="press-1")]
        )
        with prefect.runtime.transaction() as session:
            site = site_named(session, demo_site, "north-plant")
            return create.create(session, site=site, wanted=wanted, who="api").id

    return make


def test_missions_go_on_while_prefect_is_dead_and_their_runs_catch_up(
    prefect, running, goes, missions_of, needs_approval, demo_site, eventually
):
    done_run, done = running("Done meanwhile")
    live_run, live = running("Still under way")
    prefect.kill_server()
    goes(done, MissionStatus.succeeded)
    goes(live, MissionStatus.paused)
    waiting = needs_approval()
    with prefect.runtime.transaction() as session:
        form = {"mission": {**MISSION, "name": "Asked for meanwhile"}, "wait_until_done": False}
        asked = requests.ask(
            session, organisation_id=demo_site, kind="request-mission", key="away", parameters=form, requested_by="test"
        ).id
    log = prefect.log.read_text
    eventually(log, lambda text: "will try again" in text or "shown later" in text)
    prefect.start_server()

    state = prefect.state(done_run)
    assert (state["type"], state["name"]) == ("COMPLETED", "Succeeded")
    eventually(lambda: prefect.run(live_run)["state"]["name"], lambda name: name == "Paused")
    assert prefect.run(live_run)["state_type"] == "RUNNING"
    wanted = {"flow_runs": {"tags": {"all_": [f"mission:{waiting}"]}, "state": {"type": {"any_": ["PAUSED"]}}}}
    (asking,) = eventually(lambda: prefect.post("/flow_runs/filter", wanted), bool)

    def settled() -> Request:
        with prefect.runtime.reading() as session:
            return session.exec(select(Request).where(Request.id == asked)).one()

    row = eventually(settled, lambda row: row.status is RequestStatus.done)
    assert [mission.name for mission in missions_of(row.flow_run_id)] == ["Asked for meanwhile"]
    assert [len(missions_of(run_id)) for run_id in (done_run, live_run)] == [1, 1]  # nothing is asked for twice
    prefect.cancel(live_run)
    assert prefect.state(live_run)["type"] == "CANCELLED"
    prefect.resume(asking["id"], decision="reject", comment="the test is over")
    assert prefect.state(asking["id"])["name"] == "Rejected"
