"""A plan never breaks a rule; a lifecycle never leaves a final state, and its history leads to where it is."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import select

from fleet.adapter import Activity
from fleet.errors import Conflict
from missions.create import create
from missions.lifecycle import (
    ATTEMPT_MOVES,
    MISSION_MOVES,
    Cause,
    begin_attempt,
    move_attempt,
    move_mission,
    replay,
    wish,
)
from missions.models import (
    Attempt,
    AttemptStatus,
    Desired,
    Mission,
    MissionCreate,
    MissionStatus,
    TaskCreate,
    Transition,
)
from missions.plan import URGENT, Candidate, Snapshot, Wanted, Work, plan
from missions.validator import violations

NOW = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
organisations = st.sampled_from([UUID(int=1), UUID(int=2)])
sites = st.sampled_from([UUID(int=11), UUID(int=12)])
capabilities = st.frozensets(st.sampled_from(["drive", "lift", "gas"]), max_size=3)
moments = st.none() | st.integers(-60, 60).map(lambda seconds: NOW + timedelta(seconds=seconds))
places = st.none() | st.floats(-50, 50)
robot_ids = st.none() | st.integers(1000, 1004).map(lambda number: UUID(int=number))
wanted = st.builds(
    Wanted,
    id=st.just(UUID(int=1)),
    organisation_id=organisations,
    site_id=sites,
    name=st.just("m"),
    version=st.just(1),
    priority=st.sampled_from([-2, 0, 49, 50, 60, 90, 90]),
    created_at=st.integers(0, 5).map(lambda minutes: NOW - timedelta(minutes=minutes)),
    required_capabilities=capabilities,
    pinned_robot_id=st.none() | robot_ids,
    ready_at=moments,
    not_after_at=moments,
    x_m=places,
    y_m=places,
    tried_robot_ids=st.just(frozenset()),
    closed_until=st.none() | st.none() | moments,
    closed_for=st.just("holiday"),
)
mission_ids = st.integers(1, 8).map(lambda number: UUID(int=number))
works = st.builds(
    Work,
    mission_id=st.just(UUID(int=77)),
    mission_name=st.just("w"),
    attempt_id=st.integers(1, 10**9).map(lambda number: UUID(int=number)),
    priority=st.sampled_from([-2, 0, 49, 50, 60, 90]),
    is_preemptible=st.sampled_from([True, True, True, False]),
    is_ending=st.sampled_from([False, False, False, True]),
    recalled_for=st.none() | st.none() | mission_ids,
    is_stuck=st.sampled_from([False, False, False, True]),
)
candidates = st.builds(
    Candidate,
    id=st.just(UUID(int=1000)),
    organisation_id=organisations,
    site_id=sites,
    name=st.just("r"),
    capabilities=capabilities,
    is_held=st.booleans(),
    held_by=st.sampled_from(["", "", "", "held by user:ops (a wheel squeaks)"]),
    activity=st.sampled_from([Activity.idle, Activity.idle, Activity.executing, Activity.charging]),
    heard_at=moments,
    battery_fraction=st.none() | st.floats(0, 1),
    battery_minimum_fraction=st.just(0.2),
    x_m=places,
    y_m=places,
    work=st.none() | works | works | works,
    freed_for=st.none() | mission_ids,
)


def _named(missions: list[Wanted], robots: list[Candidate]) -> Snapshot:
    return Snapshot(
        now=NOW,
        missions=tuple(each.model_copy(update={"id": UUID(int=n)}) for n, each in enumerate(missions, start=1)),
        robots=tuple(each.model_copy(update={"id": UUID(int=n)}) for n, each in enumerate(robots, start=1000)),
    )


anything = st.builds(_named, st.lists(wanted, max_size=8), st.lists(candidates, max_size=5))


def _crowded(snapshot: Snapshot) -> Snapshot:
    """The same at one place where all are wanted now and all robots answer, so that missions compete for robots."""
    here = {"organisation_id": UUID(int=1), "site_id": UUID(int=11)}
    now = {"ready_at": None, "not_after_at": None, "closed_until": None, "required_capabilities": frozenset()}
    well = {"heard_at": NOW, "battery_fraction": None, "held_by": ""}
    busy = {"is_held": True, "activity": Activity.executing}
    return Snapshot(
        now=NOW,
        missions=tuple(
            mission.model_copy(update=here | now | {"pinned_robot_id": None}) for mission in snapshot.missions
        ),
        robots=tuple(robot.model_copy(update=here | well | (busy if robot.work else {})) for robot in snapshot.robots),
    )


crowds = st.builds(_named, st.lists(wanted, min_size=1, max_size=4), st.lists(candidates, min_size=2, max_size=5)).map(
    _crowded
)
snapshots = anything | crowds
in_a_database = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(snapshots)
@settings(deadline=None)
def test_a_plan_breaks_no_rule_of_the_validator(snapshot: Snapshot):
    assert violations(snapshot, plan(snapshot)) == []


@given(snapshots)
@settings(deadline=None)
def test_only_the_urgent_take_robots_each_one_and_each_robot_is_taken_once_from_what_matters_less(snapshot: Snapshot):
    made = plan(snapshot)
    missions = {mission.id: mission for mission in snapshot.missions}
    robots = {robot.id: robot for robot in snapshot.robots}
    for taken in made.preemptions:
        work = robots[taken.robot_id].work
        assert missions[taken.mission_id].priority >= max(URGENT, work.priority + 1)
        assert work.is_preemptible
        assert not work.is_ending
    for ids in ([each.mission_id for each in made.preemptions], [each.robot_id for each in made.preemptions]):
        assert len(set(ids)) == len(ids)
    assert not {each.mission_id for each in made.preemptions} & {each.mission_id for each in made.assignments}


@given(snapshots)
@settings(deadline=None)
def test_a_freed_robot_goes_to_nobody_less_important_while_its_urgent_mission_waits_ready(snapshot: Snapshot):
    made = plan(snapshot)
    missions = {mission.id: mission for mission in snapshot.missions}
    given_to = {each.robot_id: missions[each.mission_id] for each in made.assignments}
    waiting = set(missions) - {each.mission_id for each in made.assignments}
    for robot in snapshot.robots:
        urgent = missions.get(robot.freed_for)
        if robot.id in given_to and urgent is not None and urgent.id in waiting:
            alone = Snapshot(now=NOW, missions=(urgent,), robots=(robot,))
            assert not plan(alone).assignments or given_to[robot.id].priority >= urgent.priority


@given(snapshots)
@settings(deadline=None)
def test_the_order_in_which_missions_and_robots_are_read_changes_no_plan(snapshot: Snapshot):
    turned = Snapshot(now=NOW, missions=snapshot.missions[::-1], robots=snapshot.robots[::-1])
    assert {pair.mission_id for pair in plan(turned).assignments} == {
        pair.mission_id for pair in plan(snapshot).assignments
    }


@pytest.fixture
def walk(runtime, world):
    """Asks a new mission for each status in turn; gives it as it is, its history, and the moves that were refused."""
    names = iter(range(10_000))

    def run(steps: list[MissionStatus | Desired]) -> tuple[Mission, list[Transition], int]:
        refused = 0
        with runtime.transaction() as session:
            asked = MissionCreate(name="m", key=f"walk-{next(names)}", tasks=[TaskCreate(station="gate")])
            mission = create(session, site=world.site, wanted=asked, who="test")
            for step in steps:
                try:
                    if isinstance(step, Desired):
                        wish(session, mission, step, Cause("test", "wished"))
                    else:
                        move_mission(session, mission, step, Cause("test", "walked"))
                except Conflict:
                    refused += 1
            lines = session.exec(
                select(Transition).where(Transition.subject_id == mission.id).order_by(Transition.version)
            ).all()
        return mission, list(lines), refused

    return run


@in_a_database
@given(steps=st.lists(st.sampled_from([*MissionStatus, *Desired]), max_size=12))
def test_a_random_walk_of_a_mission_never_leaves_a_final_state_and_replays_to_where_it_is(walk, steps):
    mission, history, _ = walk(steps)
    assert replay(history) == mission.status
    assert [line.version for line in history] == list(range(mission.version + 1))
    ends = [line.to_status for line in history if not MISSION_MOVES[MissionStatus(line.to_status)]]
    assert len(ends) <= 1
    assert all(line.who and line.why for line in history)


@in_a_database
@given(steps=st.lists(st.sampled_from(list(AttemptStatus)), max_size=12))
def test_a_random_walk_of_an_attempt_never_leaves_a_final_state_and_replays_to_where_it_is(runtime, world, walk, steps):
    mission, _, _ = walk([])
    with runtime.transaction() as session:
        attempt = Attempt(
            organisation_id=mission.organisation_id,
            mission_id=mission.id,
            robot_id=world.robots["amr-01"].id,
            number=1,
            key=f"{mission.id}/1",
            fence=1,
            created_at=NOW,
        )
        begin_attempt(session, attempt, Cause("test", "begun"))
        for step in steps:
            before = attempt.status
            try:
                move_attempt(session, attempt, step, Cause("test", "walked"))
            except Conflict:
                assert step not in ATTEMPT_MOVES[before]
        history = session.exec(select(Transition).where(Transition.subject_id == attempt.id)).all()
        assert replay(sorted(history, key=lambda line: line.version)) == attempt.status
        assert (attempt.finished_at is not None) == (not ATTEMPT_MOVES[attempt.status])
        session.rollback()
