"""The database schema: brought up to the newest migration, forward only."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, MetaData, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError

import ingestion.models
import ingestion.recording_policies
import ingestion.recordings
import missions.holds
import missions.models
import missions.schedules.models
import ml.models
import reports.models
from fleet import accounts, changes, events, gateways, link_commands, organisations, requests, robots, states
from fleet.database import metadata
from fleet.errors import Unavailable

# Importing a room's models registers its tables; named here so that the list is read, not guessed.
ROOMS = (
    accounts,
    changes,
    events,
    gateways,
    link_commands,
    organisations,
    requests,
    robots,
    states,
    missions.models,
    missions.holds,
    missions.schedules.models,
    ingestion.models,
    ingestion.recording_policies,
    ingestion.recordings,
    ml.models,
    reports.models,
)
FOLDER = Path(__file__).parent / "migrations"


def every_table() -> MetaData:
    """The tables of every room."""
    return metadata()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.set_main_option("path_separator", "os")
    return config


def migrate(engine: Engine) -> None:
    """Bring the database to the newest revision; on the newest already, nothing is done.

    Raises:
        Unavailable: it does not answer, or its file is none of a database.
    """
    config = _config()
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except DatabaseError as error:
        raise _unusable(engine, error) from error


def write_migration(engine: Engine, message: str) -> None:
    """A new migration file with what the models have and `engine`'s database has not; read it before you commit it."""
    config = _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.revision(config, message=message, autogenerate=True)


def check(engine: Engine) -> None:
    """See that the database is at the newest revision.

    Raises:
        Unavailable: it has none, or an older or unknown one; says what to do.
    """
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    try:
        with engine.connect() as connection:
            present = MigrationContext.configure(connection).get_current_revision()
    except DatabaseError as error:
        raise _unusable(engine, error) from error
    if present != newest:
        raise Unavailable(
            f"The database {engine.url!r} is at revision {present or 'none'}, this program needs {newest}. "
            "Run `yardmaster db migrate` (or `yardmaster up`, which does it).",
            present=present,
        )


def require(url: str) -> None:
    """See that an SQLite database is there before anything opens (and so makes) it; a server answers for itself.

    Raises:
        Unavailable: there is no file; says what makes one.
    """
    parts = make_url(url)
    if parts.get_backend_name() == "sqlite" and not Path(parts.database or "").is_file():
        raise Unavailable(f"The database {url} is not there. `yardmaster db migrate` (or `yardmaster up`) makes it.")


def _unusable(engine: Engine, error: DatabaseError) -> Unavailable:
    advice = (
        "Is it running?" if engine.dialect.name != "sqlite" else "If its file is damaged, restore it from a backup."
    )
    return Unavailable(f"The database {engine.url!r} does not answer: {error.orig}. {advice}")


def damage(engine: Engine) -> list[str]:
    """What SQLite's own check finds wrong with its file; PostgreSQL looks after itself."""
    if engine.dialect.name != "sqlite":
        return []
    try:
        with engine.connect() as connection:
            found = [str(row[0]) for row in connection.execute(text("PRAGMA quick_check(20)"))]
            found += [f"dangling reference in {row[0]}" for row in connection.execute(text("PRAGMA foreign_key_check"))]
    except DatabaseError as error:
        return [str(error.orig)]
    return [line for line in found if line != "ok"]
