"""Prefect's server on SQLite, so that runs that change at once wait for each other: `python -m orchestration.server`.

Two things are mended from outside, at the connections of Python's sqlite3 that the server works with:

- Most of its transactions read, and then write. Begun as readers, they are refused ("database is locked", 503) whenever
  another wrote in between, however patient the server is: on a busy machine every fifth request. They are begun as
  writers, and wait for their turn.
- A statement that failed stays open until its cursor is collected as garbage. The collector runs on any thread, often the
  event loop's, and has to wait for the connection of that cursor. When that connection meanwhile waits for the write lock,
  and who has the lock waits for the event loop to go on, all stand still until SQLite gives up waiting: for the 60 s that
  Prefect asks it to be patient. So a statement that fails is closed at once, by the thread that it failed on.
"""

import argparse
import sqlite3
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import Dialect

READS_FIRST, WRITES = "BEGIN DEFERRED", "BEGIN IMMEDIATE"


class Cursor(sqlite3.Cursor):
    """A cursor that begins every transaction as a writer, and leaves nothing behind when a statement fails."""

    def execute(self, sql: str, *arguments: Any) -> "Cursor":
        """As sqlite3's."""
        try:
            super().execute(WRITES if sql == READS_FIRST else sql, *arguments)
        except sqlite3.Error:
            self.close()
            raise
        return self

    def executemany(self, sql: str, rows: Iterable[Any], /) -> "Cursor":
        """As sqlite3's."""
        try:
            super().executemany(sql, rows)
        except sqlite3.Error:
            self.close()
            raise
        return self


class Connection(sqlite3.Connection):
    """A connection with such cursors."""

    def cursor(self, factory: Any = Cursor) -> Any:
        """As sqlite3's."""
        return super().cursor(factory)


def with_own_cursors(dialect: Dialect, _record: object, _arguments: object, options: dict[str, Any]) -> None:
    """Let a new connection of an engine on aiosqlite be one of ours (an SQLAlchemy listener for `do_connect`)."""
    if dialect.driver == "aiosqlite":
        options["factory"] = Connection


def main() -> None:
    """Serve until SIGTERM or SIGINT; where else to write is said by Prefect's own settings."""
    parser = argparse.ArgumentParser(prog="orchestration.server", description="Prefect's server, for one machine.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4200)
    chosen = parser.parse_args()
    event.listen(Engine, "do_connect", with_own_cursors)
    sys.argv = ["prefect", "server", "start", "--host", chosen.host, "--port", str(chosen.port)]
    # Imported here and not above: it takes seconds, which a wrong option should not.
    import_module("prefect.cli").app()


if __name__ == "__main__":
    main()
