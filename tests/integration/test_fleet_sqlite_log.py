"""What SQLite has committed lies in its log until it is carried over into the file."""

import shutil
import sqlite3

import pytest
from sqlmodel import select

from fleet.database import carry_over
from fleet.organisations import Organisation
from fleet.runtime import Runtime
from orchestration.dispatcher import Dispatcher


@pytest.fixture
def in_file(runtime: Runtime, tmp_path):
    """The names of the organisations that somebody who has the file alone sees."""

    def read() -> list[str]:
        copy = shutil.copy(str(runtime.engine.url.database), tmp_path / "copy.db")
        with sqlite3.connect(copy) as connection:
            return [name for (name,) in connection.execute("SELECT name FROM organisations")]

    return read


@pytest.fixture
def added(runtime: Runtime):
    """An organisation that was just committed, by name."""
    with runtime.transaction() as session:
        session.add(Organisation(name="newest", created_at=runtime.clock.now()))
    return "newest"


def test_what_is_carried_over_is_in_the_file_also_while_somebody_writes(runtime: Runtime, added, in_file):
    carry_over(runtime.engine)
    assert added in in_file()
    with runtime.transaction() as session:
        session.add(Organisation(name="another", created_at=runtime.clock.now()))
        session.flush()
        carry_over(runtime.engine)
    with runtime.reading() as session:
        assert "another" in session.exec(select(Organisation.name)).all()


async def test_a_dispatcher_carries_it_over_from_time_to_time(runtime: Runtime, added, in_file):
    dispatcher = Dispatcher(runtime, drains=False)
    dispatcher.tidy()
    await dispatcher._log.idle()
    await dispatcher.close()
    assert added in in_file()
