"""The worker's own decisions: how a run is to end, what is late, what an earlier process left behind."""

import logging
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import AwaitingRetry, Cancelled

from fleet.clock import SystemClock
from fleet.errors import Invalid
from orchestration.pool import (
    LATE_S,
    LiveRun,
    YardmasterWorker,
    its_sentence_is_enough,
    lateness_s,
    only_failing_is_an_error,
)


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


@pytest.fixture
def told() -> Callable[[Exception], logging.LogRecord]:
    """What the page of a run that `error` ended tells of it."""

    def tell(error: Exception) -> logging.LogRecord:
        words = ("prefect.flow_runs", logging.ERROR, "engine", 1, "Encountered exception: %r", (error,))
        record = logging.LogRecord(*words, (type(error), error, None))
        assert its_sentence_is_enough(record)
        return record

    return tell


def test_an_error_of_ours_is_told_by_its_sentence_alone(told):
    record = told(Invalid("100 % is too much."))
    assert (record.getMessage(), record.exc_info, record.levelname) == ("100 % is too much.", None, "ERROR")


def test_that_prefect_is_away_is_a_warning_without_a_trace(told):
    record = told(httpx.ReadTimeout(""))
    assert record.getMessage() == "Prefect does not answer (ReadTimeout); the run is taken up again."
    assert (record.exc_info, record.levelname) == (None, "WARNING")


def test_a_fault_of_ours_keeps_its_trace(told):
    record = told(ValueError("why?"))
    assert record.exc_info is not None
    assert "ValueError" in record.getMessage()


@pytest.mark.parametrize(
    ("state", "level", "first_word"),
    [
        ("Canceled('Enough.', type=CANCELLED)", "INFO", "Finished"),
        ("Suspended('Press Resume.', type=PAUSED)", "INFO", "Waits"),
        ("Failed('It fell.', type=FAILED)", "ERROR", "Finished"),
    ],
)
def test_only_a_run_that_failed_is_told_in_red(state, level, first_word):
    words = ("prefect.flow_runs", logging.ERROR, "engine", 1, f"Finished in state {state}", ())
    record = logging.LogRecord(*words, None)
    assert only_failing_is_an_error(record)
    assert (record.levelname, record.getMessage().partition(" ")[0]) == (level, first_word)
