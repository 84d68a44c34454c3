"""Requests become flow runs: which rows go into which run, how the run is started, and how its end comes back."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from uuid import UUID

import structlog
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from sqlmodel import Session, col, select

from fleet import requests
from fleet.errors import Invalid, Unavailable
from fleet.http_errors import HTTP_ERRORS
from fleet.organisations import Organisation
from fleet.requests import Request, RequestStatus

log = structlog.get_logger(__name__)
Transaction = Callable[[], AbstractContextManager[Session]]
Ending = tuple[RequestStatus, str | None]
KINDS = (
    "process-bag",
    "cut-bag",
    "train-rul",
    "publish-report",
    "request-mission",
    "request-round",
    "control-mission",
    "control-round",
    "approve-mission",
    "create-schedule",
    "control-schedule",
    "hold",
    "release-hold",
)
AGAIN = {"approve-mission"}  # a question that was deleted in Prefect is asked again
GATHERED = {"process-bag": "bag_ids"}
GATHER_MAX = 32


@dataclass(frozen=True)
class Errand:
    """One flow run to start, for one or several requests of one organisation."""

    kind: str
    organisation: str
    parameters: Mapping[str, object]
    request_ids: tuple[UUID, ...]

    @property
    def key(self) -> str:
        """The idempotency key: the request's id, or a hash of all ids when several go together."""
        if len(self.request_ids) == 1:
            return str(self.request_ids[0])
        return hashlib.sha256("".join(sorted(map(str, self.request_ids))).encode()).hexdigest()


def errands(rows: Iterable[Request], organisations: Mapping[UUID, str]) -> list[Errand]:
    """What to start for `rows`: bags of one organisation together, up to GATHER_MAX; all else one by one.

    The organisation is always the row's own, whatever its parameters say.
    """
    alone: list[Errand] = []
    together: dict[tuple[str, UUID], list[Request]] = {}
    for row in rows:
        if row.kind in GATHERED:
            together.setdefault((row.kind, row.organisation_id), []).append(row)
        else:
            name = organisations[row.organisation_id]
            alone.append(Errand(row.kind, name, {**row.parameters, "organisation": name}, (row.id,)))
    for (kind, organisation_id), group in together.items():
        batches = [group[first : first + GATHER_MAX] for first in range(0, len(group), GATHER_MAX)]
        alone.extend(_gathered(kind, organisations[organisation_id], batch) for batch in batches)
    return alone


def _gathered(kind: str, organisation: str, rows: Sequence[Request]) -> Errand:
    name = GATHERED[kind]
    values: list[object] = []
    for row in rows:
        given = row.parameters.get(name)
        values.extend(given if isinstance(given, list) else [given])
    return Errand(kind, organisation, {name: values, "organisation": organisation}, tuple(row.id for row in rows))


def claim_errands(session: Session) -> list[Errand]:
    """Pending requests, claimed for this desk, as the runs to start for them."""
    rows = requests.claim_pending(session, limit=2 * GATHER_MAX)
    ids = {row.organisation_id for row in rows}
    found = session.exec(select(Organisation).where(col(Organisation.id).in_(ids))).all() if ids else []
    return errands(rows, {organisation.id: organisation.name for organisation in found})


async def start(client: PrefectClient, errand: Errand) -> FlowRun:
    """The flow run for `errand`; started twice it is the same run (key: `Errand.key`).

    Raises:
        Invalid: Prefect refuses it; retrying changes nothing.
        Unavailable: the server or the deployment is not there now.
    """
    if errand.kind not in KINDS:
        raise Invalid(f"{errand.kind!r} is not something that can be asked for; known kinds: {', '.join(KINDS)}.")
    try:
        deployment = await client.read_deployment_by_name(f"{errand.kind}/{errand.kind}")
        return await client.create_flow_run_from_deployment(
            deployment.id,
            parameters=dict(errand.parameters),
            idempotency_key=errand.key,
            tags=[*deployment.tags, f"organisation:{errand.organisation}"],
        )
    except ObjectNotFound:
        raise Unavailable(f"Prefect has no deployment {errand.kind!r}; run `python -m orchestration.deploy`.") from None
    except PrefectHTTPStatusError as error:
        if error.response.status_code < 500 and error.response.status_code != 429:
            raise Invalid(f"Prefect refused {errand.kind!r}: {error.response.text[:500]}") from error
        raise Unavailable(f"Prefect answered {error.response.status_code}.") from error
    except HTTP_ERRORS as error:
        raise Unavailable(f"Prefect did not answer ({type(error).__name__}).") from error


