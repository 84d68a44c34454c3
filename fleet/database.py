"""The database: engine, column types, time-ordered keys, and work claimed with skip-locked.

SQLite (WAL, synchronous FULL) and PostgreSQL behave alike behind this module: a write transaction on SQLite begins
IMMEDIATE, so that it waits at its start and never fails in its middle.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache, lru_cache, partial
from typing import Any, TypeVar
from uuid import UUID

import uuid_utils.compat
from sqlalchemy import (
    JSON,
    Connection,
    DateTime,
    Engine,
    Executable,
    Insert,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    inspect,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.sql import Select
from sqlalchemy.types import TypeDecorator
from sqlmodel import Session, SQLModel

from fleet import postgres
from fleet.clock import SystemClock
from fleet.errors import Invalid

SQLITE_BUSY_TIMEOUT_MS = 30_000
LOOK_AGAIN_S = 0.0003
LOG_PAGES = 8_000  # of SQLite's log, when nobody carries it over: the commit that finds more does, and takes long then
CATCHES_UP = 5
STATEMENTS_KEPT = 100
TELLING = {"preserve_rowcount": True}  # psycopg tells how many rows an INSERT wrote only when it is asked to
READING = "yardmaster_reading"  # an option of connections whose transactions only read
ASK_AFTER_S, LEFT_AT = 1.0, "left_at"
Row = TypeVar("Row")
Known = TypeVar("Known", bound=SQLModel)
_IDS: ContextVar[Callable[[], UUID] | None] = ContextVar("ids", default=None)

# One naming rule, so that constraints carry the same names in both databases and migrations can find them.
SQLModel.metadata.naming_convention = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UTCDateTime(TypeDecorator[datetime]):
    """An aware UTC instant in both databases; a naive value is refused where it is written."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Aware in, UTC to the database."""
        if value is None:
            return None
        if value.tzinfo is None:
            msg = f"The instant {value.isoformat()} has no time zone; hand over an aware datetime."
            raise Invalid(msg)
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """UTC from the database, aware out."""
        return None if value is None else as_utc(value)


def as_utc(stored: object) -> datetime:
    """The instant as a database of ours gives it, aware: SQLite keeps text, without a zone, of UTC."""
    value = stored if isinstance(stored, datetime) else datetime.fromisoformat(str(stored))
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def text_of(enum: type[StrEnum]) -> type[TypeDecorator[StrEnum]]:
    """A column type that stores the member's value as text and gives the member back (no database enum to migrate)."""

    class EnumText(TypeDecorator[StrEnum]):
        impl = String(32)
        cache_ok = True

        def process_bind_param(self, value: StrEnum | None, dialect: Dialect) -> str | None:
            return None if value is None else enum(value).value

        def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:
            return None if value is None else enum(value)

    return EnumText


JSONColumn = JSON().with_variant(JSONB(), "postgresql")


def new_id() -> UUID:
    """A UUID version 7 (RFC 9562): unique, and later ones sort after earlier ones."""
    given = _IDS.get()
    return given() if given else uuid_utils.compat.uuid7()


@contextmanager
def ids_from(source: Callable[[], UUID]) -> Iterator[None]:
    """Within the block new ids come from `source`, so that a simulated world is the same whenever it is run again."""
    token = _IDS.set(source)
    try:
        yield
    finally:
        _IDS.reset(token)


def metadata() -> MetaData:
    """The tables of every room imported so far."""
    return SQLModel.metadata


def table_of(model: type[SQLModel]) -> Table:
    """The table of a model, for statements that go past the session."""
    mapper: Any = inspect(model)
    return mapper.local_table  # type: ignore[no-any-return]


def row_of(model: type[Known], **values: object) -> Known:
    """A new row of values that are known to be right: nothing is checked, which is most of the cost of making one."""
    manager: Any = inspect(model)
    row: Known = manager.class_manager.new_instance()
    fixed, factories = _optional(model)
    made_now = {name: field.get_default(call_default_factory=True) for name, field in factories if name not in values}
    row.__dict__.update(fixed)
    row.__dict__.update(made_now, **values)
    return row


def values_of(row: SQLModel) -> dict[str, Any]:
    """The values of a row's columns, by the names of its attributes."""
    return {name: row.__dict__[name] for name in type(row).model_fields}


@cache
def _optional(model: type[SQLModel]) -> tuple[Mapping[str, object], Sequence[tuple[str, Any]]]:
    """What is the same in each row where no value is given, and the fields whose value is made for each."""
    fields = [(name, field) for name, field in model.model_fields.items() if not field.is_required()]
    fixed = {name: field.default for name, field in fields if field.default_factory is None}
    return fixed, [(name, field) for name, field in fields if field.default_factory is not None]


def open_engine(url: str) -> Engine:
    """An engine for `url` (sqlite:/// or postgresql+psycopg://), ready for many threads."""
    if make_url(url).get_backend_name() == "sqlite":
        if make_url(url).database in {None, "", ":memory:"}:
            raise Invalid(f"{url} is a database in memory, which no other process sees; give it a file.", url=url)
        return _open_sqlite(url)
    alive = postgres.alive(make_url(url))
    engine = create_engine(url, pool_size=5, max_overflow=15, json_serializer=_to_json, connect_args=alive)
    event.listen(engine, "connect", postgres.limit)
    event.listen(engine, "checkin", _note_left)
    event.listen(engine, "checkout", partial(_ask_if_there, engine.dialect))
    return engine


