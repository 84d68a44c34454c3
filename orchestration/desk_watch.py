"""What the desk watches on runs' pages in Prefect: cancelling, pausing, resuming, answers, and runs of dead workers."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import anyio
import structlog
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import AwaitingRetry

from fleet.clock import SystemClock
from orchestration import desk_approvals
from orchestration.desk_board import Reading
from orchestration.desk_cancel import cancel, catch_up
from orchestration.desk_pause import go_on, hold
from orchestration.desk_requests import Transaction
from orchestration.pool import POOL, YardmasterWorker, is_away

log = structlog.get_logger(__name__)
LOOK_S = 1.0
LOOK_IDLE_S = 3.0
ADOPT_EVERY = 10
CATCH_UP = timedelta(days=7)  # how far a desk that starts looks back for runs that were cancelled without it
MARGIN = timedelta(minutes=2)


async def watch(
    client: PrefectClient, worker: Callable[[], YardmasterWorker], transaction: Transaction, reading: Reading
) -> None:
    """For ever: turn what is pressed on runs' pages into wishes for their missions, and take up what was left."""
    looks, caught_up_at = 0, SystemClock().now() - CATCH_UP
    while True:
        crew = worker()
        pressed = await _runs(client, [StateType.CANCELLING, StateType.PAUSED])
        asking = [run for run in pressed if desk_approvals.waits_for_answer(run)]
        paused = [run for run in pressed if run.state_type is StateType.PAUSED and run not in asking]
        for run in pressed:
            if run not in asking:
                await _follow(client, run, crew, transaction)
        await go_on(client, {run.id for run in paused}, crew, transaction, reading)
        await desk_approvals.close_decided(client, asking, reading)
        if looks % ADOPT_EVERY == 0:
            await adopt(client, crew)
            began_at = SystemClock().now()
            cancelled = await catch_up(client, caught_up_at - MARGIN, transaction, reading)
            await desk_approvals.explain(client, cancelled)
            caught_up_at = began_at
        looks += 1
        await anyio.sleep(LOOK_S if crew.live else LOOK_IDLE_S)


async def _follow(client: PrefectClient, run: FlowRun, worker: YardmasterWorker, transaction: Transaction) -> None:
    """Hold or cancel what belongs to a run; one that cannot be followed (it was deleted meanwhile) holds up no other."""
    follow = hold if run.state_type is StateType.PAUSED else cancel
    try:
        await follow(client, run, worker, transaction)
    except (ObjectNotFound, PrefectHTTPStatusError) as error:
        if isinstance(error, PrefectHTTPStatusError) and is_away(error):
            raise
        log.warning("what was pressed on a run's page cannot be followed", run=run.name, error=str(error))


async def _runs(client: PrefectClient, types: list[StateType]) -> Sequence[FlowRun]:
    return await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=types))),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])),
    )


async def adopt(client: PrefectClient, worker: YardmasterWorker) -> None:
    """Let runs that an earlier process of this worker had in hand be carried out again; every flow may run twice."""
    for run in worker.left_behind(await _runs(client, [StateType.RUNNING, StateType.PENDING])):
        # Read again: it may have ended between the listing and our look at what is live.
        now = await client.read_flow_run(run.id)
        if now.state is not None and (now.state.is_running() or now.state.is_pending()):
            await client.set_flow_run_state(
                run.id, AwaitingRetry(message="Its worker is gone; it is carried out again."), force=True
            )
            log.info("run of a dead worker taken up", run=run.name)
