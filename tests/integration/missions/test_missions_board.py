"""What people see: whole missions in few queries, newest first, within their organisation."""

from datetime import timedelta

import pytest
from sqlalchemy import event

from fleet.adapter import OrderStatus
from fleet.errors import NotFound
from fleet.organisations import Organisation
from missions.board import mission_view, missions_of
from missions.models import MissionStatus


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
    for number in range(12):
        yard.request(f"m{number}")
    queries.clear()
    with runtime.reading() as session:
        assert len(missions_of(session, world.organisation.id)) == 12
    assert len(queries) <= 6


def test_a_view_is_json_and_back(yard):
    view = yard.view(yard.running()[0])
    assert type(view).model_validate_json(view.model_dump_json()) == view
