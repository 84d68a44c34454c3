"""Given, claimed and sent at once: one transaction for a plan, one bad assignment spoils no other, a crash is asked about."""

import asyncio
from uuid import UUID

import pytest
from sqlmodel import delete, select
from structlog.testing import capture_logs

from fleet.errors import Conflict
from fleet.robots import RobotLease
from missions import dispatch, recovery, sending, snapshot
from missions.models import Attempt, AttemptStatus, MissionStatus, OutboxMessage
from missions.plan import plan
from missions.schedules import firing
from orchestration.answers import Answers
from orchestration.dispatcher import Dispatcher
from orchestration.lanes import Lanes, Room
from orchestration.rounds import Rounds

ONE, TWO, THREE = UUID(int=1), UUID(int=2), UUID(int=3)
CLOUD, OTHER = UUID(int=11), UUID(int=12)


@pytest.fixture
def give(yard, runtime):
    """Plans, gives and claims; `has_room` says for which robots. Gives the parcels."""

    def at_once(*names: str, has_room=lambda robot, account: True) -> list[sending.Parcel]:
        for name in names:
            yard.observe(name)
        with runtime.reading() as session:
            seen = snapshot.take(session)
        claimed = []

        def also(session, given):
            begun = sending.begin_new(session, given, has_room=has_room, who="test")
            claimed.append(({one.attempt.id for one in given}, begun))

        written = dispatch.carry_out(runtime.transaction, plan(seen), seen, who="test", also=also)
        ids = {attempt.id for attempt in written}
        return [parcel for attempts, parcels in claimed if attempts <= ids for parcel in parcels]

    return at_once


@pytest.fixture
def attempts(runtime):
    """The attempts by the robot's id."""

    def read() -> dict[UUID, Attempt]:
        with runtime.reading() as session:
            return {row.robot_id: row for row in session.exec(select(Attempt).order_by(Attempt.number)).all()}

    return read


def test_a_plan_is_given_and_claimed_in_one_transaction(yard, runtime, give, attempts, monkeypatch):
    yard.request("m1")
    yard.request("m2")
    commits = []
    monkeypatch.setattr(runtime.doorbell, "ring", lambda: commits.append("rung"))
    yard.observe("amr-01")
    yard.observe("amr-02")
    commits.clear()
    parcels = give()
    assert len(commits) == 1
    assert {parcel.key for parcel in parcels} == {attempt.key for attempt in attempts().values()}
    assert {attempt.status for attempt in attempts().values()} == {AttemptStatus.dispatched}
    assert not yard.has_due(), "what is on its way is nobody else's"


def test_an_order_for_which_no_lane_is_free_is_due_later(yard, give, attempts):
    yard.request("m1")
    assert give("amr-01", has_room=lambda robot, account: False) == []
    (attempt,) = attempts().values()
    assert attempt.status is AttemptStatus.prepared
    assert yard.has_due()


def test_an_order_claimed_by_a_process_that_died_is_asked_about_before_it_is_sent_again(yard, give, clock, world):
    yard.request("m1")
    (lost,) = give("amr-01")
    asyncio.run(sending.deliver(yard.robots, lost))  # it arrived, and the process died before it wrote that
    clock.step(sending.CLAIM_S + 1)
    (again,) = yard.begin()
    assert (again.key, again.tries) == (lost.key, 2)
    said = asyncio.run(sending.deliver(yard.robots, again))
    yard.settle(again, said)
    assert len(yard.robots.history) == 1


def test_one_assignment_that_the_database_refuses_undoes_no_other(yard, runtime, give, world):
    yard.request("before", robot="amr-01")
    give("amr-01")
    with runtime.transaction() as session:
        session.exec(delete(RobotLease))  # as if somebody had meddled: the attempt lives, its hold is gone
    refused, fine = yard.request("m1", robot="amr-01"), yard.request("m2", robot="amr-02")
    (parcel,) = give("amr-01", "amr-02")
    assert parcel.robot_id == world.robots["amr-02"].id
    assert (yard.status(refused), yard.status(fine)) == (MissionStatus.scheduled, MissionStatus.assigned)


