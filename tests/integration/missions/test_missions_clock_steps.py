"""The machine's clock is set back or forward while missions are under way: none waits for the hour to come round again."""

import pytest
from sqlmodel import select

from fleet.accounts import ManufacturerAccount
from fleet.adapter import OrderStatus, TaskReport, Unknown
from missions.models import OutboxMessage, TaskCreate
from missions.overdue import GRACE_S, TASK_GRACE_S
from missions.sending import CLAIM_S
from orchestration.chores import Chores

HOUR_S = 3600


@pytest.fixture
def lost_answer(yard):
    """An order that was sent once without an answer, and waits to be sent again."""
    mission = yard.request()
    yard.assign("amr-01")
    (parcel,) = yard.begin()
    yard.settle(parcel, Unknown(why="no answer"))
    return mission


def test_an_order_that_waits_to_be_sent_again_does_not_wait_an_hour_longer(yard, clock, lost_answer):
    clock.step(-HOUR_S)
    yard.send()
    assert yard.view(lost_answer).attempts[0].status == "ACCEPTED"


def test_a_message_whose_sender_died_is_taken_over_although_its_claim_lies_an_hour_ahead(yard, clock):
    mission = yard.request()
    yard.assign("amr-01")
    yard.begin()  # and the dispatcher dies
    clock.step(-HOUR_S)
    yard.send()
    assert yard.view(mission).attempts[0].status == "ACCEPTED"


def test_a_claim_of_this_moment_is_respected_however_the_clock_stood_before(yard, clock):
    yard.request()
    clock.step(-HOUR_S)
    yard.assign("amr-01")
    yard.begin()
    clock.step(CLAIM_S - 1)
    assert not yard.has_due()


def test_a_quiet_order_is_asked_about_although_it_was_heard_of_an_hour_ahead(yard, clock):
    yard.running()
    clock.step(6)
    yard.ask()
    clock.step(-HOUR_S)
    assert len(yard.questions()) == 1
    assert yard.questions() == [], "and not again at once"


def test_a_missed_end_is_learned_after_a_step_back(yard, clock):
    mission, _ = yard.running()
    yard.robots.step(2)
    yard.robots.step(60)
    clock.step(-HOUR_S)
    for _ in range(3):
        clock.step(6)
        yard.ask()
    assert yard.status(mission) == "SUCCEEDED"


def test_a_step_forward_at_most_makes_an_order_lost_until_its_robot_is_heard(yard, clock):
    mission, attempt = yard.running()
    clock.step(HOUR_S)
    (question,) = yard.questions()
    yard.hear(question, Unknown(why="no answer"))
    assert yard.view(mission).attempts[0].status == "LOST"
    yard.say(attempt, OrderStatus.running, 3)
    assert yard.view(mission).attempts[0].status == "RUNNING"
    assert len(yard.leases()) == 1


def test_a_retry_does_not_rest_for_the_hour_that_was_set_back(yard, clock):
    mission, attempt = yard.running()
    yard.say(attempt, OrderStatus.failed, 3, reason="path blocked")
    assert yard.assign("amr-02") == [], "two seconds, as after every first failure"
    clock.step(-HOUR_S)
    assert len(yard.assign("amr-02")) == 1
    assert yard.view(mission).attempts[1].robot == "amr-02"


def test_the_books_keep_their_order_through_a_step_back(yard, clock):
    mission, attempt = yard.running()
    clock.step(-HOUR_S)
    yard.say(attempt, OrderStatus.succeeded, 3)
    history = [line.to_status for line in yard.view(mission).transitions if line.subject == "mission"]
    assert history == ["CREATED", "SCHEDULED", "ASSIGNED", "RUNNING", "SUCCEEDED"]
    with yard.runtime.reading() as session:
        assert [row.status.value for row in session.exec(select(OutboxMessage)).all()] == ["done"]


def test_an_account_that_was_polled_an_hour_ahead_is_watched_at_once(yard, runtime, world, clock):
    with runtime.transaction() as session:
        session.get_one(ManufacturerAccount, world.account.id).polled_at = clock.now()
    yard.request()
    clock.step(-HOUR_S)
    assert [account.name for account in Chores(runtime).unwatched()] == ["cloud"]


def test_a_task_that_hangs_is_timed_from_the_moment_the_clock_was_set_back(yard, clock):
    _, attempt = yard.running("m", tasks=[TaskCreate(station="press-1", timeout_s=60)])
    yard.say(attempt, OrderStatus.running, 3, tasks=(TaskReport(position=0, status="running"),))
    clock.step(-HOUR_S)
    assert yard.time_out() == 0
    clock.step(60 + TASK_GRACE_S + 1)
    assert yard.time_out() == 1
    assert yard.outbox() == ["submit", "cancel"]


def test_a_robot_that_tells_no_tasks_is_timed_from_then_too(yard, clock):
    yard.running("m", tasks=[TaskCreate(station="press-1", timeout_s=60)])
    clock.step(-HOUR_S)
    assert yard.time_out() == 0
    clock.step(60 + GRACE_S + 1)
    assert yard.time_out() == 1
