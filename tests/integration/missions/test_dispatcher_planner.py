"""Free robots that a dispatcher remembers from one look to the next: quick where they suffice, never the last word."""

import pytest
from sqlmodel import select

from fleet.adapter import Activity, OrderStatus
from missions import snapshot
from missions.models import Attempt, MissionStatus
from missions.plan import URGENT, Plan, plan
from orchestration.dispatcher import Dispatcher
from orchestration.planner import REFRESHED_S, REMEMBERED_S, Planner


@pytest.fixture
async def dispatcher(runtime):
    dispatcher = Dispatcher(runtime, drains=False)
    yield dispatcher
    await dispatcher.close()


@pytest.fixture
def robots(runtime):
    """The robots that were given missions, in turn."""

    def read() -> list:
        with runtime.reading() as session:
            return list(session.exec(select(Attempt.robot_id).order_by(Attempt.created_at, Attempt.id)).all())

    return read


@pytest.fixture
async def one(yard, dispatcher, world, clock):
    """amr-01 has a mission, and the dispatcher remembers that amr-02 is free."""
    yard.observe("amr-01")
    yard.observe("amr-02", x_m=50.0)
    yard.request("one")
    await dispatcher.deal()
    clock.step(REMEMBERED_S / 2)
    return world.robots["amr-01"].id


CHANGES = {
    "charges": lambda yard: yard.observe("amr-02", Activity.charging),
    "is low": lambda yard: yard.observe("amr-02", battery_fraction=0.01),
    "is held": lambda yard: yard.hold(robot="amr-02"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_robot_that_is_free_no_more_is_given_nothing(yard, dispatcher, robots, one, change):
    CHANGES[change](yard)
    two = yard.request("two")
    await dispatcher.deal()
    assert robots() == [one]
    assert yard.view(two).status is MissionStatus.scheduled


async def test_another_robot_takes_over_in_the_same_look(yard, runtime, dispatcher, robots, one):
    CHANGES["charges"](yard)
    with runtime.reading() as session:
        attempt = session.exec(select(Attempt)).one()
    yard.say(attempt, OrderStatus.succeeded, 9)  # amr-01 is free again, which the dispatcher does not remember
    yard.observe("amr-01")
    yard.request("two")
    await dispatcher.deal()
    assert robots() == [one, one]


async def test_a_mission_for_a_busy_robot_waits_and_is_not_refused(yard, dispatcher, one):
    mission = yard.request("two", robot="amr-01")
    await dispatcher.deal()
    assert yard.view(mission).status is MissionStatus.scheduled


async def test_robots_are_remembered_for_a_moment_only(yard, runtime, clock):
    for name in ("amr-01", "amr-02"):
        yard.observe(name)
    yard.request("one")
    planner = Planner(clock)
    looks = []
    for waited_s in (0.0, 0.0, REMEMBERED_S):
        clock.step(waited_s)
        with runtime.reading() as session:
            seen, _ = planner.plan(session)
        looks.append(seen.is_remembered)
    assert looks == [False, True, False]


async def test_robots_that_are_in_use_are_read_anew_between_looks(yard, runtime, dispatcher, robots, one, clock):
    with runtime.reading() as session:
        attempt = session.exec(select(Attempt)).one()
    yard.say(attempt, OrderStatus.succeeded, 9)
    yard.observe("amr-01")
    yard.request("two")
    clock.step(REFRESHED_S - REMEMBERED_S / 2)
    await dispatcher.deal()  # from memory, which knows amr-02 alone; then it is read anew
    assert len(set(robots())) == 2
    clock.step(REMEMBERED_S / 2)
    yard.request("three")
    with runtime.reading() as session:
        seen, made = dispatcher._planner.plan(session)
    assert seen.is_remembered
    assert [assignment.robot_id for assignment in made.assignments] == [one]


async def test_robots_that_nobody_asks_for_are_not_read_again(dispatcher, one, clock):
    clock.step(REMEMBERED_S)
    await dispatcher.deal()
    assert not dispatcher._planner.is_stale


def test_an_urgent_mission_is_planned_with_all_robots_and_what_they_are_at(yard, runtime):
    yard.running("runs")
    yard.observe("amr-02")
    yard.request("one")
    with runtime.reading() as session:
        free = snapshot.free_in(snapshot.take(session), Plan())
        assert snapshot.take_first(session, 9, free=free).is_remembered
    yard.request("urgent", priority=URGENT)
    with runtime.reading() as session:
        seen = snapshot.take_first(session, 9, free=free)
    assert {robot.name: robot.work is not None for robot in seen.robots} == {"amr-01": True, "amr-02": False}


def test_a_plan_with_what_is_remembered_gives_no_robot_twice(yard, runtime):
    yard.observe("amr-01")
    yard.request("one")
    with runtime.reading() as session:
        seen = snapshot.take(session)
        free = snapshot.free_in(seen, Plan())
        given = [len(plan(seen, free.ranking).assignments) for _ in range(2)]
    assert given == [1, 0]
