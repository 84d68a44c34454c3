"""Pausing and resuming on a run's page, as wishes in the database; no server is needed for what is asked here."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.states import Failed, Paused, Running
from sqlmodel import select

from fleet.runtime import Runtime
from missions import commands, create
from missions.models import Desired, Mission, MissionCreate, MissionStatus, TaskCreate, Transition
from orchestration.desk_cancel import cancel_missions
from orchestration.desk_pause import go_on, held_by, hold_missions
from orchestration.pool import LiveRun

WHO = "prefect:request-round"


@pytest.fixture
def mission(runtime: Runtime, world) -> Callable[[str], UUID]:
    def make(key: str) -> UUID:
        wanted = MissionCreate(name="Look", key=key, tasks=[TaskCreate(station="press-1")])
        with runtime.transaction() as session:
            return create.create(session, site=world.site, wanted=wanted, who="test").id

    return make


@pytest.fixture
def stored(runtime: Runtime) -> Callable[[UUID], Mission]:
    def read(mission_id: UUID) -> Mission:
        with runtime.reading() as session:
            return session.exec(select(Mission).where(Mission.id == mission_id)).one()

    return read


@pytest.fixture
def tell(runtime: Runtime, world) -> Callable[[UUID, commands.CommandName], None]:
    def command(mission_id: UUID, wish: commands.CommandName) -> None:
        with runtime.transaction() as session:
            commands.command(
                session,
                organisation_id=world.organisation.id,
                mission_id=mission_id,
                command=wish,
                who="someone",
                why="by hand",
            )

    return command


@pytest.fixture
def run() -> FlowRun:
    return FlowRun(id=uuid4(), flow_id=uuid4(), name="evening round", parameters={}, state=Paused())


def test_a_paused_run_holds_the_missions_it_asked_for_and_no_others(runtime, mission, run, stored):
    mine, foreign = mission(f"{run.id}/0"), mission(f"{uuid4()}/0")
    assert hold_missions(runtime.transaction, run, WHO) == 1
    assert (stored(mine).desired, stored(foreign).desired) == (Desired.pause, Desired.run)


def test_a_held_mission_says_who_paused_it_and_on_which_page(runtime, mission, run):
    mission(f"{run.id}/0")
    hold_missions(runtime.transaction, run, WHO)
    with runtime.reading() as session:
        (wish,) = [row for row in session.exec(select(Transition)).all() if row.evidence.get("desired") == "pause"]
    assert wish.who == WHO
    assert wish.why.startswith("Paused in Prefect at ")
    assert "'evening round'" in wish.why


def test_the_same_pause_seen_again_asks_for_nothing(runtime, mission, run):
    mission(f"{run.id}/0")
    hold_missions(runtime.transaction, run, WHO)
    assert hold_missions(runtime.transaction, run, WHO) == 0


def test_a_mission_that_an_operator_lets_go_on_is_not_held_again_by_the_same_pause(runtime, mission, run, tell, stored):
    mission_id = mission(f"{run.id}/0")
    hold_missions(runtime.transaction, run, WHO)
    tell(mission_id, "resume")
    assert hold_missions(runtime.transaction, run, WHO) == 0
    assert stored(mission_id).desired is Desired.run


def test_a_second_pause_holds_it_again(runtime, mission, run, tell, stored):
    mission_id = mission(f"{run.id}/0")
    hold_missions(runtime.transaction, run, WHO)
    tell(mission_id, "resume")
    later = Paused(timestamp=run.state.timestamp + timedelta(minutes=5))
    assert hold_missions(runtime.transaction, run.model_copy(update={"state": later}), WHO) == 1
    assert stored(mission_id).desired is Desired.pause


def test_what_a_run_holds_is_known_from_the_database_alone(runtime, mission, run):
    mine = mission(f"{run.id}/0")
    hold_missions(runtime.transaction, run, WHO)
    assert held_by(runtime.reading, {run.id, uuid4()}) == {run.id: [mine]}


def test_a_mission_that_was_paused_by_hand_is_not_held_by_the_run(runtime, mission, run, tell):
    mission_id = mission(f"{run.id}/0")
    tell(mission_id, "pause")
    assert hold_missions(runtime.transaction, run, WHO) == 0
    assert held_by(runtime.reading, {run.id}) == {}


def test_a_mission_that_was_let_go_on_and_paused_by_hand_is_no_longer_held_by_the_run(runtime, mission, run, tell):
    mission_id = mission(f"{run.id}/0")
    hold_missions(runtime.transaction, run, WHO)
    tell(mission_id, "resume")
    tell(mission_id, "pause")
    assert held_by(runtime.reading, {run.id}) == {}


def test_a_mission_that_is_over_is_neither_held_nor_let_go_on(runtime, mission, run, tell):
    mission_id = mission(f"{run.id}/0")
    tell(mission_id, "cancel")
    assert hold_missions(runtime.transaction, run, WHO) == 0
    assert held_by(runtime.reading, {run.id}) == {}


def test_a_paused_run_that_is_then_cancelled_cancels_its_missions(runtime, mission, run, stored):
    mission_id = mission(f"{run.id}/0")
    hold_missions(runtime.transaction, run, WHO)
    assert cancel_missions(runtime.transaction, run, WHO) == 1
    assert stored(mission_id).status is MissionStatus.canceled
    assert held_by(runtime.reading, {run.id}) == {}


def test_no_live_run_holds_nothing(runtime, mission, run):
    mission(f"{run.id}/0")
    hold_missions(runtime.transaction, run, WHO)
    assert held_by(runtime.reading, set()) == {}


class Pages:
    """As much of Prefect's client as letting go on asks: the run as it is now."""

    def __init__(self, run: FlowRun | None) -> None:
        self._run = run

    async def read_flow_run(self, _run_id: UUID) -> FlowRun:
        if self._run is None:
            raise ObjectNotFound(LookupError("Flow run not found"))
        return self._run


