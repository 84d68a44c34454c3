"""Whom a person must look at: silent robots, orders that take too long, robots that do not end what they were told to."""

from datetime import timedelta

import pytest
from sqlmodel import select

from fleet.adapter import OrderStatus, Unknown
from fleet.changes import Change
from fleet.events import Alert
from missions import alerts


@pytest.fixture
def follow(runtime):
    """Looks at the live attempts once."""

    def look() -> None:
        with runtime.transaction() as session:
            alerts.follow(session)

    return look


@pytest.fixture
def open_alerts(runtime, world):
    """Rule and message of the open alerts, after the robots' names."""

    def read() -> dict[str, str]:
        names = {robot.id: robot.name for robot in world.robots.values()}
        with runtime.reading() as session:
            rows = session.exec(select(Alert).where(Alert.closed_at.is_(None))).all()
        return {f"{names[row.robot_id]}: {row.rule}": row.message for row in rows}

    return read


@pytest.fixture
def go_silent(yard, clock):
    """Whoever is asked for the next `seconds` gives no answer."""

    def pass_by(seconds: int) -> None:
        for _ in range(seconds // 3):
            clock.step(3)
            for parcel in yard.begin():
                yard.settle(parcel, Unknown(why="no answer within 15 s"))
            for question in yard.questions():
                yard.hear(question, Unknown(why="no answer within 15 s"))

    return pass_by


def test_a_robot_that_goes_silent_with_an_order_is_told_of_once_with_what_to_do(yard, go_silent, follow, open_alerts):
    yard.running("round of the presses")
    go_silent(60)
    follow()
    follow()
    (told,) = open_alerts().items()
    assert told[0] == "amr-01: robot_silent"
    assert "amr-01" in told[1]
    assert "round of the presses" in told[1]
    assert "22:00" in told[1], "when it was last heard"
    assert "is given nothing else until it answers" in told[1]


def test_the_alert_is_closed_when_the_robot_is_heard_again(yard, go_silent, follow, open_alerts, runtime, clock):
    _, attempt = yard.running()
    go_silent(60)
    follow()
    clock.step(1)
    yard.say(attempt, OrderStatus.running, 3)
    follow()
    assert open_alerts() == {}
    with runtime.reading() as session:
        (alert,) = session.exec(select(Alert)).all()
        told = session.exec(select(Change.kind).where(Change.subject == "alert").order_by(Change.id)).all()
    assert alert.closed_at > alert.opened_at
    assert told == ["opened", "closed"]


def test_a_robot_that_goes_silent_twice_is_told_of_twice(yard, go_silent, follow, runtime):
    _, attempt = yard.running()
    for sequence in (3, 4):
        go_silent(60)
        follow()
        yard.say(attempt, OrderStatus.running, sequence)
        follow()
    with runtime.reading() as session:
        assert len(session.exec(select(Alert)).all()) == 2


def test_a_robot_that_never_answered_at_all_is_silent_too(yard, go_silent, follow, open_alerts):
    mission = yard.request()
    yard.assign("amr-01")
    go_silent(180)
    follow()
    view = yard.view(mission)
    assert (view.status, view.attempts[0].status) == ("ASSIGNED", "LOST")
    assert list(open_alerts()) == ["amr-01: robot_silent"]


def test_an_order_that_was_found_after_all_goes_on_and_its_alert_is_closed(yard, go_silent, follow, open_alerts, clock):
    mission = yard.request()
    yard.assign("amr-01")
    go_silent(180)
    follow()
    clock.step(31)
    yard.send()
    follow()
    assert (yard.view(mission).attempts[0].status, open_alerts()) == ("ACCEPTED", {})


def test_a_mission_that_ends_ends_its_alerts(yard, go_silent, follow, open_alerts):
    _, attempt = yard.running()
    go_silent(60)
    follow()
    yard.say(attempt, OrderStatus.succeeded, 9)
    follow()
    assert open_alerts() == {}


def test_an_order_that_takes_longer_than_its_tasks_may_is_told_of_however_much_its_robot_talks(
    yard, clock, follow, open_alerts
):
    _, attempt = yard.running(
        "long", tasks=[{"station": "press-1", "timeout_s": 100}, {"station": "gate", "timeout_s": 50}]
    )
    for sequence in range(3, 8):
        clock.step(alerts.GRACE_S / 4 + 30)
        yard.say(attempt, OrderStatus.running, sequence)
        follow()
        is_over = sequence >= 7
        assert list(open_alerts()) == (["amr-01: order_overdue"] if is_over else [])
    (message,) = open_alerts().values()
    assert "'long'" in message
    assert "150 s" in message
    assert "cancel the mission" in message


def test_a_mission_that_somebody_paused_is_not_overdue_and_is_given_its_whole_time_after_it(
    yard, clock, follow, open_alerts
):
    mission, attempt = yard.running(tasks=[{"station": "press-1", "timeout_s": 60}])
    yard.command(mission, "pause")
    yard.say(attempt, OrderStatus.paused, 3)
    clock.step(86_400)
    follow()
    assert open_alerts() == {}
    yard.command(mission, "resume")
    yard.say(attempt, OrderStatus.running, 4)
    clock.step(30)
    follow()
    assert open_alerts() == {}
    clock.step(60 + alerts.GRACE_S)
    follow()
    assert list(open_alerts()) == ["amr-01: order_overdue"]


def test_a_robot_that_goes_on_although_it_was_told_to_end_is_told_of(yard, clock, follow, open_alerts):
    mission, attempt = yard.running("stubborn")
    yard.command(mission, "cancel")
    follow()
    assert open_alerts() == {}, "it is given a moment"
    clock.step(alerts.OBEYS_S + 1)
    yard.say(attempt, OrderStatus.running, 3)
    follow()
    assert list(open_alerts()) == ["amr-01: cancel_not_obeyed"]
    assert "user:ops" not in open_alerts()["amr-01: cancel_not_obeyed"]
    yard.say(attempt, OrderStatus.canceled, 4)
    follow()
    assert open_alerts() == {}


def test_missions_that_wait_or_go_well_are_nobodys_concern(yard, clock, follow, open_alerts):
    yard.running("well")
    yard.request("waiting")
    yard.request("careful", approval_needed=True)
    clock.step(10)
    follow()
    assert open_alerts() == {}


def test_alerts_of_other_rules_are_left_alone(yard, follow, open_alerts, runtime, world, clock):
    robot = world.robots["amr-02"]
    with runtime.transaction() as session:
        session.add(
            Alert(
                organisation_id=robot.organisation_id,
                robot_id=robot.id,
                rule="battery_low",
                message="amr-02: its battery is low.",
                open_key=f"{robot.organisation_id}/{robot.id}/battery_low",
                opened_at=clock.now() - timedelta(hours=1),
            )
        )
    follow()
    assert list(open_alerts()) == ["amr-02: battery_low"]
