"""Missions and requests through a real Prefect server; no dispatcher runs, so a mission stays where the request put it."""

from uuid import uuid4

import pytest
from sqlmodel import col, select

from fleet import changes, requests
from fleet.requests import Request, RequestStatus
from missions.lifecycle import Cause, wish
from missions.live import lock_mission
from missions.models import Desired, Mission, MissionStatus, Round

pytestmark = [pytest.mark.serial, pytest.mark.timeout(900)]
MISSION = {"name": "Look at the press", "tasks": [{"kind": "go_to", "station": "press-1"}]}


@pytest.fixture
def missions_of(prefect):
    def read(run_id: str) -> list[Mission]:
        with prefect.runtime.reading() as session:
            query = select(Mission).where(col(Mission.key).startswith(f"{run_id}/")).order_by(col(Mission.key))
            return list(session.exec(query).all())

    return read


@pytest.fixture
def ask(prefect, demo_site):
    def write(kind: str, **parameters: object):
        with prefect.runtime.transaction() as session:
            return requests.ask(
                session,
                organisation_id=demo_site,
                kind=kind,
                key=str(uuid4()),
                parameters=parameters,
                requested_by="test",
            ).id

    return write


@pytest.fixture
def settled(prefect, eventually):
    def read(request_id) -> Request:
        def look() -> Request:
            with prefect.runtime.reading() as session:
                return session.exec(select(Request).where(Request.id == request_id)).one()

        return eventually(look, lambda row: row.status in {RequestStatus.done, RequestStatus.failed})

    return read


def test_a_requested_mission_is_in_the_database_with_its_run_as_key_and_actor(prefect, missions_of):
    run_id = prefect.press("request-mission", mission=MISSION, wait_until_done=False)
    assert prefect.state(run_id)["type"] == "COMPLETED"
    (mission,) = missions_of(run_id)
    assert (mission.name, mission.key, mission.requested_by) == (
        "Look at the press",
        f"{run_id}/0",
        "prefect:request-mission",
    )


def test_a_round_from_the_template_has_a_mission_for_every_inspection_point(prefect, missions_of):
    form = {"template": "one mission for every inspection point", "name": "Evening", "wait_until_done": False}
    run_id = prefect.press("request-round", **form)
    assert prefect.state(run_id)["type"] == "COMPLETED"
    assert [mission.name for mission in missions_of(run_id)] == ["Inspect press-1", "Inspect press-2"]
    assert len(prefect.artifacts(run_id)["round"]) > 0


def test_cancelling_a_round_in_prefect_cancels_its_missions(prefect, missions_of, eventually):
    run_id = prefect.press("request-round", missions=[MISSION, {**MISSION, "name": "Again"}], name="To be cancelled")
    eventually(lambda: missions_of(run_id), lambda missions: len(missions) == 2)
    prefect.cancel(run_id)
    assert prefect.state(run_id)["type"] == "CANCELLED"
    assert {mission.status for mission in missions_of(run_id)} == {MissionStatus.canceled}


def test_a_round_without_missions_is_refused_with_what_to_do(prefect):
    state = prefect.state(prefect.press("request-round", name="Empty"))
    assert state["type"] == "FAILED"
    assert "missions: the round has none" in state["message"]


def test_an_unknown_site_is_refused_and_leaves_no_round(prefect):
    run_id = prefect.press("request-round", missions=[MISSION], site="atlantis")
    assert "There is no site 'atlantis'; known sites: north-plant" in prefect.state(run_id)["message"]
    with prefect.runtime.reading() as session:
        assert session.exec(select(Round).where(Round.key == run_id)).first() is None


def test_a_mission_is_cancelled_by_its_name_and_the_run_shows_that_it_obeyed(prefect, missions_of):
    wanted = {**MISSION, "name": "Patrol the fence"}
    asked = prefect.press("request-mission", mission=wanted, wait_until_done=False)
    prefect.state(asked)
    told = prefect.press("control-mission", mission="Patrol the fence", command="cancel", reason="rain")
    assert prefect.state(told)["type"] == "COMPLETED"
    (mission,) = missions_of(asked)
    assert (mission.status, mission.reason) == (MissionStatus.canceled, "rain")
    again = prefect.state(prefect.press("control-mission", mission="Patrol the fence", command="cancel"))
    assert "'Patrol the fence' has ended (CANCELED: rain)" in again["message"]


