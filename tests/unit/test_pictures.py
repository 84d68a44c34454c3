"""What a run's page tells of missions: state names, the task at hand, readings, history, and how a round ended."""

from collections import Counter
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from missions.board import MissionView, ResultView, RoundView, TaskView, TransitionView
from missions.models import MISSION_TERMINAL, Desired, MissionStatus
from orchestration import pictures
from orchestration.flows.watching import mission_ending, round_ending

AT = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)


def result(position: int, status: str, **told: object) -> dict[str, object]:
    blank = {"attempt": 1, "value": None, "unit": None, "message": "", "finished_at": None}
    return blank | {"position": position, "status": status} | told


@pytest.fixture
def mission():
    def make(status: MissionStatus = MissionStatus.running, *results: dict[str, object], **news: object) -> MissionView:
        tasks = [("go_to", "press-1"), ("record_bag", None), ("reading", "press-1"), ("dock", None)]
        view = {
            "id": uuid4(),
            "round_id": None,
            "retry_of": None,
            "name": "Look",
            "key": "k",
            "status": status,
            "desired": Desired.run,
            "version": 3,
            "reason": "",
            "priority": 0,
            "robot": "amr-01",
            "required_capabilities": [],
            "requested_by": "test",
            "created_at": AT,
            "updated_at": AT,
            "attempts": [],
            "tasks": [TaskView(position=n, kind=kind, station=place) for n, (kind, place) in enumerate(tasks)],
            "results": [ResultView.model_validate(one) for one in results],
            "transitions": [],
        }
        empty = dict.fromkeys(MissionView.model_fields, None)
        return MissionView.model_construct(**(empty | {"waiting_for": ""} | view | news))

    return make


@pytest.fixture
def round_of(mission):
    def make(*statuses: MissionStatus) -> RoundView:
        missions = [mission(status) for status in statuses]
        return RoundView.model_construct(
            id=uuid4(),
            name="Evening",
            key="k",
            requested_by="test",
            created_at=AT,
            counts=dict(Counter(statuses)),
            is_finished=all(status in MISSION_TERMINAL for status in statuses),
            missions=missions,
        )

    return make


def test_a_state_is_named_as_the_mission_is():
    names = [pictures.state_name(status) for status in (MissionStatus.awaiting_approval, MissionStatus.paused)]
    assert names == ["Awaiting approval", "Paused"]


def test_the_task_at_hand_is_the_first_that_is_not_done_and_no_recording(mission):
    view = mission(MissionStatus.running, result(0, "succeeded"), result(2, "running"))
    assert pictures.current_task(view) == "task 2: reading at press-1"


def test_a_mission_that_has_ended_is_at_no_task(mission):
    assert pictures.current_task(mission(MissionStatus.failed, result(0, "failed"))) == ""


def test_the_bar_counts_the_tasks_that_are_done(mission):
    picture = pictures.of_mission(mission(MissionStatus.running, result(0, "succeeded"), result(1, "running")))
    assert (picture.done, picture.of, picture.state) == (1, 4, "Running")


def test_a_success_in_an_earlier_attempt_stays_done(mission):
    view = mission(MissionStatus.running, result(0, "succeeded"), result(0, "pending", attempt=2))
    assert pictures.of_mission(view).done == 1


def test_a_reading_stands_with_its_unit_in_the_table_of_tasks(mission):
    view = mission(MissionStatus.running, result(2, "succeeded", value=71.5, unit="degC", finished_at=AT))
    assert "| 2 | reading at press-1 | succeeded | 71.5 degC |" in pictures.of_mission(view).text


def test_the_history_says_who_when_and_why_and_breaks_out_of_no_cell(mission):
    line = TransitionView(
        subject="mission", from_status="RUNNING", to_status="PAUSED", version=4, who="user:ops", why="a | b", at=AT
    )
    text = pictures.of_mission(mission(MissionStatus.paused, transitions=[line])).text
    assert "| 2026-03-01 22:00:00 UTC | mission | RUNNING | PAUSED | user:ops | a \\| b |" in text


def test_a_live_round_is_called_after_the_mission_that_is_furthest(round_of):
    view = round_of(MissionStatus.succeeded, MissionStatus.scheduled, MissionStatus.running)
    picture = pictures.of_round(view)
    assert (picture.state, picture.message) == ("Running", "1 succeeded, 1 scheduled, 1 running")
    assert (picture.done, picture.of) == (1, 3)


@pytest.mark.parametrize(
    ("statuses", "type_", "name"),
    [
        (["succeeded", "succeeded"], "COMPLETED", "Succeeded"),
        (["succeeded", "failed"], "FAILED", "Partly succeeded"),
        (["succeeded", "expired"], "FAILED", "Partly succeeded"),
        (["succeeded", "canceled"], "COMPLETED", "Partly succeeded"),
        (["canceled", "canceled"], "CANCELLED", "Canceled"),
        (["expired", "expired"], "FAILED", "Expired"),
        (["refused", "failed"], "FAILED", "Failed"),
    ],
)
def test_the_end_of_a_round_shows_whether_all_some_or_none_succeeded(round_of, statuses, type_, name):
    state = round_ending(round_of(*(MissionStatus[status] for status in statuses)))
    assert (state.type.value, state.name) == (type_, name)


@pytest.mark.parametrize(
    ("status", "type_", "name"),
    [
        ("succeeded", "COMPLETED", "Succeeded"),
        ("failed", "FAILED", "Failed"),
        ("canceled", "CANCELLED", "Canceled"),
        ("expired", "FAILED", "Expired"),
        ("refused", "FAILED", "Refused"),
    ],
)
def test_the_end_of_a_mission_is_that_of_its_run_with_the_reason(mission, status, type_, name):
    state = mission_ending(mission(MissionStatus[status], reason="press-1 is blocked"))
    assert (state.type.value, state.name) == (type_, name)
    assert "'Look' ended" in state.message
    assert state.message.endswith("press-1 is blocked.")
