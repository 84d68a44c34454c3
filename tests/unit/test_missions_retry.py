"""When and where a mission goes on after an attempt that ended."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from fleet.adapter import TaskKind
from missions.models import Attempt, AttemptStatus, Desired, Mission, MissionStatus, Recall
from missions.orders import WantedTask, order_tasks, place_of
from missions.outcome import mission_status_after
from missions.progress import Progress, Step, counts_as_failure, first_task_left, pause_s
from missions.snapshot import ready_at

NOW = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
KEY = UUID(int=1)
DONE, TO_DO, SKIPPED = Step(True, True), Step(True, False), Step(True, False, is_skipped=True)


@pytest.fixture
def mission():
    """A running mission of two attempts."""

    def make(**news: object) -> Mission:
        values = {
            "organisation_id": KEY,
            "site_id": KEY,
            "name": "m",
            "key": "m",
            "requested_by": "test",
            "created_at": NOW,
            "updated_at": NOW,
            "attempts_max": 2,
            "status": MissionStatus.running,
        }
        return Mission(**(values | news))

    return make


@pytest.fixture
def attempt():
    """Its attempts, ended at NOW."""

    def make(status: AttemptStatus, number: int = 1, recall: Recall | None = None) -> Attempt:
        return Attempt(
            organisation_id=KEY,
            mission_id=KEY,
            robot_id=KEY,
            number=number,
            key=f"m/{number}",
            fence=1,
            created_at=NOW,
            finished_at=NOW,
            status=status,
            recall=recall,
        )

    return make


@pytest.fixture
def after(mission, attempt):
    """Where the mission goes when its attempt becomes `status`, with so many failures and these steps."""

    def make(
        status: AttemptStatus,
        *,
        recall: Recall | None = None,
        desired: Desired = Desired.run,
        failures: int = 1,
        steps: tuple[Step, ...] = (TO_DO,),
    ) -> MissionStatus | None:
        row = mission(desired=desired)
        return mission_status_after(attempt(status, recall=recall), row, Progress(steps, failures))

    return make


def test_a_first_failure_is_tried_again_and_the_last_one_is_not(after):
    assert after(AttemptStatus.failed) is MissionStatus.scheduled
    assert after(AttemptStatus.failed, failures=2) is MissionStatus.failed
    assert after(AttemptStatus.rejected) is MissionStatus.scheduled


def test_a_failure_while_a_cancel_is_under_way_is_not_tried_again(after):
    assert after(AttemptStatus.failed, desired=Desired.cancel) is MissionStatus.canceled


def test_the_fact_wins_over_the_wish(after):
    assert after(AttemptStatus.succeeded, desired=Desired.cancel) is MissionStatus.succeeded
    for recall in Recall:
        assert after(AttemptStatus.succeeded, recall=recall) is MissionStatus.succeeded


def test_what_a_robot_ended_by_itself_is_not_begun_again(after):
    assert after(AttemptStatus.canceled) is MissionStatus.canceled


def test_a_silent_robot_leaves_its_mission_where_it_is(after):
    assert after(AttemptStatus.lost) is None
    assert after(AttemptStatus.running) is None


@pytest.mark.parametrize("status", [AttemptStatus.canceled, AttemptStatus.rejected, AttemptStatus.failed])
@pytest.mark.parametrize("recall", [Recall.preempted, Recall.skip])
def test_a_mission_whose_robot_was_taken_goes_on_however_often_it_failed_before(after, attempt, status, recall):
    assert after(status, recall=recall, failures=2) is MissionStatus.scheduled
    assert not counts_as_failure(attempt(status, recall=recall))


def test_an_attempt_that_took_too_long_counts_as_a_failure(after, attempt):
    assert counts_as_failure(attempt(AttemptStatus.canceled, recall=Recall.timeout))
    assert after(AttemptStatus.canceled, recall=Recall.timeout) is MissionStatus.scheduled
    assert after(AttemptStatus.canceled, recall=Recall.timeout, failures=2) is MissionStatus.failed


@pytest.mark.parametrize("status", [AttemptStatus.canceled, AttemptStatus.failed, AttemptStatus.rejected])
def test_an_attempt_taken_back_at_its_deadline_ends_the_mission(after, status):
    assert after(status, recall=Recall.deadline) is MissionStatus.expired


@pytest.mark.parametrize("recall", list(Recall))
def test_a_cancel_wins_over_every_recall(after, recall):
    assert after(AttemptStatus.canceled, recall=recall, desired=Desired.cancel) is MissionStatus.canceled


def test_a_mission_of_which_the_rest_is_skipped_has_succeeded_when_a_task_was_done(after):
    ended = {"status": AttemptStatus.canceled, "recall": Recall.skip}
    assert after(**ended, steps=(DONE, SKIPPED)) is MissionStatus.succeeded
    assert after(**ended, steps=(SKIPPED, SKIPPED)) is MissionStatus.canceled
    assert after(**ended, steps=(DONE, SKIPPED, TO_DO)) is MissionStatus.scheduled


def test_no_pause_is_longer_than_four_times_the_one_before_nor_than_the_longest(mission, attempt):
    for count, longest_s in ((1, 2), (2, 8), (3, 32), (9, 300)):
        tries = [attempt(AttemptStatus.failed, number) for number in range(1, count + 1)]
        assert 0 <= pause_s(mission(), tries) <= longest_s
    assert pause_s(mission(backoff_s=4.0), tries[:1]) == 2 * pause_s(mission(), tries[:1])
    assert 0 < pause_s(mission(backoff_max_s=0.5), tries) <= 0.5


def test_pauses_are_spread_evenly_and_the_same_for_every_dispatcher(mission, attempt):
    fractions = []
    for number in range(1000):
        failed = attempt(AttemptStatus.failed)
        failed.key = f"mission-{number}/1"
        fractions.append(pause_s(mission(), [failed]) / 2)
        assert pause_s(mission(), [failed]) / 2 == fractions[-1]
    counts = Counter(int(fraction * 10) for fraction in fractions)
    assert set(counts) == set(range(10))
    assert all(60 <= count <= 140 for count in counts.values()), counts  # 100 each, within four standard deviations


@pytest.mark.parametrize("recall", [Recall.preempted, Recall.skip])
def test_nobody_rests_after_a_preemption_or_a_skip(mission, attempt, recall):
    tries = [attempt(AttemptStatus.failed), attempt(AttemptStatus.canceled, 2, recall)]
    assert pause_s(mission(), tries) == 0


def test_a_retry_never_begins_before_the_earliest_start(mission, attempt):
    later = NOW + timedelta(hours=1)
    assert ready_at(mission(earliest_start_at=later), [attempt(AttemptStatus.failed)], NOW) == later
    assert ready_at(mission(), [], NOW) is None


def test_a_retry_begins_after_its_pause_unless_the_clock_was_set_back(mission, attempt):
    failed = attempt(AttemptStatus.failed)
    assert ready_at(mission(), [failed], NOW) == NOW + timedelta(seconds=pause_s(mission(), [failed]))
    assert ready_at(mission(), [failed], NOW - timedelta(hours=1)) is None


@pytest.mark.parametrize(
    ("steps", "first"),
    [
        ([Step(True, False), Step(True, False)], 0),
        ([Step(True, True), Step(True, False)], 1),
        ([Step(True, True), Step(False, True), Step(False, False)], 0),
        ([Step(True, True), Step(True, True), Step(False, False)], 1),
        ([Step(False, True), Step(False, False)], 1),
        ([Step(True, True)], 7),
        ([Step(True, True), Step(True, False, is_skipped=True), Step(False, False)], 0),
        ([Step(True, False, is_skipped=True), Step(False, False)], 1),
        ([Step(False, False, is_recording=True), Step(True, True), Step(True, False)], 2),
    ],
)
def test_a_retry_goes_on_at_the_first_task_left_from_the_place_it_needs(steps: list[Step], first: int):
    assert first_task_left(steps, default=7) == first


def test_an_order_carries_the_tasks_left_and_its_recording():
    station = {"station": "press-1", "x_m": 1.0, "y_m": 2.0}
    kinds = [TaskKind.record_bag, TaskKind.go_to, TaskKind.go_to]
    tasks = [
        WantedTask(position, kind, {"a": 1}, 600.0, **(station if kind is TaskKind.go_to else {}))
        for position, kind in enumerate(kinds)
    ]
    sent = order_tasks(tasks, first_task=2)
    assert [(task.position, task.kind) for task in sent] == [(0, TaskKind.record_bag), (2, TaskKind.go_to)]
    assert (sent[1].station, sent[1].x_m, sent[1].y_m, sent[1].parameters) == ("press-1", 1.0, 2.0, {"a": 1})


def test_an_order_leaves_out_what_somebody_skipped():
    tasks = [WantedTask(at, TaskKind.wait, {}, 600.0, skipped_at=NOW if at == 1 else None) for at in range(3)]
    assert [task.position for task in order_tasks(tasks, first_task=0)] == [0, 2]


def test_a_mission_begins_at_the_first_station_that_is_still_to_be_gone_to():
    station = {"station": "press-1", "y_m": 2.0}
    tasks = [
        WantedTask(0, TaskKind.go_to, {}, 600.0, x_m=0.0, **station),
        WantedTask(1, TaskKind.wait, {}, 600.0),
        WantedTask(2, TaskKind.go_to, {}, 600.0, NOW, x_m=2.0, **station),
        WantedTask(3, TaskKind.go_to, {}, 600.0, x_m=3.0, **station),
    ]
    assert [place_of(tasks, first_task=first) for first in (0, 1, 4)] == [(0.0, 2.0), (3.0, 2.0), None]
