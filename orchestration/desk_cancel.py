"""Cancelling in Prefect's UI ends the run, and what the run had asked for; also when its worker is dead."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateName,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Cancelled
from sqlmodel import Session, col, or_, select

from fleet.clock import SystemClock
from fleet.errors import Conflict
from missions import commands
from missions.models import MISSION_TERMINAL, Desired, Mission, Round
from orchestration.desk_board import Reading
from orchestration.desk_requests import Transaction
from orchestration.mirrored import shown_by
from orchestration.pool import POOL, SKIPPED, YardmasterWorker

log = structlog.get_logger(__name__)
ABANDONED_S = 30.0


async def cancel(client: PrefectClient, run: FlowRun, worker: YardmasterWorker, transaction: Transaction) -> None:
    """First the missions of `run`, then the run: as long as the first is not written, the second stays Cancelling."""
    await asyncio.to_thread(cancel_missions, transaction, run, await actor(client, run))
    live = worker.live.get(run.id)
    ending: State[Any] = Cancelled(name="Canceled", message="Cancelled by an operator.")
    if live is not None:
        live.end(ending)
    elif worker.left_behind([run]) or _abandoned(run):
        await client.set_flow_run_state(run.id, ending, force=True)
        log.info("run of a dead worker cancelled", run=run.name)


async def actor(client: PrefectClient, run: FlowRun) -> str:
    """Who acts when an operator presses a button on the page of `run`."""
    deployment = await client.read_deployment(run.deployment_id) if run.deployment_id else None
    return f"prefect:{deployment.name}" if deployment else "prefect"


def _abandoned(run: FlowRun) -> bool:
    state = run.state
    return state is not None and SystemClock().now() - state.timestamp > timedelta(seconds=ABANDONED_S)


def cancel_missions(transaction: Transaction, run: FlowRun, who: str) -> int:
    """Ask for the cancelling of every mission that `run` requested and that is not over; gives their number.

    Asked again, nothing changes: what is being cancelled already is passed over.
    """
    with transaction() as session:
        missions = _asked_before_its_end(session, run)
        asked = [_cancel(session, mission, run.name, who) for mission in missions]
    if any(asked):
        log.info("missions of a cancelled run are cancelled", run=run.name, missions=sum(asked))
    return sum(asked)


async def catch_up(
    client: PrefectClient, since: datetime, transaction: Transaction, reading: Reading
) -> Sequence[FlowRun]:
    """Cancel the missions of runs that ended Cancelled after `since` without passing us; gives all such runs.

    Prefect cancels at once what it takes to be nowhere: a run that is suspended, or that waits for a worker. Its missions
    may be under way all the same.
    """
    cancelled = FlowRunFilterState(
        type=FlowRunFilterStateType(any_=[StateType.CANCELLED]),
        name=FlowRunFilterStateName(not_any_=[SKIPPED]),  # hundreds after a night without a worker
    )
    runs = await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=cancelled, end_time=FlowRunFilterEndTime(after_=since)),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])),
        sort=FlowRunSort.END_TIME_DESC,
    )
    for run in await asyncio.to_thread(_with_live_missions, reading, runs):
        await asyncio.to_thread(cancel_missions, transaction, run, await actor(client, run))
    return runs


def _with_live_missions(reading: Reading, runs: Sequence[FlowRun]) -> list[FlowRun]:
    with reading() as session:
        return [run for run in runs if _asked_before_its_end(session, run)]


def _asked_before_its_end(session: Session, run: FlowRun) -> list[Mission]:
    """The missions to cancel for `run`; what was retried after the run had ended is somebody's later wish."""
    missions = missions_of_run(session, run.id, run.parameters)
    ended_at = run.state.timestamp if run.state is not None and run.state.is_final() else None
    return [one for one in missions if one.retry_of is None or ended_at is None or one.created_at < ended_at]


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


def missions_of_run(session: Session, run_id: UUID, parameters: Mapping[str, object]) -> Sequence[Mission]:
    """The missions that the flow run asked for or shows, that are not over and not yet being cancelled."""
    wanted = parameters.get("mission")
    own_key = wanted.get("key") if isinstance(wanted, dict) else None
    shown = shown_by(parameters)
    rounds = select(Round.id).where(col(Round.key).in_([str(run_id), *([shown.key] if shown else [])]))
    asked = [col(Mission.key).startswith(f"{run_id}/", autoescape=True), col(Mission.round_id).in_(rounds)]
    if own_key:
        asked.append(col(Mission.key) == str(own_key))
    query = select(Mission).where(
        or_(*asked), col(Mission.status).not_in(MISSION_TERMINAL), Mission.desired != Desired.cancel
    )
    return session.exec(query).all()
