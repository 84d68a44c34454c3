"""The `yardmaster` work-pool type: flow runs share the worker's event loop instead of a process each.

A run costs about 60 ms in the loop instead of 3 CPU-seconds and 95 MiB in a process of its own (FACTS, Prefect 3.8), so
one worker carries many waiting runs. Prefect's own workers cancel only what has not started; this one ends a running
flow too, and takes up again what a dead worker of its name left behind.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import anyio
import anyio.abc
from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import (
    Abort,
    ObjectNotFound,
    ParameterTypeError,
    Pause,
    PrefectHTTPStatusError,
    SignatureMismatchError,
)
from prefect.flow_engine import AsyncFlowRunEngine
from prefect.flows import load_flow_from_flow_run
from prefect.logging.loggers import flow_run_logger
from prefect.results import ResultStore
from prefect.states import AwaitingRetry, Cancelled, Running
from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorker, BaseWorkerResult

from fleet.clock import SystemClock
from fleet.errors import Invalid, YardmasterError
from fleet.http_errors import HTTP_ERRORS
from orchestration.flows.forms import complaints

POOL = "yardmaster"
POOL_TYPE = "yardmaster"
WAITING = ("PAUSED", "SCHEDULED")
NO_ERROR = (*WAITING, "CANCELLED")
SKIPPED = "Skipped"  # the state's name of a run that was not worth its while any more
LATEST_ONLY = "latest-only"
LATE_S = 120.0
SETTLE_S = 10.0
AGAIN = timedelta(seconds=5)


class RunResult(BaseWorkerResult):
    """What the worker knows of a run that ended; its state is on the server."""


@dataclass
class LiveRun:
    """A run in this loop: the scope that ends it, the state it is to end in when ended from outside, and its pause."""

    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    ending: State[Any] | None = None
    paused: State[Any] | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)

    def end(self, state: State[Any]) -> None:
        """End the run and leave it in `state`; the first ending given counts."""
        if self.ending is None:
            self.ending = state
            self.scope.cancel()


class LoopEngine(AsyncFlowRunEngine[Any, Any]):
    """Prefect's engine, but a run that was ended on purpose gets the state meant for it instead of Crashed."""

    live: LiveRun

    @contextmanager
    def setup_flow_run_suspension_request(self) -> Iterator[Any]:
        """Watch for no suspending: the desk does that for all runs, instead of a thread and a connection for each."""
        yield self._get_flow_run_suspension_request()

    async def handle_exception(
        self, exc: Exception, msg: str | None = None, result_store: ResultStore | None = None
    ) -> State[Any]:
        """Write Failed with the sentence; for wrong parameters one for each that names field, reason and value.

        A flow that broke down because Prefect's server is away has not failed: it is left to be taken up again.
        """
        if is_away(exc):
            raise Abort(f"Prefect does not answer ({type(exc).__name__}).")
        if isinstance(exc, (ParameterTypeError, SignatureMismatchError)):
            exc = Invalid("; ".join(complaints(self.flow.fn, self.live.parameters)) or str(exc))
            msg = "The form was not filled in right:"
            if self.flow_run is not None:
                flow_run_logger(self.flow_run, self.flow).error("%s %s: %s", msg, type(exc).__name__, exc)
        elif isinstance(exc, YardmasterError):
            msg = "Failed:"  # the pages cut a message off after sixty letters, so it begins with what matters
        return await super().handle_exception(exc, msg, result_store)

    async def handle_crash(self, exc: BaseException) -> None:
        """Write the final state, also while the run's scope is cancelled.

        A run that is cancelled although nobody ended it has lost its worker, which gave up while Prefect was away: it is
        left waiting for the next one. What cannot be written now is found and taken up by the desk.
        """
        if self.live.ending is None and not isinstance(exc, asyncio.CancelledError):
            await super().handle_crash(exc)
            return
        with anyio.move_on_after(SETTLE_S, shield=True):
            await self.set_state(self.live.ending or AwaitingRetry(message="Its worker gave up."), force=True)


