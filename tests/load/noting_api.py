"""The API, which notes when it commits which missions: `python tests/load/noting_api.py FILE [arguments of api.serve]`.

A line for each mission: its id and the monotonic instant just before its COMMIT was issued, so never too late.
"""

import sys
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event

from api import serve

MISSIONS = "missions_of_this_transaction"


def note_commits(path: Path) -> None:
    """Append to the file at `path` from now on."""
    file = path.open("a", buffering=1)

    @event.listens_for(Engine, "before_cursor_execute")
    def remember(
        connection: Connection, _cursor: object, statement: str, _values: object, context: Any, _: bool
    ) -> None:
        if statement.startswith("INSERT INTO missions"):
            ids = (str(values["id"]) for values in context.compiled_parameters)
            connection.info.setdefault(MISSIONS, []).extend(ids)

    @event.listens_for(Engine, "commit")
    def note(connection: Connection) -> None:
        now = time.monotonic()
        for id_ in connection.info.pop(MISSIONS, ()):
            file.write(f"{id_} {now}\n")


if __name__ == "__main__":
    note_commits(Path(sys.argv.pop(1)))
    serve.main()
