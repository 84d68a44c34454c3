"""Statements and compare-and-sets that a transaction carries out late, many in one: on SQLite and on PostgreSQL."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import bindparam, event, update
from sqlmodel import Session, select

from fleet import ledger
from fleet.database import table_of
from fleet.errors import Conflict
from fleet.robots import Robot
from fleet.runtime import Runtime

RENAME = update(table_of(Robot)).where(table_of(Robot).c.id == bindparam("of")).values(model=bindparam("to_model"))
Models = Callable[[], list[str]]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.proof)])
def place(request: pytest.FixtureRequest) -> tuple[Runtime, dict[str, Robot]]:
    """A runtime with its robots by name."""
    names = {"sqlite": ("runtime", "world"), "postgresql": ("postgres_runtime", "postgres_world")}[request.param]
    runtime, world = (request.getfixturevalue(name) for name in names)
    return runtime, world.robots


@pytest.fixture
def models(place) -> Models:
    """The models of the robots, by their names."""
    runtime, _ = place

    def read() -> list[str]:
        with runtime.reading() as session:
            return list(session.exec(select(Robot.model).order_by(Robot.name)).all())

    return read


@pytest.fixture
def statements(place) -> Iterator[list[str]]:
    """What is carried out while it is there."""
    runtime, _ = place
    seen: list[str] = []

    def note(_connection, _cursor, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(runtime.engine, "before_cursor_execute", note)
    yield seen
    event.remove(runtime.engine, "before_cursor_execute", note)


def _rename(session: Session, robot: Robot, model: str) -> None:
    ledger.change(session, RENAME, {"of": robot.id, "to_model": model})


def _swap(session: Session, robot: Robot, was: int, **to: object) -> None:
    ledger.swap(session, Robot, robot.id, {"fence": was}, to)


def test_alone_a_statement_and_a_swap_are_carried_out_at_once(place, models: Models):
    runtime, robots = place
    with runtime.transaction() as session:
        _rename(session, robots["amr-01"], "a")
        _swap(session, robots["amr-02"], 0, model="b")
        assert set(session.exec(select(Robot.model)).all()) == {"a", "b"}
    assert models() == ["a", "b"]


def test_together_the_same_statement_for_two_rows_is_one(place, models: Models, statements: list[str]):
    runtime, robots = place
    with runtime.transaction() as session, ledger.together(session):
        for robot in robots.values():
            _rename(session, robot, robot.name)
    assert sum(statement.startswith("UPDATE robots") for statement in statements) == 1
    assert models() == ["amr-01", "amr-02"]


def test_whoever_reads_within_the_block_reads_what_was_written_in_it(place):
    runtime, robots = place
    with runtime.transaction() as session, ledger.together(session):
        _rename(session, robots["amr-01"], "a")
        assert "a" in session.exec(select(Robot.model)).all()
        _swap(session, robots["amr-02"], 0, model="b")
        assert set(session.exec(select(Robot.model)).all()) == {"a", "b"}


def test_what_the_session_itself_writes_comes_after_what_was_told_before(place, models: Models):
    runtime, robots = place
    with runtime.transaction() as session, ledger.together(session):
        row = session.get_one(Robot, robots["amr-01"].id)
        _rename(session, row, "first")
        row.model = "second"
        session.flush()
    assert models() == ["second", ""]


def test_a_lower_turn_is_carried_out_first_whenever_it_was_told(place, models: Models):
    runtime, robots = place
    later = RENAME.where(table_of(Robot).c.model == "first")
    with runtime.transaction() as session, ledger.together(session):
        ledger.change(session, later, {"of": robots["amr-01"].id, "to_model": "last"}, turn=1)
        _rename(session, robots["amr-01"], "first")
    assert models() == ["last", ""]


def test_a_swap_of_a_row_that_is_no_longer_as_it_was_is_a_conflict_and_nothing_is_written(place, models: Models):
    runtime, robots = place
    with pytest.raises(Conflict), runtime.transaction() as session, ledger.together(session):
        _rename(session, robots["amr-01"], "a")
        _swap(session, robots["amr-01"], 0, model="b")
        _swap(session, robots["amr-02"], 7, model="c")
    assert models() == ["", ""]


def test_alone_such_a_swap_is_a_conflict_too(place, models: Models):
    runtime, robots = place
    with pytest.raises(Conflict), runtime.transaction() as session:
        _swap(session, robots["amr-02"], 7, model="c")
    assert models() == ["", ""]


def test_two_swaps_of_a_row_are_one_from_the_first_to_the_last(place, models: Models):
    runtime, robots = place
    with runtime.transaction() as session, ledger.together(session):
        _swap(session, robots["amr-01"], 0, fence=1, model="a")
        _swap(session, robots["amr-01"], 7, fence=2)  # what it was in between is written nowhere
    with runtime.reading() as session:
        assert session.get_one(Robot, robots["amr-01"].id).fence == 2
    assert models() == ["a", ""]


def test_a_savepoint_that_is_undone_takes_its_statements_with_it_and_no_others(place, models: Models):
    runtime, robots = place
    with runtime.transaction() as session, ledger.together(session):
        _rename(session, robots["amr-01"], "before")
        with pytest.raises(LookupError), ledger.savepoint(session):
            _rename(session, robots["amr-01"], "undone")
            _swap(session, robots["amr-02"], 0, model="undone")
            raise LookupError("planted")
    assert models() == ["before", ""]


def test_a_savepoint_says_itself_that_a_swap_in_it_met_a_conflict(place, models: Models):
    runtime, robots = place
    with runtime.transaction() as session, ledger.together(session):
        with pytest.raises(Conflict), ledger.savepoint(session):
            _swap(session, robots["amr-02"], 7, model="c")
        _rename(session, robots["amr-01"], "after")
    assert models() == ["after", ""]


def test_an_inner_block_leaves_the_writing_to_the_outer_one(place, statements: list[str]):
    runtime, robots = place
    with runtime.transaction() as session, ledger.together(session):
        with ledger.together(session):
            _rename(session, robots["amr-01"], "a")
        assert not any(statement.startswith("UPDATE robots") for statement in statements)
