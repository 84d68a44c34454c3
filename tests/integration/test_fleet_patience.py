"""PostgreSQL, and somebody who is gone or stands still: rows that nobody lets go of, ears whose line was cut."""

import asyncio

import pytest
from sqlalchemy import text, update
from sqlalchemy.engine import make_url
from sqlmodel import select

from fleet import postgres
from fleet.doorbell import PostgresDoorbell
from fleet.errors import Unavailable
from fleet.organisations import Organisation
from fleet.runtime import Runtime, open_runtime
from orchestration import loops

RENAMED = update(Organisation).values(name="renamed")


@pytest.fixture
def impatient(postgres_runtime: Runtime, postgres_world, monkeypatch):
    """The parts of another process on the same database, which lets nobody stand still for long."""
    monkeypatch.setattr(postgres, "IDLE_MS", 300)
    own = open_runtime(postgres_runtime.settings, clock=postgres_runtime.clock)
    yield own
    own.engine.dispose()


@pytest.mark.proof
def test_rows_of_a_process_that_stands_still_are_free_again_and_it_is_told_so(postgres_runtime, impatient):
    with pytest.raises(Unavailable, match="idle-in-transaction"), impatient.transaction() as standing:
        standing.execute(RENAMED)
        with postgres_runtime.transaction() as session:  # waits for the row, which nobody lets go of by himself
            session.execute(text("SET LOCAL lock_timeout = '20s'"))
            session.execute(update(Organisation).values(name="goes on"))
        standing.execute(RENAMED)
    with impatient.reading() as session:  # on a new connection
        assert [row.name for row in session.exec(select(Organisation)).all()] == ["goes on"]


@pytest.mark.proof
def test_who_only_reads_is_never_ended_for_taking_his_time(impatient, postgres_runtime):
    with impatient.reading() as session:
        assert session.execute(text("SELECT pid FROM pg_stat_activity WHERE state = 'idle in transaction'")).all() == []
        mine = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with postgres_runtime.reading() as other:
            state = text("SELECT state FROM pg_stat_activity WHERE pid = :pid")
            assert other.execute(state, {"pid": mine}).scalar_one() == "idle"


@pytest.mark.proof
def test_a_limit_that_an_operator_has_set_is_kept(postgres_url, postgres_runtime):
    url = make_url(postgres_url).update_query_dict({"options": "-c idle_in_transaction_session_timeout=7000"})
    given = postgres_runtime.settings.model_copy(update={"database_url": url.render_as_string(hide_password=False)})
    own = open_runtime(given, clock=postgres_runtime.clock)
    with own.reading() as session:
        assert session.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one() == "7s"
    own.engine.dispose()


def test_a_server_that_is_gone_is_known_as_gone_after_seconds_unless_the_address_says_otherwise():
    given = postgres.alive(make_url("postgresql+psycopg://yard@db/yard"))
    assert given["keepalives_idle"] + given["keepalives_interval"] * given["keepalives_count"] <= 15
    assert given["tcp_user_timeout"] <= 15_000
    named = make_url("postgresql+psycopg://yard@db/yard?keepalives_idle=90&connect_timeout=2")
    assert not {"keepalives_idle", "connect_timeout"} & postgres.alive(named).keys()


@pytest.mark.proof
async def test_a_process_whose_ear_was_cut_off_hears_the_bell_again(postgres_runtime: Runtime, monkeypatch):
    monkeypatch.setattr(loops, "AGAIN_S", 0.01)
    woken, ended = asyncio.Event(), asyncio.Event()
    ear = asyncio.create_task(loops.hear(postgres_runtime, woken, ended))
    other = PostgresDoorbell(postgres_runtime.engine)
    try:
        first = await _listener(postgres_runtime)
        await asyncio.to_thread(_cut_off, postgres_runtime, first)
        assert await _listener(postgres_runtime, but_for=first) != first
        woken.clear()
        await asyncio.to_thread(other.ring)
        async with asyncio.timeout(10):
            await woken.wait()
    finally:
        ended.set()
        await ear


async def _listener(runtime: Runtime, *, but_for: int = 0) -> int:
    """The server's process of the ear, as soon as there is one."""
    who = text("SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND pid <> :other")
    async with asyncio.timeout(10):
        while True:
            with runtime.reading() as session:
                found = session.execute(who, {"other": but_for}).scalars().all()
            if found:
                return int(found[0])
            await asyncio.sleep(0.01)


def _cut_off(runtime: Runtime, process: int) -> None:
    with runtime.reading() as session:
        session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": process})
