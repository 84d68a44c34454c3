"""Prefect's own way to SQLite, with our connections in it: whoever writes waits for his turn, and the server never stands still."""

import asyncio
import gc
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from queue import SimpleQueue

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orchestration.server import Connection, with_own_cursors

PATIENCE_S = 30
WRITE = "INSERT INTO t VALUES (1)"


@pytest.fixture
def listening():
    event.listen(Engine, "do_connect", with_own_cursors)
    yield
    event.remove(Engine, "do_connect", with_own_cursors)


@pytest.fixture
def prefect(tmp_path: Path):
    from prefect.server.database.configurations import AioSqliteConfiguration

    return AioSqliteConfiguration(f"sqlite+aiosqlite:///{tmp_path}/prefect.db")


@pytest.fixture
async def engine(prefect, listening) -> AsyncIterator[AsyncEngine]:
    engine = await prefect.engine()
    async with engine.connect() as connection:
        await connection.exec_driver_sql("CREATE TABLE t (x INTEGER)")
    yield engine
    await engine.dispose()


@pytest.fixture
def refused_in_a_cycle() -> Callable:
    """Lets a write of a connection be refused, as happens to one that read before another wrote; the error stays as garbage."""

    async def fail(connection: AsyncConnection, other: AsyncConnection) -> None:
        await connection.exec_driver_sql("begin")
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


async def test_what_a_refused_write_left_is_collected_while_its_connection_waits_for_the_lock(
    engine, refused_in_a_cycle
):
    gc.disable()
    gc.collect()
    gc.freeze()  # what other tests left is not of interest, and there is much of it
    try:
        async with engine.connect() as first, engine.connect() as second:
            await first.exec_driver_sql(f"PRAGMA busy_timeout = {1000 * PATIENCE_S}")
            await refused_in_a_cycle(first, second)
            await second.exec_driver_sql("BEGIN IMMEDIATE")
            waiting = asyncio.create_task(first.exec_driver_sql("BEGIN IMMEDIATE"))
            await _has_begun_to_wait(first)
            gc.collect()
            await second.exec_driver_sql("COMMIT")
            # If the collector had to wait for the connection, the connection has given up by now, and raises.
            await waiting
            await first.exec_driver_sql("ROLLBACK")
    finally:
        gc.unfreeze()
        gc.enable()


async def _has_begun_to_wait(connection: AsyncConnection) -> None:
    """The task has run, and the connection's thread has taken its statement up."""
    raw = await connection.get_raw_connection()
    await asyncio.sleep(0)
    await asyncio.to_thread(_is_taken_up, raw.driver_connection._tx)


def _is_taken_up(queue: SimpleQueue) -> None:
    while not queue.empty():
        time.sleep(0.01)


async def test_transactions_that_read_before_they_write_wait_for_each_other(engine, prefect):
    async def read_then_write() -> None:
        session = await prefect.session(engine)
        async with session, prefect.begin_transaction(session):
            count = (await session.execute(text("SELECT count(*) FROM t"))).scalar_one()
            await asyncio.sleep(0.01)  # another's turn, if another could have one
            await session.execute(text("INSERT INTO t VALUES (:x)"), {"x": count})

    await asyncio.gather(*(read_then_write() for _ in range(10)))
    async with engine.connect() as connection:
        assert (await connection.exec_driver_sql("SELECT x FROM t ORDER BY x")).scalars().all() == list(range(10))


async def test_the_connections_of_the_server_are_our_own_and_those_of_others_are_not(engine):
    async with engine.connect() as connection:
        raw = await connection.get_raw_connection()
        assert isinstance(raw.driver_connection._conn, Connection)
    with create_engine("sqlite://").connect() as connection:
        assert type(connection.connection.dbapi_connection) is sqlite3.Connection