@pytest.fixture
def crew(run: FlowRun) -> SimpleNamespace:
    """A worker that has `run` in hand, as far as the desk looks at it."""

    async def taken() -> LiveRun:
        return LiveRun(paused=run.state)  # its scope is one of an event loop

    return SimpleNamespace(live={run.id: asyncio.run(taken())})


@pytest.fixture
def let_go_on(runtime, run, crew) -> Callable[..., None]:
    def look(state: State, *, is_still_listed: bool = False) -> None:
        now = Pages(run.model_copy(update={"state": state}))
        listed = {run.id} if is_still_listed else set()
        asyncio.run(go_on(now, listed, crew, runtime.transaction, runtime.reading))

    return look


def test_a_resumed_run_lets_its_missions_go_on(runtime, mission, run, crew, stored, let_go_on):
    mission_id = mission(f"{run.id}/0")
    hold_missions(runtime.transaction, run, WHO)
    let_go_on(Running())
    assert stored(mission_id).desired is Desired.run
    assert crew.live[run.id].paused is None


def test_another_worker_that_took_the_run_up_lets_them_go_on_too(runtime, mission, run, crew, stored, let_go_on):
    mission_id = mission(f"{run.id}/0")
    hold_missions(runtime.transaction, run, WHO)
    crew.live[run.id].paused = None  # it never saw the pause
    let_go_on(Running())
    assert stored(mission_id).desired is Desired.run


def test_a_run_that_is_still_paused_keeps_its_missions_held(runtime, mission, run, stored, let_go_on):
    mission_id = mission(f"{run.id}/0")
    hold_missions(runtime.transaction, run, WHO)
    let_go_on(Paused(), is_still_listed=True)
    let_go_on(Paused())
    assert stored(mission_id).desired is Desired.pause


def test_a_pause_that_ran_out_ends_the_run_and_keeps_its_missions_held(runtime, mission, run, crew, stored, let_go_on):
    mission_id = mission(f"{run.id}/0")
    hold_missions(runtime.transaction, run, WHO)
    expired = Failed(message="The flow was paused and never resumed.")
    let_go_on(expired)
    assert stored(mission_id).desired is Desired.pause
    assert crew.live[run.id].ending == expired


def test_what_an_operator_paused_by_hand_stays_paused_when_the_run_is_resumed(
    runtime, mission, run, stored, tell, let_go_on
):
    by_run, by_hand = mission(f"{run.id}/0"), mission(f"{run.id}/1")
    tell(by_hand, "pause")
    hold_missions(runtime.transaction, run, WHO)
    let_go_on(Running())
    assert (stored(by_run).desired, stored(by_hand).desired) == (Desired.run, Desired.pause)


def test_a_run_that_was_deleted_while_it_was_paused_keeps_its_missions_held_and_holds_up_no_other(
    runtime, mission, run, crew, stored
):
    mission_id = mission(f"{run.id}/0")
    hold_missions(runtime.transaction, run, WHO)
    asyncio.run(go_on(Pages(None), set(), crew, runtime.transaction, runtime.reading))
    assert stored(mission_id).desired is Desired.pause
