"""What changes here is an event in a real Prefect: in order, once, also after its server was away; automations react."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlmodel import Session

from fleet import changes
from fleet.organisations import Site, organisation_named, site_named
from missions import commands, create
from missions.lifecycle import Cause, move_mission
from missions.models import Mission, MissionCreate, MissionStatus, TaskCreate
from missions.schedules import control
from missions.schedules.create import create as create_schedule
from missions.schedules.models import ScheduleCreate

FAILED = Cause("test", "The gripper is stuck.")
Told = Callable[[UUID], list[dict[str, Any]]]


@pytest.fixture
def site(prefect) -> Site:
    with prefect.runtime.reading() as session:
        return site_named(session, organisation_named(session, "demo").id, "north-plant")


@pytest.fixture
def mission(prefect, site: Site) -> Callable[..., UUID]:
    def make(name: str, *ends: MissionStatus, key: str = "") -> UUID:
        wanted = MissionCreate(name=name, key=key or str(uuid4()), tasks=[TaskCreate(station="press-1")])

        def written(session: Session) -> UUID:
            made = create.create(session, site=site, wanted=wanted, who="prefect:request-mission")
            for end in ends:
                move_mission(session, session.get_one(Mission, made.id), end, FAILED)
            return made.id

        with prefect.runtime.transaction() as session:
            return written(session)

    return make


@pytest.fixture
def told(prefect) -> Told:
    def events(identity: UUID) -> list[dict[str, Any]]:
        with prefect.runtime.transaction() as session:
            changes.publish(session)  # the dispatcher's work, which does not run here
        occurred = {"since": (datetime.now(UTC) - timedelta(hours=2)).isoformat()}
        resource = {"id": [f"yardmaster.mission.{identity}"]}
        wanted = {"filter": {"occurred": occurred, "resource": resource, "order": "ASC"}, "limit": 50}
        return list(prefect.post("/events/filter", wanted)["events"])

    return events


@pytest.fixture
def automation(prefect) -> Any:
    def on(event: str, deployment: str) -> str:
        trigger = {"type": "event", "posture": "Reactive", "expect": [event], "threshold": 1, "within": 0}
        action = {"type": "run-deployment", "source": "selected", "deployment_id": prefect.ids[deployment]}
        made = {"name": f"on {event}", "trigger": trigger, "actions": [{**action, "parameters": {"seconds": 0}}]}
        return str(prefect.post("/automations/", made)["id"])

    made: list[str] = []
    yield lambda event, deployment: made.append(on(event, deployment))
    for one in made:
        prefect.delete(f"/automations/{one}")


def _runs_of(prefect: Any, deployment: str) -> int:
    return int(prefect.post("/flow_runs/count", {"deployments": {"id": {"any_": [prefect.ids[deployment]]}}}))


def test_a_mission_that_fails_sets_an_automation_off_and_its_events_tell_the_way_there(
    prefect, mission, told, automation, eventually
):
    automation("yardmaster.mission.failed", "trial-wait")
    before, run_id = _runs_of(prefect, "trial-wait"), uuid4()
    ended = mission("Lift the lid", MissionStatus.assigned, MissionStatus.failed, key=f"{run_id}/0")
    events = eventually(lambda: told(ended), lambda events: len(events) == 4)
    assert [event["event"].rpartition(".")[2] for event in events] == ["created", "scheduled", "assigned", "failed"]
    failed = events[-1]
    assert failed["resource"]["prefect.resource.name"] == "Lift the lid"
    assert failed["payload"]["why"] == FAILED.why
    related = {one["prefect.resource.role"]: one for one in failed["related"]}
    assert related["site"]["prefect.resource.name"] == "north-plant"
    assert related["flow-run"]["prefect.resource.id"] == f"prefect.flow-run.{run_id}"
    assert eventually(lambda: _runs_of(prefect, "trial-wait"), lambda runs: runs > before) == before + 1


@pytest.mark.proof
def test_what_happened_while_prefect_was_dead_is_told_shown_and_mirrored_once_when_it_is_back(
    prefect, site, mission, told, eventually
):
    before = mission("Before the outage")
    eventually(lambda: told(before), lambda events: len(events) == 2)
    prefect.kill_server()
    during = mission("During the outage")
    with prefect.runtime.transaction() as session:
        commands.command(
            session, organisation_id=site.organisation_id, mission_id=during, command="cancel", who="test", why="rain"
        )
        changes.publish(session)
        name = f"Round {uuid4().hex[:6]}"
        daily = {"rule": "FREQ=DAILY", "begins": "2026-03-01T06:00:00", "timezone": "UTC"}
        look = {"name": "look", "tasks": [{"station": "press-1"}]}
        wanted = ScheduleCreate.model_validate({"name": name, "key": name, "recurrence": daily, "missions": [look]})
        schedule = create_schedule(session, site=site, wanted=wanted, who="test")
    prefect.start_server()
    events = eventually(lambda: told(during), lambda events: len(events) >= 4)
    kinds = [event["payload"]["kind"] for event in events]
    assert kinds == ["created", "scheduled", "desired_cancel", "canceled"]
    assert len(told(before)) == 2
    tags = {"tags": {"all_": [f"schedule:{name}"]}}
    runs = eventually(lambda: prefect.post("/flow_runs/filter", {"flow_runs": tags}), lambda runs: len(runs) >= 5)
    assert len({run["idempotency_key"] for run in runs}) == len(runs) == 5

    def board() -> str:
        found = prefect.post("/artifacts/latest/filter", {"artifacts": {"key": {"any_": ["missions-board"]}}})
        return str(found[0]["data"]) if found else ""

    eventually(board, lambda text: "During the outage" in text)
    with prefect.runtime.transaction() as session:
        control.end(session, schedule=schedule, who="test")
