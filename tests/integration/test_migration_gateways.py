"""A database of the release before gains gateways, and what is in it stays as it was."""

from datetime import UTC, datetime

import pytest
from alembic import command
from sqlalchemy import inspect, text
from sqlmodel import select

from deployments.schema import _config, every_table, migrate
from fleet.accounts import ManufacturerAccount
from fleet.database import new_id
from fleet.robots import Robot, robots_by_serial
from fleet.runtime import Runtime, open_runtime
from fleet.settings import Settings

BEFORE = "0005"
AT = datetime(2026, 1, 1, tzinfo=UTC)


def _at_revision(runtime: Runtime, revision: str) -> None:
    config = _config()
    with runtime.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def _fill(runtime: Runtime) -> None:
    sqlite = runtime.engine.dialect.name == "sqlite"
    ids = {name: (lambda made: made.hex if sqlite else made)(new_id()) for name in ("o", "s", "a", "r")}
    at = {"at": AT.replace(tzinfo=None) if sqlite else AT, **ids}
    with runtime.engine.begin() as connection:
        for statement in (
            "INSERT INTO organisations (id, name, created_at) VALUES (:o, 'acme', :at)",
            "INSERT INTO sites (id, organisation_id, name, timezone) VALUES (:s, :o, 'north', 'UTC')",
            (
                "INSERT INTO manufacturer_accounts (id, organisation_id, name, manufacturer, base_url, credential,"
                " webhook_secret, cursor, created_at) VALUES (:a, :o, 'cloud', 'simulated', 'http://x', '', '', '', :at)"
            ),
            (
                "INSERT INTO robots (id, organisation_id, site_id, account_id, name, serial_number, model, capabilities,"
                " battery_minimum_fraction, fence, created_at)"
                " VALUES (:r, :o, :s, :a, 'amr-01', 'SN-1', '', '[]', 0.2, 7, :at)"
            ),
        ):
            connection.execute(text(statement), at)


@pytest.fixture
def older(settings: Settings):
    """An SQLite database of the release before, with a robot in it."""
    runtime = open_runtime(settings)
    _at_revision(runtime, BEFORE)
    _fill(runtime)
    yield runtime
    runtime.engine.dispose()


@pytest.fixture
def older_postgres(postgres_url: str, settings: Settings):
    """The same on PostgreSQL."""
    runtime = open_runtime(settings.model_copy(update={"database_url": postgres_url}))
    with runtime.engine.begin() as connection:
        for name in (*(table.name for table in every_table().sorted_tables), "alembic_version"):
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name} CASCADE")
    _at_revision(runtime, BEFORE)
    _fill(runtime)
    yield runtime
    runtime.engine.dispose()


@pytest.mark.parametrize("database", ["older", pytest.param("older_postgres", marks=pytest.mark.proof)])
def test_robots_and_accounts_of_the_release_before_are_commanded_as_they_were(request, database):
    runtime = request.getfixturevalue(database)
    migrate(runtime.engine)
    with runtime.reading() as session:
        robot, account = session.exec(select(Robot)).one(), session.exec(select(ManufacturerAccount)).one()
        assert (robot.fence, robot.commanded_over, robot.address) == (7, account.id, "SN-1")
        assert account.options == {}
        assert list(robots_by_serial(session, account.id, {"SN-1"})) == ["SN-1"]
    links = {key["constrained_columns"][0] for key in inspect(runtime.engine).get_foreign_keys("robots")}
    assert "link_account_id" in links