class YardmasterWorker(BaseWorker[BaseJobConfiguration, BaseVariables, RunResult]):
    """Runs the flows of its pool in its own event loop."""

    type = POOL_TYPE
    job_configuration = BaseJobConfiguration
    _display_name = "Yardmaster"
    _description = "Runs short and waiting flows in the worker's own event loop; heavy work goes to bounded children."

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """As Prefect's `BaseWorker`."""
        super().__init__(*arguments, **options)
        self.live: dict[UUID, LiveRun] = {}
        self._ended = anyio.Event()
        self._is_leaving = False
        for reworded in (only_failing_is_an_error, its_sentence_is_enough):
            logging.getLogger("prefect.flow_runs").addFilter(reworded)

    @property
    def address(self) -> str:
        """Names every worker process of this name on this machine; the process id follows it in `identity`."""
        return f"{self.name}@{socket.gethostname()}:"

    @property
    def identity(self) -> str:
        """This process, as it is written to the runs it took."""
        return f"{self.address}{os.getpid()}"

    async def run(
        self,
        flow_run: FlowRun,
        configuration: BaseJobConfiguration,
        task_status: anyio.abc.TaskStatus[Any] | None = None,
    ) -> RunResult:
        """Carry out `flow_run` to its end; no flow can end the worker. One that was resumed here is still under way."""
        if flow_run.id in self.live:
            if task_status is not None:
                task_status.started(self.identity)
            await self.client.set_flow_run_state(flow_run.id, Running(), force=True)
            return RunResult(identifier=self.identity, status_code=0)
        live = self.live[flow_run.id] = LiveRun(parameters=flow_run.parameters)
        if task_status is not None:
            task_status.started(self.identity)
        try:
            if (late_s := lateness_s(flow_run)) > LATE_S and LATEST_ONLY in flow_run.tags:
                await self._skip(flow_run, late_s)
            else:
                await self._carry_out(flow_run, live)
        finally:
            del self.live[flow_run.id]
            self._ended.set()
        return RunResult(identifier=self.identity, status_code=0)

    async def _skip(self, flow_run: FlowRun, late_s: float) -> None:
        message = f"Skipped: {late_s:.0f} s late, and a later run of the same schedule does the same."
        await self.client.set_flow_run_state(flow_run.id, Cancelled(name=SKIPPED, message=message), force=True)

    async def _carry_out(self, flow_run: FlowRun, live: LiveRun) -> None:
        with live.scope:
            try:
                flow = await load_flow_from_flow_run(flow_run, use_placeholder_flow=False)
                await run_in_loop(flow, flow_run, live)
            except (Abort, Pause) as signal:
                self._logger.info("Run %s goes no further here: %s", flow_run.name, signal)
            except HTTP_ERRORS as error:
                if not is_away(error):
                    raise
                self._logger.warning("Run %s is taken up again when Prefect answers: %s", flow_run.name, error)
            except SystemExit as left:
                self._logger.error("The flow of run %s tried to end the worker: %r", flow_run.name, left)
        if live.ending is not None and live.scope.cancelled_caught:
            await self._settle(flow_run.id, live.ending)

    async def _settle(self, flow_run_id: UUID, ending: State[Any]) -> None:
        """The engine writes the ending of a run that had begun; one that was ended before that is written here."""
        found = await self.client.read_flow_run(flow_run_id)
        if found.state is not None and found.state.type != ending.type and not found.state.is_final():
            await self.client.set_flow_run_state(flow_run_id, ending, force=True)

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """As Prefect's, until the worker leaves: then what waits is left to the next one."""
        return [] if self._is_leaving else await super().get_and_submit_flow_runs()

    async def _propose_crashed_state(
        self, flow_run: FlowRun, message: str, client: PrefectClient | None = None
    ) -> None:
        """A run that could not be begun (the server was away or stalled in that moment) is begun again a little later.

        Prefect's own worker calls it Crashed, and then nobody would ever look after its missions.
        """
        again: State[Any] = AwaitingRetry(scheduled_time=SystemClock().now() + AGAIN, message=message)
        try:
            await (client or self.client).set_flow_run_state(flow_run.id, again)
        except (*HTTP_ERRORS, ObjectNotFound) as error:
            self._logger.warning("Run %s is taken up again when Prefect answers: %s", flow_run.name, error)

    def hand_back(self) -> None:
        """Take no more runs; end every live one and leave it waiting, so that the next worker takes it up."""
        self._is_leaving = True
        for live in list(self.live.values()):
            live.end(live.paused or AwaitingRetry(message="The worker was stopped; the next one goes on."))

    async def at_rest(self) -> None:
        """Wait until no run is live."""
        while self.live:
            self._ended = anyio.Event()
            await self._ended.wait()

    def left_behind(self, runs: Iterable[FlowRun]) -> list[FlowRun]:
        """Those of `runs` that an earlier process of this worker's name took and did not finish."""
        mine = self._submitting_flow_run_ids | self.live.keys()
        return [run for run in runs if run.id not in mine and (run.infrastructure_pid or "").startswith(self.address)]


async def run_in_loop(flow: Flow[Any, Any], flow_run: FlowRun, live: LiveRun) -> None:
    """Prefect's `run_flow_async`, with an engine that knows how the run is to end when it is ended from outside."""
    engine = LoopEngine(flow=flow, flow_run=flow_run, parameters=dict(flow_run.parameters))
    engine.live = live
    async with engine.start():
        while engine.is_running():
            async with engine.run_context():
                await engine.call_flow_fn()  # type: ignore[unused-coroutine]  # Prefect annotates it twice over


def only_failing_is_an_error(record: logging.LogRecord) -> bool:
    """Tell as news what Prefect's engine tells as an error: that a run was cancelled, or waits for an answer or a worker."""
    if record.msg.startswith("Finished in state") and any(f"type={kind}" in record.msg for kind in NO_ERROR):
        record.levelno, record.levelname = logging.INFO, "INFO"
        if any(f"type={kind}" in record.msg for kind in WAITING):
            record.msg = record.msg.replace("Finished", "Waits", 1)
    return True


def its_sentence_is_enough(record: logging.LogRecord) -> bool:
    """Tell of an error of ours its sentence alone: it says what was wrong and what to do; forty lines of trace hide it."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, YardmasterError):
        record.msg, record.args, record.exc_info = error.message, (), None
    elif isinstance(error, Exception) and is_away(error):
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.exc_info = "Prefect does not answer (%s); the run is taken up again.", None
        record.args = (type(error).__name__,)
    return True


def is_away(error: Exception) -> bool:
    """Whether `error` says that Prefect's server is away or overloaded, not that it refused something."""
    if isinstance(error, PrefectHTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code in {408, 429}
    return isinstance(error, HTTP_ERRORS)


def lateness_s(flow_run: FlowRun) -> float:
    """Seconds since a schedule wanted this run; 0 for a run that somebody asked for."""
    expected = flow_run.expected_start_time
    if not flow_run.auto_scheduled or expected is None:
        return 0.0
    return (SystemClock().now() - expected).total_seconds()
