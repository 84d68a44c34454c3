"""Missions that wait for a person's yes, from whatever door: each gets a run that asks; decided elsewhere, that run ends."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import structlog
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Cancelled, Completed
from sqlmodel import Session, col, func, select

from fleet import requests
from fleet.requests import Request, RequestStatus
from missions.models import Mission, MissionStatus
from orchestration.desk_board import Reading
from orchestration.desk_requests import Transaction

log = structlog.get_logger(__name__)
KIND = "approve-mission"
AT_ONCE = 50  # runs that ask; when one is answered the next mission gets its own
LOOKED_AT_MAX = 1000
MISSION = "mission:"
STILL_WAITS = "Nobody was asked any more; the mission still waits for approval: control-mission approves or cancels it."
OPEN = (RequestStatus.pending, RequestStatus.started)


def mission_tag(mission_id: UUID) -> str:
    """The tag that says which mission a run asks about."""
    return f"{MISSION}{mission_id}"


def waits_for_answer(run: FlowRun) -> bool:
    """Whether the run was suspended by its own flow to ask a person, and not paused by an operator."""
    return run.state is not None and run.state.state_details.run_input_keyset is not None


async def ask(transaction: Transaction, reading: Reading) -> int:
    """Ask for a run for every mission that waits for approval and has had none; gives their number."""
    if not await asyncio.to_thread(_look, reading):
        return 0
    return await asyncio.to_thread(_write, transaction)


def _look(reading: Reading) -> bool:
    with reading() as session:
        return bool(unasked(session))


def _write(transaction: Transaction) -> int:
    with transaction() as session:
        missions = unasked(session)
        for mission in missions:
            requests.ask(
                session,
                organisation_id=mission.organisation_id,
                kind=KIND,
                key=str(mission.id),
                parameters={"mission": str(mission.id)},
                requested_by="desk",
            )
    return len(missions)


def unasked(session: Session) -> Sequence[Mission]:
    """Missions that wait for approval and that nobody was asked about, oldest first, as many as may be asked now."""
    waiting = select(Mission.id).where(Mission.status == MissionStatus.awaiting_approval)
    ids = session.exec(waiting.order_by(col(Mission.id)).limit(LOOKED_AT_MAX)).all()
    if not ids:
        return []
    asked = set(
        session.exec(select(Request.key).where(Request.kind == KIND, col(Request.key).in_(map(str, ids)))).all()
    )
    count = select(func.count()).select_from(Request).where(Request.kind == KIND, col(Request.status).in_(OPEN))
    room = max(AT_ONCE - session.exec(count).one(), 0)
    wanted = [mission_id for mission_id in ids if str(mission_id) not in asked][:room]
    return session.exec(select(Mission).where(col(Mission.id).in_(wanted)).order_by(col(Mission.id))).all()


async def close_decided(client: PrefectClient, asking: Sequence[FlowRun], reading: Reading) -> None:
    """End those of the runs `asking` whose mission was decided elsewhere meanwhile, with a message that says so."""
    missions = {run.id: _mission_of(run) for run in asking}
    ids = {mission_id for mission_id in missions.values() if mission_id}
    decided = await asyncio.to_thread(_decided, reading, ids) if ids else {}
    for run in asking:
        mission_id = missions[run.id]
        if mission_id in decided:
            mission = decided[mission_id]
            await client.set_flow_run_state(run.id, _ending(mission), force=True)
            log.info("approval is no longer needed", run=run.name, status=mission.status.value)


async def explain(client: PrefectClient, cancelled: Sequence[FlowRun]) -> None:
    """Say on the pages of cancelled questions that their missions still wait."""
    for run in cancelled:
        if _mission_of(run) and run.state is not None and not run.state.message:
            await client.set_flow_run_state(run.id, Cancelled(message=STILL_WAITS), force=True)


def _mission_of(run: FlowRun) -> UUID | None:
    return next((UUID(tag.removeprefix(MISSION)) for tag in run.tags if tag.startswith(MISSION)), None)


def _decided(reading: Reading, ids: Collection[UUID]) -> dict[UUID, Mission]:
    with reading() as session:
        query = select(Mission).where(col(Mission.id).in_(ids), Mission.status != MissionStatus.awaiting_approval)
        return {mission.id: mission for mission in session.exec(query).all()}


def _ending(mission: Mission) -> State[Any]:
    message = f"Mission {mission.name!r} was decided elsewhere: it is {mission.status} ({mission.reason})."
    return Completed(name="Not needed", message=message)
