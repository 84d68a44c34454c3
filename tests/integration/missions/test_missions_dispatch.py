"""From a plan to the robot and back: holds, messages, answers, reports."""

from datetime import timedelta

import pytest
from sqlmodel import select

from fleet.adapter import Accepted, OrderStatus, Refused, TaskReport, Unknown
from fleet.errors import Conflict
from fleet.events import Event
from fleet.robots import HolderKind, Robot, RobotLease
from missions import dispatch, sending, snapshot
from missions.lifecycle import Cause, move_mission
from missions.models import Mission, MissionStatus, OutboxStatus
from missions.plan import plan

PENDING = OutboxStatus.pending


@pytest.fixture
def hold(runtime, world, clock):
    """Somebody else holds amr-01 for a minute."""

    def take(kind: HolderKind) -> None:
        robot = world.robots["amr-01"]
        with runtime.transaction() as session:
            session.add(
                RobotLease(
                    robot_id=robot.id,
                    organisation_id=robot.organisation_id,
                    holder_kind=kind,
                    holder_id="somebody",
                    fence=7,
                    expires_at=clock.now() + timedelta(seconds=60),
                )
            )

    return take


def test_an_assignment_holds_its_robot_raises_the_fence_and_writes_the_order_before_anything_is_sent(yard, world):
    mission = yard.request("m", "press-1", "gate")
    (attempt,) = yard.assign("amr-01")
    assert (attempt.key, attempt.fence) == (f"{mission.id}/1", 1)
    assert yard.leases() == {world.robots["amr-01"].id: 1}
    (parcel,) = yard.begin()
    assert [(task.position, task.station, task.x_m) for task in parcel.order.tasks] == [
        (0, "press-1", 10.0),
        (1, "gate", 10.0),
    ]
    assert (parcel.order.fence, parcel.order.serial_number) == (1, "SN-amr-01")
    view = yard.view(mission)
    assert (view.status, view.robot, view.attempts[0].status) == ("ASSIGNED", "amr-01", "DISPATCHED")


def test_each_new_hold_has_a_higher_fence(yard, runtime):
    for number in range(3):
        _, attempt = yard.running(f"m{number}")
        yard.say(attempt, OrderStatus.succeeded, 3)
    with runtime.reading() as session:
        assert session.exec(select(Robot.fence).where(Robot.name == "amr-01")).one() == 3


def test_the_same_plan_carried_out_twice_gives_each_mission_once(yard, runtime):
    yard.request("a")
    yard.observe("amr-01")
    with runtime.reading() as session:
        seen = snapshot.take(session)
    assert len(dispatch.carry_out(runtime.transaction, plan(seen), seen, who="one")) == 1
    assert dispatch.carry_out(runtime.transaction, plan(seen), seen, who="two") == []


def test_a_mission_cancelled_since_the_snapshot_is_passed_over(yard, runtime):
    mission = yard.request()
    yard.observe("amr-01")
    with runtime.reading() as session:
        seen = snapshot.take(session)
    yard.command(mission, "cancel")
    assert dispatch.carry_out(runtime.transaction, plan(seen), seen, who="test") == []
    assert yard.leases() == {}


def test_a_robot_that_somebody_took_since_the_snapshot_is_passed_over_and_nothing_is_written(yard, runtime, hold):
    mission = yard.request()
    yard.observe("amr-01")
    with runtime.reading() as session:
        seen = snapshot.take(session)
    hold(HolderKind.operator)
    assert dispatch.carry_out(runtime.transaction, plan(seen), seen, who="test") == []
    assert (yard.status(mission), yard.view(mission).attempts, yard.outbox()) == ("SCHEDULED", [], [])


def test_an_operators_hold_ends_with_its_time_and_an_attempts_hold_never_does(yard, clock, hold):
    yard.request("a")
    hold(HolderKind.operator)
    assert yard.assign("amr-01") == []
    clock.step(61)
    assert len(yard.assign("amr-01")) == 1
    yard.request("b")
    clock.step(100_000)
    assert yard.assign("amr-01") == []


def test_a_mission_that_nobody_can_do_any_more_is_refused_with_the_reason(yard, runtime, world):
    mission = yard.request(required_capabilities=["inspect"])
    with runtime.transaction() as session:
        for robot in world.robots.values():
            session.get_one(Robot, robot.id).capabilities = ["drive"]
    yard.assign()
    assert (yard.status(mission), yard.view(mission).reason) == (
        "REFUSED",
        "No robot can do inspect (of 2: amr-01, amr-02).",
    )


def test_the_swap_is_refused_to_the_second_of_two_who_read_the_same_version(yard, runtime):
    mission = yard.request()
    with runtime.reading() as session:
        stale = session.get(Mission, mission.id)
    with runtime.transaction() as session:
        move_mission(session, session.get(Mission, mission.id), MissionStatus.expired, Cause("one", "first"))
    with pytest.raises(Conflict, match="changed it first"), runtime.transaction() as session:
        move_mission(session, session.merge(stale, load=False), MissionStatus.canceled, Cause("two", "second"))
    assert yard.status(mission) == "EXPIRED"


def test_an_accepted_order_is_not_sent_again(yard):
    mission = yard.request()
    yard.assign("amr-01")
    assert yard.send() == [Accepted(reference=f"{mission.id}/1")]
    assert (yard.view(mission).attempts[0].status, yard.outbox(PENDING)) == ("ACCEPTED", [])


