"""Statements that are sent in one go: all of them count, and what is wrong with one is told."""

import pytest
from sqlalchemy import bindparam, insert, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from fleet.database import in_one_go, table_of
from fleet.errors import Unavailable
from fleet.organisations import Site
from fleet.robots import Robot, RobotLease
from fleet.statements import write


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.proof)])
def place(request):
    """A runtime on each database, with two robots."""
    suffix = "" if request.param == "sqlite" else "postgres_"
    return request.getfixturevalue(f"{suffix}runtime"), request.getfixturevalue(f"{suffix}world").robots


ROBOTS = table_of(Robot)
RENAME = update(ROBOTS).where(ROBOTS.c.id == bindparam("of")).values(model=bindparam("to"))


def test_how_many_rows_each_statement_met_is_known_afterwards(place):
    runtime, robots = place
    rows = [{"of": robot.id, "to": name} for name, robot in robots.items()]
    with runtime.transaction() as session:
        connection = session.connection()
        with in_one_go(connection):
            both = write(connection, RENAME, rows)
            none = write(connection, RENAME, [{"of": robots["amr-01"].organisation_id, "to": "x"}])
            one = write(connection, RENAME, rows[:1])
        assert (both(), none(), one()) == (len(robots), 0, 1)
    with runtime.reading() as session:
        assert set(session.exec(select(Robot.model)).all()) == set(robots)


def test_what_is_wrong_with_one_is_raised_as_everywhere_and_nothing_is_kept(place):
    runtime, robots = place
    row = {"of": robots["amr-01"].id, "to": "x"}
    twice = insert(table_of(Site)).values(id=robots["amr-01"].site_id, name="y", timezone="UTC")
    with pytest.raises(IntegrityError), runtime.transaction() as session:
        connection = session.connection()
        with in_one_go(connection):
            write(connection, RENAME, [row])
            connection.execute(twice, {"organisation_id": robots["amr-01"].organisation_id})
            write(connection, RENAME, [row])
    with runtime.reading() as session:
        assert set(session.exec(select(Robot.model)).all()) == {""}
        assert session.exec(select(RobotLease)).all() == []


@pytest.mark.proof
def test_a_server_that_goes_away_meanwhile_is_told_as_everywhere(postgres_runtime, postgres_world):
    runtime, robot = postgres_runtime, postgres_world.robots["amr-01"]
    with pytest.raises(Unavailable), runtime.transaction() as session:
        connection = session.connection()
        process = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with runtime.reading() as other:
            other.connection().exec_driver_sql(f"SELECT pg_terminate_backend({process})")
        with in_one_go(connection):
            write(connection, RENAME, [{"of": robot.id, "to": "x"}])
    with runtime.reading() as session:
        assert session.get_one(Robot, robot.id).model == ""
