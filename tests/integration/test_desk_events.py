"""Changes in the words of Prefect's events: names, ids, what they have to do with, and from where they are told."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.events import Event
from sqlmodel import select

from fleet import changes
from fleet.alerts import open_alert
from fleet.changes import FeedReader
from fleet.clock import SteppableClock
from fleet.runtime import Runtime
from missions.create import create, create_round
from missions.models import MissionCreate
from orchestration.desk_events import READER, Teller
from orchestration.desk_told import events_of

LOOK = {"name": "Look", "tasks": [{"station": "press-1"}], "robot": "amr-01"}


@pytest.fixture
def events(runtime: Runtime):
    def read() -> list[Event]:
        with runtime.transaction() as session:
            changes.publish(session)
        with runtime.reading() as session:
            return events_of(session, changes.after(session, 0))

    return read


@pytest.fixture
def teller(runtime: Runtime) -> Teller:
    nowhere = PrefectClient("http://127.0.0.1:9/api")  # without an address Prefect would start a server of its own
    return Teller(nowhere, runtime.transaction, runtime.reading)


def _roles(event: Event) -> dict[str, str]:
    return {one.role: one.name or one.id for one in event.related}


def _position(runtime: Runtime) -> int:
    with runtime.reading() as session:
        return session.exec(select(FeedReader.position).where(FeedReader.name == READER)).one()


def test_a_mission_of_a_form_is_told_with_its_run_round_and_site(runtime: Runtime, world, events):
    run_id = uuid4()
    wanted = MissionCreate.model_validate(LOOK | {"key": f"{run_id}/0"})
    with runtime.transaction() as session:
        create_round(
            session, site=world.site, name="Evening", key=str(run_id), missions=[wanted], who="prefect:request-round"
        )
    created, scheduled = events()
    assert (created.event, scheduled.event) == ("yardmaster.mission.created", "yardmaster.mission.scheduled")
    assert scheduled.resource.id.startswith("yardmaster.mission.")
    assert scheduled.resource.name == "Look"
    assert _roles(scheduled) == {
        "organisation": "acme",
        "site": "north",
        "round": "Evening",
        "flow-run": f"prefect.flow-run.{run_id}",
    }


def test_a_change_has_the_same_id_whenever_it_is_told_and_another_than_every_other(runtime: Runtime, world, events):
    with runtime.transaction() as session:
        create(session, site=world.site, wanted=MissionCreate.model_validate(LOOK | {"key": "a"}), who="user:ops")
        create(session, site=world.site, wanted=MissionCreate.model_validate(LOOK | {"key": "b"}), who="user:ops")
    first, again = [event.id for event in events()], [event.id for event in events()]
    assert first == again
    assert len(set(first)) == 4


def test_an_alert_is_told_by_its_sentence_with_the_robot_that_it_is_about(runtime: Runtime, world, events, clock):
    with runtime.transaction() as session:
        open_alert(session, world.robots["amr-02"], "battery_low", "amr-02: its battery is low.", at=clock.now())
    (event,) = events()
    assert (event.event, event.resource.name) == ("yardmaster.alert.opened", "amr-02: its battery is low.")
    assert _roles(event)["robot"] == "amr-02"


def test_what_no_automation_needs_is_not_told(runtime: Runtime, world, events):
    with runtime.transaction() as session:
        changes.record(session, organisation_id=world.organisation.id, subject="request", subject_id="1", kind="done")
        changes.record(session, organisation_id=world.organisation.id, subject="robot", subject_id="x", kind="heard of")
    assert [event.event for event in events()] == ["yardmaster.robot.heard_of"]


async def test_what_is_older_than_a_day_is_passed_over_and_what_is_newer_waits(
    runtime: Runtime, world, clock: SteppableClock, teller: Teller
):
    def record(number: int) -> None:
        with runtime.transaction() as session:
            changes.record(
                session,
                organisation_id=world.organisation.id,
                subject="robot",
                subject_id=UUID(int=number),
                kind="idle",
            )
            changes.publish(session)

    record(1)
    record(2)
    clock.step(timedelta(hours=25).total_seconds())
    record(3)
    await teller.begin()
    assert _position(runtime) == 2
    await teller.begin()
    assert _position(runtime) == 2
