"""Holds, recalls, skips and abandoned orders on a real PostgreSQL, also against others at the same instant."""

import threading
import time

import pytest
from sqlmodel import select, text

from fleet.adapter import OrderReport, OrderStatus, TaskReport
from fleet.errors import Conflict
from fleet.robots import Robot
from missions import dispatch, feedback, preemption, snapshot
from missions.models import TaskCreate
from missions.plan import plan

pytestmark = pytest.mark.proof


@pytest.fixture
def at_once():
    """Runs the pieces of work in threads that begin together; raises what one of them raised."""

    def run(*pieces) -> list[object]:
        barrier = threading.Barrier(len(pieces))
        results: list[object] = [None] * len(pieces)
        wrong: list[BaseException] = []

        def work(place: int, piece) -> None:
            barrier.wait(10)
            try:
                results[place] = piece()
            except Exception as error:
                wrong.append(error)

        threads = [threading.Thread(target=work, args=each) for each in enumerate(pieces)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert wrong == []
        return results

    return run


@pytest.fixture
def eventually():
    """Waits for a condition, twenty seconds at most."""

    def wait(holds) -> None:
        until = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < until, "it did not come to pass"
            time.sleep(0.02)

    return wait


def test_no_mission_slips_past_a_hold_that_is_put_while_it_is_given_to_a_robot(postgres_yard, at_once):
    yard = postgres_yard
    slipped = 0
    for number in range(20):
        mission = yard.request(f"m{number}")
        yard.observe("amr-01")
        with yard.runtime.reading() as session:
            seen = snapshot.take(session)
        made = plan(seen)
        assert len(made.assignments) == 1
        _, held = at_once(
            lambda made=made, seen=seen: dispatch.carry_out(yard.runtime.transaction, made, seen, who="test"),
            lambda number=number: yard.hold(key=f"h{number}", meanwhile="pause"),
        )
        view = yard.view(mission)
        slipped += bool(view.attempts) and view.desired != "pause"
        yard.command(mission, "cancel")
        yard.release(held)
    assert slipped == 0


def test_giving_missions_waits_for_nobody_who_is_about_to_hold_their_robots(postgres_yard):
    """He may wait in turn for a mission that is locked here: one that was under way on the robot a moment ago."""
    yard = postgres_yard
    yard.request()
    yard.observe("amr-01")
    with yard.runtime.reading() as session:
        seen = snapshot.take(session)
    with yard.runtime.transaction() as session:
        session.exec(select(Robot).with_for_update(key_share=True)).all()
        assert dispatch.carry_out(yard.runtime.transaction, plan(seen), seen, who="test") == []
    assert len(dispatch.carry_out(yard.runtime.transaction, plan(seen), seen, who="test")) == 1


def test_a_hold_is_released_although_what_it_paused_ends_in_that_moment(postgres_yard, eventually):
    yard = postgres_yard
    _, attempt = yard.running()
    held = yard.hold(meanwhile="pause")
    report = OrderReport(
        key=attempt.key,
        serial_number=yard.world.robots["amr-01"].serial_number,
        status=OrderStatus.succeeded,
        observed_at=yard.clock.now(),
        sequence=3,
    )
    wrong: list[Exception] = []

    def release() -> None:
        try:
            yard.release(held)
        except Conflict as error:
            wrong.append(error)

    def waits() -> bool:
        with yard.runtime.reading() as session:
            return session.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one() > 0

    releasing = threading.Thread(target=release)
    with yard.runtime.transaction() as session:
        robot = yard.world.robots["amr-01"]
        feedback.apply(session, robot=robot, report=report, received_at=yard.clock.now(), who="robot:amr-01")
        session.flush()
        releasing.start()
        eventually(waits)
    releasing.join(60)
    assert (wrong, yard.holds()[0].released_by) == ([], "user:chief")


def test_of_four_dispatchers_with_the_same_plan_one_takes_the_robot(postgres_yard, at_once):
    yard = postgres_yard
    mission, attempt = yard.running("round", preemptible=True)
    yard.observe("amr-01", "executing")
    yard.request("fire", priority=80)
    with yard.runtime.reading() as session:
        seen = snapshot.take(session)
    (wanted,) = plan(seen).preemptions

    def take():
        with yard.runtime.transaction() as session:
            return preemption.preempt(session, wanted, seen, who="test")

    assert sum(taken is not None for taken in at_once(*[take] * 4)) == 1
    assert yard.outbox() == ["submit", "cancel"]
    yard.say(attempt, OrderStatus.canceled, 3)
    assert yard.status(mission) == "SCHEDULED"
    (first,) = yard.assign("amr-01")
    assert yard.view(mission).id != first.mission_id


def test_skips_timeouts_abandoned_orders_and_retries_go_their_way(postgres_yard, clock):
    yard = postgres_yard
    tasks = [TaskCreate(station=at, timeout_s=60) for at in ("press-1", "press-2", "gate")]
    mission, attempt = yard.lose("m", tasks=tasks)
    yard.command(mission, "abandon")
    assert (yard.status(mission), len(yard.holds())) == ("SCHEDULED", 1)
    yard.command(mission, "skip", task=1)
    clock.step(3)
    (attempt,) = yard.assign("amr-01", "amr-02")
    yard.send()
    running = (TaskReport(position=0, status="running"),)
    yard.say(attempt, OrderStatus.running, 2, robot="amr-02", tasks=running)
    clock.step(91)
    assert (yard.time_out(), yard.expire()) == (1, 0)
    yard.send()
    yard.say(attempt, OrderStatus.canceled, 3, robot="amr-02")
    assert (yard.status(mission), yard.view(mission).reason) == (
        "FAILED",
        "task 0 (go_to at press-1) took longer than its 60 s",
    )
    again = yard.command(mission, "retry")
    assert [bool(task.skipped_at) for task in yard.view(again).tasks] == [False, True, False]


def test_one_key_asked_for_by_four_at_once_is_one_mission_and_other_content_is_refused(postgres_yard, at_once):
    yard = postgres_yard
    made = at_once(*[lambda: yard.request("m")] * 4)
    assert len({mission.id for mission in made}) == 1
    with pytest.raises(Conflict, match="differs in priority"):
        yard.request("m", priority=3)


def test_one_hold_put_and_released_by_four_at_once_is_one_hold(postgres_yard, at_once):
    yard = postgres_yard
    put = at_once(*[yard.hold] * 4)
    assert len({held.id for held in put}) == 1
    at_once(*[lambda: yard.release(put[0])] * 4)
    assert sorted(yard.changes("hold")) == ["put", "released"]
