"""The shared ground on a real PostgreSQL: alerts, requests, holds and polls by several at once, and what a restart breaks."""

import threading
from collections import Counter

import pytest
from sqlmodel import select

from fleet import requests, states
from fleet.adapter import Observation, OrderStatus, Unknown
from fleet.alerts import close_alert, open_alert
from fleet.changes import Change
from fleet.doorbell import PostgresDoorbell
from fleet.errors import Conflict, Unavailable
from fleet.events import Alert
from fleet.robots import RobotLease
from fleet.runtime import Runtime
from missions import alerts, commands, dispatch, feedback, recovery, sending, snapshot
from missions.create import create
from missions.models import Attempt, Mission, MissionCreate, MissionStatus, OutboxMessage, TaskCreate, Transition
from missions.plan import plan

pytestmark = pytest.mark.proof
MANY = 6


@pytest.fixture
def at_once():
    """Does the work in several threads that begin together; what each gave or raised."""

    def run(work, count: int = MANY) -> list[object]:
        results: list[object] = []
        barrier = threading.Barrier(count)

        def one() -> None:
            barrier.wait()
            try:
                results.append(work())
            except Exception as error:
                results.append(error)

        threads = [threading.Thread(target=one) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    return run


@pytest.fixture
def assigned(postgres_runtime: Runtime, postgres_world, clock) -> Attempt:
    """A mission that was given to amr-01 and not yet sent."""
    robot = postgres_world.robots["amr-01"]
    wanted = MissionCreate(name="m", key="m", tasks=[TaskCreate(station="press-1")])
    with postgres_runtime.transaction() as session:
        create(session, site=postgres_world.site, wanted=wanted, who="user:ops")
        seen = Observation(serial_number=robot.serial_number, observed_at=clock.now(), activity="idle")
        states.observe(session, robot, seen, received_at=clock.now())
    with postgres_runtime.reading() as session:
        found = snapshot.take(session)
    (attempt,) = dispatch.carry_out(postgres_runtime.transaction, plan(found), found, who="test")
    return attempt


@pytest.fixture
def sent(postgres_runtime: Runtime, assigned: Attempt) -> Attempt:
    """The same, sent without an answer."""
    with postgres_runtime.reading() as session:
        (due,) = sending.due(session)
    with postgres_runtime.transaction() as session:
        parcel = sending.begin(session, due, who="test")
    with postgres_runtime.transaction() as session:
        now = postgres_runtime.clock.now()
        sending.settle(session, parcel, Unknown(why="no answer"), who="test", received_at=now)
    return assigned


def _statuses(runtime: Runtime) -> tuple[str, str]:
    with runtime.reading() as session:
        return session.exec(select(Mission.status)).one().value, session.exec(select(Attempt.status)).one().value


def test_an_alert_opened_by_many_at_once_is_one_and_told_once(postgres_runtime, postgres_world, clock, at_once):
    robot = postgres_world.robots["amr-01"]

    def open_and_close(is_opening: bool) -> None:
        with postgres_runtime.transaction() as session:
            if is_opening:
                open_alert(session, robot, "robot_silent", "look", at=clock.now())
            else:
                close_alert(session, robot, "robot_silent", at=clock.now())

    assert at_once(lambda: open_and_close(True)) == [None] * MANY
    assert at_once(lambda: open_and_close(False)) == [None] * MANY
    with postgres_runtime.reading() as session:
        assert len(session.exec(select(Alert)).all()) == 1
        assert session.exec(select(Change.kind).where(Change.subject == "alert").order_by(Change.id)).all() == [
            "opened",
            "closed",
        ]


def test_dispatchers_that_look_at_once_tell_of_a_silent_robot_once(postgres_runtime, sent, clock, at_once):
    clock.step(40)
    with postgres_runtime.transaction() as session:
        (question,) = recovery.questions(session)
    with postgres_runtime.transaction() as session:
        recovery.heard(session, question, Unknown(why="no answer"), received_at=clock.now(), who="test")

    def look() -> None:
        with postgres_runtime.transaction() as session:
            alerts.follow(session)

    assert at_once(look) == [None] * MANY
    with postgres_runtime.reading() as session:
        assert [alert.rule for alert in session.exec(select(Alert)).all()] == ["robot_silent"]


def test_an_overdue_order_is_told_of_by_the_times_of_the_database(postgres_runtime, sent, clock):
    clock.step(600 + alerts.GRACE_S + 1)
    with postgres_runtime.transaction() as session:
        alerts.follow(session)
    with postgres_runtime.reading() as session:
        (alert,) = session.exec(select(Alert)).all()
    assert alert.rule == "order_overdue"
    assert "DISPATCHED since 22:00 UTC, longer than the 600 s" in alert.message


def test_one_question_is_asked_by_one_of_many_dispatchers(postgres_runtime, sent, clock, at_once):
    clock.step(6)

    def ask() -> int:
        with postgres_runtime.transaction() as session:
            return len(recovery.questions(session))

    assert sorted(at_once(ask)) == [0] * (MANY - 1) + [1]


def test_cancels_and_reports_that_meet_leave_one_end_and_no_deadlock(
    postgres_runtime, postgres_world, sent, clock, at_once
):
    robot = postgres_world.robots["amr-01"]
    turn = iter(range(MANY * 2))

    def act() -> None:
        number = next(turn)
        with postgres_runtime.transaction() as session:
            if number % 2:
                commands.command(
                    session,
                    organisation_id=robot.organisation_id,
                    mission_id=sent.mission_id,
                    command="cancel",
                    who="user:ops",
                    why="",
                )
                return
            report = {
                "key": sent.key,
                "serial_number": robot.serial_number,
                "status": OrderStatus.succeeded if number == 4 else OrderStatus.running,
                "observed_at": clock.now(),
                "sequence": number + 1,
            }
            said = feedback.OrderReport.model_validate(report)
            feedback.apply(session, robot=robot, report=said, received_at=clock.now(), who="robot")

    outcomes = at_once(act)
    assert all(outcome is None or isinstance(outcome, Conflict) for outcome in outcomes), outcomes
    assert _statuses(postgres_runtime) == ("SUCCEEDED", "SUCCEEDED")
    with postgres_runtime.reading() as session:
        assert session.exec(select(RobotLease)).all() == []
        versions = Counter((line.subject_id, line.version) for line in session.exec(select(Transition)).all())
    assert set(versions.values()) == {1}


def test_one_cancel_of_many_is_sent_once(postgres_runtime, sent, at_once):
    def cancel() -> None:
        with postgres_runtime.transaction() as session:
            commands.command(
                session,
                organisation_id=sent.organisation_id,
                mission_id=sent.mission_id,
                command="cancel",
                who="user:ops",
                why="",
            )

    assert at_once(cancel) == [None] * MANY
    with postgres_runtime.reading() as session:
        told = Counter((row.command.value, row.status.value) for row in session.exec(select(OutboxMessage)).all())
    assert told == {("submit", "dropped"): 1, ("cancel", "pending"): 1}


def test_a_mission_expires_once_however_many_look_at_the_clock(postgres_runtime, postgres_world, clock, at_once):
    wanted = MissionCreate(name="m", key="m", tasks=[TaskCreate(station="press-1")], not_after_at=clock.now())
    with postgres_runtime.transaction() as session:
        create(session, site=postgres_world.site, wanted=wanted, who="user:ops")
    clock.step(1)

    def expire() -> int:
        with postgres_runtime.transaction() as session:
            return recovery.expire(session, who="test")

    assert sorted(at_once(expire)) == [0] * (MANY - 1) + [1]
    with postgres_runtime.reading() as session:
        assert session.exec(select(Mission)).one().status is MissionStatus.expired


def test_each_request_is_claimed_by_one_of_many_desks(postgres_runtime, postgres_world, at_once):
    for number in range(12):
        with postgres_runtime.transaction() as session:
            requests.ask(
                session,
                organisation_id=postgres_world.organisation.id,
                kind="process-bag",
                key=str(number),
                parameters={},
                requested_by="test",
            )

    def claim() -> list[str]:
        with postgres_runtime.transaction() as session:
            return [row.key for row in requests.claim_pending(session, limit=5)]

    taken = Counter(key for keys in at_once(claim) for key in keys)
    assert set(taken.values()) == {1}
    assert len(taken) == 12


def test_a_request_asked_for_by_many_at_once_is_one(postgres_runtime, postgres_world, at_once):
    def ask() -> object:
        with postgres_runtime.transaction() as session:
            return requests.ask(
                session,
                organisation_id=postgres_world.organisation.id,
                kind="process-bag",
                key="sha",
                parameters={},
                requested_by="test",
            ).id

    assert len(set(at_once(ask))) == 1


def test_a_bell_rung_by_one_connection_wakes_every_listener_of_the_others(postgres_runtime):
    bell = PostgresDoorbell(postgres_runtime.engine)
    with bell.listen() as first, bell.listen() as second:
        bell.ring()
        assert (first.wait(5), second.wait(5)) == (True, True)
        assert not first.wait(0.01)


def test_listeners_do_not_use_up_the_connections_of_the_work(postgres_runtime, postgres_world):
    bell = PostgresDoorbell(postgres_runtime.engine)
    ears = [bell.listen() for _ in range(25)]
    with postgres_runtime.reading() as session:
        assert session.exec(select(Mission)).all() == []
    for ear in ears:
        ear.__exit__(None, None, None)


def test_work_whose_connection_the_server_ended_is_told_as_unavailable_and_the_next_goes_on(postgres_runtime):
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = current_user"
    with pytest.raises(Unavailable), postgres_runtime.transaction() as session:
        session.exec(select(Mission)).all()
        with postgres_runtime.engine.connect() as other:
            other.exec_driver_sql(f"{end} AND datname = current_database()")
        session.exec(select(Mission)).all()
    with postgres_runtime.reading() as session:
        assert session.exec(select(Mission)).all() == []


@pytest.fixture
def restarted(postgres_runtime: Runtime):
    """Ends every connection but the caller's, as a restart of the server does."""

    def restart() -> None:
        with postgres_runtime.engine.connect() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )

    return restart


def test_a_ring_gets_through_although_the_server_ended_the_line_of_the_last_one(postgres_runtime: Runtime, restarted):
    bell = PostgresDoorbell(postgres_runtime.engine)
    bell.ring()
    restarted()
    with bell.listen() as listener:
        bell.ring()
        assert listener.wait(5)


def test_a_connection_left_alone_is_asked_for_before_it_is_used_again(
    postgres_runtime: Runtime, restarted, monkeypatch
):
    with postgres_runtime.reading() as one, postgres_runtime.reading() as other:
        assert one.exec(select(Mission)).all() == other.exec(select(Mission)).all() == []
    restarted()
    monkeypatch.setattr("fleet.database.ASK_AFTER_S", 0.0)
    with postgres_runtime.reading() as one, postgres_runtime.reading() as other:
        assert one.exec(select(Mission)).all() == other.exec(select(Mission)).all() == []