def _note_left(_connection: object, record: Any) -> None:
    record.info[LEFT_AT] = SystemClock().monotonic()


def _ask_if_there(dialect: Dialect, connection: Any, record: Any, _proxy: object) -> None:
    """Ask the server whether a connection still lives that nobody has used for a while; one in use is not asked each time."""
    left_at = record.info.get(LEFT_AT)
    if left_at is None or SystemClock().monotonic() - left_at < ASK_AFTER_S:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:  # the pool makes a new one then, and asks the others
        raise InvalidatePoolError from error


_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=str).encode


def _open_sqlite(url: str) -> Engine:
    engine = create_engine(
        url,
        json_serializer=_to_json,
        connect_args={"timeout": SQLITE_BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
        pool_size=5,
        max_overflow=15,
    )
    event.listen(engine, "connect", _prepare_sqlite_connection)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite_connection(connection: Any, _record: object) -> None:
    # The driver's own transaction handling begins late and deferred; ours is explicit in _begin_sqlite.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"wal_autocheckpoint={LOG_PAGES}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def carry_over(engine: Engine) -> None:
    """Carry what is committed from SQLite's log into its file, beside those who write; other databases do so themselves.

    Left to the commits, one in forty does it for all, and whoever waits for that one waits long.
    """
    if engine.dialect.name != "sqlite":
        return
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        for _ in range(CATCHES_UP):  # the log begins anew only when all of it was carried over
            is_busy, pages, carried = driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if is_busy or pages == carried:
                break


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get(READING, False):
        connection.exec_driver_sql("BEGIN")
    elif not _begins_writing(connection.connection.dbapi_connection):
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # which says what is wrong


def _begins_writing(driver: Any) -> bool:
    """Begin a write transaction, waiting for other processes; False when they took too long, or it cannot be.

    SQLite's own waiting sleeps longer and longer, up to a tenth of a second, while others come and go; this one looks
    again as soon as one may have ended.
    """
    clock = SystemClock()
    ends = clock.monotonic() + SQLITE_BUSY_TIMEOUT_MS / 1000
    driver.execute("PRAGMA busy_timeout=0")
    try:
        while clock.monotonic() < ends:
            try:
                driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    return False
            else:
                return True
            time.sleep(LOOK_AGAIN_S)
    finally:
        driver.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_TIMEOUT_MS}")
    return False


def inserting(
    connection: Connection, table: type[SQLModel], columns: Iterable[str], *, ignoring: Sequence[str]
) -> Executable:
    """An INSERT of these columns that passes over rows whose `ignoring` columns are there already, made once.

    It says how many it inserted when it is executed with TELLING.
    """
    return _inserting(connection.dialect, table, tuple(columns), tuple(ignoring))


@lru_cache(maxsize=STATEMENTS_KEPT)
def _inserting(
    dialect: Dialect, table: type[SQLModel], columns: tuple[str, ...], ignoring: tuple[str, ...]
) -> Executable:
    insert = insert_for(dialect)(table_of(table))
    return made(insert.on_conflict_do_nothing(index_elements=ignoring), dialect, columns)


def insert_for(dialect: Dialect) -> Any:
    """The INSERT of this database, which knows ON CONFLICT."""
    return postgresql.insert if dialect.name == "postgresql" else sqlite.insert


def made(statement: Insert, dialect: Dialect, columns: Iterable[str]) -> Executable:
    """The text of an INSERT of these columns, for whoever keeps it.

    SQLAlchemy does not remember statements with ON CONFLICT: making their text costs more than carrying them out.
    """
    text: Any = statement.compile(dialect=dialect, column_keys=list(columns))
    return text  # type: ignore[no-any-return]


@contextmanager
def in_one_go(connection: Connection) -> Iterator[None]:
    """Send the statements of the block, which read nothing, to PostgreSQL without waiting for the answer to each.

    What is wrong with one of them is raised at the end of the block.
    """
    if connection.dialect.name != "postgresql":
        yield
        return
    driver: Any = connection.connection.driver_connection
    wrong: Any = connection.dialect.loaded_dbapi
    try:
        with driver.pipeline():
            yield
    except wrong.Error as error:
        if connection.dialect.is_disconnect(error, driver, None):
            connection.invalidate(error)
        raise DBAPIError.instance(None, None, error, wrong.Error, dialect=connection.dialect) from error


def claim(session: Session, query: Select[tuple[Row]], *, limit: int) -> Sequence[Row]:
    """Up to `limit` rows of `query` locked for this transaction; rows that another holds are passed over.

    On SQLite the write transaction itself is the lock. The caller marks what it claimed before it commits.
    """
    chosen = query.limit(limit)
    if session.get_bind().dialect.name == "postgresql":
        chosen = chosen.with_for_update(skip_locked=True)
    return session.execute(chosen).scalars().all()


def copy_rows(session: Session, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> int:
    """Append many rows the fastest way the database has (COPY on PostgreSQL); gives their number.

    `table` and `columns` are our own names, never input.
    """
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        return _copy_postgresql(connection, table, columns, rows)
    marks = ",".join("?" for _ in columns)
    batch = [tuple(row) for row in rows]
    if batch:
        connection.exec_driver_sql(f"INSERT INTO {table} ({','.join(columns)}) VALUES ({marks})", batch)  # noqa: S608  names are ours
    return len(batch)


def _copy_postgresql(
    connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]
) -> int:
    driver: Any = connection.connection.driver_connection
    count = 0
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({','.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
            count += 1
    return count
