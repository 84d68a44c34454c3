"""The desk: it carries our rows to Prefect and Prefect's news back. Prefect away, everything waits in our database."""

import asyncio

import anyio
import structlog
from prefect.client.orchestration import PrefectClient
from sqlmodel import select

from fleet import changes
from fleet.doorbell import Doorbell
from missions.models import Mission, MissionStatus
from orchestration import desk_approvals
from orchestration.desk_board import MISSIONS, Reading, board, hang_up
from orchestration.desk_requests import Errand, Transaction, carry_all, claim_errands, settle_ended

log = structlog.get_logger(__name__)
LISTEN_S = 2.0
SETTLE_S = 2.0
BOARD_S = 5.0
SHOWN = {"mission", "attempt", "robot", "hold"}


async def carry(client: PrefectClient, transaction: Transaction, reading: Reading, doorbell: Doorbell) -> None:
    """For ever: start the runs that requests ask for, and settle the requests whose runs have ended.

    What waits for a person's yes is asked for here, from our own tables alone: nothing that is amiss in Prefect delays it.
    """
    settled_at = 0.0
    with doorbell.listen() as listener:
        while True:
            await desk_approvals.ask(transaction, reading)
            await carry_all(client, await asyncio.to_thread(_claim, transaction), transaction)
            if asyncio.get_running_loop().time() - settled_at >= SETTLE_S:
                await settle_ended(client, transaction)
                settled_at = asyncio.get_running_loop().time()
            await asyncio.to_thread(listener.wait, LISTEN_S)
            await anyio.sleep(0.2)  # rings come in bursts: one look for all of them


def _claim(transaction: Transaction) -> list[Errand]:
    with transaction() as session:
        return claim_errands(session)


async def show(client: PrefectClient, reading: Reading) -> None:
    """For ever: keep the missions board; at most every BOARD_S seconds, and only when it has become another.

    The board is drawn from the tables, so it needs no memory: it is drawn once at the start, which also makes up for
    whatever happened while nobody looked. While missions wait it is drawn each time, for why they wait is no change.
    """
    position, is_stale, shown = await asyncio.to_thread(_newest, reading), True, ""
    while True:
        if is_stale and (drawn := await asyncio.to_thread(_draw, reading)) != shown:
            await hang_up(client, MISSIONS, drawn)
            shown = drawn
        await anyio.sleep(BOARD_S)
        position, is_stale = await asyncio.to_thread(_looked_after, reading, position)


def _draw(reading: Reading) -> str:
    with reading() as session:
        return board(session)


def _newest(reading: Reading) -> int:
    with reading() as session:
        return changes.newest(session)


def _looked_after(reading: Reading, position: int) -> tuple[int, bool]:
    """The position read up to, and whether the board may be another: something on it changed since `position`, or one waits."""
    with reading() as session:
        seen = changes.after(session, position)
        waiting = session.exec(select(Mission.id).where(Mission.status == MissionStatus.scheduled).limit(1)).first()
    last = seen[-1].position if seen else None
    return last or position, waiting is not None or any(change.subject in SHOWN for change in seen)
