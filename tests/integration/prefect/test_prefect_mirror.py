"""The next occurrences of a schedule in a real Prefect: shown, cancelled, moved, made again, watched to their end."""

import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlmodel import Session, col, select

from fleet.organisations import organisation_named, site_named
from missions.models import Mission, MissionStatus, Round
from missions.schedules import control, firing, revise
from missions.schedules.create import create
from missions.schedules.models import (
    MissionTemplate,
    Occurrence,
    OccurrenceStatus,
    Recurrence,
    Schedule,
    ScheduleCreate,
)
from missions.schedules.overrides import move_occurrence

LOOK = {"name": "Look at the press", "tasks": [{"station": "press-1"}], "robot": None}
Rows = Callable[[], dict[OccurrenceStatus, list[Occurrence]]]


class Plan:
    """A daily schedule of this test, and what an operator sees of it in Prefect."""

    def __init__(self, prefect: Any, eventually: Callable[..., Any], schedule: Schedule) -> None:
        self.prefect, self.eventually, self.schedule = prefect, eventually, schedule

    def runs(self, *types: str) -> list[dict[str, Any]]:
        wanted = {
            "deployment_id": {"any_": [self.prefect.ids["scheduled-round"]]},
            "tags": {"all_": [f"schedule:{self.schedule.name}"]},
            "state": {"type": {"any_": list(types or ["SCHEDULED"])}},
        }
        found = self.prefect.post("/flow_runs/filter", {"flow_runs": wanted})
        return sorted(found, key=lambda run: run["next_scheduled_start_time"] or run["expected_start_time"])

    def five(self) -> list[dict[str, Any]]:
        return list(self.eventually(self.runs, lambda runs: len(runs) == 5))

    def give_time(self, run: dict[str, Any], at: datetime) -> None:
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": at.isoformat()}}
        self.prefect.post(f"/flow_runs/{run['id']}/set_state", {"state": state})

    def rows(self) -> list[Occurrence]:
        query = select(Occurrence).where(Occurrence.schedule_id == self.schedule.id).order_by(col(Occurrence.due_at))
        with self.prefect.runtime.reading() as session:
            return list(session.exec(query).all())

    def change(self, what: Callable[..., object], **given: object) -> None:
        with self.prefect.runtime.transaction() as session:
            what(session, schedule=session.get_one(Schedule, self.schedule.id), who="test", **given)

    def fire(self) -> list[Occurrence]:
        firing.fire_due(self.prefect.runtime.transaction, who="system:test")
        return [row for row in self.rows() if row.decided_at is not None]

    def missions(self) -> list[Mission]:
        rounds = select(Round.id).where(col(Round.key).startswith(f"{self.schedule.id}/"))
        with self.prefect.runtime.reading() as session:
            return list(session.exec(select(Mission).where(col(Mission.round_id).in_(rounds))).all())


def daily(**news: object) -> Recurrence:
    begins = (datetime.now(UTC) - timedelta(hours=1)).replace(microsecond=0, tzinfo=None).isoformat()
    return Recurrence.model_validate({"rule": "FREQ=DAILY", "begins": begins, "timezone": "UTC"} | news)


@pytest.fixture
def plan(prefect, eventually) -> Iterator[Plan]:
    def make(session: Session) -> Schedule:
        site = site_named(session, _demo(session), "north-plant")
        name = f"Round {uuid4().hex[:6]}"
        wanted = ScheduleCreate(
            name=name, key=name, recurrence=daily(), missions=[MissionTemplate.model_validate(LOOK)]
        )
        return create(session, site=site, wanted=wanted, who="test")

    with prefect.runtime.transaction() as session:
        schedule = make(session)
    made = Plan(prefect, eventually, schedule)
    yield made
    made.change(control.end)
    eventually(made.runs, lambda runs: not runs)


def _demo(session: Session) -> UUID:
    return organisation_named(session, "demo").id


def test_what_is_done_to_a_run_happens_to_that_occurrence_only(plan, eventually):
    first, second, third, _, last = plan.five()
    at = datetime.fromisoformat(first["next_scheduled_start_time"])
    assert first["name"] == f"{plan.schedule.name}, {at:%a} {at.day} {at:%b %H:%M}"
    assert {"organisation:demo", "site:north-plant"} <= set(first["tags"])
    to = datetime.fromisoformat(third["next_scheduled_start_time"]) + timedelta(hours=2)
    plan.prefect.cancel(second["id"])
    plan.give_time(third, to)
    plan.prefect.delete(f"/flow_runs/{last['id']}")
    canceled, moved = eventually(plan.rows, lambda rows: len(rows) == 2)
    assert (canceled.status, canceled.who) == (OccurrenceStatus.canceled, "prefect:scheduled-round")
    assert canceled.recurrence_id == datetime.fromisoformat(second["parameters"]["recurrence_id"])
    assert (moved.status, moved.is_moved, moved.due_at) == (OccurrenceStatus.planned, True, to)
    told = eventually(lambda: plan.prefect.run(third["id"]), lambda run: run["name"].endswith(f"{to:%H:%M}"))
    assert datetime.fromisoformat(told["parameters"]["due_at"]) == to
    new = {run["name"] for run in plan.five()}
    assert last["name"] in new  # made again: deleting is not cancelling
    assert second["name"] not in new


