"""Commands are taken at once in every live state and pursued until the robot's own report agrees."""

from uuid import UUID

import pytest

from fleet.adapter import Accepted, Acknowledged, OrderStatus, Unknown, Unsupported
from fleet.errors import Conflict, NotFound
from missions.lifecycle import Cause, wish
from missions.models import Desired, Mission, OutboxStatus

PENDING = OutboxStatus.pending


def test_a_waiting_mission_is_cancelled_at_once(yard):
    mission = yard.request()
    yard.command(mission, "cancel")
    view = yard.view(mission)
    assert (view.status, view.reason) == ("CANCELED", "because")
    assert yard.changes("mission")[-2:] == ["desired_cancel", "canceled"]


def test_an_attempt_that_was_never_sent_is_cancelled_at_once_and_frees_its_robot(yard):
    mission = yard.request()
    yard.assign("amr-01")
    yard.command(mission, "cancel")
    assert yard.status(mission) == "CANCELED"
    assert (yard.leases(), yard.outbox(PENDING), yard.send()) == ({}, [], [])


def test_a_running_mission_is_cancelled_when_the_robot_says_so_and_not_before(yard):
    mission, attempt = yard.running()
    yard.command(mission, "cancel")
    assert yard.send() == [Acknowledged()]
    assert (yard.status(mission), yard.view(mission).desired) == ("RUNNING", Desired.cancel)
    yard.say(attempt, OrderStatus.canceled, 3)
    assert (yard.status(mission), yard.leases()) == ("CANCELED", {})


def test_a_cancelled_mission_tells_why_in_the_words_of_who_cancelled_it_and_not_of_its_robot(yard):
    mission, attempt = yard.running()
    yard.command(mission, "cancel")
    yard.say(attempt, OrderStatus.canceled, 3)
    view = yard.view(mission)
    assert (view.status, view.reason) == ("CANCELED", "because")
    assert view.attempts[0].reason == "the robot ended the order and stopped"


def test_the_same_cancel_again_sends_nothing_more(yard):
    mission, _ = yard.running()
    yard.command(mission, "cancel")
    yard.command(mission, "cancel")
    assert yard.outbox(PENDING) == ["cancel"]


def test_a_cancel_that_the_robot_does_not_obey_is_sent_again_however_much_it_talks(yard, clock):
    mission, attempt = yard.running()
    yard.command(mission, "cancel")
    (parcel,) = yard.begin()
    yard.settle(parcel, Acknowledged())
    clock.step(11)
    yard.say(attempt, OrderStatus.running, 3)
    (question,) = yard.questions()
    yard.hear(question, Unknown(why="busy"))
    assert yard.outbox(PENDING) == ["cancel"]


def test_a_cancel_is_taken_while_nobody_knows_whether_the_robot_has_the_order(yard, clock):
    mission = yard.request()
    yard.assign("amr-01")
    (parcel,) = yard.begin()
    yard.settle(parcel, Unknown(why="timeout"))
    yard.command(mission, "cancel")
    assert yard.outbox(PENDING) == ["cancel"]  # the submit is not sent again
    yard.robots.faults.remembers_cancels = False
    assert isinstance(yard.send()[0], Unsupported)
    clock.step(11)
    yard.ask()
    assert yard.status(mission) == "ASSIGNED"  # the order may still turn up
    clock.step(31)
    yard.send()
    yard.ask()
    view = yard.view(mission)
    assert (view.status, view.reason, view.attempts[0].reason) == (
        "CANCELED",
        "because",
        "the robot never had the order",
    )


def test_a_mission_that_succeeded_while_its_cancel_was_under_way_has_succeeded(yard):
    mission, attempt = yard.running()
    yard.command(mission, "cancel")
    yard.say(attempt, OrderStatus.succeeded, 3)
    assert yard.status(mission) == "SUCCEEDED"


def test_a_waiting_mission_that_is_paused_is_not_planned_until_it_is_resumed(yard):
    mission = yard.request()
    yard.command(mission, "pause")
    assert yard.assign() == []
    yard.command(mission, "resume")
    assert len(yard.assign()) == 1


def test_a_running_mission_pauses_and_goes_on_by_the_robots_word(yard):
    mission, attempt = yard.running()
    yard.command(mission, "pause")
    yard.send()
    yard.say(attempt, OrderStatus.paused, 3)
    assert yard.status(mission) == "PAUSED"
    yard.command(mission, "resume")
    yard.send()
    yard.say(attempt, OrderStatus.running, 4)
    assert (yard.status(mission), yard.outbox()) == ("RUNNING", ["submit", "pause", "resume"])


