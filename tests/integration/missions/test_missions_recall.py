"""Attempts taken back although their missions go on: preempted, too slow, past the deadline; the robot's word decides."""

from datetime import timedelta

import pytest

from fleet.adapter import Acknowledged, OrderStatus, TaskReport, Unknown
from missions import preemption, snapshot
from missions.models import Attempt, OutboxStatus, TaskCreate
from missions.overdue import GRACE_S, TASK_GRACE_S
from missions.plan import Plan, plan

PENDING = OutboxStatus.pending


@pytest.fixture
def look(yard, runtime):
    """The plan as of now, with the snapshot that it rests on; both robots are heard of."""

    def run() -> tuple[Plan, snapshot.Snapshot]:
        with runtime.reading() as session:
            seen = snapshot.take(session)
        return plan(seen), seen

    return run


@pytest.fixture
def preempt(yard, runtime, look):
    """Carries the preemptions of the plan out, and gives the attempts that are taken back."""

    def run(seen: tuple[Plan, snapshot.Snapshot] | None = None) -> list[Attempt]:
        made, rests_on = seen or look()
        taken = []
        for each in made.preemptions:
            with runtime.transaction() as session:
                taken.append(preemption.preempt(session, each, rests_on, who="system:test"))
        return [attempt for attempt in taken if attempt]

    return run


@pytest.fixture
def busy(yard):
    """A preemptible mission of two stops that runs on amr-01, the only robot that is heard of; its first stop is done."""
    mission = yard.request("round", "press-1", "gate", preemptible=True)
    (attempt,) = yard.assign("amr-01")
    yard.send()
    yard.observe("amr-01", "executing")
    yard.say(attempt, OrderStatus.running, 2, tasks=yard.done(0))
    return mission, attempt


def test_an_urgent_mission_takes_the_robot_of_a_preemptible_one_and_that_goes_on_where_it_was(yard, busy, preempt):
    mission, attempt = busy
    fire = yard.request("fire", priority=80)
    (taken,) = preempt()
    assert (taken.id, taken.recall, taken.recalled_for) == (attempt.id, "preempted", fire.id)
    assert yard.send() == [Acknowledged()]
    assert yard.status(mission) == "RUNNING"
    yard.say(attempt, OrderStatus.canceled, 3)
    view = yard.view(mission)
    assert (view.status, view.attempts[0].recall) == ("SCHEDULED", "preempted")
    assert view.reason == "its robot is needed for 'fire' (priority 80); it goes on when one is free"
    (first,) = yard.assign("amr-01")
    assert first.mission_id == fire.id
    yard.send()
    yard.say(first, OrderStatus.succeeded, 2)
    (again,) = yard.assign("amr-01")
    assert (again.mission_id, again.first_task, again.number) == (mission.id, 1, 2)


def test_no_second_robot_is_taken_while_one_is_being_freed_or_was_just_freed(yard, busy, look, preempt):
    _, attempt = busy
    other = yard.request("other", "gate", preemptible=True)
    (second,) = yard.assign("amr-02")
    yard.send()
    yard.observe("amr-02", "executing")
    yard.say(second, OrderStatus.running, 2, robot="amr-02")
    fire = yard.request("fire", priority=80)
    (taken,) = preempt()
    assert preempt() == []
    assert yard.view(fire).waiting_for in {"amr-01 is being freed for it.", "amr-02 is being freed for it."}
    name = "amr-01" if taken.id == attempt.id else "amr-02"
    yard.say(taken, OrderStatus.canceled, 3, robot=name)
    assert preempt() == []  # it ended; that it is idle was not heard yet
    yard.observe(name)
    assert next(pair.mission_id for pair in look()[0].assignments) == fire.id
    assert yard.status(other) in {"RUNNING", "SCHEDULED"}


