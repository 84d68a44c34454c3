"""What makes Prefect's server stand still for a minute on SQLite, in small: two connections, a failed statement, a collector."""

import asyncio
import gc
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from queue import SimpleQueue

import pytest
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from orchestration.server import Connection, with_own_cursors

PATIENCE_MS = 4000
WRITE = "INSERT INTO t VALUES (1)"


@pytest.fixture
def listening():
    event.listen(Engine, "do_connect", with_own_cursors)
    yield
    event.remove(Engine, "do_connect", with_own_cursors)


@pytest.fixture
async def engine(tmp_path: Path, listening) -> AsyncIterator[AsyncEngine]:
    """SQLite as Prefect's server opens it: write-ahead log, its own BEGIN, patience with locks."""

    def set_up(connection, _record) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}")
        cursor.close()

    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/prefect.db")
    event.listen(engine.sync_engine, "connect", set_up)
    async with engine.connect() as connection:
        await connection.exec_driver_sql("CREATE TABLE t (x INTEGER)")
    yield engine
    await engine.dispose()


@pytest.fixture
def refused_in_a_cycle() -> Callable:
    """Lets a connection fail at a write, as a run's does that read before another wrote; the error stays as garbage."""

    async def fail(connection: AsyncConnection, other: AsyncConnection) -> None:
        await connection.exec_driver_sql("BEGIN DEFERRED")
        await connection.exec_driver_sql("SELECT * FROM t")
        await other.exec_driver_sql(WRITE)
        try:
            await connection.exec_driver_sql(WRITE)
        except OperationalError as error:
            cycle = [error]
            cycle.append(cycle)
        else:
            raise AssertionError("it was to be refused")
        await connection.exec_driver_sql("ROLLBACK")

    return fail


async def test_collecting_what_a_refused_write_left_does_not_wait_for_a_connection_that_waits_for_the_lock(
    engine, refused_in_a_cycle
):
    gc.disable()
    try:
        async with engine.connect() as first, engine.connect() as second:
            await refused_in_a_cycle(first, second)
            await second.exec_driver_sql("BEGIN IMMEDIATE")
            waiting = asyncio.create_task(first.exec_driver_sql("BEGIN IMMEDIATE"))
            await _has_begun_to_wait(first)
            began = time.monotonic()
            gc.collect()
            took_s = time.monotonic() - began
            await second.exec_driver_sql("COMMIT")
            await waiting
            await first.exec_driver_sql("ROLLBACK")
    finally:
        gc.enable()
    assert took_s < PATIENCE_MS / 2000


async def _has_begun_to_wait(connection: AsyncConnection) -> None:
    """The task has run, and the connection's thread has taken its statement up."""
    raw = await connection.get_raw_connection()
    await asyncio.sleep(0)
    await asyncio.to_thread(_is_taken_up, raw.driver_connection._tx)


def _is_taken_up(queue: SimpleQueue) -> None:
    while not queue.empty():
        time.sleep(0.01)


async def test_connections_of_the_server_are_our_own_and_those_of_others_are_not(engine):
    async with engine.connect() as connection:
        raw = await connection.get_raw_connection()
        assert isinstance(raw.driver_connection._conn, Connection)
    with create_engine("sqlite://").connect() as connection:
        assert type(connection.connection.dbapi_connection) is sqlite3.Connection
