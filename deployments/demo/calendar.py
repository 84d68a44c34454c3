"""A schedule whose mission a person must approve: its first occurrence fires by itself, and goes out after the yes."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlmodel import Session, col, select

from deployments.demo.night import SOON_S, Night, Outcome, problems_of
from missions import board
from missions.models import MissionStatus
from missions.schedules.models import Occurrence, OccurrenceStatus, Schedule

SCHEDULE = "Every night at the gate"
FIRST_IN = timedelta(seconds=5)
ANSWER = {"decision": "approve", "comment": "the gate is clear", "your_name": "the demo"}


async def keep_time(night: Night) -> Outcome:
    """Press create-schedule, wait for its first occurrence, approve its mission in Prefect, and end the schedule."""
    first = (night.runtime.clock.now() + FIRST_IN).replace(microsecond=0)
    await night.run("create-schedule", _form(first), within_s=SOON_S)
    occurrence = await night.until(
        lambda: night.read(lambda session: _fired(session, night.organisation_id)),
        lambda found: found is not None,
        within_s=SOON_S,
        what="The first occurrence of the schedule",
    )
    assert occurrence is not None
    assert occurrence.round_id is not None
    run_id = await _approve(night)
    view = await _over(night, occurrence.round_id)
    ahead = await _mirrored(night)
    await night.run("control-schedule", {"schedule": SCHEDULE, "command": "end", "reason": "morning"}, within_s=SOON_S)
    problems = problems_of(_checks(occurrence, first, view, ahead))
    told = f"1 occurrence fired at its second, approved by a person, {view.status.lower()}; {ahead} more shown ahead"
    return Outcome(told, night.page_of(run_id), problems)


def _form(first: datetime) -> dict[str, object]:
    mission = {
        "name": "See that the gate is shut",
        "approval_needed": True,
        "tasks": [{"kind": "go_to", "station": "gate"}, {"kind": "wait", "parameters": {"duration_s": 5}}],
    }
    when = {"rule": "FREQ=DAILY", "begins": f"{first:%Y-%m-%dT%H:%M:%S}", "timezone": "UTC"}
    return {"name": SCHEDULE, "when": when, "missions": [mission]}


def _fired(session: Session, organisation_id: UUID) -> Occurrence | None:
    query = (
        select(Occurrence)
        .join(Schedule, col(Schedule.id) == Occurrence.schedule_id)
        .where(Schedule.organisation_id == organisation_id, Schedule.name == SCHEDULE)
        .where(Occurrence.status == OccurrenceStatus.fired)
    )
    return session.exec(query).first()


async def _approve(night: Night) -> str:
    """Answer the run that asks whether the mission may begin, as Resume on its page does."""
    asking = (await night.prefect.deployments())["approve-mission"]

    async def waiting() -> list[str]:
        runs = await night.prefect.runs([asking])
        return [run["id"] for run in runs if run["state_type"] == "PAUSED"]

    (run_id, *_) = await night.until(waiting, bool, within_s=SOON_S, what="The run that asks for the approval")
    await night.prefect.resume(run_id, ANSWER)
    return run_id


async def _over(night: Night, round_id: UUID) -> board.MissionView:
    view = await night.until(
        lambda: night.read(lambda session: board.round_view(session, night.organisation_id, round_id)),
        lambda found: found.is_finished,
        within_s=SOON_S,
        what="The end of the approved mission",
    )
    return view.missions[0]


async def _mirrored(night: Night) -> int:
    """How many occurrences Prefect's pages show ahead."""
    mirror = (await night.prefect.deployments())["scheduled-round"]

    async def ahead() -> int:
        runs = await night.prefect.runs([mirror])
        return sum(run["state_type"] == "SCHEDULED" for run in runs)

    return await night.until(ahead, bool, within_s=SOON_S, what="The next occurrences on Prefect's pages")


def _checks(occurrence: Occurrence, first: datetime, view: board.MissionView, ahead: int) -> dict[str, bool]:
    approvals = [line for line in view.transitions if line.from_status == MissionStatus.awaiting_approval]
    told = "; ".join(f"{line.who}: {line.why}" for line in approvals)
    return {
        f"the occurrence is the one of {first.isoformat()}": occurrence.recurrence_id == first,
        f"the mission was approved in Prefect with its comment ({told})": "prefect:approve-mission" in told
        and ANSWER["comment"] in told,
        f"the approved mission succeeded (it is {view.status})": view.status is MissionStatus.succeeded,
        "the next occurrences are shown ahead": ahead > 0,
    }
