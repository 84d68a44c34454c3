"""The runs of occurrences: one that shows an occurrence of a schedule, and one that cancels or moves an occurrence.

The first waits for what the dispatcher decides, then shows the round to its end. It makes no missions. Begun late,
because no worker was there, it still only shows.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed
from pydantic import AwareDatetime
from sqlmodel import Session

from fleet.clock import SystemClock
from fleet.errors import Conflict, Invalid, NotFound
from fleet.organisations import organisation_named
from missions.schedules.models import OPEN, OccurrenceStatus, Schedule
from missions.schedules.overrides import cancel_occurrence, move_occurrence
from missions.schedules.recurrence import iso
from missions.schedules.rows import schedule_of
from missions.schedules.upcoming import coming
from orchestration import mirrored
from orchestration.flows import edge
from orchestration.flows.forms import Name
from orchestration.flows.watching import round_ended, round_ending
from orchestration.mirrored import Shown
from orchestration.pictures import BOARD_LINK, Picture
from orchestration.run_page import RunPage

log = structlog.get_logger(__name__)
DECIDED_WITHIN = timedelta(hours=1)  # after its time; longer, and no dispatcher runs
LOOKED_AT = 500  # so many occurrences ahead one may be moved or cancelled by its time
EARLY = timedelta(seconds=5)
ENDINGS = {
    OccurrenceStatus.skipped: Completed,
    OccurrenceStatus.coalesced: Completed,
    OccurrenceStatus.missed: Failed,
    OccurrenceStatus.failed: Failed,
    OccurrenceStatus.canceled: Cancelled,
}


class Decision(NamedTuple):
    """What became of the occurrence; `status` is None when its schedule changed or went before its time came."""

    status: OccurrenceStatus | None
    reason: str
    organisation_id: UUID | None = None
    round_id: UUID | None = None


@flow(name=mirrored.NAME)
async def scheduled_round(
    schedule: UUID, revision: int, recurrence_id: AwareDatetime, due_at: AwareDatetime, name: Name, organisation: Name
) -> State[Any]:
    """Show one occurrence of a schedule. Such runs appear by themselves; starting one by hand only shows it, too.

    Args:
        schedule: Id of the schedule.
        revision: The revision of the schedule that the occurrence belongs to.
        recurrence_id: The instant that the rule gives; it names the occurrence.
        due_at: When it is due.
        name: What the schedule is called.
        organisation: Whose schedule.
    """
    shown = Shown(
        schedule=schedule,
        revision=revision,
        recurrence_id=recurrence_id,
        due_at=due_at,
        name=name,
        organisation=organisation,
    )
    if (earlier := await _moved_to(shown)) is not None:
        await edge.written(lambda session: _begin(session, shown, earlier))
    decision = await _decision(shown)
    if decision.organisation_id is not None and decision.round_id is not None:
        return round_ending(await round_ended(decision.organisation_id, decision.round_id))
    return explained(decision)


async def _moved_to(shown: Shown) -> datetime | None:
    """The time that an operator gave this run, if the run began with it before the mirror saw it; else None."""
    async with get_client() as client:
        run = await client.read_flow_run(UUID(edge.run_id()))
        if run.idempotency_key != shown.key:
            return None  # a copy that somebody made by hand only watches
        states = await client.read_flow_run_states(run.id)
    waits = sorted((state for state in states if state.is_scheduled()), key=lambda state: state.timestamp)
    at = waits[-1].state_details.scheduled_time if waits else None
    return at if at is not None and at < shown.due_at - EARLY else None


def _begin(session: Session, shown: Shown, earlier: datetime) -> None:
    try:
        mirrored.move(session, shown, earlier)
    except (Conflict, NotFound) as refused:
        log.warning("an occurrence cannot begin earlier", schedule=shown.name, error=refused.message)


async def _decision(shown: Shown) -> Decision:
    page, until = RunPage(UUID(edge.run_id()), "round"), max(shown.due_at, SystemClock().now()) + DECIDED_WITHIN
    async for _ in edge.looks():
        found = await edge.looked_up(lambda session: _found(session, shown))
        if found.status not in OPEN:
            return found
        if found.status is OccurrenceStatus.queued:
            text = f"## {shown.name}\n\nQueued. {found.reason}\n\n{BOARD_LINK}"
            await page.show(Picture("Queued", found.reason, text, 0, 1))
        elif SystemClock().now() > until:
            return Decision(
                OccurrenceStatus.missed, f"Nobody decided it within {DECIDED_WITHIN}; does a dispatcher run?"
            )
    raise AssertionError


def _found(session: Session, shown: Shown) -> Decision:
    row = mirrored.occurrence_of(session, shown)
    if row is not None:
        return Decision(row.status, row.reason, row.organisation_id, row.round_id)
    if mirrored.is_passed_over(session, shown):
        return Decision(None, f"It did not take place: {_changed(session, shown)}")
    return Decision(OccurrenceStatus.planned, "")


def _changed(session: Session, shown: Shown) -> str:
    schedule = session.get(Schedule, shown.schedule)
    if schedule is None:
        return "the schedule is no more."
    if schedule.revision != shown.revision:
        return f"the schedule was changed to revision {schedule.revision} before its time."
    return f"the schedule is {schedule.status}, and nothing was left of it to decide."


def explained(decision: Decision) -> State[Any]:
    """The state of a run whose occurrence started nothing, named as what became of it: Skipped, Missed, Canceled …"""
    if decision.status is None:
        return Completed(name="Skipped", message=decision.reason)
    kind = ENDINGS.get(decision.status, Failed)
    return kind(name=decision.status.value.capitalize(), message=decision.reason or "No reason was given.")


class OccurrenceCommand(StrEnum):
    """What may be told to one occurrence of a schedule."""

    cancel = "cancel"
    move = "move"


@flow(name="control-occurrence", flow_run_name="{command} {schedule} {occurrence}")
async def control_occurrence(
    schedule: Name,
    occurrence: AwareDatetime,
    command: OccurrenceCommand,
    to: AwareDatetime | None = None,
    organisation: Name = "demo",
) -> State[Any]:
    """Cancel or move one occurrence of a schedule before its time; all others stay as they are.

    Args:
        schedule: The schedule's name or id.
        occurrence: When it is due now; the minute is enough.
        command: What is to become of it.
        to: To move: when it is to start instead.
        organisation: Whose schedule.
    """
    who = edge.who("control-occurrence")
    if (command is OccurrenceCommand.move) != (to is not None):
        raise Invalid(f"to: give the new time to move an occurrence, and only then; to is {to}.")

    def tell(session: Session) -> tuple[str, str]:
        found = schedule_of(session, organisation_named(session, organisation).id, schedule)
        recurrence_id = due_within_minute(session, found, occurrence)
        if to is None:
            row = cancel_occurrence(session, schedule=found, recurrence_id=recurrence_id, who=who)
        else:
            row = move_occurrence(session, schedule=found, recurrence_id=recurrence_id, to=to, who=who)
        return row.reason, iso(row.due_at)

    reason, due_at = await edge.written(tell)
    name = "Canceled" if to is None else "Moved"
    return Completed(name=name, message=f"{schedule}: {reason}" + (f" It is due at {due_at}." if to else ""))


def due_within_minute(session: Session, schedule: Schedule, at: datetime) -> datetime:
    """The recurrence id of the schedule's occurrence that is due in the minute of `at`.

    Raises:
        NotFound: none is; says which come next.
    """
    ahead = coming(session, schedule, limit=LOOKED_AT)
    minute = timedelta(minutes=1)
    found = next((one for one in ahead if -minute < one.due_at - at < minute), None)
    if found is None:
        known = ", ".join(iso(one.due_at) for one in ahead[:3]) or "none"
        raise NotFound(f"occurrence: {schedule.name!r} has none that is due at {iso(at)}; the next are: {known}.")
    return found.recurrence_id