def test_a_pause_taken_back_before_it_was_sent_is_not_sent(yard):
    mission, _ = yard.running()
    yard.command(mission, "pause")
    yard.command(mission, "resume")
    assert yard.outbox(PENDING) == ["resume"]


@pytest.mark.parametrize("name", ["pause", "resume", "skip"])
def test_what_is_asked_of_a_mission_that_is_being_cancelled_is_taken_and_noted_once_and_the_cancel_stands(yard, name):
    mission, attempt = yard.running()
    yard.command(mission, "cancel")
    for _ in range(2):
        yard.command(mission, name)
    view = yard.view(mission)
    assert (view.status, view.desired, view.tasks[0].skipped_at) == ("RUNNING", Desired.cancel, None)
    noted = [line.why for line in view.transitions if "no effect" in line.why]
    assert noted == [f"{name} has no effect, for the mission is being cancelled: because"]
    assert yard.outbox(PENDING) == ["cancel"]
    yard.say(attempt, OrderStatus.canceled, 3)
    assert yard.status(mission) == "CANCELED"


def test_no_code_takes_back_a_cancel(yard, runtime):
    mission, _ = yard.running()
    yard.command(mission, "cancel")
    with pytest.raises(Conflict, match="is not taken back"), runtime.transaction() as session:
        wish(session, session.get_one(Mission, mission.id), Desired.pause, Cause("test", "because"))
    assert yard.view(mission).desired is Desired.cancel


@pytest.mark.parametrize("name", ["cancel", "pause", "resume", "skip"])
def test_every_command_is_taken_twice_while_nobody_knows_whether_the_robot_has_the_order(yard, name):
    mission = yard.request(tasks=[{"station": "press-1"}, {"station": "gate"}])
    yard.assign("amr-01")
    yard.begin()
    for _ in range(2):
        yard.command(mission, name)
    assert yard.view(mission).attempts[0].status == "DISPATCHED"


@pytest.mark.parametrize("name", ["cancel", "pause", "resume", "skip"])
def test_every_command_is_taken_twice_while_the_robot_is_lost(yard, name):
    mission, _ = yard.lose(tasks=[{"station": "press-1"}, {"station": "gate"}])
    for _ in range(2):
        yard.command(mission, name)
    assert yard.view(mission).attempts[0].status == "LOST"


def test_an_ended_mission_takes_no_command_but_retry(yard):
    mission = yard.request()
    yard.command(mission, "cancel")
    for name in ("cancel", "pause", "resume", "skip", "approve"):
        with pytest.raises(Conflict, match="has ended"):
            yard.command(mission, name)


def test_a_retry_is_a_new_mission_once_and_leads_back_to_the_old(yard):
    mission = yard.request()
    yard.command(mission, "cancel")
    again = yard.command(mission, "retry")
    assert yard.command(mission, "retry").id == again.id != mission.id
    view = yard.view(again)
    assert (view.retry_of, view.status, view.desired) == (mission.id, "SCHEDULED", "run")
    assert [task.station for task in view.tasks] == ["press-1"]
    assert yard.status(mission) == "CANCELED"


def test_a_live_or_succeeded_mission_is_not_retried(yard):
    mission, attempt = yard.running()
    with pytest.raises(Conflict, match="is RUNNING"):
        yard.command(mission, "retry")
    yard.say(attempt, OrderStatus.succeeded, 3)
    with pytest.raises(Conflict, match="is SUCCEEDED"):
        yard.command(mission, "retry")


def test_what_needs_no_approval_is_not_approved_and_approving_twice_is_harmless(yard):
    with pytest.raises(Conflict, match="needs no approval"):
        yard.command(yard.request("plain"), "approve")
    careful = yard.request("careful", approval_needed=True)
    yard.command(careful, "approve")
    yard.command(careful, "approve")
    assert yard.status(careful) == "SCHEDULED"


def test_another_organisations_mission_is_not_found(yard):
    mission = yard.request()
    with pytest.raises(NotFound):
        yard.command(mission, "cancel", organisation_id=UUID(int=1))


def test_an_order_accepted_after_its_attempt_was_given_up_is_told_to_end(yard, clock):
    mission = yard.request()
    (attempt,) = yard.assign("amr-01")
    (parcel,) = yard.begin()
    yard.say(attempt, OrderStatus.canceled, 1)
    yard.settle(parcel, Accepted())
    assert (yard.status(mission), yard.outbox(PENDING)) == ("CANCELED", ["cancel"])
