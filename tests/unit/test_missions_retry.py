"""When and where a mission goes on after an attempt that ended."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from fleet.adapter import TaskKind
from fleet.organisations import Station
from missions.dispatch import order_tasks
from missions.models import Attempt, AttemptStatus, Desired, Mission, MissionStatus, MissionTask
from missions.outcome import Step, first_task_left, mission_status_after
from missions.snapshot import ready_at

NOW = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
KEY = UUID(int=1)


@pytest.fixture
def after():
    """Where a mission of two attempts that is RUNNING goes when its attempt `number` becomes `status`."""

    def make(status: AttemptStatus, *, number: int = 1, desired: Desired = Desired.run) -> MissionStatus | None:
        mission = Mission(
            organisation_id=KEY,
            site_id=KEY,
            name="m",
            key="m",
            requested_by="test",
            created_at=NOW,
            updated_at=NOW,
            attempts_max=2,
            status=MissionStatus.running,
            desired=desired,
        )
        attempt = Attempt(
            organisation_id=KEY,
            mission_id=mission.id,
            robot_id=KEY,
            number=number,
            key="m/1",
            fence=1,
            created_at=NOW,
            status=status,
        )
        return mission_status_after(attempt, mission)

    return make


def test_a_first_failure_is_tried_again_and_the_last_one_is_not(after):
    assert after(AttemptStatus.failed) is MissionStatus.scheduled
    assert after(AttemptStatus.failed, number=2) is MissionStatus.failed
    assert after(AttemptStatus.rejected) is MissionStatus.scheduled


def test_a_failure_while_a_cancel_is_under_way_is_not_tried_again(after):
    assert after(AttemptStatus.failed, desired=Desired.cancel) is MissionStatus.canceled


def test_the_fact_wins_over_the_wish(after):
    assert after(AttemptStatus.succeeded, desired=Desired.cancel) is MissionStatus.succeeded


def test_what_a_robot_ended_by_itself_is_not_begun_again(after):
    assert after(AttemptStatus.canceled) is MissionStatus.canceled


def test_a_silent_robot_leaves_its_mission_where_it_is(after):
    assert after(AttemptStatus.lost) is None
    assert after(AttemptStatus.running) is None


def test_retries_wait_two_eight_and_thirty_two_seconds_and_never_more_than_five_minutes():
    pauses = [(ready_at(None, [NOW] * count) - NOW).total_seconds() for count in (1, 2, 3, 9)]
    assert pauses == [2, 8, 32, 300]


def test_a_retry_never_begins_before_the_earliest_start():
    later = NOW + timedelta(hours=1)
    assert ready_at(later, [NOW]) == later
    assert ready_at(None, []) is None


@pytest.mark.parametrize(
    ("steps", "first"),
    [
        ([Step(True, False), Step(True, False)], 0),
        ([Step(True, True), Step(True, False)], 1),
        ([Step(True, True), Step(False, True), Step(False, False)], 0),
        ([Step(True, True), Step(True, True), Step(False, False)], 1),
        ([Step(False, True), Step(False, False)], 1),
        ([Step(True, True)], 7),
    ],
)
def test_a_retry_goes_on_at_the_first_task_left_from_the_place_it_needs(steps: list[Step], first: int):
    assert first_task_left(steps, default=7) == first


def test_an_order_carries_the_tasks_left_and_its_recording():
    station = Station(organisation_id=KEY, site_id=KEY, name="press-1", x_m=1.0, y_m=2.0)
    kinds = [TaskKind.record_bag, TaskKind.go_to, TaskKind.go_to]
    tasks = [
        (
            MissionTask(mission_id=KEY, position=position, organisation_id=KEY, kind=kind, parameters={"a": 1}),
            station if kind is TaskKind.go_to else None,
        )
        for position, kind in enumerate(kinds)
    ]
    sent = order_tasks(tasks, first_task=2)
    assert [(task.position, task.kind) for task in sent] == [(0, TaskKind.record_bag), (2, TaskKind.go_to)]
    assert (sent[1].station, sent[1].x_m, sent[1].y_m, sent[1].parameters) == ("press-1", 1.0, 2.0, {"a": 1})
