"""Robots that reboot, talk nonsense, refuse what they began or do not obey: no mission is stuck, none done twice."""

import asyncio

import pytest
from sqlmodel import select

from fleet.adapter import Acknowledged, OrderReport, OrderStatus, Unknown
from fleet.errors import Conflict
from fleet.events import Alert
from missions import alerts, sending
from missions.lifecycle import Cause
from missions.live import live_attempt, lock_mission
from missions.models import Recall
from missions.outcome import call_back


@pytest.fixture
def answer(yard):
    """The robot answers what it is asked about with this report."""

    def run(status: str = "running", sequence: int = 9, **news: object) -> None:
        yard.clock.step(6)
        for question in yard.questions():
            said = {"key": question.key, "serial_number": question.serial_number, "observed_at": yard.clock.now()}
            yard.hear(question, OrderReport.model_validate(said | {"status": status, "sequence": sequence} | news))

    return run


@pytest.fixture
def open_alerts(runtime):
    """Looks at the live attempts, and gives the rules of the open alerts with their messages."""

    def run() -> dict[str, str]:
        with runtime.transaction() as session:
            alerts.follow(session)
        with runtime.reading() as session:
            rows = session.exec(select(Alert).where(Alert.closed_at.is_(None))).all()
        return {row.rule: row.message for row in rows}

    return run


def test_a_robot_that_counts_anew_after_a_reboot_is_believed_when_it_is_asked(yard, answer):
    mission, attempt = yard.running()
    yard.say(attempt, OrderStatus.running, 50)
    answer("paused", 3)
    assert yard.status(mission) == "PAUSED"
    yard.say(attempt, OrderStatus.succeeded, 4)
    assert yard.status(mission) == "SUCCEEDED"


def test_an_answer_that_was_overtaken_by_a_newer_report_is_no_reboot(yard, clock):
    mission, attempt = yard.running()
    clock.step(6)
    (question,) = yard.questions()
    yard.say(attempt, OrderStatus.paused, 8)
    said = {"key": question.key, "serial_number": question.serial_number, "observed_at": clock.now(), "sequence": 7}
    yard.hear(question, OrderReport.model_validate(said | {"status": "running"}))
    assert yard.status(mission) == "PAUSED"


@pytest.mark.parametrize("began", [OrderStatus.running, OrderStatus.paused])
def test_a_robot_that_refuses_what_it_had_begun_has_failed_at_it(yard, began):
    mission, attempt = yard.running()
    yard.say(attempt, began, 3)
    yard.say(attempt, OrderStatus.rejected, 9, reason="not any more")
    view = yard.view(mission)
    assert (view.status, view.attempts[0].status, view.reason) == ("SCHEDULED", "FAILED", "not any more")


@pytest.mark.parametrize("nonsense", [{"sequence": 2**70}, {"sequence": 2**63}, {"key": "somebody's/1"}])
def test_a_robot_whose_answers_say_nothing_is_lost_and_a_person_is_told(yard, answer, open_alerts, nonsense):
    mission, _ = yard.running()
    for _ in range(7):
        answer("failed", **nonsense)
    assert yard.view(mission).attempts[0].status == "LOST"
    assert list(open_alerts()) == ["robot_silent"]


@pytest.mark.parametrize(
    "odd",
    [
        {"reason": "a\0b\ud800"},
        {"tasks": [{"position": 2**70, "status": "running"}, {"position": -1, "status": "failed"}]},
        {"tasks": [{"position": 0, "status": "failed", "message": "\0", "unit": "\ud800", "value": float("nan")}]},
    ],
)
@pytest.mark.parametrize("kind", ["yard", pytest.param("postgres_yard", marks=pytest.mark.proof)])
def test_what_cannot_be_kept_of_a_report_keeps_nothing_else_from_being_applied(request, kind, odd):
    yard = request.getfixturevalue(kind)
    mission, attempt = yard.running()
    yard.say(attempt, OrderStatus.failed, 9, **odd)
    assert yard.status(mission) == "SCHEDULED"


