"""The doorbell and the database door when something is gone: dead listeners, a server that does not answer, a busy file."""

import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlmodel import select

from fleet import changes
from fleet.clock import SystemClock
from fleet.database import open_engine
from fleet.doorbell import DatagramDoorbell, PostgresDoorbell, open_doorbell
from fleet.errors import Invalid, Unavailable
from fleet.organisations import Organisation
from fleet.runtime import Runtime
from fleet.settings import Settings

NOBODY = "postgresql+psycopg://yard@127.0.0.1:9/yard?connect_timeout=2"
LISTENER = """
import sys
from pathlib import Path
from fleet.doorbell import DatagramDoorbell
DatagramDoorbell(Path(sys.argv[1])).listen()
print("listening", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "yardmaster.db.bells"


@pytest.fixture
def away(tmp_path: Path) -> Runtime:
    """The parts of a process whose PostgreSQL does not answer."""
    settings = Settings(var_dir=tmp_path, database_url=NOBODY)
    engine = open_engine(NOBODY)
    return Runtime(settings, engine, SystemClock(), open_doorbell(engine))


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _killed_listener(folder: Path) -> str:
    process = subprocess.Popen(
        [sys.executable, "-c", LISTENER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "listening\n"
    process.kill()
    process.communicate()
    (left,) = _names(folder)
    return left


def test_what_killed_listeners_left_is_swept_by_the_next_one(folder: Path):
    left = _killed_listener(folder)
    assert _names(folder) == [left]
    with DatagramDoorbell(folder).listen() as listener:
        assert len(_names(folder)) == 1
        DatagramDoorbell(folder).ring()
        assert listener.wait(5)
    assert _names(folder) == []


def test_a_sweep_leaves_those_who_live(folder: Path):
    bell = DatagramDoorbell(folder)
    with bell.listen() as first, bell.listen() as second:
        assert len(_names(folder)) == 2
        bell.ring()
        assert (first.wait(5), second.wait(5)) == (True, True)


def test_a_strange_file_in_the_folder_stops_neither_a_ring_nor_a_sweep(folder: Path):
    folder.mkdir()
    for name in ("README", "99999999", "0", "²"):
        (folder / name).touch()
    bell = DatagramDoorbell(folder)
    with bell.listen() as listener:
        bell.ring()
        assert listener.wait(5)
    assert {"README", "²"} <= set(_names(folder))


def test_many_rings_are_heard_as_one_and_none_is_left_over(folder: Path):
    bell = DatagramDoorbell(folder)
    with bell.listen() as listener:
        for _ in range(50):
            bell.ring()
        assert listener.wait(5)
        assert not listener.wait(0.01)


def test_a_ring_is_heard_by_another_process_of_the_same_database_and_by_no_other(tmp_path: Path):
    here, there = DatagramDoorbell(tmp_path / "a.db.bells"), DatagramDoorbell(tmp_path / "b.db.bells")
    with here.listen() as ours, there.listen() as theirs:
        here.ring()
        assert ours.wait(5)
        assert not theirs.wait(0.01)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused_and_says_what_to_do(url: str):
    with pytest.raises(Invalid, match="give it a file"):
        open_engine(url)


def test_a_ring_that_cannot_reach_postgresql_is_lost_and_fails_nobody():
    PostgresDoorbell(open_engine(NOBODY)).ring()


def test_a_reader_of_a_database_that_does_not_answer_is_told_that_it_is_unavailable(away: Runtime):
    with pytest.raises(Unavailable, match="database"), away.reading() as session:
        session.exec(select(Organisation)).all()


def test_a_writer_to_a_database_that_does_not_answer_is_told_that_it_is_unavailable(away: Runtime):
    with pytest.raises(Unavailable, match="did not take the change"), away.transaction() as session:
        session.exec(select(Organisation)).all()


def test_an_answer_is_kept_although_the_bell_could_not_be_rung_after_it(runtime: Runtime, world, monkeypatch):
    bells = runtime.settings.var_dir / "yardmaster.db.bells"
    bells.mkdir()
    (bells / "1").touch()

    def refuse(*_: object) -> None:
        raise OSError("no more sockets")

    with runtime.transaction() as session:
        changes.record(session, organisation_id=world.organisation.id, subject="robot", subject_id="1", kind="heard of")
        monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.undo()
    with runtime.reading() as session:
        assert [change.kind for change in session.exec(select(changes.Change)).all()] == ["heard of"]


def test_a_writer_waits_for_another_process_to_end_its_transaction(runtime: Runtime, world, tmp_path: Path):
    path = runtime.settings.var_dir / "yardmaster.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.3, other.execute, ["COMMIT"]).start()
    with runtime.transaction() as session:
        session.add(Organisation(name="late", created_at=world.organisation.created_at))
    other.close()
    with runtime.reading() as session:
        assert len(session.exec(select(Organisation)).all()) == 2


def test_a_reader_waits_for_no_writer(runtime: Runtime, world):
    with runtime.transaction() as writing:
        writing.add(Organisation(name="unfinished", created_at=world.organisation.created_at))
        writing.flush()
        with runtime.reading() as session:
            assert [row.name for row in session.exec(select(Organisation)).all()] == ["acme"]


def test_who_is_deaf_to_its_own_rings_hears_those_of_others(folder):
    mine, theirs = DatagramDoorbell(folder), DatagramDoorbell(folder)
    with mine.listen(own=False) as ear:
        mine.ring()
        assert not ear.wait(0.01)
        mine.ring()
        theirs.ring()
        assert ear.wait(5)
