"""The worker process against a real Prefect server: what it runs, what ends a run, and what nobody loses."""

import signal
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.serial, pytest.mark.timeout(900)]


@pytest.fixture
def heavy_children(prefect) -> Callable[[], list[psutil.Process]]:
    def found() -> list[psutil.Process]:
        return [child for child in psutil.Process(prefect.worker.pid).children(recursive=True) if child.is_running()]

    return found


def test_a_run_is_carried_out_to_its_end(prefect):
    assert prefect.state(prefect.press("trial-wait"))["type"] == "COMPLETED"


@pytest.mark.proof
def test_runs_that_wait_share_the_worker_and_do_not_wait_for_each_other(prefect):
    runs = [prefect.press("trial-wait", seconds=300) for _ in range(4)]
    for run_id in runs:
        prefect.state(run_id, "RUNNING")
    assert {prefect.run(run_id)["state_type"] for run_id in runs} == {"RUNNING"}  # all at once, in one process
    for run_id in runs:
        prefect.cancel(run_id)
    assert {prefect.state(run_id)["type"] for run_id in runs} == {"CANCELLED"}


@pytest.fixture
def errors_told(prefect, eventually) -> Callable[[str], list[str]]:
    """What the page of a run tells in red, as soon as it does."""

    def told(run_id: str) -> list[str]:
        wanted = {"logs": {"flow_run_id": {"any_": [run_id]}, "level": {"ge_": 40}}, "sort": "TIMESTAMP_ASC"}
        return [line["message"] for line in eventually(lambda: prefect.post("/logs/filter", wanted), bool)]

    return told


def test_a_run_that_fails_says_why_without_a_trace(prefect, errors_told):
    run_id = prefect.press("trial-fail")
    state = prefect.state(run_id)
    assert (state["type"], state["message"]) == ("FAILED", "Failed: Invalid: how: it is wrong.")
    assert errors_told(run_id)[0] == "how: it is wrong."


def test_a_flow_that_wants_to_end_the_process_ends_only_its_own_run(prefect):
    before = prefect.worker.pid
    assert prefect.state(prefect.press("trial-fail", how="exit"))["type"] == "CRASHED"
    assert prefect.state(prefect.press("trial-wait"))["type"] == "COMPLETED"
    assert (prefect.worker.pid, prefect.worker.poll()) == (before, None)


def test_a_running_run_is_cancelled_and_ends_cancelled(prefect):
    run_id = prefect.press("trial-wait", seconds=300)
    prefect.state(run_id, "RUNNING")
    prefect.cancel(run_id)
    state = prefect.state(run_id)
    assert (state["type"], state["message"]) == ("CANCELLED", "Cancelled by an operator.")


def test_cancelling_a_run_ends_its_heavy_child(prefect, heavy_children, eventually):
    run_id = prefect.press("trial-heavy")
    prefect.state(run_id, "RUNNING")
    eventually(heavy_children, bool)
    prefect.cancel(run_id)
    assert prefect.state(run_id)["type"] == "CANCELLED"
    eventually(heavy_children, lambda children: not children)


def test_a_worker_that_is_stopped_hands_its_runs_to_the_next(prefect):
    run_id = prefect.press("trial-wait", seconds=5)
    prefect.state(run_id, "RUNNING")
    began = time.monotonic()
    assert prefect.end_worker(signal.SIGTERM) == 0
    assert time.monotonic() - began < 6  # the promise is 5 s
    assert prefect.run(run_id)["state_type"] == "SCHEDULED"
    prefect.start_worker()
    assert prefect.state(run_id)["type"] == "COMPLETED"


@pytest.mark.proof
def test_what_a_killed_worker_had_in_hand_is_carried_out_again(prefect):
    run_id = prefect.press("trial-wait", seconds=5)
    prefect.state(run_id, "RUNNING")
    prefect.end_worker(signal.SIGKILL)
    prefect.start_worker()
    assert prefect.state(run_id)["type"] == "COMPLETED"


def test_a_run_of_a_killed_worker_can_be_cancelled(prefect):
    run_id = prefect.press("trial-wait", seconds=300)
    prefect.state(run_id, "RUNNING")
    prefect.end_worker(signal.SIGKILL)
    prefect.cancel(run_id)
    prefect.start_worker()
    assert prefect.state(run_id)["type"] == "CANCELLED"


def test_a_form_that_the_server_let_through_is_refused_before_anything_is_done(prefect, errors_told):
    mission = {"name": "x", "tasks": [{"station": "press-1"}], "not_after_at": "tomorrow"}
    run_id = prefect.press("request-mission", mission=mission)
    state: dict[str, Any] = prefect.state(run_id)
    assert state["type"] == "FAILED"
    assert "mission.not_after_at" in state["message"]
    assert "'tomorrow'" in state["message"]
    assert errors_told(run_id) == [state["message"]]
