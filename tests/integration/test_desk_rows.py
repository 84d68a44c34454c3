"""The desk's side of the database: requests claimed and settled, missions of a cancelled run, the board."""

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from sqlmodel import select

from fleet import changes, requests
from fleet.clock import SteppableClock
from fleet.requests import Request, RequestStatus
from fleet.runtime import Runtime
from missions import commands, create
from missions.models import Desired, Mission, MissionCreate, MissionStatus, TaskCreate
from orchestration import desk
from orchestration.desk_board import board
from orchestration.desk_cancel import cancel_missions, missions_of_run
from orchestration.desk_requests import claim_errands, settle_errand

WHO = "prefect:request-round"
Ask = Callable[..., UUID]


@pytest.fixture
def asked(runtime: Runtime, world) -> Ask:
    def ask(key: str, kind: str = "process-bag", **parameters: object) -> UUID:
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
def mission(runtime: Runtime, world) -> Ask:
    def make(key: str, name: str = "Look") -> UUID:
        wanted = MissionCreate(name=name, key=key, tasks=[TaskCreate(station="press-1")])
        with runtime.transaction() as session:
            return create.create(session, site=world.site, wanted=wanted, who="test").id

    return make


@pytest.fixture
def run() -> FlowRun:
    return FlowRun(id=uuid4(), flow_id=uuid4(), name="evening round", parameters={})


@pytest.fixture
def stored(runtime: Runtime) -> Callable[[UUID], Mission]:
    def read(mission_id: UUID) -> Mission:
        with runtime.reading() as session:
            return session.exec(select(Mission).where(Mission.id == mission_id)).one()

    return read


def test_a_claimed_request_is_not_given_out_twice(runtime: Runtime, asked: Ask):
    asked("one", bag_ids=["a"])
    with runtime.transaction() as session:
        assert len(claim_errands(session)) == 1
    with runtime.transaction() as session:
        assert claim_errands(session) == []


def test_a_claim_of_a_desk_that_died_is_free_again_by_itself(runtime: Runtime, asked: Ask, clock: SteppableClock):
    asked("one", bag_ids=["a"])
    with runtime.transaction() as session:
        claim_errands(session)
    clock.step(requests.CLAIM_S + 1)
    with runtime.transaction() as session:
        assert len(claim_errands(session)) == 1


def test_a_released_request_is_free_at_once(runtime: Runtime, asked: Ask):
    request_id = asked("one", bag_ids=["a"])
    with runtime.transaction() as session:
        claim_errands(session)
    with runtime.transaction() as session:
        requests.release(session, [request_id])
    with runtime.transaction() as session:
        assert claim_errands(session)[0].request_ids == (request_id,)


def test_a_request_that_was_started_is_not_released(runtime: Runtime, asked: Ask):
    request_id = asked("one", bag_ids=["a"])
    with runtime.transaction() as session:
        requests.settle(session, request_id, RequestStatus.started, flow_run_id=str(uuid4()))
        requests.release(session, [request_id])
    with runtime.transaction() as session:
        assert claim_errands(session) == []
        assert [row.id for row in requests.started(session)] == [request_id]


def test_settling_an_errand_settles_every_request_in_it(runtime: Runtime, asked: Ask):
    for key in ("one", "two", "three"):
        asked(key, bag_ids=[key])
    with runtime.transaction() as session:
        (errand,) = claim_errands(session)
        settle_errand(session, errand, RequestStatus.failed, error="the lake is full")
    with runtime.reading() as session:
        rows = session.exec(select(Request)).all()
    assert {(row.status, row.error) for row in rows} == {(RequestStatus.failed, "the lake is full")}


def test_cancelling_a_run_cancels_the_missions_it_asked_for_and_no_others(
    runtime: Runtime, mission: Ask, run: FlowRun, stored: Callable[[UUID], Mission]
):
    mine, foreign = mission(f"{run.id}/0"), mission(f"{uuid4()}/0")
    assert cancel_missions(runtime.transaction, run, WHO) == 1
    assert stored(mine).status is MissionStatus.canceled
    assert stored(foreign).status not in {MissionStatus.canceled}
    assert stored(foreign).desired is Desired.run


