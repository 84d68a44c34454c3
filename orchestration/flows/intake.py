"""What comes in: poll the manufacturers' clouds, and sweep or replay the inbox."""

import asyncio
from enum import StrEnum
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_table_artifact
from sqlmodel import Session, col, func, select

from fleet.accounts import ManufacturerAccount
from fleet.adapter import AdapterAccount
from fleet.adapters import opener, push_manufacturers
from fleet.errors import NotFound, Unavailable
from fleet.organisations import organisation_named
from ingestion.models import Delivery, DeliveryStatus
from ingestion.polling import PollResult, poll
from orchestration import intake
from orchestration.flows import edge
from orchestration.flows.forms import Name

SWEEP_LIMIT = 200
SWEEPS_MAX = 100
REPLAY_MAX = 10_000
Row = dict[str, object]


class ReplayOf(StrEnum):
    """Which stored deliveries are to be understood anew."""

    none = "none"
    rejected = "rejected"
    applied = "applied"


@flow(name="poll-manufacturer")
async def poll_manufacturer(organisation: str = "", account: str = "") -> Row:
    """Ask the manufacturers' clouds how every robot is and what happened since the last time.

    Args:
        organisation: Whose accounts; empty: everyone's.
        account: The name of one account; empty: all.
    """
    accounts = await edge.looked_up(lambda session: _accounts(session, organisation, account))
    outcomes = await asyncio.gather(*(_polled(found) for found in accounts))
    if rows := [row for row in outcomes if row["new"] or row["problem"]]:
        await acreate_table_artifact(rows, key="poll", description="What the clouds told that was new")
    silent = [str(row["problem"]) for row in outcomes if row["problem"]]
    if silent:
        raise Unavailable("; ".join(silent))
    return {"accounts": len(outcomes), "new": sum(int(str(row["new"])) for row in outcomes)}


def _accounts(session: Session, organisation: str, account: str) -> list[ManufacturerAccount]:
    is_polled = col(ManufacturerAccount.manufacturer).not_in(push_manufacturers())
    query = select(ManufacturerAccount).where(is_polled).order_by(ManufacturerAccount.name)
    if organisation:
        query = query.where(ManufacturerAccount.organisation_id == organisation_named(session, organisation).id)
    if account:
        query = query.where(ManufacturerAccount.name == account)
    found = list(session.exec(query).all())
    if account and not found:
        raise NotFound(f"account: there is no account {account!r} that is polled.", account=account)
    return found


async def _polled(account: ManufacturerAccount) -> Row:
    link = AdapterAccount(name=account.name, base_url=account.base_url, credential=account.credential)
    parts = edge.runtime()
    try:
        async with opener(account.manufacturer)(link) as adapter:
            result = await poll(account, adapter, transaction=parts.transaction, clock=parts.clock)
    except Unavailable as error:
        get_run_logger().warning("%s did not answer: %s", account.name, error)
        return _row(PollResult(account.name, 0, 0, is_complete=False), problem=str(error))
    return _row(result)


def _row(result: PollResult, problem: str = "") -> Row:
    return {"account": result.account, "pages": result.pages, "new": result.deliveries, "problem": problem}


@flow(name="receive-webhooks")
async def receive_webhooks(
    organisation: Name = "demo", replay: ReplayOf = ReplayOf.none, delivery_ids: list[UUID] | None = None
) -> Row:
    """Work off what waits in the inbox; or take stored deliveries again, after a translation was mended.

    Args:
        organisation: Whose stored deliveries are replayed; what waits is worked off for everyone.
        replay: Take all deliveries of this kind again; every one may be applied twice without harm.
        delivery_ids: Take these deliveries again.
    """
    again = await edge.looked_up(lambda session: _to_replay(session, organisation, replay, delivery_ids or []))
    replayed = await asyncio.to_thread(intake.replay, edge.runtime(), again) if again else 0
    settled = await _sweep()
    waiting = await edge.looked_up(_counts)
    if replayed or settled:
        rows = [{"replayed": replayed, "settled": settled, **waiting}]
        await acreate_table_artifact(rows, key="inbox", description="The inbox after this sweep")
    return {"replayed": replayed, "settled": settled, **waiting}


def _to_replay(session: Session, organisation: str, replay: ReplayOf, ids: list[UUID]) -> list[UUID]:
    owner = organisation_named(session, organisation)
    if not ids and replay is ReplayOf.none:
        return []
    mine = select(Delivery.id).where(Delivery.organisation_id == owner.id)
    found = set(session.exec(mine.where(col(Delivery.id).in_(ids))).all()) if ids else set()
    if missing := sorted(set(ids) - found):
        raise NotFound(f"delivery_ids: {organisation} has no delivery {', '.join(map(str, missing))}.")
    if replay is not ReplayOf.none:
        status = DeliveryStatus(replay.value)
        found.update(session.exec(mine.where(Delivery.status == status).limit(REPLAY_MAX)).all())
    return sorted(found)


async def _sweep() -> int:
    settled = 0
    for _ in range(SWEEPS_MAX):
        now = await asyncio.to_thread(intake.drain, edge.runtime(), limit=SWEEP_LIMIT)
        settled += now
        if not now:
            break
    return settled


def _counts(session: Session) -> dict[str, int]:
    found = session.exec(select(Delivery.status, func.count()).group_by(col(Delivery.status))).all()
    return {str(status): count for status, count in found}