def settle_errand(
    session: Session, errand: Errand, status: RequestStatus, *, run: FlowRun | None = None, error: str | None = None
) -> None:
    """Write how far every request of `errand` got."""
    for request_id in errand.request_ids:
        requests.settle(session, request_id, status, flow_run_id=str(run.id) if run else None, error=error)


async def carry_all(client: PrefectClient, claimed: Iterable[Errand], transaction: Transaction) -> None:
    """Start the runs for all errands; when one cannot be started now, all that are left are given back at once.

    Raises:
        Unavailable: Prefect is away.
    """
    left = list(claimed)
    try:
        while left:
            await carry_once(client, left[0], transaction)
            del left[0]
    finally:
        if left:
            _give_back(transaction, left)


def _give_back(transaction: Transaction, left: Iterable[Errand]) -> None:
    with transaction() as session:
        requests.release(session, [request_id for errand in left for request_id in errand.request_ids])


async def carry_once(client: PrefectClient, errand: Errand, transaction: Transaction) -> None:
    """Start the run for `errand` and note it; Prefect away leaves the requests pending.

    Raises:
        Unavailable: Prefect is away.
    """
    try:
        run = await start(client, errand)
    except Invalid as refused:
        await asyncio.to_thread(_settle, transaction, errand, RequestStatus.failed, error=refused.message)
        log.warning("request refused", kind=errand.kind, organisation=errand.organisation, error=refused.message)
    except Unavailable:
        await asyncio.to_thread(_give_back, transaction, [errand])
        raise
    else:
        await asyncio.to_thread(_settle, transaction, errand, RequestStatus.started, run=run)
        log.info("request started", kind=errand.kind, organisation=errand.organisation, run=run.name)


def _settle(
    transaction: Transaction,
    errand: Errand,
    status: RequestStatus,
    *,
    run: FlowRun | None = None,
    error: str | None = None,
) -> None:
    with transaction() as session:
        settle_errand(session, errand, status, run=run, error=error)


async def settle_ended(client: PrefectClient, transaction: Transaction) -> int:
    """Settle the requests whose runs have ended, or are gone from the server; gives how many still run."""
    waiting, again = await asyncio.to_thread(_started, transaction)
    if not waiting:
        return 0
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=sorted(set(waiting.values()))))
    runs = {run.id: run for run in await client.read_flow_runs(flow_run_filter=wanted)}
    ended = {id_: _ending(runs.get(run_id), is_asked_again=id_ in again) for id_, run_id in waiting.items()}
    over = {request_id: ending for request_id, ending in ended.items() if ending is not None}
    if over:
        await asyncio.to_thread(_settle_all, transaction, over)
    return len(ended) - len(over)


def _started(transaction: Transaction) -> tuple[dict[UUID, UUID], set[UUID]]:
    """The requests whose run is under way, each with its run, and those of them that are asked again when it is gone."""
    with transaction() as session:
        rows = [row for row in requests.started(session) if row.flow_run_id]
        return {row.id: UUID(str(row.flow_run_id)) for row in rows}, {row.id for row in rows if row.kind in AGAIN}


def _settle_all(transaction: Transaction, over: Mapping[UUID, Ending]) -> None:
    with transaction() as session:
        for request_id, (status, error) in over.items():
            requests.settle(session, request_id, status, error=error)


def _ending(run: FlowRun | None, *, is_asked_again: bool) -> Ending | None:
    if run is None and is_asked_again:
        return RequestStatus.pending, None
    if run is None:
        return RequestStatus.failed, "The flow run was deleted in Prefect before it ended."
    if run.state is None or not run.state.is_final():
        return None
    if run.state.is_completed():
        return RequestStatus.done, None
    return RequestStatus.failed, f"{run.state.name}: {run.state.message or 'no message'}"
