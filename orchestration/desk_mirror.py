"""The mirror: the next occurrences of our schedules as scheduled runs in Prefect, and what operators do to these there.

A mirrored run only watches. What Prefect shows is compared with what our calendars say at every look, so nothing is
remembered: Prefect's database lost, the runs are made again. A run that was cancelled there cancels its occurrence, one
that was given another time moves it; one that was deleted is made again, for deleting is not cancelling.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import anyio
import structlog
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterEndTime,
    FlowRunFilterIdempotencyKey,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Scheduled

from fleet.clock import SystemClock
from fleet.errors import Conflict, Invalid, NotFound, Unavailable
from missions.schedules.models import OPEN, Occurrence, OccurrenceStatus
from orchestration import mirrored
from orchestration.desk_board import SCHEDULES, Reading, hang_up, schedules
from orchestration.desk_cancel import cancel_missions
from orchestration.desk_requests import Transaction
from orchestration.mirrored import Shown, Wanted, shown_by

log = structlog.get_logger(__name__)
LOOK_S = 3.0
REST_S = 1.0
MADE_MAX = 10  # a look; Prefect's server on SQLite takes about two runs a second
PAGE = 200  # what Prefect gives at once
ASK_AGAIN = timedelta(seconds=30)
SAME = timedelta(seconds=1)
CLOSE = timedelta(seconds=5)  # a run this near its time is left to the worker, which explains what became of it
CANCELLED_SINCE = timedelta(days=1)


@dataclass(frozen=True)
class Steps:
    """What one look has to do; each is a run with what it shows, or a run to make."""

    moved: list[tuple[FlowRun, Wanted]] = field(default_factory=list)
    retimed: list[tuple[FlowRun, Wanted]] = field(default_factory=list)
    renamed: list[tuple[FlowRun, Wanted]] = field(default_factory=list)
    stale: list[tuple[FlowRun, Shown]] = field(default_factory=list)
    missing: list[Wanted] = field(default_factory=list)


def compare(wanted: Mapping[str, Wanted], runs: Iterable[FlowRun], now: datetime) -> Steps:
    """What to do so that the waiting `runs` become those `wanted` (pure).

    A run whose time is not the wanted one was moved by an operator if the wanted one is still what it was when we wrote
    it into the run; else we moved the occurrence ourselves, and the run follows.
    """
    steps, present = Steps(), set[str]()
    for run in runs:
        shown = shown_by(run.parameters)
        if shown is None or run.idempotency_key != shown.key or run.next_scheduled_start_time is None:
            continue  # a copy that somebody made by hand
        present.add(shown.key)
        one, at = wanted.get(shown.key), _instant(run.next_scheduled_start_time)
        if one is None:
            if at > now + CLOSE:
                steps.stale.append((run, shown))
        elif abs(at - one.shown.due_at) >= SAME:
            is_ours = abs(shown.due_at - one.shown.due_at) >= SAME
            (steps.retimed if is_ours else steps.moved).append((run, one))
        elif shown != one.shown or run.name != one.run_name:
            steps.renamed.append((run, one))
    steps.missing.extend(one for key, one in wanted.items() if key not in present)
    return steps


def _instant(at: datetime) -> datetime:
    return datetime.fromtimestamp(at.timestamp(), UTC)  # Prefect's own class of instants subtracts only itself


class Mirror:
    """The mirror of one desk; several may hold it at once, for every step may be done twice."""

    def __init__(self, client: PrefectClient, transaction: Transaction, reading: Reading) -> None:
        """Nothing is asked yet."""
        self._client, self._transaction, self._reading = client, transaction, reading
        self._settled: set[UUID] = set()
        self._wanted: dict[str, Wanted] = {}
        self._newest, self._ask_again_at = 0, SystemClock().now()
        self._text = self._hung = ""

    async def look(self) -> Steps:
        """Compare once and do what is to be done; gives what that was (of what is missing, what was made).

        Raises:
            Unavailable: Prefect does not know our deployments.
        """
        deployment_id = await self._deployment()
        await self._follow_cancelled(await self._runs(deployment_id, StateType.CANCELLED))
        waiting = await self._runs(deployment_id, StateType.SCHEDULED)
        await asyncio.to_thread(self._ask_what_comes)
        await self._show_what_comes()
        wanted = self._wanted
        steps = compare(wanted, waiting, SystemClock().now())
        for run, one in steps.moved:
            await self._follow_moved(run, one)
        for run, one in steps.retimed:
            await self._retime(run, one, "The occurrence was moved.")
        for run, one in steps.renamed:
            await self._write_what_it_shows(run, one)
        for run, shown in steps.stale:
            await self._take_away(run, shown)
        steps.missing[:] = await self._make(deployment_id, steps.missing)
        return steps

    def _ask_what_comes(self) -> None:
        """Ask the calendars only when something may have changed: with many schedules that is most of a look's work."""
        now = SystemClock().now()
        is_next_due = any(one.shown.due_at <= now for one in self._wanted.values())
        with self._reading() as session:
            self._newest, has_news = mirrored.has_news(session, self._newest)
            if has_news or is_next_due or now >= self._ask_again_at:
                self._wanted = mirrored.wanted(session)
                self._text = schedules(session, self._wanted.values())
                self._ask_again_at = now + ASK_AGAIN

    async def _show_what_comes(self) -> None:
        if self._text != self._hung:
            await hang_up(self._client, SCHEDULES, self._text)
            self._hung = self._text

    async def _deployment(self) -> UUID:
        try:
            return (await self._client.read_deployment_by_name(f"{mirrored.NAME}/{mirrored.NAME}")).id
        except ObjectNotFound:
            raise Unavailable(
                f"Prefect has no deployment {mirrored.NAME!r}; run `python -m orchestration.deploy`."
            ) from None

    async def _runs(self, deployment_id: UUID, type_: StateType) -> list[FlowRun]:
        since = SystemClock().now() - CANCELLED_SINCE if type_ is StateType.CANCELLED else None
        wanted = FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[type_])),
            end_time=FlowRunFilterEndTime(after_=since) if since else None,
        )
        found: list[FlowRun] = []
        while len(page := await self._client.read_flow_runs(flow_run_filter=wanted, limit=PAGE, offset=len(found))):
            found += page
            if len(page) < PAGE:
                break
        return found

    async def _follow_cancelled(self, runs: Sequence[FlowRun]) -> None:
        """Cancel the occurrence of each run that was cancelled, or, when it has started, its missions."""
        ours = {
            run.id: shown for run in runs if (shown := shown_by(run.parameters)) and run.idempotency_key == shown.key
        }
        for run in runs:
            if run.id in self._settled or run.id not in ours:
                continue
            became = await asyncio.to_thread(self._cancel, ours[run.id])
            if became is OccurrenceStatus.fired:
                await asyncio.to_thread(cancel_missions, self._transaction, run, mirrored.WHO)
            if became not in OPEN:
                self._settled.add(run.id)
        self._settled &= ours.keys()

    def _cancel(self, shown: Shown) -> OccurrenceStatus | None:
        with self._transaction() as session:
            return mirrored.cancel(session, shown)

    async def _follow_moved(self, run: FlowRun, one: Wanted) -> None:
        to = run.next_scheduled_start_time
        assert to is not None
        try:
            await asyncio.to_thread(self._move, one.shown, to)
        except (Conflict, Invalid, NotFound) as refused:
            log.warning("an occurrence cannot be moved", run=run.name, to=str(to), error=refused.message)
            await self._retime(run, one, f"It cannot be moved: {refused.message}")
        else:
            log.info("occurrence moved in Prefect", run=run.name, to=str(to))

    def _move(self, shown: Shown, to: datetime) -> None:
        with self._transaction() as session:
            mirrored.move(session, shown, to)

    async def _retime(self, run: FlowRun, one: Wanted, message: str) -> None:
        state: State[Any] = Scheduled(scheduled_time=one.shown.due_at, message=message)
        with suppress(ObjectNotFound):
            await self._client.set_flow_run_state(run.id, state, force=True)
        await self._write_what_it_shows(run, one)

    async def _write_what_it_shows(self, run: FlowRun, one: Wanted) -> None:
        with suppress(ObjectNotFound):
            await self._client.update_flow_run(
                run.id, parameters=one.shown.model_dump(mode="json"), name=one.run_name, tags=_tags(one)
            )

    async def _take_away(self, run: FlowRun, shown: Shown) -> None:
        """Delete the run of an occurrence that is no more; one that was cancelled or decided by itself tells that."""
        left = await asyncio.to_thread(self._left, shown)
        if left is not None and left.status in OPEN:
            return  # moved behind the next five, or into a blackout: it is still decided at its time
        with suppress(ObjectNotFound):
            if left is None:
                await self._client.delete_flow_run(run.id)
            else:
                await self._client.set_flow_run_state(run.id, _last(left), force=True)

    def _left(self, shown: Shown) -> Occurrence | None:
        with self._reading() as session:
            return mirrored.left(session, shown)

    async def _make(self, deployment_id: UUID, missing: Sequence[Wanted]) -> list[Wanted]:
        """Make the runs that Prefect does not know in any state, the next ones first, a few at a time."""
        if not missing:
            return []
        known = FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]),
            idempotency_key=FlowRunFilterIdempotencyKey(any_=[one.shown.key for one in missing]),
        )
        present = {run.idempotency_key for run in await self._client.read_flow_runs(flow_run_filter=known, limit=PAGE)}
        to_make = [one for one in missing if one.shown.key not in present][:MADE_MAX]
        for one in to_make:
            await self._client.create_flow_run_from_deployment(
                deployment_id,
                parameters=one.shown.model_dump(mode="json"),
                state=Scheduled(scheduled_time=one.shown.due_at),
                name=one.run_name,
                tags=_tags(one),
                idempotency_key=one.shown.key,
            )
        return to_make


def _last(left: Occurrence) -> State[Any]:
    """The state for the run of an occurrence that is decided before the time of its run; one that started is shown now.

    Only what was cancelled is Cancelled: the missions of a cancelled run are cancelled, too.
    """
    if left.status is OccurrenceStatus.canceled:
        return Cancelled(message=left.reason)
    return Scheduled(scheduled_time=SystemClock().now(), message="It was moved to an earlier time.")


def _tags(one: Wanted) -> list[str]:
    shown = one.shown
    return ["missions", "schedules", f"organisation:{shown.organisation}", f"site:{one.site}", f"schedule:{shown.name}"]


async def mirror(client: PrefectClient, transaction: Transaction, reading: Reading) -> None:
    """For ever: look every LOOK_S seconds, and sooner again while runs are made."""
    one = Mirror(client, transaction, reading)
    while True:
        steps = await one.look()
        if steps.missing:
            log.debug("occurrences mirrored", runs=len(steps.missing))
        await anyio.sleep(REST_S if steps.missing else LOOK_S)
