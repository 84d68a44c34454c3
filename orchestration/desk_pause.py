"""Pausing in Prefect's UI holds the missions of a run; resuming there lets them go on, also under another worker."""

import asyncio
from collections.abc import Collection
from uuid import UUID

import structlog
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from sqlmodel import Session, col, select

from fleet.errors import Conflict
from missions import commands
from missions.models import MISSION_TERMINAL, Desired, Mission, Transition
from orchestration.desk_board import Reading
from orchestration.desk_cancel import actor, cancel_missions, missions_of_run
from orchestration.desk_requests import Transaction
from orchestration.pool import YardmasterWorker

log = structlog.get_logger(__name__)
PAUSED = "Paused in Prefect"


async def hold(client: PrefectClient, run: FlowRun, worker: YardmasterWorker, transaction: Transaction) -> None:
    """Hold the missions of a run that an operator paused; its flow stays and watches on."""
    live = worker.live.get(run.id)
    if live is not None and live.paused is not None and run.state is not None and live.paused.id == run.state.id:
        return
    await asyncio.to_thread(hold_missions, transaction, run, await actor(client, run))
    if live is not None:
        live.paused = run.state


def hold_missions(transaction: Transaction, run: FlowRun, who: str) -> int:
    """Ask for the pause of every mission of `run` that goes on; gives their number.

    One pause asks each mission once: what an operator lets go on in the meantime is not held again.
    """
    why = _why(run)
    with transaction() as session:
        going = [
            mission for mission in missions_of_run(session, run.id, run.parameters) if mission.desired is Desired.run
        ]
        told = set(session.exec(select(Transition.mission_id).where(Transition.why == why)).all()) if going else set()
        asked = [_tell(session, mission, "pause", who, why) for mission in going if mission.id not in told]
    if any(asked):
        log.info("missions of a paused run are held", run=run.name, missions=sum(asked))
    return sum(asked)


def _why(run: FlowRun) -> str:
    at = f" at {run.state.timestamp:%Y-%m-%d %H:%M:%S} UTC" if run.state else ""
    return f"{PAUSED}{at}, on the page of the flow run {run.name!r} ({run.id})."


def _tell(session: Session, mission: Mission, wish: commands.CommandName, who: str, why: str) -> bool:
    try:
        commands.command(
            session, organisation_id=mission.organisation_id, mission_id=mission.id, command=wish, who=who, why=why
        )
    except Conflict:
        return False  # it ended, or somebody cancelled it, in this very moment
    return True


async def go_on(
    client: PrefectClient,
    paused: Collection[UUID],
    worker: YardmasterWorker,
    transaction: Transaction,
    reading: Reading,
) -> None:
    """Let the missions of live runs go on that were held and are no longer `paused`; end a run whose pause ran out."""
    held = await asyncio.to_thread(held_by, reading, set(worker.live) - set(paused))
    held |= {
        run_id: held.get(run_id, []) for run_id, live in worker.live.items() if live.paused and run_id not in paused
    }
    for run_id, missions in held.items():
        run, live = await _known(client, run_id), worker.live.get(run_id)
        if live is None or run is None or run.state is None or run.state.is_paused():
            continue
        if run.state.is_cancelled():  # Prefect cancels a suspended run at once
            await asyncio.to_thread(cancel_missions, transaction, run, await actor(client, run))
        if run.state.is_final():
            live.end(run.state)  # a pause ran out: its missions stay held, for nobody said that they may go on
            continue
        await asyncio.to_thread(_release, transaction, missions, await actor(client, run), run.name)
        live.paused = None


async def _known(client: PrefectClient, run_id: UUID) -> FlowRun | None:
    """The run, if nobody deleted it: its missions stay as they are, for nobody said that they may go on."""
    try:
        return await client.read_flow_run(run_id)
    except ObjectNotFound:
        return None


def held_by(reading: Reading, runs: Collection[UUID]) -> dict[UUID, list[UUID]]:
    """For each of `runs`: the missions whose last wish was the pause of that run."""
    if not runs:
        return {}
    found: dict[UUID, list[UUID]] = {}
    with reading() as session:
        paused = col(Mission.desired) == Desired.pause
        for mission_id in session.exec(select(Mission.id).where(paused, col(Mission.status).not_in(MISSION_TERMINAL))):
            why = _last_wish(session, mission_id)
            for run_id in runs:
                if why.startswith(PAUSED) and f"({run_id})" in why:
                    found.setdefault(run_id, []).append(mission_id)
    return found


def _last_wish(session: Session, mission_id: UUID) -> str:
    query = select(Transition).where(Transition.subject_id == mission_id).order_by(col(Transition.version).desc())
    return next((row.why for row in session.exec(query) if "desired" in row.evidence), "")


def _release(transaction: Transaction, missions: Collection[UUID], who: str, run_name: str) -> None:
    why = f"The flow run {run_name!r} was resumed in Prefect."
    with transaction() as session:
        for mission in session.exec(select(Mission).where(col(Mission.id).in_(missions))).all():
            _tell(session, mission, "resume", who, why)
    log.info("missions of a resumed run go on", run=run_name, missions=len(missions))
