"""The greedy plan on snapshots small enough to plan by hand."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from fleet.adapter import Activity
from missions.plan import Assignment, Candidate, Plan, Refusal, Snapshot, Wanted, plan
from missions.validator import violations

NOW = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
ORGANISATION, SITE = UUID(int=100), UUID(int=200)


@pytest.fixture
def mission():
    """Makes a waiting mission."""

    def make(number: int, **news: object) -> Wanted:
        values = {
            "id": UUID(int=number),
            "organisation_id": ORGANISATION,
            "site_id": SITE,
            "name": f"m{number}",
            "version": 1,
            "priority": 0,
            "created_at": NOW - timedelta(minutes=60 - number),
            "x_m": 0.0,
            "y_m": 0.0,
        }
        return Wanted.model_validate(values | news)

    return make


@pytest.fixture
def robot():
    """Makes a robot that could begin at once."""

    def make(number: int, **news: object) -> Candidate:
        values = {
            "id": UUID(int=1000 + number),
            "organisation_id": ORGANISATION,
            "site_id": SITE,
            "name": f"amr-{number:02}",
            "capabilities": {"drive", "inspect"},
            "is_held": False,
            "activity": Activity.idle,
            "heard_at": NOW,
            "battery_fraction": 0.8,
            "battery_minimum_fraction": 0.2,
            "x_m": 0.0,
            "y_m": 0.0,
        }
        return Candidate.model_validate(values | news)

    return make


@pytest.fixture
def pairs():
    """Plans, has the plan checked, and gives it by names."""

    def make(missions: list[Wanted], robots: list[Candidate]) -> dict[str, str]:
        snapshot = Snapshot(now=NOW, missions=tuple(missions), robots=tuple(robots))
        made = plan(snapshot)
        assert violations(snapshot, made) == []
        names = {row.id: row.name for row in (*missions, *robots)}
        return {names[pair.mission_id]: names[pair.robot_id] for pair in made.assignments}

    return make


def test_the_nearest_robot_goes(mission, robot, pairs):
    assert pairs([mission(1, x_m=10.0)], [robot(1), robot(2, x_m=9.0)]) == {"m1": "amr-02"}


def test_of_two_equally_near_robots_the_fuller_goes(mission, robot, pairs):
    assert pairs([mission(1)], [robot(1, battery_fraction=0.5), robot(2, battery_fraction=0.9)]) == {"m1": "amr-02"}


def test_a_fuller_battery_is_not_worth_a_long_way(mission, robot, pairs):
    near, full = robot(1, battery_fraction=0.5), robot(2, battery_fraction=1.0, x_m=30.0)
    assert pairs([mission(1)], [near, full]) == {"m1": "amr-01"}


def test_priority_goes_before_age(mission, robot, pairs):
    assert pairs([mission(1), mission(2, priority=5)], [robot(1)]) == {"m2": "amr-01"}


def test_age_decides_among_equals(mission, robot, pairs):
    assert pairs([mission(2), mission(1)], [robot(1)]) == {"m1": "amr-01"}


@pytest.mark.parametrize(
    "state",
    [
        {"is_held": True},
        {"activity": Activity.charging},
        {"activity": Activity.maintenance},
        {"activity": Activity.error},
        {"activity": Activity.executing},
        {"activity": Activity.paused},
        {"heard_at": NOW - timedelta(seconds=31)},
        {"heard_at": None},
        {"battery_fraction": 0.19},
        {"site_id": UUID(int=201)},
    ],
)
def test_a_robot_that_cannot_begin_now_is_given_nothing_and_the_mission_waits(mission, robot, pairs, state):
    assert pairs([mission(1)], [robot(1, **state)]) == {}


def test_a_robot_heard_of_half_a_minute_ago_is_still_there(mission, robot, pairs):
    assert pairs([mission(1)], [robot(1, heard_at=NOW - timedelta(seconds=30))]) == {"m1": "amr-01"}


def test_a_robot_that_does_not_tell_its_battery_or_place_comes_last_but_comes(mission, robot, pairs):
    silent = robot(1, battery_fraction=None, x_m=None, y_m=None)
    assert pairs([mission(1), mission(2)], [silent, robot(2)]) == {"m1": "amr-02", "m2": "amr-01"}


def test_a_pinned_mission_waits_for_its_robot(mission, robot, pairs):
    pinned = mission(1, pinned_robot_id=robot(2).id)
    assert pairs([pinned], [robot(1), robot(2, activity=Activity.charging)]) == {}
    assert pairs([pinned], [robot(1), robot(2)]) == {"m1": "amr-02"}


def test_a_mission_is_not_begun_before_its_time_nor_after_its_deadline(mission, robot, pairs):
    early = mission(1, ready_at=NOW + timedelta(seconds=1))
    late = mission(2, not_after_at=NOW - timedelta(seconds=1))
    assert pairs([early, late], [robot(1)]) == {}


def test_a_retry_prefers_a_robot_that_has_not_tried(mission, robot, pairs):
    tried = mission(1, tried_robot_ids={robot(1).id})
    assert pairs([tried], [robot(1), robot(2, x_m=15.0)]) == {"m1": "amr-02"}
    assert pairs([tried], [robot(1)]) == {"m1": "amr-01"}


def test_what_no_robot_can_do_is_refused_with_what_is_missing(mission, robot):
    snapshot = Snapshot(
        now=NOW, missions=(mission(1, required_capabilities={"drive", "inspect_gas"}),), robots=(robot(1), robot(2))
    )
    (refusal,) = plan(snapshot).refusals
    assert refusal.reason == "No robot can do inspect_gas (of 2: amr-01, amr-02)."
    assert violations(snapshot, plan(snapshot)) == []


def test_capabilities_that_no_single_robot_has_together_are_refused(mission, robot):
    robots = (robot(1, capabilities={"drive", "lift"}), robot(2))
    snapshot = Snapshot(now=NOW, missions=(mission(1, required_capabilities={"lift", "inspect"}),), robots=robots)
    assert plan(snapshot).refusals[0].reason == "No robot can do all of inspect, lift (of 2: amr-01, amr-02)."


def test_a_pinned_robot_that_lacks_a_capability_is_named(mission, robot):
    wanted = mission(1, required_capabilities={"inspect_gas"}, pinned_robot_id=robot(1).id)
    snapshot = Snapshot(now=NOW, missions=(wanted,), robots=(robot(1), robot(2, capabilities={"inspect_gas"})))
    assert plan(snapshot).refusals[0].reason == "amr-01 is the only robot that may do it, and it lacks: inspect_gas."


def test_nothing_is_refused_while_the_one_able_robot_is_away_or_none_is_known(mission, robot):
    wanted = mission(1, required_capabilities={"inspect"})
    away = Snapshot(now=NOW, missions=(wanted,), robots=(robot(1, heard_at=None),))
    empty = Snapshot(now=NOW, missions=(wanted,), robots=())
    assert (plan(away).refusals, plan(empty).refusals) == ((), ())


@pytest.mark.parametrize(
    ("changed_robot", "changed_mission", "sentence"),
    [
        ({"is_held": True}, {}, "m1 on amr-01: the robot is held"),
        ({"activity": Activity.charging}, {}, "m1 on amr-01: the robot is charging"),
        ({"heard_at": None}, {}, "m1 on amr-01: the robot is silent"),
        ({"battery_fraction": 0.1}, {}, "m1 on amr-01: its battery is at 0.10"),
        ({"site_id": UUID(int=9)}, {}, "m1 on amr-01: the robot is at another site"),
        ({"organisation_id": UUID(int=9)}, {}, "m1 on amr-01: another organisation's robot"),
        ({}, {"required_capabilities": {"fly"}}, "m1 on amr-01: the robot lacks fly"),
        ({}, {"pinned_robot_id": UUID(int=9)}, "m1 on amr-01: the mission is for another robot"),
        ({}, {"ready_at": NOW + timedelta(seconds=1)}, "m1 on amr-01: too early"),
        ({}, {"not_after_at": NOW - timedelta(seconds=1)}, "m1 on amr-01: too late"),
    ],
)
def test_the_validator_names_each_broken_rule(mission, robot, changed_robot, changed_mission, sentence):
    wanted, candidate = mission(1, **changed_mission), robot(1, **changed_robot)
    snapshot = Snapshot(now=NOW, missions=(wanted,), robots=(candidate,))
    wrong = Plan(assignments=(Assignment(mission_id=wanted.id, robot_id=candidate.id),))
    assert violations(snapshot, wrong) == [sentence]


def test_the_validator_sees_one_robot_given_twice_and_one_mission_named_twice(mission, robot):
    first, second, only = mission(1), mission(2), robot(1)
    snapshot = Snapshot(now=NOW, missions=(first, second), robots=(only,))
    pair = Assignment(mission_id=first.id, robot_id=only.id)
    twice = Plan(assignments=(pair, Assignment(mission_id=second.id, robot_id=only.id)))
    assert violations(snapshot, twice) == [f"robot {only.id} is given 2 missions"]
    both = Plan(assignments=(pair,), refusals=(Refusal(mission_id=first.id, reason=""),))
    assert violations(snapshot, both) == [f"mission {first.id} is named 2 times"]


def test_the_validator_sees_a_needless_refusal_an_idle_robot_and_a_priority_passed_over(mission, robot):
    low, high = mission(1), mission(2, priority=9)
    snapshot = Snapshot(now=NOW, missions=(low, high), robots=(robot(1),))
    pair = Plan(assignments=(Assignment(mission_id=low.id, robot_id=robot(1).id),))
    assert violations(snapshot, pair) == ["m2 waits although amr-01 went to m1 of lower priority"]
    refused = Plan(refusals=(Refusal(mission_id=low.id, reason=""), Refusal(mission_id=high.id, reason="")))
    assert violations(snapshot, refused) == [
        "m1 is refused, and amr-01 could do it",
        "m2 is refused, and amr-01 could do it",
    ]
    assert violations(snapshot, Plan()) == [
        "m1 waits although amr-01 is free for it",
        "m2 waits although amr-01 is free for it",
    ]
