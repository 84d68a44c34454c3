"""Prefect's server on SQLite, so that it does not stand still: `python -m orchestration.server --host H --port P`.

Python's sqlite3 leaves a statement that failed ("database is locked", an everyday thing when several runs change at once)
open until its cursor is collected as garbage. The collector runs on any thread, often the server's event loop, and has to
wait for the connection of that cursor. When that connection meanwhile waits for the write lock, and whoever has the lock
waits for the event loop to go on, all of them stand still until SQLite gives up the waiting: for the 60 s that Prefect
asks it to be patient. Here a statement that fails is closed at once, by the thread that it failed on.
"""

import argparse
import sqlite3
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import Dialect


class Cursor(sqlite3.Cursor):
    """A cursor that leaves nothing behind when a statement fails."""

    def execute(self, *arguments: Any) -> "Cursor":
        """As sqlite3's."""
        try:
            super().execute(*arguments)
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
    """A connection whose cursors leave nothing behind."""

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
