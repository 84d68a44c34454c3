"""Missions that come together are written together: each whole, once per key, and shown as it was written."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import event
from sqlmodel import select

from fleet.changes import Change
from fleet.runtime import Runtime
from missions.board import mission_view
from missions.create import insert_all
from missions.drafts import draft, ground_at
from missions.first_view import first_view
from missions.lifecycle import Cause, replay
from missions.models import Mission, MissionCreate, MissionTask, Transition

WHO = "user:ops"
CAUSE = Cause(WHO, f"requested by {WHO}")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.proof)])
def runtime(request):
    """Both databases."""
    return request.getfixturevalue("runtime" if request.param == "sqlite" else "postgres_runtime")


@pytest.fixture
def drafted(runtime, world):
    """Drafts of missions with these keys."""
    with runtime.reading() as session:
        ground = ground_at(session, world.site, with_robots=True)

    def make(*keys: str, **news: object):
        asked = {"tasks": [{"station": "gate"}, {"kind": "reading", "station": "press-1", "timeout_s": 5}]} | news
        return [draft(ground, MissionCreate.model_validate({"name": key, "key": key} | asked), WHO) for key in keys]

    return make


@pytest.fixture
def write(runtime):
    def do(*drafts):
        with runtime.transaction() as session:
            return insert_all(session, [(one, CAUSE) for one in drafts])

    return do


@pytest.fixture
def rows(runtime):
    """All rows of a table."""

    def read(table):
        with runtime.reading() as session:
            return list(session.exec(select(table)).all())

    return read


def test_each_is_written_whole(write, drafted, rows):
    drafts = drafted("a", "b", "c")
    assert set(write(*drafts)) == {one.id for one in drafts}
    assert sorted(row.key for row in rows(Mission)) == ["a", "b", "c"]
    assert len(rows(MissionTask)) == 6
    for one in drafts:
        lines = [line for line in rows(Transition) if line.mission_id == one.id]
        assert replay(sorted(lines, key=lambda line: line.version)) == "SCHEDULED"
        told = [change.kind for change in rows(Change) if change.subject_id == str(one.id)]
        assert told == ["created", "scheduled"]


def test_a_crowd_takes_no_more_statements_than_one(write, drafted, runtime):
    write(*drafted("warm-up"))
    counted: list[int] = []
    for keys in (["one"], [f"k-{number}" for number in range(20)]):
        statements: list[str] = []
        listener = lambda *told, into=statements: into.append(told[2])  # noqa: E731  one line, used twice
        event.listen(runtime.engine, "before_cursor_execute", listener)
        write(*drafted(*keys))
        event.remove(runtime.engine, "before_cursor_execute", listener)
        counted.append(len([text for text in statements if text.startswith(("INSERT", "UPDATE", "SELECT"))]))
    assert counted[0] == counted[1] == 4


def test_of_a_key_that_is_taken_nothing_is_written(write, drafted, rows):
    write(*drafted("a"))
    first, second = drafted("a", "b")
    assert set(write(first, second)) == {second.id}
    assert sorted(row.key for row in rows(Mission)) == ["a", "b"]
    assert first.id not in {row.mission_id for row in [*rows(MissionTask), *rows(Transition)]}
    assert str(first.id) not in {change.subject_id for change in rows(Change)}


def test_of_two_with_one_key_the_first_is_written(write, drafted, rows):
    first, second = drafted("a", "a")
    assert set(write(first, second)) == {first.id}
    assert [row.id for row in rows(Mission)] == [first.id]


def test_nothing_to_write_writes_nothing(write, rows):
    assert write() == {}
    assert rows(Mission) == []


@pytest.mark.parametrize(
    "news",
    [
        {},
        {"approval_needed": True},
        {"robot": "amr-01", "priority": -7, "required_capabilities": ["drive", "inspect"]},
        {"tasks": [{"kind": "wait", "parameters": {"seconds": 3, "why": "ö"}}], "preemptible": True},
    ],
    ids=["plain", "approval", "robot", "wait"],
)
def test_what_is_shown_of_it_is_what_is_read_of_it(write, drafted, runtime, world, clock, news):
    (one,) = drafted("a", not_after_at=clock.now() + timedelta(hours=1), **news)
    begun = write(one)[one.id]
    with runtime.reading() as session:
        read = mission_view(session, world.organisation.id, one.id)
    shown = first_view(one, begun, waiting_for=read.waiting_for)
    assert shown.model_dump_json() == read.model_dump_json()


@pytest.mark.proof
def test_two_processes_asked_for_the_same_missions_at_once_in_any_order_wait_in_one_order(
    postgres_runtime: Runtime, postgres_world
):
    with postgres_runtime.reading() as session:
        ground = ground_at(session, postgres_world.site, with_robots=False)
    meet = Barrier(2)

    def ask(keys: list[str]) -> int:
        begun = 0
        for round_ in range(10):
            drafts = [draft(ground, _wanted(f"{round_}-{key}"), WHO) for key in keys]
            meet.wait(20)
            with postgres_runtime.transaction() as session:
                begun += len(insert_all(session, [(one, CAUSE) for one in drafts]))
        return begun

    keys = [f"k-{number}" for number in range(200)]
    with ThreadPoolExecutor(2) as both:
        assert sum(both.map(ask, [keys, keys[::-1]])) == 2000


def _wanted(key: str) -> MissionCreate:
    return MissionCreate.model_validate({"name": key, "key": key, "tasks": [{"station": "gate"}]})