def test_a_robot_that_must_be_told_something_else_first_gets_its_order_after_that(yard, runtime, give, world, attempts):
    _, attempt = yard.running("m1")
    with runtime.transaction() as session:
        late = OutboxMessage(
            organisation_id=world.organisation.id,
            robot_id=world.robots["amr-02"].id,
            attempt_id=attempt.id,
            command="cancel",
            fence=1,
            next_try_at=yard.clock.now(),
            created_at=yard.clock.now(),
        )
        session.add(late)
    yard.request("m2", robot="amr-02")
    assert give("amr-02") == []
    (first, *_) = yard.begin()
    assert first.command == "cancel"


def test_a_process_that_begins_asks_about_every_live_order_at_once(yard, runtime, clock):
    yard.running("m1")
    clock.step(1)
    with runtime.transaction() as session:
        assert recovery.questions(session) == [], "it was heard a second ago"
    began_at = clock.now()
    clock.step(0.1)
    with runtime.transaction() as session:
        assert len(recovery.questions(session, unheard_since=began_at)) == 1
    clock.step(1)
    with runtime.transaction() as session:
        assert recovery.questions(session, unheard_since=began_at) == [], "once is enough"


def test_an_order_without_room_to_be_asked_about_does_not_count_as_asked(yard, runtime, clock):
    yard.running("m1")
    clock.step(10)
    with runtime.transaction() as session:
        assert recovery.questions(session, has_room=lambda _robot, _account: False) == []
    with runtime.transaction() as session:
        assert len(recovery.questions(session)) == 1


async def test_missions_are_given_although_the_schedules_are_broken(yard, runtime, monkeypatch, attempts):
    def broken(transaction, *, who: str) -> int:
        raise LookupError("planted")

    monkeypatch.setattr(firing, "fire_due", broken)
    yard.request("m1")
    yard.observe("amr-01")
    dispatcher = Dispatcher(runtime)
    with capture_logs() as logs:
        await dispatcher.turn()
    await dispatcher.lanes.idle()
    await dispatcher.close()
    assert len(attempts()) == 1
    assert [line["chore"] for line in logs if line["event"].startswith("a chore failed")] == ["fire schedules"]


async def test_of_a_group_of_answers_only_the_one_that_cannot_be_written_is_refused(yard, runtime):
    missions = [yard.request(f"m{number}") for number in range(3)]
    written, answers = [], Answers(runtime.transaction, Rounds(1.0, longest_s=1.0).between)

    def work(number: int):
        def write(session) -> None:
            if number == 1:
                raise Conflict("planted")
            written.append(number)

        return write

    writes = [answers.write(mission.id, work(number)) for number, mission in enumerate(missions)]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    await asyncio.to_thread(answers.stop)
    assert [type(outcome) for outcome in outcomes] == [bool, Conflict, bool]
    assert {0, 2} <= set(written)


def test_room_is_counted_down_by_robot_account_and_in_all():
    room = Room(taken={ONE}, free=2, share=1, shares={})
    assert not room.take(ONE, CLOUD), "its lane is taken"
    assert room.take(TWO, CLOUD)
    assert not room.take(THREE, CLOUD), "the account has its share"
    assert room.take(THREE, OTHER)
    assert (room.free, room.busy, room.crowded) == (0, {ONE, TWO, THREE}, {CLOUD, OTHER})


async def test_the_room_of_lanes_is_a_copy():
    lanes = Lanes(lambda: None, width=3, share=2)
    room = lanes.room
    assert room.take(ONE, CLOUD)
    assert (lanes.free, lanes.busy) == (3, frozenset())


@pytest.fixture
async def dispatcher(runtime, monkeypatch):
    """One that gives missions one at a time."""
    monkeypatch.setattr("orchestration.planner.PORTION", 1)
    dispatcher = Dispatcher(runtime, drains=False)
    yield dispatcher
    await dispatcher.close()


async def test_a_crowd_is_given_in_portions_one_look_after_the_other(yard, dispatcher, attempts):
    for name in ("amr-01", "amr-02"):
        yard.observe(name)
        yard.request(name)
    await dispatcher.deal()
    assert len(attempts()) == 1
    assert dispatcher.wake.is_set(), "more may wait"
    await dispatcher.deal()
    assert len(attempts()) == 2


async def test_a_mission_that_nobody_can_do_now_hides_none_behind_it(yard, dispatcher, attempts, world):
    yard.observe("amr-01")
    yard.request("urgent", robot="amr-02", priority=9)
    yard.request("other")
    await dispatcher.deal()
    assert set(attempts()) == {world.robots["amr-01"].id}
    assert not dispatcher.wake.is_set(), "nothing new can be given"