def test_the_page_of_a_run_names_its_state_as_the_mission_is_and_shows_its_tasks_and_history(
    prefect, missions_of, eventually
):
    tasks = [*MISSION["tasks"], {"kind": "reading", "station": "press-2"}]
    run_id = prefect.press("request-mission", mission={**MISSION, "tasks": tasks})
    prefect.state(run_id, "RUNNING")
    eventually(lambda: prefect.run(run_id)["state"], lambda now: (now["type"], now["name"]) == ("RUNNING", "Scheduled"))
    (mission,) = missions_of(run_id)
    told = prefect.press(
        "control-mission", mission=str(mission.id), command="skip", task=0, reason="it was done by hand"
    )
    assert prefect.state(told)["name"] == "Done"
    shown = eventually(lambda: prefect.artifacts(run_id), lambda found: found["mission-progress"] == 50.0)
    assert "skipped by prefect:control-mission" in shown["mission"]
    assert "task 1: reading at press-2" in shown["mission"]
    assert "| CREATED | SCHEDULED | prefect:request-mission |" in shown["mission"]
    prefect.press("control-mission", mission=str(mission.id), command="cancel", reason="enough")
    state = prefect.state(run_id)
    assert (state["type"], state["name"]) == ("CANCELLED", "Canceled")
    assert "enough" in state["message"]


def test_a_round_is_cancelled_by_its_name_also_when_no_run_waits_for_it(prefect, missions_of):
    form = {"missions": [MISSION, {**MISSION, "name": "Again"}], "name": "Left alone", "wait_until_done": False}
    asked = prefect.press("request-round", **form)
    assert prefect.state(asked)["name"] == "Asked for"
    state = prefect.state(prefect.press("control-round", round="Left alone", command="cancel", reason="rain"))
    assert (state["name"], state["message"]) == (
        "Told",
        "cancel Left alone: 2 of its 2 missions were told (2 canceled).",
    )
    assert {mission.reason for mission in missions_of(asked)} == {"rain"}
    again = prefect.press("control-round", round="Left alone", command="pause")
    assert prefect.state(again)["name"] == "Nothing left"


def test_whoever_pauses_a_mission_that_is_being_cancelled_is_told_that_it_has_no_effect(prefect, missions_of):
    asked = prefect.press("request-mission", mission={**MISSION, "name": "Let go"}, wait_until_done=False)
    prefect.state(asked)
    (mission,) = missions_of(asked)
    with prefect.runtime.transaction() as session:  # as while its robot has not ended yet
        wish(session, lock_mission(session, mission.id), Desired.cancel, Cause("test", "rain"))
    state = prefect.state(prefect.press("control-mission", mission="Let go", command="pause"))
    assert (state["name"], "It is being cancelled, so pause has no effect" in state["message"]) == ("Told", True)


def test_a_mission_that_nobody_knows_cannot_be_controlled(prefect):
    told = prefect.press("control-mission", mission="Atlantis", command="pause")
    assert "there is no mission 'Atlantis'; give its id" in prefect.state(told)["message"]


def test_a_request_becomes_a_run_and_is_done_when_the_run_is(prefect, ask, settled):
    row = settled(ask("request-mission", mission=MISSION, wait_until_done=False))
    assert (row.status, row.error) == (RequestStatus.done, None)
    assert prefect.run(row.flow_run_id)["state_type"] == "COMPLETED"


def test_a_request_with_nonsense_fails_with_prefects_words(ask, settled):
    row = settled(ask("request-mission", mission={"name": "x", "tasks": []}))
    assert row.status is RequestStatus.failed
    assert "mission.tasks" in row.error


def test_a_request_for_something_unknown_fails_and_names_what_is_known(ask, settled):
    row = settled(ask("make-coffee"))
    assert row.status is RequestStatus.failed
    assert "known kinds: process-bag" in row.error


def test_requests_for_bags_that_nobody_has_fail_with_the_reason(ask, settled):
    row = settled(ask("process-bag", bag_ids=[str(uuid4())]))
    assert row.status is RequestStatus.failed
    assert "there is no bag" in row.error


def test_the_inbox_sweep_ends_well_when_there_is_nothing_to_do(prefect):
    assert prefect.state(prefect.press("receive-webhooks"))["type"] == "COMPLETED"


def test_the_board_shows_what_was_asked_for(prefect, eventually):
    prefect.state(prefect.press("request-mission", mission={**MISSION, "name": "Seen"}, wait_until_done=False))

    def board() -> str:
        with prefect.runtime.transaction() as session:
            changes.publish(session)  # the dispatcher's work, which does not run here
        found = prefect.post("/artifacts/latest/filter", {"artifacts": {"key": {"any_": ["missions-board"]}}})
        return found[0]["data"] if found else ""

    eventually(board, lambda text: "Seen" in text)
