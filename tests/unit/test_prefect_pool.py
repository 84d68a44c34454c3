"""The worker's own decisions: how a run is to end, what is late, what an earlier process left behind."""

from datetime import timedelta
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import AwaitingRetry, Cancelled

from fleet.clock import SystemClock
from orchestration.pool import LATE_S, LiveRun, YardmasterWorker, lateness_s


@pytest.fixture
def worker() -> YardmasterWorker:
    return YardmasterWorker("yardmaster", name="night")


@pytest.fixture
def run() -> FlowRun:
    return FlowRun(id=uuid4(), flow_id=uuid4(), parameters={})


async def test_the_first_ending_given_to_a_run_counts():
    live = LiveRun()
    live.end(Cancelled(message="by an operator"))
    live.end(AwaitingRetry(message="the worker leaves"))
    assert live.ending.message == "by an operator"
    assert live.scope.cancel_called


async def test_leaving_ends_every_live_run_and_leaves_it_waiting(worker: YardmasterWorker):
    worker.live = {uuid4(): LiveRun(), uuid4(): LiveRun()}
    worker.hand_back()
    assert {live.ending.name for live in worker.live.values()} == {"AwaitingRetry"}


async def test_a_worker_that_leaves_takes_no_more_runs(worker: YardmasterWorker):
    worker.hand_back()
    assert await worker.get_and_submit_flow_runs() == []


async def test_a_worker_without_runs_is_at_rest(worker: YardmasterWorker):
    await worker.at_rest()


def test_a_run_of_an_earlier_process_of_this_name_is_left_behind(worker: YardmasterWorker, run: FlowRun):
    run.infrastructure_pid = f"{worker.address}1"
    assert worker.left_behind([run]) == [run]


async def test_a_run_that_is_live_here_is_not_left_behind(worker: YardmasterWorker, run: FlowRun):
    run.infrastructure_pid = worker.identity
    worker.live[run.id] = LiveRun()
    assert worker.left_behind([run]) == []


@pytest.mark.parametrize("taken_by", [None, "", "day@elsewhere:17", "nightly@elsewhere:17"])
def test_a_run_of_another_worker_is_left_to_it(worker: YardmasterWorker, run: FlowRun, taken_by: str | None):
    run.infrastructure_pid = taken_by
    assert worker.left_behind([run]) == []


def test_a_scheduled_run_is_as_late_as_the_clock_says(run: FlowRun):
    run.auto_scheduled = True
    run.expected_start_time = SystemClock().now() - timedelta(seconds=2 * LATE_S)
    assert 2 * LATE_S <= lateness_s(run) < 2 * LATE_S + 60


def test_a_run_that_somebody_asked_for_is_never_late(run: FlowRun):
    run.auto_scheduled = False
    run.expected_start_time = SystemClock().now() - timedelta(days=1)
    assert lateness_s(run) == 0