def test_an_answer_about_another_order_does_not_count_as_having_the_order(yard):
    yard.request()
    yard.assign("amr-01")
    (parcel,) = yard.begin()
    serial = parcel.serial_number
    said = OrderReport(key="x", serial_number=serial, status=OrderStatus.running, observed_at=yard.clock.now())
    yard.settle(parcel, said)
    yard.clock.step(31)
    yard.send()
    assert [len(robot.executions) for robot in yard.robots.robots.values()] == [1, 0]


def test_whatever_a_link_raises_counts_as_no_answer(yard):
    async def stumble() -> Acknowledged:
        raise KeyError("state")

    assert asyncio.run(sending.answered(stumble())) == Unknown(why="the link to the robot failed: KeyError: 'state'")


def test_a_robot_that_never_ends_what_it_was_told_to_end_can_be_abandoned(yard, answer, open_alerts, clock):
    mission, _ = yard.running()
    yard.command(mission, "cancel")
    with pytest.raises(Conflict, match="60 s after it was told to"):
        yard.command(mission, "abandon")
    for _ in range(11):
        answer("running", 9)
    assert "abandon the mission" in open_alerts()["cancel_not_obeyed"]
    yard.command(mission, "abandon")
    view = yard.view(mission)
    assert (view.status, view.attempts[0].status) == ("CANCELED", "FAILED")
    assert [held.robot for held in yard.holds()] == ["amr-01"]


@pytest.mark.parametrize("end", ["preempted", "timeout", "deadline", "forgotten", "abandoned"])
def test_what_is_told_to_be_done_to_the_last_task_is_not_done_again(yard, answer, end):
    mission, attempt = yard.running(tasks=[{"station": "press-1"}, {"station": "gate"}, {"kind": "record_bag"}])
    yard.say(attempt, OrderStatus.running, 5, tasks=yard.done(0, 1))
    if end == "forgotten":
        answer("not_found")
    elif end == "abandoned":
        for _ in range(7):
            yard.clock.step(6)
            for question in yard.questions():
                yard.hear(question, Unknown(why="no answer"))
        yard.command(mission, "abandon")
    else:
        with yard.runtime.transaction() as session:
            row = lock_mission(session, mission.id)
            call_back(session, row, live_attempt(session, mission.id), Recall(end), Cause("system:test", "why"))
        yard.say(attempt, OrderStatus.canceled, 6)
    assert yard.status(mission) == "SUCCEEDED"


def test_a_retry_that_does_all_again_is_not_done_because_the_first_one_was(yard):
    mission, attempt = yard.running(attempts_max=1, preemptible=True)
    yard.say(attempt, OrderStatus.failed, 5, tasks=yard.done(0))
    again = yard.command(mission, "retry")
    (second,) = yard.assign("amr-01")
    yard.send()
    with yard.runtime.transaction() as session:
        row = lock_mission(session, again.id)
        call_back(session, row, live_attempt(session, again.id), Recall.preempted, Cause("system:test", "why"))
    yard.say(second, OrderStatus.canceled, 6)
    assert yard.status(again) == "SCHEDULED"


def test_a_retry_whose_key_is_that_of_another_mission_is_refused(yard):
    mission, _ = yard.request("a"), yard.request("a/retry")
    yard.command(mission, "cancel")
    with pytest.raises(Conflict, match="'a/retry' of user:ops, which retries nothing of 'a'"):
        yard.command(mission, "retry")


def test_a_robot_that_holds_by_itself_is_told_of_and_so_is_one_that_does_not_hold(yard, open_alerts, clock):
    mission, attempt = yard.running()
    yard.say(attempt, OrderStatus.paused, 9)
    clock.step(59)
    assert open_alerts() == {}
    clock.step(2)
    assert "amr-01: holds mission 'm' since 22:00 UTC" in open_alerts()["order_held_by_robot"]
    yard.say(attempt, OrderStatus.running, 10)
    yard.command(mission, "pause")
    clock.step(61)
    assert "told at 22:01 UTC to hold mission 'm', and it goes on" in open_alerts()["pause_not_obeyed"]
    yard.say(attempt, OrderStatus.paused, 11)
    assert open_alerts() == {}
