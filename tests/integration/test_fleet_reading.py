"""What is read and written past SQLAlchemy means the same: the same values, the same rows, the same errors."""

import threading

import pytest
from sqlalchemy import bindparam, event, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select

from fleet import ledger, reading, right_of_way, statements
from fleet.database import inserting, table_of
from fleet.errors import Invalid
from fleet.events import Event
from fleet.robots import Robot


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.proof)])
def place(request):
    """A runtime on each database, with two robots."""
    suffix = "" if request.param == "sqlite" else "postgres_"
    return request.getfixturevalue(f"{suffix}runtime"), request.getfixturevalue(f"{suffix}world").robots


ROBOTS = table_of(Robot)
NAMED = select(Robot).where(col(Robot.name).in_(bindparam("names", expanding=True))).order_by(Robot.name)
MODELS = select(Robot.name, Robot.model).where(Robot.model == "m")
RENAME = update(ROBOTS).where(ROBOTS.c.id == bindparam("of")).values(model=bindparam("to"))
RAISE = update(ROBOTS).where(ROBOTS.c.id == bindparam("of")).values(fence=ROBOTS.c.fence + 7).returning(ROBOTS.c.fence)


@pytest.mark.parametrize("names", [[], ["amr-01"], ["amr-02", "amr-01"], ["amr-01", "amr-02", "nobody"]])
def test_a_list_of_any_length_gives_the_rows_that_the_session_gives(place, names):
    runtime, _ = place
    with runtime.reading() as session:
        found = reading.load(session, Robot, reading.read(session, NAMED, {"names": names}))
        told = [robot.model_dump() for robot in found]
        session.expunge_all()
        assert told == [robot.model_dump() for robot in session.exec(NAMED, params={"names": names}).all()]
        assert [robot["name"] for robot in told] == sorted(set(names) - {"nobody"})


def test_a_row_that_the_session_knows_is_that_row_as_it_is_now(place):
    runtime, robots = place
    with runtime.transaction() as session:
        known = session.get_one(Robot, robots["amr-01"].id)
        statements.write(session.connection(), RENAME, [{"of": known.id, "to": "m"}])
        (found,) = reading.load(session, Robot, reading.read(session, NAMED, {"names": ["amr-01"]}))
        assert found is known
        assert known.model == "m"


def test_a_row_that_was_read_is_written_when_it_is_changed(place):
    runtime, _ = place
    with runtime.transaction() as session:
        (robot,) = reading.load(session, Robot, reading.read(session, NAMED, {"names": ["amr-01"]}))
        robot.model = "changed"
    with runtime.reading() as session:
        assert session.exec(select(Robot.model).where(Robot.name == "amr-01")).one() == "changed"


def test_what_the_session_has_yet_to_write_is_read(place):
    runtime, robots = place
    with runtime.transaction() as session, ledger.together(session):
        session.get_one(Robot, robots["amr-01"].id).model = "m"
        ledger.change(session, RENAME, {"of": robots["amr-02"].id, "to": "m"})
        assert sorted(reading.read(session, MODELS, {})) == [["amr-01", "m"], ["amr-02", "m"]]


def test_several_are_read_in_their_order_and_what_comes_after_a_change_sees_it(place):
    runtime, robots = place
    of = {"of": robots["amr-01"].id}
    asked = [(NAMED, {"names": ["amr-01"]}), (RAISE, of), (NAMED, {"names": ["amr-01"]})]
    with runtime.transaction() as session:
        before, raised, after = reading.read_all(session, asked)
    place_of_fence = [attribute.key for attribute in Robot.__mapper__.column_attrs].index("fence")
    assert before[0][place_of_fence] + 7 == raised[0][0] == after[0][place_of_fence]


def test_what_the_database_refuses_is_raised_as_everywhere(place):
    runtime, robots = place
    wrong = update(ROBOTS).where(ROBOTS.c.id == bindparam("of")).values(organisation_id=bindparam("to"))
    other = {"of": robots["amr-01"].id, "to": robots["amr-02"].id}
    with pytest.raises(IntegrityError), runtime.transaction() as session:
        statements.write(session.connection(), wrong, [other])


def test_a_value_that_is_missing_is_no_null(place):
    runtime, robots = place
    with pytest.raises(KeyError), runtime.transaction() as session:
        statements.write(session.connection(), RENAME, [{"of": robots["amr-01"].id}])


def test_an_insert_without_a_value_that_differs_from_row_to_row_is_refused(place):
    runtime, robots = place
    row = {"organisation_id": robots["amr-01"].organisation_id, "key": "k"}
    with runtime.transaction() as session:
        connection = session.connection()
        insert = inserting(connection, Event, row, ignoring=["organisation_id", "key"])
        with pytest.raises(Invalid, match="id"):
            statements.write(connection, insert, [row])


def test_whoever_listens_to_the_engine_hears_of_them(place):
    runtime, robots = place
    heard: list[tuple[str, bool]] = []
    listener = lambda *told: heard.append((told[2].split()[0], told[5]))  # noqa: E731  taken off again below
    event.listen(runtime.engine, "before_cursor_execute", listener)
    with runtime.transaction() as session:
        connection = session.connection()
        heard.clear()
        statements.read(connection, NAMED, {"names": ["amr-01"]})
        statements.write(connection, RENAME, [{"of": robots["amr-01"].id, "to": "m"}])
        assert heard == [("SELECT", False), ("UPDATE", True)]
    event.remove(runtime.engine, "before_cursor_execute", listener)


@pytest.mark.parametrize("urgent", [False, True])
def test_on_a_server_others_stop_before_their_next_statement_while_one_goes_first(place, monkeypatch, urgent):
    monkeypatch.setattr(right_of_way, "LONGEST_S", 30.0)
    runtime, _ = place
    is_to_stop = runtime.engine.dialect.name == "postgresql" and not urgent
    done = threading.Event()

    def read() -> None:
        with runtime.transaction(urgent=urgent) as session:
            reading.read(session, MODELS, {})
            done.set()

    thread = threading.Thread(target=read)
    with runtime.going_first():
        thread.start()
        assert done.wait(0.2 if is_to_stop else 10) is not is_to_stop
    thread.join(10)
    assert done.is_set()
