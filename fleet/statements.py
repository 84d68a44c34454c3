"""Statements that are carried out thousands of times: made once, then handed to the database's driver as they are.

SQLAlchemy makes their text and what converts values; what else it does each time costs several times what the driver
does. Those who listen to the engine before each statement hear of these, too. The transaction of the connection has
begun: `session.connection()` sees to it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError

from fleet.errors import Invalid

MADE_KEPT = 1000
LISTED = (
    0,
    1,
    2,
    4,
    8,
    16,
    32,
    64,
)  # as many values has a list: it is filled up with its last one, so that texts are few
Values = Mapping[str, Any]
Convert = Callable[[Any], Any]


@dataclass(frozen=True)
class _Value:
    """Where a value of the driver comes from: of what is asked, or fixed; with `nth` from a list."""

    name: str
    of: str
    nth: int | None
    convert: Convert | None
    fixed: object
    is_needed: bool

    def out_of(self, asked: Values) -> object:
        if not self.is_needed and self.of not in asked:
            return self.fixed
        value = asked[self.of]
        if self.nth is not None:
            value = value[min(self.nth, len(value) - 1)]
        return self.convert(value) if self.convert else value


@dataclass
class _Made:
    text: str
    values: tuple[_Value, ...]
    is_by_place: bool
    is_plain: bool  # each value is asked for by its name, and there are no lists
    converts_as: Callable[[Any], tuple[tuple[int, Convert], ...]]
    converts: tuple[tuple[int, Convert], ...] | None = None  # of the columns that need it, known from the first answer

    def filled(self, asked: Values) -> Any:
        if self.is_plain:
            values = [convert(asked[of]) if convert else asked[of] for of, convert in self.plainly]
        else:
            values = [each.out_of(asked) for each in self.values]
        return values if self.is_by_place else dict(zip(self.names, values, strict=True))

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.values)

    @cached_property
    def plainly(self) -> tuple[tuple[str, Convert | None], ...]:
        return tuple((each.of, each.convert) for each in self.values)

    def answer(self, cursor: Any) -> list[list[Any]]:
        if self.converts is None:
            self.converts = self.converts_as(cursor.description)
        found = [list(row) for row in cursor.fetchall()]
        for place, convert in self.converts:
            for row in found:
                row[place] = convert(row[place])
        return found


def read(connection: Connection, statement: Any, asked: Values) -> list[list[Any]]:
    """The rows that a SELECT gives, or an UPDATE with RETURNING; each value as its column has it."""
    return read_all(connection, [(statement, asked)])[0]


def read_all(connection: Connection, statements: Sequence[tuple[Any, Values]]) -> list[list[list[Any]]]:
    """`read` of several, none of which needs the answer of another: PostgreSQL is asked in one go."""
    made = [(_made(connection.dialect, statement, _sizes(asked)), asked) for statement, asked in statements]
    driver: Any = connection.connection.driver_connection
    is_in_one_go = len(made) > 1 and connection.dialect.name == "postgresql"
    with _telling(connection, driver), driver.pipeline() if is_in_one_go else nullcontext():
        cursors = [_carry_out(connection, driver, one, asked) for one, asked in made]
    return [one.answer(cursor) for (one, _), cursor in zip(made, cursors, strict=True)]


def write(connection: Connection, statement: Any, rows: Sequence[Values]) -> Callable[[], int]:
    """Carry out an INSERT, UPDATE or DELETE for each of `rows`, which name the same values; what tells how many it met.

    That is known at the earliest after the block of `fleet.database.in_one_go`.
    """
    made = _made(connection.dialect, statement, ())
    driver: Any = connection.connection.driver_connection
    cursor = driver.cursor()
    filled = [made.filled(row) for row in rows]
    _announce(connection, cursor, made, filled, is_many=True)
    with _telling(connection, driver):
        cursor.executemany(made.text, filled)
    return lambda: int(cursor.rowcount)


def _carry_out(connection: Connection, driver: Any, made: _Made, asked: Values) -> Any:
    filled, cursor = made.filled(asked), driver.cursor()
    _announce(connection, cursor, made, filled, is_many=False)
    cursor.execute(made.text, filled)
    return cursor


def _announce(connection: Connection, cursor: object, made: _Made, filled: object, *, is_many: bool) -> None:
    listeners: Any = connection.dispatch.before_cursor_execute
    if listeners:
        listeners(connection, cursor, made.text, filled, None, is_many)


@contextmanager
def _telling(connection: Connection, driver: object) -> Iterator[None]:
    """Raise what the driver raises as SQLAlchemy does."""
    wrong: Any = connection.dialect.loaded_dbapi
    try:
        yield
    except wrong.Error as error:
        if connection.dialect.is_disconnect(error, driver, None):  # type: ignore[arg-type]
            connection.invalidate(error)
        raise DBAPIError.instance(None, None, error, wrong.Error, dialect=connection.dialect) from error


def _sizes(asked: Values) -> tuple[tuple[str, int], ...]:
    return tuple((name, _filled_up(len(value))) for name, value in asked.items() if isinstance(value, list))


def _filled_up(size: int) -> int:
    return next((most for most in LISTED if most >= size), size)


@lru_cache(maxsize=MADE_KEPT)
def _made(dialect: Dialect, statement: Any, sizes: tuple[tuple[str, int], ...]) -> _Made:
    compiled = statement if hasattr(statement, "construct_expanded_state") else statement.compile(dialect=dialect)
    fixed = dict(compiled.params)
    expanded = compiled.construct_expanded_state(fixed | {name: [None] * size for name, size in sizes})
    listed = {each: (name, nth) for name, all_ in expanded.parameter_expansion.items() for nth, each in enumerate(all_)}

    defaults = _defaults(compiled)

    def value(name: str) -> _Value:
        of, nth = listed.get(name, (name, None))
        convert = expanded.processors.get(name) or _converts_to(dialect, compiled.binds[of])
        is_needed = compiled.binds[of].required and name not in defaults
        given = defaults.get(name, None if is_needed else fixed.get(name))
        return _Value(name, of, nth, convert, convert(given) if convert else given, is_needed)

    names = expanded.positiontup
    in_order = tuple(value(name) for name in (expanded.parameters if names is None else names))
    is_plain = all(each.is_needed and each.nth is None for each in in_order)
    return _Made(expanded.statement, in_order, names is not None, is_plain, partial(_answered, dialect, statement))


def _defaults(compiled: Any) -> dict[str, object]:
    """What columns have where no value is given."""
    defaults = {column.key: column.default for column in getattr(compiled, "insert_prefetch", ())}
    made_each_time = [name for name, default in defaults.items() if not default.is_scalar]
    if made_each_time:
        raise Invalid(f"Give a value for {', '.join(made_each_time)}: it is another one for each row.")
    return {name: default.arg for name, default in defaults.items()}


def _converts_to(dialect: Dialect, bound: Any) -> Convert | None:
    convert: Convert | None = bound.type.dialect_impl(dialect).bind_processor(dialect)
    return convert


def _answered(dialect: Dialect, statement: Any, description: Sequence[Any]) -> tuple[tuple[int, Convert], ...]:
    types = [column.type.dialect_impl(dialect) for column in statement.exported_columns]
    told = zip(types, description, strict=True)
    converts = [kind.result_processor(dialect, column[1]) for kind, column in told]
    return tuple((place, convert) for place, convert in enumerate(converts) if convert is not None)
