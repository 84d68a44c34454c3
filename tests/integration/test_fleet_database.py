"""The database door on SQLite: aware instants, claims that exclude each other, transactions that wait."""

import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect
from sqlalchemy.exc import StatementError
from sqlmodel import select

from deployments.schema import every_table, migrate
from fleet.clock import SteppableClock
from fleet.database import copy_rows, new_id
from fleet.errors import NotFound
from fleet.organisations import Organisation
from fleet.requests import CLAIM_S, Request, RequestStatus, ask, claim_pending, settle
from fleet.runtime import Runtime


def _ask(runtime: Runtime, world, key: str) -> Request:
    with runtime.transaction() as session:
        return ask(
            session,
            organisation_id=world.organisation.id,
            kind="process-bag",
            key=key,
            parameters={"bag_ids": [key]},
            requested_by="test",
        )


def test_an_instant_comes_back_aware_and_in_utc(runtime: Runtime):
    berlin = timezone(timedelta(hours=1))
    with runtime.transaction() as session:
        session.add(Organisation(name="a", created_at=datetime(2026, 1, 1, 1, tzinfo=berlin)))
    with runtime.reading() as session:
        assert session.exec(select(Organisation)).one().created_at == datetime(2026, 1, 1, 0, tzinfo=UTC)


def test_a_naive_instant_is_refused_where_it_is_written(runtime: Runtime):
    with pytest.raises(StatementError, match="no time zone"), runtime.transaction() as session:
        session.add(Organisation(name="a", created_at=datetime(2026, 1, 1)))


def test_keys_rise_with_time():
    keys = [new_id() for _ in range(1000)]
    assert keys == sorted(keys)
    assert all(key.version == 7 for key in keys)


def test_a_failed_block_writes_nothing(runtime: Runtime):
    with pytest.raises(ZeroDivisionError), runtime.transaction() as session:
        session.add(Organisation(name="a", created_at=datetime(2026, 1, 1, tzinfo=UTC)))
        session.flush()
        _ = 1 / 0
    with runtime.reading() as session:
        assert session.exec(select(Organisation)).all() == []


def test_the_migrations_make_exactly_the_tables_and_columns_of_the_models(runtime: Runtime):
    found = inspect(runtime.engine)
    for table in every_table().sorted_tables:
        assert {column["name"] for column in found.get_columns(table.name)} == set(table.columns.keys())


def test_models_and_migrations_do_not_drift_apart(runtime: Runtime):
    with runtime.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), every_table()) == []


def test_every_table_of_a_customer_names_its_organisation_and_never_null():
    tables = [table for table in every_table().sorted_tables if table.name not in {"organisations", "feed_readers"}]
    loose = [t.name for t in tables if "organisation_id" not in t.columns or t.columns["organisation_id"].nullable]
    assert loose == []


def test_migrating_a_filled_database_again_changes_nothing(runtime: Runtime, world):
    migrate(runtime.engine)
    with runtime.reading() as session:
        assert session.exec(select(Organisation.name)).all() == ["acme"]


def test_asking_twice_with_one_key_is_one_request(runtime: Runtime, world):
    assert _ask(runtime, world, "sha").id == _ask(runtime, world, "sha").id


def test_a_claimed_request_is_not_given_again_until_its_claim_is_over(runtime: Runtime, world, clock: SteppableClock):
    _ask(runtime, world, "sha")
    with runtime.transaction() as session:
        assert len(claim_pending(session)) == 1
    with runtime.transaction() as session:
        assert claim_pending(session) == []
    clock.step(CLAIM_S + 1)
    with runtime.transaction() as session:
        (again,) = claim_pending(session)
    assert again.tries == 2


def test_a_settled_request_keeps_its_flow_run_and_is_never_claimed(runtime: Runtime, world):
    request = _ask(runtime, world, "sha")
    with runtime.transaction() as session:
        settle(session, request.id, RequestStatus.started, flow_run_id="run-1")
    with runtime.transaction() as session:
        assert settle(session, request.id, RequestStatus.done).flow_run_id == "run-1"
        assert claim_pending(session) == []


def test_settling_an_unknown_request_says_which(runtime: Runtime, world):
    missing = new_id()
    with pytest.raises(NotFound, match=str(missing)), runtime.transaction() as session:
        settle(session, missing, RequestStatus.done)


def test_many_writers_at_once_wait_for_each_other_and_none_fails(runtime: Runtime, world):
    errors: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for turn in range(5):
                _ask(runtime, world, f"{number}-{turn}")
        except BaseException as error:  # the thread hands its error to the test
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with runtime.reading() as session:
        assert (errors, len(session.exec(select(Request)).all())) == ([], 30)


def test_rows_are_copied_in_bulk(runtime: Runtime):
    rows = [(new_id().hex, f"org-{number}", "2026-01-01 00:00:00") for number in range(100)]
    with runtime.transaction() as session:
        assert copy_rows(session, "organisations", ["id", "name", "created_at"], rows) == 100
    with runtime.reading() as session:
        assert len(session.exec(select(Organisation)).all()) == 100
