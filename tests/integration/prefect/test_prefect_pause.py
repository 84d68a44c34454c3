"""Pause, Suspend and Resume on a run's page in Prefect; no dispatcher runs, so a mission shows only what is wished."""

import signal

import pytest
from sqlmodel import col, select

from missions.models import Desired, Mission

pytestmark = [pytest.mark.serial, pytest.mark.timeout(900)]
MISSION = {"name": "Look at the press", "tasks": [{"kind": "go_to", "station": "press-1"}]}
# What the two buttons send: Pause keeps the process, Suspend wants a new run of the flow when it is resumed.
PAUSE = {"type": "PAUSED", "name": "Paused", "state_details": {"pause_timeout": "2099-01-01T00:00:00Z"}}
SUSPEND = {
    "type": "PAUSED",
    "name": "Suspended",
    "state_details": {"pause_timeout": "2099-01-01T00:00:00Z", "pause_reschedule": True},
}


@pytest.fixture
def wishes(prefect):
    def read(run_id: str) -> list[Desired]:
        with prefect.runtime.reading() as session:
            query = select(Mission.desired).where(col(Mission.key).startswith(f"{run_id}/"))
            return list(session.exec(query).all())

    return read


@pytest.fixture
def round_of_two(prefect, wishes, eventually) -> str:
    run_id = prefect.press("request-round", missions=[MISSION, {**MISSION, "name": "Again"}], name="To be paused")
    eventually(lambda: wishes(run_id), lambda found: found == [Desired.run] * 2)
    prefect.state(run_id, "RUNNING")
    return run_id


@pytest.fixture
def cancelled(prefect):
    def end(run_id: str) -> None:
        prefect.cancel(run_id)
        assert prefect.state(run_id)["type"] == "CANCELLED"

    return end


@pytest.mark.parametrize("button", [PAUSE, SUSPEND], ids=lambda state: state["name"])
def test_a_round_paused_on_its_page_is_held_and_resumed_there_it_goes_on(
    prefect, round_of_two, wishes, eventually, cancelled, button
):
    prefect.post(f"/flow_runs/{round_of_two}/set_state", {"state": button})
    eventually(lambda: wishes(round_of_two), lambda found: found == [Desired.pause] * 2)
    assert prefect.run(round_of_two)["state_type"] == "PAUSED"
    prefect.post(f"/flow_runs/{round_of_two}/resume", {})
    eventually(lambda: wishes(round_of_two), lambda found: found == [Desired.run] * 2)
    prefect.state(round_of_two, "RUNNING")
    cancelled(round_of_two)
    assert wishes(round_of_two) == [Desired.cancel] * 2


def test_a_paused_round_stays_held_when_its_worker_is_replaced(prefect, round_of_two, wishes, eventually, cancelled):
    prefect.post(f"/flow_runs/{round_of_two}/set_state", {"state": PAUSE})
    eventually(lambda: wishes(round_of_two), lambda found: found == [Desired.pause] * 2)
    assert prefect.end_worker(signal.SIGTERM) == 0
    assert prefect.run(round_of_two)["state_type"] == "PAUSED"
    prefect.start_worker()
    assert wishes(round_of_two) == [Desired.pause] * 2
    prefect.post(f"/flow_runs/{round_of_two}/resume", {})
    eventually(lambda: wishes(round_of_two), lambda found: found == [Desired.run] * 2)
    cancelled(round_of_two)


@pytest.mark.proof
@pytest.mark.parametrize("button", [PAUSE, SUSPEND], ids=lambda state: state["name"])
def test_a_round_whose_worker_was_killed_is_paused_and_resumed_all_the_same(
    prefect, round_of_two, wishes, eventually, cancelled, button
):
    assert prefect.end_worker(signal.SIGKILL) != 0
    prefect.post(f"/flow_runs/{round_of_two}/set_state", {"state": button})
    prefect.start_worker()
    eventually(lambda: wishes(round_of_two), lambda found: found == [Desired.pause] * 2)
    assert prefect.end_worker(signal.SIGKILL) != 0
    prefect.post(f"/flow_runs/{round_of_two}/resume", {})
    prefect.start_worker()
    eventually(lambda: wishes(round_of_two), lambda found: found == [Desired.run] * 2)
    prefect.state(round_of_two, "RUNNING")
    cancelled(round_of_two)


@pytest.mark.parametrize("is_worker_dead", [False, True], ids=["live worker", "dead worker"])
def test_a_suspended_round_that_is_cancelled_cancels_its_missions(
    prefect, round_of_two, wishes, eventually, is_worker_dead
):
    prefect.post(f"/flow_runs/{round_of_two}/set_state", {"state": SUSPEND})
    eventually(lambda: wishes(round_of_two), lambda found: found == [Desired.pause] * 2)
    if is_worker_dead:
        prefect.end_worker(signal.SIGKILL)
    prefect.cancel(round_of_two)
    assert prefect.run(round_of_two)["state_type"] == "CANCELLED"  # Prefect takes it to be nowhere
    if is_worker_dead:
        prefect.start_worker()
    eventually(lambda: wishes(round_of_two), lambda found: found == [Desired.cancel] * 2)
