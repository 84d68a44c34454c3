"""What people see: whole missions in few queries, newest first, within their organisation."""

import re
from datetime import timedelta

import pytest
from sqlalchemy import event

from fleet.adapter import Activity, OrderStatus, TaskKind
from fleet.errors import NotFound
from fleet.organisations import Organisation, Site
from missions.board import mission_view, missions_of
from missions.create import create
from missions.models import MissionCreate, MissionStatus, TaskCreate


@pytest.fixture
def queries(runtime):
    """Counts the queries that reach the database."""
    seen: list[str] = []

    def note(connection, cursor, statement, *rest) -> None:
        if statement.startswith("SELECT"):
            seen.append(statement)

    event.listen(runtime.engine, "before_cursor_execute", note)
    yield seen
    event.remove(runtime.engine, "before_cursor_execute", note)


def test_a_mission_is_shown_with_its_robot_attempts_and_times(yard, clock):
    mission, attempt = yard.running("inspect", priority=3)
    begun_at = clock.now()
    clock.step(60)
    yard.say(attempt, OrderStatus.succeeded, 3, tasks=yard.done(0))
    view = yard.view(mission)
    assert (view.name, view.priority, view.robot, view.is_finished) == ("inspect", 3, "amr-01", True)
    assert (view.started_at, view.finished_at) == (begun_at, begun_at + timedelta(seconds=60))
    (shown,) = view.attempts
    assert (shown.number, shown.status.value, shown.robot) == (1, "SUCCEEDED", "amr-01")
    assert shown.finished_at == clock.now()


def test_the_history_tells_of_mission_and_attempt_in_the_order_it_happened(yard):
    mission, attempt = yard.running()
    yard.say(attempt, OrderStatus.succeeded, 3)
    told = [(line.subject, line.to_status, line.who) for line in yard.view(mission).transitions]
    assert told == [
        ("mission", "CREATED", "user:ops"),
        ("mission", "SCHEDULED", "user:ops"),
        ("attempt", "PREPARED", "system:test"),
        ("mission", "ASSIGNED", "system:test"),
        ("attempt", "DISPATCHED", "system:test"),
        ("attempt", "ACCEPTED", "system:test"),
        ("attempt", "RUNNING", "robot:amr-01"),
        ("mission", "RUNNING", "robot:amr-01"),
        ("attempt", "SUCCEEDED", "robot:amr-01"),
        ("mission", "SUCCEEDED", "robot:amr-01"),
    ]


def test_a_live_mission_has_no_end_and_an_unassigned_one_no_robot(yard):
    view = yard.view(yard.request())
    assert (view.robot, view.started_at, view.finished_at, view.is_finished) == (None, None, None, False)


def test_missions_are_listed_newest_first_by_status_and_at_most_so_many(yard, runtime, world):
    first, second, third = (yard.request(name) for name in ("a", "b", "c"))
    yard.command(second, "cancel")
    with runtime.reading() as session:
        newest = missions_of(session, world.organisation.id, limit=2)
        waiting = missions_of(session, world.organisation.id, status=MissionStatus.scheduled)
    assert [mission.name for mission in newest] == ["c", "b"]
    assert [mission.id for mission in waiting] == [third.id, first.id]


def test_another_organisation_sees_nothing(yard, runtime, clock):
    mission = yard.request()
    with runtime.transaction() as session:
        other = Organisation(name="other", created_at=clock.now())
        session.add(other)
    with runtime.reading() as session:
        assert missions_of(session, other.id) == []
        with pytest.raises(NotFound, match=str(mission.id)):
            mission_view(session, other.id, mission.id)


def test_many_missions_take_no_more_queries_than_one(yard, runtime, world, queries):
    needed = []
    for numbers in (range(1), range(1, 12)):
        for number in numbers:
            yard.request(f"m{number}")
        queries.clear()
        with runtime.reading() as session:
            assert len(missions_of(session, world.organisation.id)) == numbers.stop
        needed.append(len(queries))
    assert needed[1] == needed[0]


def test_a_waiting_mission_says_why_as_of_the_reading(yard, runtime, world, clock):
    yard.running("first")
    waiting = yard.request("second", robot="amr-01")
    assert yard.view(waiting).waiting_for == "Only amr-01 may do it, and it is busy."
    clock.step(90)
    yard.observe("amr-02", Activity.charging, battery_fraction=0.4)
    with runtime.reading() as session:
        told = {view.name: view.waiting_for for view in missions_of(session, world.organisation.id)}
    assert told == {"first": "", "second": "Only amr-01 may do it, and it is silent (for 90 s)."}


def test_why_it_waits_is_no_change_of_the_mission(yard, clock):
    mission = yard.request()
    before = yard.view(mission)
    clock.step(600)
    yard.observe("amr-01", Activity.charging)
    after = yard.view(mission)
    assert before.waiting_for != after.waiting_for
    assert before.model_copy(update={"waiting_for": after.waiting_for}) == after


def test_a_mission_between_two_tries_says_when_the_next_may_begin(yard, clock):
    mission, attempt = yard.running()
    yard.say(attempt, OrderStatus.failed, 3, reason="path blocked")
    assert re.fullmatch(r"It is too early until 2026-03-01 22:00:0[0-2] UTC\.", yard.view(mission).waiting_for)


def test_a_mission_that_is_held_says_so_and_one_that_is_not_due_to_a_robot_waits_for_none(yard):
    held = yard.request("held")
    yard.command(held, "pause")
    careful = yard.request("careful", approval_needed=True)
    over = yard.request("over")
    yard.command(over, "cancel")
    assert yard.view(held).waiting_for == "It is paused until it is resumed."
    assert [yard.view(mission).waiting_for for mission in (careful, over)] == ["", ""]


def test_a_round_on_a_database_of_two_organisations_speaks_of_its_own_robots(yard, runtime, clock):
    yard.observe("amr-01")
    with runtime.transaction() as session:
        other = Organisation(name="other", created_at=clock.now())
        session.add(other)
        session.flush()
        site = Site(organisation_id=other.id, name="south", timezone="UTC")
        session.add(site)
        session.flush()
        wanted = MissionCreate(name="theirs", key="theirs", tasks=[TaskCreate(kind=TaskKind.wait)])
        mission = create(session, site=site, wanted=wanted, who="user:them")
        session.flush()
        assert mission_view(session, other.id, mission.id).waiting_for == "The organisation has no robots yet."


def test_a_view_is_json_and_back(yard):
    view = yard.view(yard.running()[0])
    assert type(view).model_validate_json(view.model_dump_json()) == view
