"""The mission path on a real PostgreSQL: several dispatchers at once, and nights of faults."""

import asyncio
import threading
from collections import Counter

import pytest
from sqlmodel import select

from fleet import changes, states
from fleet.adapter import Observation
from fleet.robots import Robot, RobotLease
from fleet.runtime import Runtime
from missions import dispatch, sending, snapshot
from missions.create import create_round
from missions.models import Attempt, Mission, MissionCreate, MissionStatus, OutboxMessage, TaskCreate
from missions.plan import plan
from missions.simulation.night import Night, trouble
from missions.simulation.place import Scene
from missions.simulation.processes import Ground

pytestmark = pytest.mark.proof


def _request(runtime: Runtime, world, count: int) -> None:
    wanted = [
        MissionCreate(name=f"m{number}", key=f"m{number}", tasks=[TaskCreate(station="press-1")])
        for number in range(count)
    ]
    with runtime.transaction() as session:
        create_round(session, site=world.site, name="night", key="night", missions=wanted, who="test")


def _observe(runtime: Runtime, world, clock) -> None:
    with runtime.transaction() as session:
        for robot in world.robots.values():
            seen = Observation(serial_number=robot.serial_number, observed_at=clock.now(), activity="idle")
            states.observe(session, robot, seen, received_at=clock.now())


def _at_once(work, count: int) -> list[object]:
    results: list[object] = []
    barrier = threading.Barrier(count)

    def run() -> None:
        barrier.wait()
        try:
            results.append(work())
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_of_several_dispatchers_with_one_plan_each_robot_is_given_once(postgres_runtime, postgres_world, clock):
    _request(postgres_runtime, postgres_world, 6)
    _observe(postgres_runtime, postgres_world, clock)
    with postgres_runtime.reading() as session:
        seen = snapshot.take(session)
    made = plan(seen)
    given = _at_once(lambda: dispatch.carry_out(postgres_runtime.transaction, made, seen, who="test"), 4)
    assert sum(len(attempts) for attempts in given) == 2
    with postgres_runtime.reading() as session:
        assert len(session.exec(select(RobotLease)).all()) == 2
        assert len(session.exec(select(Attempt)).all()) == 2
        assert {robot.fence for robot in session.exec(select(Robot)).all()} == {1}


def test_of_several_senders_one_takes_each_message(postgres_runtime, postgres_world, clock):
    _request(postgres_runtime, postgres_world, 2)
    _observe(postgres_runtime, postgres_world, clock)
    with postgres_runtime.reading() as session:
        seen = snapshot.take(session)
    dispatch.carry_out(postgres_runtime.transaction, plan(seen), seen, who="test")

    def begin_all() -> list[object]:
        with postgres_runtime.reading() as session:
            waiting = sending.due(session)
        begun = []
        for due in waiting:
            with postgres_runtime.transaction() as session:
                begun.append(sending.begin(session, due, who="test"))
        return [parcel.message_id for parcel in begun if parcel is not None]

    begun = Counter(key for keys in _at_once(begin_all, 4) for key in keys)
    with postgres_runtime.reading() as session:
        sent = {message.id for message in session.exec(select(OutboxMessage)).all()}
    assert begun == Counter(sent)


def test_the_feed_of_concurrent_writers_has_no_gap(postgres_runtime, postgres_world, clock):
    def write() -> None:
        for number in range(10):
            with postgres_runtime.transaction() as session:
                changes.record(
                    session,
                    organisation_id=postgres_world.organisation.id,
                    subject="test",
                    subject_id=number,
                    kind="written",
                )
            with postgres_runtime.transaction() as session:
                changes.publish(session)

    assert _at_once(write, 4) == [None] * 4
    with postgres_runtime.transaction() as session:
        changes.publish(session)
    with postgres_runtime.reading() as session:
        assert [change.position for change in changes.after(session, 0)] == list(range(1, 41))


@pytest.mark.parametrize("seed", range(3))
def test_a_night_of_faults_is_survived(postgres_runtime, postgres_world, clock, seed: int):
    place = Ground(postgres_runtime.transaction, postgres_runtime.reading, clock)
    scene = Scene(postgres_world.site, tuple(postgres_world.robots.values()))
    tally = asyncio.run(Night(seed, trouble(seed, 60), place, scene).run())
    assert tally.is_sound, tally.wrongs
    assert tally.crashes.total() > 30


def test_a_mission_asked_for_by_many_at_once_is_one_mission(postgres_runtime, postgres_world):
    given = _at_once(lambda: _request(postgres_runtime, postgres_world, 3), 4)
    assert given == [None] * 4
    with postgres_runtime.reading() as session:
        missions = session.exec(select(Mission)).all()
    assert [mission.status for mission in missions] == [MissionStatus.scheduled] * 3


def test_a_newer_observation_is_told_from_an_older_one(postgres_runtime, postgres_world, clock):
    robot = postgres_world.robots["amr-01"]

    def observe() -> bool:
        seen = Observation(serial_number=robot.serial_number, observed_at=clock.now(), activity="idle")
        with postgres_runtime.transaction() as session:
            return states.observe(session, robot, seen, received_at=clock.now())

    told = [observe(), observe()]
    clock.step(1)
    assert [*told, observe()] == [True, False, True]
