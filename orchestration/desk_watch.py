"""What the desk watches on runs' pages in Prefect: cancelling, pausing, resuming, and runs that a dead worker left."""

from collections.abc import Callable, Sequence

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
from prefect.states import AwaitingRetry

from orchestration.desk_board import Reading
from orchestration.desk_cancel import cancel
from orchestration.desk_pause import go_on, hold
from orchestration.desk_requests import Transaction
from orchestration.pool import POOL, YardmasterWorker

log = structlog.get_logger(__name__)
LOOK_S = 1.0
LOOK_IDLE_S = 3.0
ADOPT_EVERY = 10


async def watch(
    client: PrefectClient, worker: Callable[[], YardmasterWorker], transaction: Transaction, reading: Reading
) -> None:
    """For ever: turn what is pressed on runs' pages into wishes for their missions, and take up what was left."""
    looks = 0
    while True:
        crew = worker()
        pressed = await _runs(client, [StateType.CANCELLING, StateType.PAUSED])
        paused = [run for run in pressed if run.state_type is StateType.PAUSED]
        for run in pressed:
            await (hold if run in paused else cancel)(client, run, crew, transaction)
        await go_on(client, {run.id for run in paused}, crew, transaction, reading)
        if looks % ADOPT_EVERY == 0:
            await adopt(client, crew)
        looks += 1
        await anyio.sleep(LOOK_S if crew.live else LOOK_IDLE_S)


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
