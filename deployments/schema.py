"""The database schema: brought up to the newest migration, forward only."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, MetaData

import ingestion.models
import missions.models
import ml.models
import reports.models
from fleet import accounts, changes, events, organisations, requests, robots, states
from fleet.database import metadata

# Importing a room's models registers its tables; named here so that the list is read, not guessed.
ROOMS = (
    accounts,
    changes,
    events,
    organisations,
    requests,
    robots,
    states,
    missions.models,
    ingestion.models,
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
    """Bring the database to the newest revision; on the newest already, nothing is done."""
    config = _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def write_migration(engine: Engine, message: str) -> None:
    """A new migration file with what the models have and `engine`'s database has not; read it before you commit it."""
    config = _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.revision(config, message=message, autogenerate=True)
