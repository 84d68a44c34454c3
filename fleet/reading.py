"""Rows that are read thousands of times, past most of SQLAlchemy's work but with its meaning.

What the session has yet to write is written first, and a row of a model is the one that the session knows, as it is now.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Connection, inspect
from sqlalchemy.orm import make_transient_to_detached
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.util import identity_key
from sqlmodel import Session, SQLModel

from fleet import ledger, statements
from fleet.statements import Values

Model = TypeVar("Model", bound=SQLModel)


def read(session: Session, statement: Any, asked: Values) -> list[list[Any]]:
    """The rows that a SELECT gives, or an UPDATE with RETURNING: lists of the values of its columns."""
    return statements.read(_ready(session), statement, asked)


def read_all(session: Session, asked: Sequence[tuple[Any, Values]]) -> list[list[list[Any]]]:
    """`read` of several, none of which needs the answer of another: PostgreSQL is asked in one go, in this order."""
    return statements.read_all(_ready(session), asked)


def load(session: Session, model: type[Model], rows: Sequence[Sequence[Any]]) -> list[Model]:
    """The rows of a model whose columns come first in `rows`, in the order in which a SELECT of it has them."""
    return [_known(session, model, row) for row in rows]


def plain(model: type[Model], rows: Sequence[Sequence[Any]]) -> list[Model]:
    """`load` for whoever only looks at them: no session knows these, and what is changed of them is written nowhere."""
    names, _ = _attributes(model)
    return [_new(model, dict(zip(names, row, strict=False))) for row in rows]


def _new(model: type[Model], values: dict[str, Any]) -> Model:
    manager: Any = inspect(model)
    made: Model = manager.class_manager.new_instance()
    made.__dict__.update(values)
    return made


def _ready(session: Session) -> Connection:
    if session.autoflush:
        ledger.write_now(session)
    ledger.give_way(session)
    return session.connection()


def _known(session: Session, model: type[Model], row: Sequence[Any]) -> Model:
    names, keys = _attributes(model)
    values = dict(zip(names, row, strict=False))
    known = session.identity_map.get(identity_key(model, [values[name] for name in keys]))
    if isinstance(known, model):
        for name, value in values.items():
            set_committed_value(known, name, value)
        return known
    made = _new(model, values)
    make_transient_to_detached(made)
    session.add(made)
    return made


@cache
def _attributes(model: type[SQLModel]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of a model's columns as it has them, and of those of its key."""
    mapper: Any = inspect(model)
    keys = tuple(mapper.get_property_by_column(column).key for column in mapper.primary_key)
    return tuple(attribute.key for attribute in mapper.column_attrs), keys


def width(model: type[SQLModel]) -> int:
    """How many columns a model has: what a SELECT has besides comes after them."""
    return len(_attributes(model)[0])