def test_a_robot_that_does_not_end_what_it_is_at_is_not_waited_for_for_ever(yard, busy, preempt, clock):
    yard.request("other", "gate", preemptible=True)
    (second,) = yard.assign("amr-02")
    yard.send()
    yard.say(second, OrderStatus.running, 2, robot="amr-02")
    yard.request("fire", priority=80)
    (first,) = preempt()
    clock.step(61)
    for name in ("amr-01", "amr-02"):
        yard.observe(name, "executing")
    (then,) = preempt()
    assert {first.robot_id, then.robot_id} == {robot.id for robot in yard.world.robots.values()}


def test_of_two_dispatchers_with_the_same_plan_one_takes_the_robot(yard, busy, look, preempt):
    yard.request("fire", priority=80)
    seen = look()
    assert len(preempt(seen)) == 1
    assert preempt(seen) == []
    assert yard.outbox(PENDING) == ["cancel"]


@pytest.mark.parametrize(
    ("running", "urgent"),
    [
        ({"preemptible": False}, {"priority": 80}),
        ({"preemptible": True, "priority": 80}, {"priority": 80}),
        ({"preemptible": True}, {"priority": 49}),
        ({"preemptible": True}, {"priority": 80, "robot": "amr-02"}),
    ],
)
def test_a_robot_is_taken_only_for_what_is_urgent_and_from_what_is_preemptible_and_matters_less(
    yard, preempt, running, urgent
):
    yard.running("round", **running)
    yard.observe("amr-01", "executing")
    yard.request("fire", **urgent)
    assert preempt() == []


def test_a_preempted_mission_that_ends_meanwhile_has_ended(yard, busy, preempt):
    mission, attempt = busy
    yard.request("fire", priority=80)
    preempt()
    yard.say(attempt, OrderStatus.succeeded, 3)
    assert yard.status(mission) == "SUCCEEDED"


def test_preemptions_take_no_try_away_and_need_no_rest(yard, busy, preempt):
    mission, attempt = busy
    for number in range(3):
        urgent = yard.request(f"fire-{number}", priority=80)
        preempt()
        yard.send()
        yard.say(attempt, OrderStatus.canceled, 3 + number)
        (first,) = yard.assign("amr-01")
        assert first.mission_id == urgent.id
        yard.command(urgent, "cancel")
        (attempt,) = yard.assign("amr-01")
        yard.send()
        yard.observe("amr-01", "executing")
        yard.say(attempt, OrderStatus.running, 2)
    assert (yard.status(mission), len(yard.view(mission).attempts)) == ("RUNNING", 4)


def test_a_paused_mission_whose_robot_is_taken_waits_until_it_is_resumed(yard, busy, preempt):
    mission, attempt = busy
    yard.command(mission, "pause")
    yard.send()
    yard.say(attempt, OrderStatus.paused, 3)
    yard.request("fire", priority=80)
    preempt()
    yard.send()
    yard.command(mission, "resume")
    yard.command(mission, "pause")
    assert yard.outbox(PENDING) == []  # a robot that is to end is not told to go on
    yard.say(attempt, OrderStatus.canceled, 4)
    assert (yard.status(mission), yard.view(mission).waiting_for) == ("SCHEDULED", "It is paused until it is resumed.")


def test_a_cancel_wins_over_a_preemption(yard, busy, preempt):
    mission, attempt = busy
    yard.request("fire", priority=80)
    preempt()
    yard.command(mission, "cancel")
    yard.say(attempt, OrderStatus.canceled, 3)
    assert (yard.status(mission), yard.view(mission).reason) == ("CANCELED", "because")


def test_what_was_never_sent_is_taken_back_at_once(yard, preempt):
    mission = yard.request("round", preemptible=True)
    yard.assign("amr-01")
    yard.observe("amr-01")
    yard.request("fire", priority=80)
    preempt()
    assert (yard.status(mission), yard.leases(), yard.send()) == ("SCHEDULED", {}, [])


