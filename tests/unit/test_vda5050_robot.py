"""One robot as a gateway knows it: newer wins, what is heard, what it does, and why it would refuse."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fleet.adapter import Activity, TaskKind
from fleet.adapters.vda5050.options import options_from
from fleet.adapters.vda5050.robot import Newest, Robot
from fleet.adapters.vda5050.wire import (
    ActionOffered,
    ActionSaid,
    Factsheet,
    Header,
    Place,
    State,
    Trouble,
)

AT = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
NOW_S = 100.0


def later(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


@pytest.fixture
def state():
    return State(
        header=Header(7, AT, "2.1.0"),
        order_id="",
        update_id=0,
        last_node_id="dock",
        last_sequence=0,
        nodes=(),
        edges=(),
        actions={},
        is_driving=False,
        is_paused=False,
        place=Place(1.0, 2.0, 0.5, "hall", True),
        battery_fraction=0.5,
        is_charging=False,
        mode="AUTOMATIC",
        troubles=(),
        emergency_stop="NONE",
    )


@pytest.fixture
def robot(state):
    found = Robot("acme/7", options_from({}), 0.0)
    found.state, found.state_s, found.told_version = state, NOW_S, "2.1.0"
    found.place = state.place
    return found


def test_newer_wins_and_gaps_are_counted():
    newest = Newest()
    assert newest.takes(Header(1, later(0), ""))
    assert newest.takes(Header(2, later(1), ""))
    assert not newest.takes(Header(2, later(1), "")), "the same again"
    assert not newest.takes(Header(1, later(0), "")), "an older one"
    assert newest.takes(Header(6, later(2), ""))
    assert newest.lost == 3


def test_a_robot_that_begins_to_count_anew_with_a_later_clock_is_heard_and_has_lost_nothing():
    newest = Newest()
    newest.takes(Header(500, later(0), ""))
    assert newest.takes(Header(0, later(1), ""))
    assert newest.lost == 0


def test_a_clock_that_is_set_back_is_followed_by_the_count():
    newest = Newest()
    newest.takes(Header(5, later(100), ""))
    assert newest.takes(Header(6, later(0), ""))


def test_a_robot_that_begins_anew_with_a_wrong_clock_is_believed_after_three_messages():
    newest = Newest()
    newest.takes(Header(500, later(1000), ""))
    assert [newest.takes(Header(number, later(number), "")) for number in range(5)] == [False, False, True, True, True]


def test_headers_without_number_or_time_are_judged_by_what_is_there():
    newest = Newest()
    assert newest.takes(Header(None, None, ""))
    assert newest.takes(Header(3, None, ""))
    assert not newest.takes(Header(3, None, ""))
    assert newest.takes(Header(None, later(5), ""))
    assert not newest.takes(Header(None, later(4), ""))


def test_a_jump_beyond_reason_is_no_loss():
    newest = Newest()
    newest.takes(Header(1, later(0), ""))
    newest.takes(Header(10**9, later(1), ""))
    assert newest.lost == 0


@pytest.mark.parametrize(
    ("change", "activity", "reason"),
    [
        ({}, Activity.idle, ""),
        ({"is_charging": True}, Activity.charging, ""),
        ({"nodes": (2,), "order_id": "x"}, Activity.executing, "order 'x', which is not ours"),
        ({"actions": {"a": ActionSaid("RUNNING")}}, Activity.executing, "not ours"),
        ({"actions": {"a": ActionSaid("RUNNING", "", True)}}, Activity.idle, ""),
        ({"is_paused": True}, Activity.paused, "paused at the robot itself"),
        ({"mode": "SEMIAUTOMATIC"}, Activity.maintenance, "SEMIAUTOMATIC"),
        ({"mode": "MANUAL", "nodes": (2,)}, Activity.maintenance, "not ours"),
        ({"mode": "TEACH_IN"}, Activity.maintenance, "TEACH_IN"),
        ({"mode": ""}, Activity.idle, ""),
        ({"emergency_stop": "MANUAL"}, Activity.error, "emergency stop is active (MANUAL)"),
        ({"troubles": (Trouble("scanner", "FATAL", "dirty"),)}, Activity.error, "scanner: dirty"),
        ({"troubles": (Trouble("scanner", "WARNING", "dirty"),)}, Activity.idle, ""),
        ({"troubles": (Trouble("route", "CRITICAL", "lost"),)}, Activity.idle, ""),
    ],
)
def test_what_a_robot_does_and_whether_it_may_be_given_something_follow_from_its_state(robot, change, activity, reason):
    robot.state = replace(robot.state, **change)
    assert robot.activity(NOW_S) is activity
    said = robot.unready(NOW_S)
    assert reason in said
    assert bool(said) is bool(reason)


def test_a_robot_is_fresh_until_it_is_silent_or_its_connection_broke_after_its_state(robot):
    assert robot.is_fresh(NOW_S + 44.0)
    assert not robot.is_fresh(NOW_S + 46.0)
    robot.connection, robot.connection_s = "CONNECTION_BROKEN", NOW_S - 1.0
    assert robot.is_fresh(NOW_S), "a state that came after the will is believed"
    robot.connection_s = NOW_S + 1.0
    assert not robot.is_fresh(NOW_S + 2.0)
    assert robot.activity(NOW_S + 2.0) is Activity.offline


def test_a_robot_that_speaks_seldom_by_its_factsheet_is_given_twice_its_time(robot):
    robot.factsheet = Factsheet(Header(1, AT, ""), state_interval_s=30.0)
    assert robot.is_fresh(NOW_S + 59.0)
    robot.factsheet = Factsheet(Header(1, AT, ""), state_interval_s=10**9)
    assert robot.silent_after_s == 600.0


def test_an_offline_robot_is_told_so_as_of_now_and_any_other_as_of_its_own_clock(robot):
    assert robot.observation(NOW_S, later(5)).observed_at == AT
    gone = robot.observation(NOW_S + 1000.0, later(1000))
    assert (gone.activity, gone.observed_at) == (Activity.offline, later(1000))


@pytest.mark.parametrize("off_s", [-7200.0, 120.0])
def test_a_clock_that_is_hopeless_is_replaced_by_the_time_of_arrival(robot, off_s):
    robot.state = replace(robot.state, header=Header(1, later(off_s), ""))
    assert robot.observation(NOW_S, AT).observed_at == AT


def test_a_position_that_the_robot_does_not_trust_is_not_told(robot):
    robot.place = replace(robot.place, is_localized=False)
    told = robot.observation(NOW_S, AT)
    assert (told.x_m, told.y_m, told.yaw_rad) == (None, None, None)
    assert told.battery_fraction == 0.5


@pytest.mark.parametrize(
    ("said", "option", "spoken"),
    [
        ("2.0.0", "", "2.0.0"),
        ("2.1.3", "", "2.1.0"),
        ("3.0.0", "", "3.0.0"),
        ("3.0.0", "2.1.0", "2.1.0"),
        ("", "", "2.1.0"),
        ("1.1.0", "", "2.1.0"),
    ],
)
def test_the_version_that_is_spoken_is_the_robots_own_unless_the_options_say_so(robot, said, option, spoken):
    found = Robot("acme/7", options_from({"version": option}), 0.0)
    found.told_version = said
    assert found.version == spoken
    assert found.topic("order") == f"uagv/v{spoken[0]}/acme/7/order"


def test_a_version_that_is_not_spoken_is_refused_by_name(robot):
    robot.told_version = "1.1.0"
    assert "1.1.0" in robot.unready(NOW_S)


def test_header_ids_that_are_sent_rise_by_one_and_begin_above_those_of_a_former_life(robot):
    first = robot.number("order", AT)
    assert [robot.number("order", AT), robot.number("order", AT)] == [first + 1, first + 2]
    reborn = Robot("acme/7", options_from({}), 0.0)
    assert reborn.number("order", later(60)) > first


def test_complaints_are_kept_once_each_and_few(robot):
    assert robot.complain("state", ["a", "a", "b"])
    assert not robot.complain("state", ["b"])
    robot.complain("state", [str(number) for number in range(100)])
    assert robot.complaints["state"] == ["a", "b", "0", "1"]


def test_the_digest_of_what_it_exposes_changes_with_the_factsheet_and_not_with_time(robot):
    before = robot.exposure(NOW_S)
    assert robot.exposure(NOW_S + 1.0).digest == before.digest
    offered = {"pick": ActionOffered("pick", frozenset({"NODE"}), (), ())}
    robot.factsheet = Factsheet(Header(1, AT, "2.1.0"), series="Carrier", actions=offered)
    after = robot.exposure(NOW_S)
    assert after.digest != before.digest
    assert after.facts["series"] == "Carrier"
    assert [one.name for one in after.endpoints if one.kind == "action"] == ["pick"]


def test_what_can_be_asked_follows_from_the_factsheet(robot):
    assert robot.capabilities().pausable
    offered = {"pick": ActionOffered("pick", frozenset({"NODE"}), (), ())}
    robot.factsheet = Factsheet(Header(1, AT, "2.1.0"), actions=offered)
    found = robot.capabilities()
    assert not found.pausable
    assert found.tasks == {TaskKind.go_to, TaskKind.dock, TaskKind.action}
