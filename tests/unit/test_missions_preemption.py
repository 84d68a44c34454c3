"""Whose robot an urgent mission takes, on snapshots small enough to plan by hand; and the validator's words for each error."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from fleet.adapter import Activity
from missions.plan import Assignment, Candidate, Plan, Preemption, Snapshot, Wanted, Work, plan
from missions.validator import violations
from missions.waiting import reason_to_wait

NOW = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
ORGANISATION, SITE = UUID(int=100), UUID(int=200)
FIRE = Wanted(
    id=UUID(int=1), organisation_id=ORGANISATION, site_id=SITE, name="fire", version=1, priority=80, created_at=NOW
)
AT_WORK: dict[str, object] = {}  # as it is unless told otherwise


@pytest.fixture
def robot():
    """Makes a robot that is at a preemptible mission of priority 0, or differs."""

    def make(number: int, *, work: dict[str, object] | None = AT_WORK, **news: object) -> Candidate:
        at = Work(
            mission_id=UUID(int=10 + number),
            mission_name=f"round-{number}",
            attempt_id=UUID(int=2000 + number),
            priority=0,
            is_preemptible=True,
        )
        values = {
            "id": UUID(int=1000 + number),
            "organisation_id": ORGANISATION,
            "site_id": SITE,
            "name": f"amr-{number:02}",
            "capabilities": {"drive"},
            "is_held": work is not None,
            "activity": Activity.executing if work is not None else Activity.idle,
            "heard_at": NOW,
            "battery_fraction": 0.8,
            "battery_minimum_fraction": 0.2,
            "work": at.model_copy(update=work) if work is not None else None,
        }
        return Candidate.model_validate(values | news)

    return make


@pytest.fixture
def taken():
    """Plans for these robots, has the plan checked, and gives the names of those that are taken, by mission."""

    def make(*robots: Candidate, missions: tuple[Wanted, ...] = (FIRE,)) -> dict[str, str]:
        snapshot = Snapshot(now=NOW, missions=missions, robots=robots)
        made = plan(snapshot)
        assert violations(snapshot, made) == []
        names = {row.id: row.name for row in (*missions, *robots)}
        return {names[each.mission_id]: names[each.robot_id] for each in made.preemptions}

    return make


def test_the_robot_of_what_matters_least_is_taken(robot, taken):
    assert taken(robot(1, work={"priority": 5}), robot(2, work={"priority": -3}), robot(3)) == {"fire": "amr-02"}


def test_of_what_matters_equally_the_nearest_robot_is_taken(robot, taken):
    here = FIRE.model_copy(update={"x_m": 10.0, "y_m": 0.0})
    robots = (robot(1, x_m=0.0, y_m=0.0), robot(2, x_m=9.0, y_m=0.0))
    assert taken(*robots, missions=(here,)) == {"fire": "amr-02"}


def test_nothing_is_taken_while_a_robot_is_free(robot, taken):
    assert taken(robot(1), robot(2, work=None)) == {}


def test_two_urgent_missions_take_two_robots_and_the_more_urgent_from_what_matters_less(robot, taken):
    flood = FIRE.model_copy(update={"id": UUID(int=2), "name": "flood", "priority": 60})
    robots = (robot(1, work={"priority": 9}), robot(2))
    assert taken(*robots, missions=(flood, FIRE)) == {"fire": "amr-02", "flood": "amr-01"}


@pytest.mark.parametrize(
    ("work", "news"),
    [
        ({"is_preemptible": False}, {}),
        ({"priority": 80}, {}),
        ({"is_ending": True}, {}),
        ({"is_stuck": True}, {}),
        ({"is_ending": True, "recalled_for": FIRE.id}, {}),
        ({}, {"heard_at": NOW - timedelta(seconds=31)}),
        ({}, {"activity": Activity.error}),
        ({}, {"battery_fraction": 0.1}),
        ({}, {"held_by": "held by user:ops (a wheel squeaks)"}),
        ({}, {"site_id": UUID(int=201)}),
        ({}, {"organisation_id": UUID(int=101)}),
    ],
)
def test_a_robot_that_would_not_help_or_may_not_be_taken_is_left_alone(robot, taken, work, news):
    assert taken(robot(1, work=work, **news)) == {}


@pytest.mark.parametrize(
    "news",
    [
        {"priority": 49},
        {"ready_at": NOW + timedelta(seconds=1)},
        {"closed_until": NOW + timedelta(seconds=1), "closed_for": "night rest"},
        {"pinned_robot_id": UUID(int=1002)},
        {"required_capabilities": frozenset({"drive", "fly"})},
    ],
)
def test_a_mission_that_is_not_urgent_or_could_not_begin_takes_nothing(robot, taken, news):
    others = (robot(1), robot(3, capabilities={"drive", "fly"}, activity=Activity.charging, work=None, is_held=False))
    assert taken(*others, missions=(FIRE.model_copy(update=news),)) == {}


def test_no_second_robot_is_taken_while_the_first_is_being_freed_or_was_just_freed(robot, taken):
    freeing = robot(1, work={"is_ending": True, "recalled_for": FIRE.id})
    freed = robot(1, work=None, freed_for=FIRE.id, activity=Activity.executing)
    assert taken(freeing, robot(2)) == {}
    assert taken(freed, robot(2)) == {}
    told = reason_to_wait(FIRE, [freeing, robot(2)], NOW)
    assert told == reason_to_wait(FIRE, [freed, robot(2)], NOW) == "amr-01 is being freed for it."


def test_another_robot_is_taken_when_the_one_being_freed_is_stuck_or_went_charging(robot, taken):
    stuck = robot(1, work={"is_ending": True, "recalled_for": FIRE.id, "is_stuck": True})
    charging = robot(1, work=None, freed_for=FIRE.id, activity=Activity.charging)
    assert taken(stuck, robot(2)) == taken(charging, robot(2)) == {"fire": "amr-02"}


def test_a_freed_robot_goes_to_the_urgent_mission_first(robot):
    other = FIRE.model_copy(update={"id": UUID(int=2), "name": "round-1", "priority": 0})
    freed = robot(1, work=None, freed_for=FIRE.id)
    made = plan(Snapshot(now=NOW, missions=(other, FIRE), robots=(freed,)))
    assert made.assignments == (Assignment(mission_id=FIRE.id, robot_id=freed.id),)


@pytest.mark.parametrize(
    ("work", "news", "mission", "reason"),
    [
        ({"is_preemptible": False}, {}, {}, "round-1 is not preemptible"),
        ({"priority": 80}, {}, {}, "round-1 is as important"),
        ({"is_ending": True}, {}, {}, "round-1 is ending already"),
        ({"is_stuck": True}, {}, {}, "the robot is lost"),
        ({}, {}, {"priority": 49}, "the mission is not urgent"),
        ({}, {}, {"ready_at": NOW + timedelta(seconds=1)}, "too early"),
        ({}, {"capabilities": frozenset()}, {"required_capabilities": frozenset({"drive"})}, "the robot lacks drive"),
        ({}, {"held_by": "held by user:ops (wheel)"}, {}, "the robot is held by user:ops (wheel)"),
        ({}, {"activity": Activity.charging}, {}, "the robot is charging"),
        ({}, {"heard_at": None}, {}, "the robot is silent"),
    ],
)
def test_the_validator_names_each_wrong_preemption(robot, work, news, mission, reason):
    wanted, candidate = FIRE.model_copy(update=mission), robot(1, work=work, **news)
    snapshot = Snapshot(now=NOW, missions=(wanted,), robots=(candidate,))
    pair = Preemption(mission_id=wanted.id, attempt_id=candidate.work.attempt_id, robot_id=candidate.id)
    assert violations(snapshot, Plan(preemptions=(pair,))) == [f"fire takes amr-01: {reason}"]


def test_the_validator_sees_a_wrong_attempt_a_free_robot_a_lesser_mission_and_a_second_victim(robot):
    first, second = robot(1, work={"priority": 5}), robot(2)
    wrong = Preemption(mission_id=FIRE.id, attempt_id=UUID(int=9), robot_id=first.id)

    def said(*robots: Candidate) -> list[str]:
        return violations(Snapshot(now=NOW, missions=(FIRE,), robots=robots), Plan(preemptions=(wrong,)))

    assert said(first) == ["fire takes amr-01: the attempt is not the one that it is at"]
    right = wrong.model_copy(update={"attempt_id": first.work.attempt_id})

    def judged(*robots: Candidate) -> list[str]:
        return violations(Snapshot(now=NOW, missions=(FIRE,), robots=robots), Plan(preemptions=(right,)))

    assert judged(first, second) == ["fire takes amr-01: amr-02 is at something less important"]
    free = robot(2, work=None)
    assert "fire takes amr-01: amr-02 is free for it" in judged(first, free)
    freeing = robot(3, work={"is_ending": True, "recalled_for": FIRE.id})
    assert judged(first, freeing) == ["fire takes amr-01: a robot is being freed for it already"]


def test_the_validator_sees_an_urgent_mission_that_waits_for_nothing(robot):
    snapshot = Snapshot(now=NOW, missions=(FIRE,), robots=(robot(1),))
    assert violations(snapshot, Plan()) == ["fire waits although it may take amr-01"]
