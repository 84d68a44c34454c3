"""Approval through Prefect's Resume form, on a real server with the real worker; no dispatcher runs."""

import signal
from uuid import UUID, uuid4

import pytest
from sqlmodel import select

from fleet.organisations import site_named
from missions import commands, create
from missions.models import Mission, MissionCreate, MissionStatus, TaskCreate, Transition

pytestmark = [pytest.mark.serial, pytest.mark.timeout(900)]


@pytest.fixture
def waiting(prefect, demo_site):
    """Makes a mission that needs approval, through no door of Prefect's; gives its id."""

    def make(name: str = "Enter the tank") -> UUID:
        wanted = MissionCreate(name=name, key=str(uuid4()), approval_needed=True, tasks=[TaskCreate(station="press-1")])
        with prefect.runtime.transaction() as session:
            site = site_named(session, demo_site, "north-plant")
            return create.create(session, site=site, wanted=wanted, who="api").id

    return make


@pytest.fixture
def stored(prefect):
    def read(mission_id: UUID) -> Mission:
        with prefect.runtime.reading() as session:
            return session.exec(select(Mission).where(Mission.id == mission_id)).one()

    return read


@pytest.fixture
def asking(prefect, eventually):
    """The id of the run that asks about the mission, as soon as it waits for the answer."""

    def find(mission_id: UUID) -> str:
        wanted = {"flow_runs": {"tags": {"all_": [f"mission:{mission_id}"]}, "state": {"type": {"any_": ["PAUSED"]}}}}
        return eventually(lambda: prefect.post("/flow_runs/filter", wanted), bool)[0]["id"]

    return find


def test_a_mission_that_needs_approval_gets_a_run_that_asks_and_resume_approves_it(prefect, waiting, asking, stored):
    mission_id = waiting()
    run_id = asking(mission_id)
    assert prefect.run(run_id)["name"] == "Approve Enter the tank"
    assert prefect.resume(run_id, decision="approve", comment="tank is empty", your_name="Ada")["status"] == "ACCEPT"
    state = prefect.state(run_id)
    assert (state["type"], state["name"]) == ("COMPLETED", "Approved")
    assert stored(mission_id).status is MissionStatus.scheduled
    with prefect.runtime.reading() as session:
        query = select(Transition).where(Transition.mission_id == mission_id, Transition.to_status == "SCHEDULED")
        line = session.exec(query).one()
    assert (line.who, line.why) == ("prefect:approve-mission", "approved by Ada: tank is empty")


@pytest.mark.proof
def test_an_answer_without_a_reason_is_asked_again_also_by_another_worker_and_a_rejection_cancels(
    prefect, waiting, asking, stored, eventually
):
    mission_id = waiting("Enter the vault")
    run_id = asking(mission_id)
    assert prefect.resume(run_id)["status"] == "REJECT"  # the form has to be filled in
    assert prefect.resume(run_id, decision="maybe")["status"] == "REJECT"
    assert prefect.end_worker(signal.SIGKILL) != 0
    assert prefect.resume(run_id, decision="reject")["status"] == "ACCEPT"
    prefect.start_worker()
    asked_again = eventually(
        lambda: prefect.run(run_id), lambda run: run["state"]["state_details"].get("pause_key") == "2"
    )
    keys = asked_again["state"]["state_details"]["run_input_keyset"]
    question = prefect.api.get(f"/flow_runs/{run_id}/input/{keys['description']}").json()
    assert "say why in the comment" in question
    prefect.resume(run_id, decision="reject", comment="the vault is locked")
    assert prefect.state(run_id)["name"] == "Rejected"
    assert (stored(mission_id).status, stored(mission_id).reason) == (
        MissionStatus.canceled,
        "rejected: the vault is locked",
    )


def test_a_mission_decided_elsewhere_ends_the_run_that_asks_about_it(prefect, demo_site, waiting, asking):
    mission_id = waiting("Enter the cellar")
    run_id = asking(mission_id)
    with prefect.runtime.transaction() as session:
        commands.command(
            session, organisation_id=demo_site, mission_id=mission_id, command="approve", who="user:ops", why="by phone"
        )
    state = prefect.state(run_id)
    assert (state["type"], state["name"]) == ("COMPLETED", "Not needed")
    assert "was decided elsewhere: it is SCHEDULED (by phone)" in state["message"]


@pytest.mark.proof
def test_a_cancelled_question_leaves_the_mission_waiting_and_control_mission_approves_it(
    prefect, waiting, asking, stored, eventually
):
    mission_id = waiting("Enter the attic")
    run_id = asking(mission_id)
    prefect.cancel(run_id)
    assert prefect.state(run_id)["type"] == "CANCELLED"
    said = eventually(lambda: prefect.run(run_id)["state"]["message"], bool)
    assert "still waits for approval" in said
    assert stored(mission_id).status is MissionStatus.awaiting_approval
    told = prefect.press("control-mission", mission=str(mission_id), command="approve")
    assert prefect.state(told)["name"] == "Done"
    assert stored(mission_id).status is MissionStatus.scheduled