def test_an_order_taken_back_that_never_arrived_is_free_when_it_cannot_turn_up_any_more(yard, preempt, clock):
    mission = yard.request("round", preemptible=True)
    yard.assign("amr-01")
    (parcel,) = yard.begin()
    yard.settle(parcel, Unknown(why="timeout"))
    yard.robots.faults.remembers_cancels = False
    yard.observe("amr-01")
    yard.request("fire", priority=80)
    preempt()
    yard.send()
    clock.step(42)
    yard.send()
    yard.ask()
    assert yard.status(mission) == "SCHEDULED"


def test_a_recall_that_the_robot_does_not_obey_is_sent_again(yard, busy, preempt, clock):
    yard.request("fire", priority=80)
    preempt()
    (parcel,) = yard.begin()
    yard.settle(parcel, Acknowledged())
    clock.step(11)
    yard.ask()
    assert yard.outbox(PENDING) == ["cancel"]


def _running_task(position: int) -> tuple[TaskReport, ...]:
    return (TaskReport(position=position, status="running"),)


def test_a_task_that_takes_too_long_ends_the_attempt_and_is_tried_again_with_the_reason(yard, clock):
    mission, attempt = yard.running("m", tasks=[TaskCreate(station="press-1", timeout_s=60)])
    yard.say(attempt, OrderStatus.running, 3, tasks=_running_task(0))
    clock.step(60 + TASK_GRACE_S)
    yard.say(attempt, OrderStatus.running, 4, tasks=_running_task(0))  # however often it says that it is at it
    assert yard.time_out() == 0
    clock.step(1)
    assert (yard.time_out(), yard.time_out()) == (1, 0)
    yard.send()
    yard.say(attempt, OrderStatus.canceled, 5)
    view = yard.view(mission)
    assert (view.status, view.reason) == ("SCHEDULED", "task 0 (go_to at press-1) took longer than its 60 s")


def test_the_last_try_that_takes_too_long_fails_the_mission(yard, clock):
    mission, attempt = yard.running("m", tasks=[TaskCreate(station="press-1", timeout_s=60)], attempts_max=1)
    yard.say(attempt, OrderStatus.running, 3, tasks=_running_task(0))
    clock.step(1000)
    yard.time_out()
    yard.send()
    yard.say(attempt, OrderStatus.canceled, 4)
    assert (yard.status(mission), yard.view(mission).reason) == (
        "FAILED",
        "task 0 (go_to at press-1) took longer than its 60 s",
    )


def test_each_task_has_its_own_time(yard, clock):
    tasks = [TaskCreate(station="press-1", timeout_s=60), TaskCreate(station="gate", timeout_s=60)]
    _, attempt = yard.running("m", tasks=tasks)
    yard.say(attempt, OrderStatus.running, 3, tasks=_running_task(0))
    clock.step(80)
    yard.say(attempt, OrderStatus.running, 4, tasks=yard.done(0) + _running_task(1))
    clock.step(80)
    assert yard.time_out() == 0
    clock.step(11)
    assert yard.time_out() == 1


def test_a_robot_that_never_tells_its_tasks_has_the_time_of_all_of_them(yard, clock):
    tasks = [TaskCreate(station="press-1", timeout_s=60), TaskCreate(station="gate", timeout_s=40)]
    mission, attempt = yard.running("m", tasks=tasks)
    clock.step(100 + GRACE_S)
    assert yard.time_out() == 0
    clock.step(1)
    assert yard.time_out() == 1
    yard.say(attempt, OrderStatus.canceled, 3)
    assert yard.view(mission).reason == "it ran for longer than the 100 s that its tasks may take"


