"""Cancelling in Prefect's UI ends the run, and what the run had asked for; also when its worker is dead."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

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
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import AwaitingRetry, Cancelled
from sqlmodel import Session, col, or_, select

from fleet.clock import SystemClock
from fleet.errors import Conflict
from missions import commands
from missions.models import MISSION_TERMINAL, Desired, Mission, Round
from orchestration.desk_requests import Transaction
from orchestration.pool import POOL, YardmasterWorker

log = structlog.get_logger(__name__)
LOOK_S = 1.0
LOOK_IDLE_S = 3.0
ADOPT_EVERY = 10
ABANDONED_S = 30.0


async def watch(client: PrefectClient, worker: Callable[[], YardmasterWorker], transaction: Transaction) -> None:
    """For ever: turn Cancelling into cancelled missions and an ended run, and take up runs that a dead worker left."""
    looks = 0
    while True:
        crew = worker()
        for run in await _runs(client, [StateType.CANCELLING]):
            await cancel(client, run, crew, transaction)
        if looks % ADOPT_EVERY == 0:
            await adopt(client, crew)
        looks += 1
        await anyio.sleep(LOOK_S if crew.live else LOOK_IDLE_S)


async def _runs(client: PrefectClient, types: list[StateType]) -> Sequence[FlowRun]:
    return await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=types))),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])),
    )


async def cancel(client: PrefectClient, run: FlowRun, worker: YardmasterWorker, transaction: Transaction) -> None:
    """First the missions of `run`, then the run: as long as the first is not written, the second stays Cancelling."""
    deployment = await client.read_deployment(run.deployment_id) if run.deployment_id else None
    who = f"prefect:{deployment.name}" if deployment else "prefect"
    await asyncio.to_thread(cancel_missions, transaction, run, who)
    live = worker.live.get(run.id)
    ending: State[Any] = Cancelled(message="Cancelled by an operator.")
    if live is not None:
        live.end(ending)
    elif worker.left_behind([run]) or _abandoned(run):
        await client.set_flow_run_state(run.id, ending, force=True)
        log.info("run of a dead worker cancelled", run=run.name)


def _abandoned(run: FlowRun) -> bool:
    state = run.state
    return state is not None and SystemClock().now() - state.timestamp > timedelta(seconds=ABANDONED_S)


def cancel_missions(transaction: Transaction, run: FlowRun, who: str) -> int:
    """Ask for the cancelling of every mission that `run` requested and that is not over; gives their number.

    Asked again, nothing changes: what is being cancelled already is passed over.
    """
    with transaction() as session:
        missions = missions_of_run(session, run.id, run.parameters)
        asked = [_cancel(session, mission, run.name, who) for mission in missions]
    if any(asked):
        log.info("missions of a cancelled run are cancelled", run=run.name, missions=sum(asked))
    return sum(asked)


def _cancel(session: Session, mission: Mission, run_name: str, who: str) -> bool:
    try:
        commands.command(
            session,
            organisation_id=mission.organisation_id,
            mission_id=mission.id,
            command="cancel",
            who=who,
            why=f"The flow run {run_name!r} was cancelled in Prefect.",
        )
    except Conflict:
        return False  # it ended in this very moment
    return True


def missions_of_run(session: Session, run_id: UUID, parameters: dict[str, object]) -> Sequence[Mission]:
    """The missions that the flow run asked for, that are not over and not yet being cancelled."""
    wanted = parameters.get("mission")
    own_key = wanted.get("key") if isinstance(wanted, dict) else None
    rounds = select(Round.id).where(Round.key == str(run_id))
    asked = [col(Mission.key).startswith(f"{run_id}/", autoescape=True), col(Mission.round_id).in_(rounds)]
    if own_key:
        asked.append(col(Mission.key) == str(own_key))
    query = select(Mission).where(
        or_(*asked), col(Mission.status).not_in(MISSION_TERMINAL), Mission.desired != Desired.cancel
    )
    return session.exec(query).all()


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