def test_no_answer_is_unknown_and_the_robot_is_asked_before_the_order_is_sent_again(yard, clock):
    mission = yard.request()
    yard.assign("amr-01")
    yard.robots.faults.answer_lost = 1.0
    assert isinstance(yard.send()[0], Unknown)
    assert yard.view(mission).attempts[0].status == "DISPATCHED"
    yard.robots.faults.answer_lost = 0.0
    clock.step(2)
    (answer,) = yard.send()
    assert (answer.kind, answer.status) == ("order", OrderStatus.accepted)
    assert len(yard.robots.history) == 1
    assert (yard.view(mission).attempts[0].status, yard.outbox(PENDING)) == ("ACCEPTED", [])


def test_each_further_try_waits_twice_as_long_up_to_half_a_minute(yard, clock):
    yard.request()
    yard.assign("amr-01")
    waits = []
    for _ in range(7):
        (parcel,) = yard.begin()
        yard.settle(parcel, Unknown(why="down"))
        waited = 0
        while not yard.has_due():
            clock.step(1)
            waited += 1
        waits.append(waited)
    assert waits == [1, 2, 4, 8, 16, 30, 30]


def test_a_message_that_is_on_its_way_is_claimed_until_its_sender_must_be_dead(yard, clock):
    yard.request()
    yard.assign("amr-01")
    (first,) = yard.begin()
    assert yard.begin() == []
    clock.step(sending.CLAIM_S + 1)
    (again,) = yard.begin()
    assert (again.message_id, again.tries, first.tries) == (first.message_id, 2, 1)


def test_a_refusing_robot_is_left_and_the_mission_tried_elsewhere(yard, clock):
    mission = yard.request()
    yard.assign("amr-01")
    (parcel,) = yard.begin()
    yard.settle(parcel, Refused(reason="door closed"))
    view = yard.view(mission)
    assert (view.status, view.attempts[0].status, view.reason) == ("SCHEDULED", "REJECTED", "door closed")
    clock.step(3)
    (second,) = yard.assign()
    assert (second.number, yard.view(mission).robot) == (2, "amr-02")


def test_an_answer_written_twice_changes_nothing_the_second_time(yard):
    mission = yard.request()
    yard.assign("amr-01")
    (parcel,) = yard.begin()
    yard.settle(parcel, Accepted())
    before = yard.view(mission)
    yard.settle(parcel, Accepted())
    assert yard.view(mission) == before


def test_a_failed_first_attempt_is_followed_by_a_second_from_the_task_left(yard, clock):
    mission = yard.request("m", "press-1", "gate")
    (attempt,) = yard.assign("amr-01")
    yard.send()
    yard.say(attempt, OrderStatus.failed, 3, reason="path blocked at gate", tasks=yard.done(0))
    assert (yard.status(mission), yard.view(mission).reason) == ("SCHEDULED", "path blocked at gate")
    assert yard.assign() == []  # it rests first
    clock.step(2)
    (second,) = yard.assign()
    assert (second.number, second.first_task) == (2, 1)
    (parcel,) = yard.begin()
    assert [task.station for task in parcel.order.tasks] == ["gate"]
    yard.settle(parcel, Accepted())
    yard.say(second, OrderStatus.succeeded, 2, robot="amr-02", tasks=yard.done(1))
    assert yard.status(mission) == "SUCCEEDED"
    assert [(result.attempt, result.position) for result in yard.view(mission).results] == [(1, 0), (2, 1)]


def test_the_last_failure_ends_the_mission(yard):
    mission, attempt = yard.running(attempts_max=1)
    yard.say(attempt, OrderStatus.failed, 3, reason="motor hot")
    view = yard.view(mission)
    assert (view.status, view.reason, yard.leases()) == ("FAILED", "motor hot", {})
    assert view.finished_at == yard.clock.now()


def test_a_report_applied_twice_changes_nothing_the_second_time(yard):
    mission, attempt = yard.running()
    before = yard.view(mission)
    yard.say(attempt, OrderStatus.running, 2)
    assert yard.view(mission) == before


def test_an_older_report_that_comes_late_is_ignored(yard):
    mission, attempt = yard.running()
    yard.say(attempt, OrderStatus.paused, 5)
    yard.say(attempt, OrderStatus.running, 4)
    assert yard.status(mission) == "PAUSED"


def test_a_reading_is_kept_with_its_unit(yard):
    mission, attempt = yard.running()
    taken = TaskReport(position=0, status="succeeded", value=61.5, unit="degC", finished_at=yard.clock.now())
    yard.say(attempt, OrderStatus.succeeded, 3, tasks=(taken,))
    (result,) = yard.view(mission).results
    assert (result.value, result.unit, result.finished_at) == (61.5, "degC", yard.clock.now())


def test_an_order_we_never_sent_leaves_one_event_and_no_error(yard, runtime):
    _, attempt = yard.running()
    foreign = attempt.model_copy(update={"key": "somebody-elses"})
    for _ in range(2):
        yard.say(foreign, OrderStatus.running, 1)
    yard.say(attempt, OrderStatus.running, 9, robot="amr-02")  # ours, but that robot does not have it
    with runtime.reading() as session:
        kinds = session.exec(select(Event.kind)).all()
    assert kinds == ["foreign_order", "foreign_order"]


def test_an_order_that_runs_after_we_gave_it_up_is_told_to_end(yard):
    _, attempt = yard.running()
    yard.say(attempt, OrderStatus.failed, 3)
    yard.say(attempt, OrderStatus.running, 4)
    assert yard.outbox(PENDING) == ["cancel"]


def test_every_move_of_mission_and_attempt_is_told_to_the_feed_in_order(yard):
    _, attempt = yard.running()
    yard.say(attempt, OrderStatus.succeeded, 3)
    assert yard.changes("mission") == ["created", "scheduled", "assigned", "running", "succeeded"]
    assert yard.changes("attempt") == ["prepared", "dispatched", "accepted", "running", "succeeded"]