def test_a_robot_that_holds_or_is_silent_is_not_timed_and_a_pause_begins_the_time_anew(yard, clock):
    _, attempt = yard.running("m", tasks=[TaskCreate(station="press-1", timeout_s=60)])
    yard.say(attempt, OrderStatus.running, 3, tasks=_running_task(0))
    yard.say(attempt, OrderStatus.paused, 4, tasks=_running_task(0))
    clock.step(1000)
    assert yard.time_out() == 0
    yard.say(attempt, OrderStatus.running, 5, tasks=_running_task(0))
    clock.step(80)
    assert yard.time_out() == 0
    clock.step(11)
    assert yard.time_out() == 1


def test_a_lost_robot_is_not_timed(yard, clock):
    _, attempt = yard.lose("m", tasks=[TaskCreate(station="press-1", timeout_s=60)])
    clock.step(1000)
    assert (yard.time_out(), attempt.key) == (0, attempt.key)


def test_a_mission_under_way_at_its_deadline_is_taken_back_and_expires_when_the_robot_has_ended(yard, clock):
    deadline = clock.now() + timedelta(seconds=30)
    mission, attempt = yard.running("late", deadline_at=deadline)
    waiting = yard.request("waiting", deadline_at=deadline)
    clock.step(31)
    assert (yard.expire(), yard.expire()) == (2, 0)
    assert [yard.status(each) for each in (mission, waiting)] == ["RUNNING", "EXPIRED"]
    yard.send()
    yard.say(attempt, OrderStatus.canceled, 3)
    view = yard.view(mission)
    assert (view.status, view.attempts[0].recall) == ("EXPIRED", "deadline")
    assert view.reason == "not done by 2026-03-01 22:00 UTC; retry makes a new one without that limit"


def test_a_mission_that_is_done_although_its_deadline_has_passed_is_done(yard, clock):
    mission, attempt = yard.running("late", deadline_at=clock.now() + timedelta(seconds=30))
    clock.step(31)
    yard.expire()
    yard.say(attempt, OrderStatus.succeeded, 3)
    assert yard.status(mission) == "SUCCEEDED"


def test_a_retry_is_without_the_deadline_that_has_passed(yard, clock):
    mission = yard.request("late", deadline_at=clock.now() + timedelta(seconds=30))
    clock.step(31)
    yard.expire()
    again = yard.view(yard.command(mission, "retry"))
    assert (again.status, again.deadline_at) == ("SCHEDULED", None)


def test_what_was_never_sent_expires_at_its_deadline_at_once(yard, clock):
    mission = yard.request("late", deadline_at=clock.now() + timedelta(seconds=30))
    yard.assign("amr-01")
    clock.step(31)
    yard.expire()
    assert (yard.status(mission), yard.leases()) == ("EXPIRED", {})


def test_a_lost_mission_past_its_deadline_expires_when_it_is_abandoned(yard, clock):
    mission, _ = yard.lose("late", deadline_at=clock.now() + timedelta(seconds=60))
    clock.step(60)
    yard.expire()
    assert yard.status(mission) == "RUNNING"
    yard.command(mission, "abandon")
    assert yard.status(mission) == "EXPIRED"


def test_a_mission_that_began_in_time_and_lost_its_robot_goes_on_after_its_window(yard, preempt, clock):
    mission, attempt = yard.running("round", preemptible=True, not_after_at=clock.now() + timedelta(seconds=10))
    yard.observe("amr-01", "executing")
    urgent = yard.request("fire", priority=80)
    preempt()
    yard.say(attempt, OrderStatus.canceled, 3)
    yard.command(urgent, "cancel")
    clock.step(60)
    assert yard.expire() == 0
    assert len(yard.assign("amr-01")) == 1
    assert yard.status(mission) == "ASSIGNED"


def test_a_mission_that_was_refused_before_its_window_passed_never_began_and_expires(yard, clock):
    mission = yard.request("m", not_after_at=clock.now() + timedelta(seconds=10))
    (attempt,) = yard.assign("amr-01")
    yard.send()
    yard.say(attempt, OrderStatus.rejected, 2)
    clock.step(60)
    assert (yard.expire(), yard.status(mission)) == (1, "EXPIRED")