def test_cancelling_the_same_run_again_changes_nothing(runtime: Runtime, mission: Ask, run: FlowRun):
    mission(f"{run.id}/0")
    cancel_missions(runtime.transaction, run, WHO)
    assert cancel_missions(runtime.transaction, run, WHO) == 0


def test_missions_of_a_round_are_found_also_when_they_have_keys_of_their_own(runtime: Runtime, world, run: FlowRun):
    wanted = [MissionCreate(name="Look", key="order 17", tasks=[TaskCreate(station="press-1")])]
    with runtime.transaction() as session:
        create.create_round(session, site=world.site, name="r", key=str(run.id), missions=wanted, who=WHO)
    with runtime.reading() as session:
        assert [mission.key for mission in missions_of_run(session, run.id, {})] == ["order 17"]


def test_a_mission_with_a_key_of_its_own_is_found_by_the_form(runtime: Runtime, mission: Ask, run: FlowRun):
    mission_id = mission("order 17")
    with runtime.reading() as session:
        found = missions_of_run(session, run.id, {"mission": {"name": "Look", "key": "order 17"}})
    assert [mission.id for mission in found] == [mission_id]


def test_a_mission_that_is_over_is_passed_over(runtime: Runtime, world, mission: Ask, run: FlowRun):
    mission_id = mission(f"{run.id}/0")
    with runtime.transaction() as session:
        commands.command(
            session,
            organisation_id=world.organisation.id,
            mission_id=mission_id,
            command="cancel",
            who="someone",
            why="first",
        )
    assert cancel_missions(runtime.transaction, run, WHO) == 0


def test_a_cancelled_mission_says_who_and_why(runtime: Runtime, mission: Ask, run: FlowRun, stored):
    mission_id = mission(f"{run.id}/0")
    cancel_missions(runtime.transaction, run, WHO)
    assert "'evening round' was cancelled in Prefect" in stored(mission_id).reason


def test_the_board_shows_live_missions_before_those_that_ended(runtime: Runtime, mission: Ask, run: FlowRun):
    mission(f"{run.id}/0", "Look at the press")
    mission(f"{uuid4()}/0", "Look at the gate")
    cancel_missions(runtime.transaction, run, WHO)
    with runtime.reading() as session:
        live, _, ended = board(session).partition("## Ended last (1)")
    assert "## Live missions (1)" in live
    assert "Look at the gate" in live
    assert "Look at the press" in ended


def test_the_board_says_why_a_mission_waits(runtime: Runtime, mission: Ask):
    mission("one", "Look at the gate")
    with runtime.reading() as session:
        live, _, ended = board(session).partition("## Ended last")
    assert "No robot is free: amr-01 is not heard of yet, amr-02 is not heard of yet." in live
    assert "Waits because" not in ended


def test_the_board_is_drawn_anew_while_a_mission_waits_although_nothing_changed(runtime: Runtime, mission: Ask):
    mission_id = mission("one")
    with runtime.transaction() as session:
        newest = changes.publish(session)
    assert desk._looked_after(runtime.reading, newest) == (newest, True)
    with runtime.transaction() as session:
        session.get_one(Mission, mission_id).status = MissionStatus.assigned
    assert desk._looked_after(runtime.reading, newest) == (newest, False)


def test_the_board_of_an_empty_installation_says_so(runtime: Runtime):
    with runtime.reading() as session:
        assert board(session).count("None.") == 2


def test_the_newest_position_is_that_of_the_last_published_change(runtime: Runtime, mission: Ask):
    with runtime.reading() as session:
        assert changes.newest(session) == 0
    mission("one")
    with runtime.transaction() as session:
        count = changes.publish(session)
    with runtime.reading() as session:
        assert changes.newest(session) == count > 0