@pytest.mark.proof
def test_after_a_change_of_the_schedule_the_old_runs_are_replaced_and_a_pause_takes_them_away(plan, eventually):
    old = {run["id"] for run in plan.five()}
    plan.change(revise.revise, recurrence=daily(rule="FREQ=DAILY;INTERVAL=2"), missions=None)
    new = eventually(plan.runs, lambda runs: len(runs) == 5 and not old & {run["id"] for run in runs})
    assert {run["parameters"]["revision"] for run in new} == {2}
    plan.change(control.pause)
    eventually(plan.runs, lambda runs: not runs)


def test_an_occurrence_moved_to_now_is_watched_and_its_cancelling_cancels_the_round(plan, eventually):
    first = plan.five()[0]
    plan.give_time(first, datetime.now(UTC))
    (row,) = eventually(plan.fire, len)
    assert row.status is OccurrenceStatus.fired
    plan.prefect.state(first["id"], "RUNNING")
    eventually(lambda: plan.prefect.artifacts(first["id"]), lambda found: "Look at the press" in found.get("round", ""))
    plan.prefect.cancel(first["id"])
    assert plan.prefect.state(first["id"])["type"] == "CANCELLED"
    assert [mission.status for mission in plan.missions()] == [MissionStatus.canceled]


@pytest.mark.proof
def test_one_occurrence_is_moved_and_cancelled_by_its_form(plan):
    _, second, third, *_ = plan.five()
    due = {run["id"]: datetime.fromisoformat(run["next_scheduled_start_time"]) for run in (second, third)}
    to = due[second["id"]] + timedelta(hours=1)

    def tell(run: dict[str, Any], **given: object) -> dict[str, Any]:
        at = due[run["id"]].isoformat()
        told = plan.prefect.press("control-occurrence", schedule=plan.schedule.name, occurrence=at, **given)
        return dict(plan.prefect.state(told))

    assert tell(second, command="move", to=to.isoformat())["name"] == "Moved"
    assert tell(third, command="cancel")["name"] == "Canceled"
    assert [(row.status.value, row.due_at) for row in plan.rows()] == [("planned", to), ("canceled", due[third["id"]])]
    assert "give the new time" in tell(second, command="move")["message"]
    shown = plan.eventually(lambda: plan.prefect.run(second["id"]), lambda run: run["name"].endswith(f"{to:%H:%M}"))
    assert datetime.fromisoformat(shown["next_scheduled_start_time"]) == to
    assert plan.prefect.state(third["id"])["type"] == "CANCELLED"


@pytest.mark.proof
def test_an_occurrence_that_started_while_no_worker_was_there_is_shown_late_and_its_missions_live_on(plan, eventually):
    first = plan.five()[0]
    plan.prefect.end_worker(signal.SIGKILL)
    recurrence_id = datetime.fromisoformat(first["parameters"]["recurrence_id"])
    plan.change(move_occurrence, recurrence_id=recurrence_id, to=datetime.now(UTC) + timedelta(seconds=1))
    (row,) = eventually(plan.fire, len)
    assert row.status is OccurrenceStatus.fired
    plan.prefect.start_worker()
    plan.prefect.state(first["id"], "RUNNING")
    eventually(lambda: plan.prefect.artifacts(first["id"]), lambda found: "Look at the press" in found.get("round", ""))
    assert [mission.status for mission in plan.missions()] == [MissionStatus.scheduled]
    plan.prefect.cancel(first["id"])
    plan.prefect.state(first["id"])


@pytest.mark.proof
def test_an_occurrence_that_starts_nothing_explains_itself(plan, eventually):
    first = plan.five()[0]
    plan.give_time(first, datetime.now(UTC))
    eventually(plan.rows, len)
    plan.change(control.pause)
    eventually(plan.fire, len)
    state = plan.prefect.state(first["id"])
    assert (state["name"], state["message"]) == ("Skipped", "The schedule is paused.")
    assert plan.missions() == []
