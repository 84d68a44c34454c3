"""What a transaction writes late and in one go, which is most of what a commit of many pieces of work costs otherwise.

Rows that are only ever appended (history, changes) are not read in the transaction that writes them: they wait for its
end. Statements about single rows, and compare-and-sets, wait until the session next reads or writes rows of its own; so
nothing that is read is older than what was written. Alone, outside `together`, each is carried out where it is told.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Executable, Update, bindparam, event, insert, inspect, update
from sqlalchemy.engine import Dialect
from sqlmodel import Session, SQLModel

from fleet.database import STATEMENTS_KEPT, in_one_go, made, table_of
from fleet.errors import Conflict
from fleet.right_of_way import WAY, RightOfWay
from fleet.statements import write

KEPT = "ledger"
Values = Mapping[str, object]
Line = tuple[type[SQLModel], Values]


@dataclass
class _Swap:
    """A row that must still be as it `was`, and what becomes of it."""

    was: Values
    to: dict[str, object]


@dataclass
class _Kept:
    lines: list[Line] = field(default_factory=list)
    swaps: dict[tuple[type[SQLModel], UUID], _Swap] = field(default_factory=dict)
    changes: dict[tuple[int, Executable], list[Values]] = field(default_factory=dict)

    @property
    def waits(self) -> bool:
        return bool(self.swaps or self.changes)


def append(session: Session, table: type[SQLModel], values: Values) -> None:
    """Write a row of `table`; within `together` at the end of its block, in the order of the calls."""
    kept = _kept(session)
    if kept is None:
        session.add(table(**values))
    else:
        kept.lines.append((table, values))


def change(session: Session, statement: Executable, values: Values, *, turn: int = 0) -> None:
    """Carry out an UPDATE, DELETE or upsert of single rows; within `together` later, those of a lower `turn` first.

    It must be right in whichever order the same statement is carried out for other rows.
    """
    kept = _kept(session)
    if kept is None:
        session.connection().execute(statement, values)
    else:
        kept.changes.setdefault((turn, statement), []).append(values)


def swap(session: Session, table: type[SQLModel], row_id: UUID, was: Values, to: Values) -> None:
    """Write `to` into a row if it is as it `was`; within `together` later, and twice is once from the first to the last.

    Raises:
        Conflict: it is not; within `together` the block raises it, and nothing of the block may be committed.
    """
    kept = _kept(session)
    if kept is None:
        return _carry_out(session, _Kept(swaps={(table, row_id): _Swap(was, dict(to))}))
    known = kept.swaps.setdefault((table, row_id), _Swap(was, {}))
    known.to.update(to)
    return None


@contextmanager
def together(session: Session) -> Iterator[None]:
    """Keep what is written in the block, and write it at its end at the latest; when the block raises, the rest of it is not.

    Within another such block it is the other one that writes.
    """
    if _kept(session) is not None:
        yield
        return
    kept = session.info[KEPT] = _Kept()
    try:
        yield
        if _has_rows(session):
            session.flush()  # the rows that the lines speak of come first
        _carry_out(session, kept, kept.lines)
    finally:
        del session.info[KEPT]


@contextmanager
def savepoint(session: Session) -> Iterator[None]:
    """Undo this block alone when it raises, with what it appended, and raise the error on; rows are then read anew."""
    kept = _kept(session) or _Kept()
    _write(session)
    before, is_done = len(kept.lines), False
    try:
        with session.begin_nested():
            yield
            _write(session)
        is_done = True
    finally:
        if not is_done:
            del kept.lines[before:]
            kept.swaps.clear()
            kept.changes.clear()
            session.expire_all()  # a row that was swapped in the block is no longer as the session knows it


def give_way(session: Session) -> None:
    """Stop for a thread that goes first, if this session's transaction is one that does."""
    way: RightOfWay | None = session.info.get(WAY)
    if way is not None:
        way.give()


def write_now(session: Session) -> None:
    """Write what the session has yet to write, but for the lines, before it is asked past it for rows."""
    if _has_rows(session):
        session.flush()
    _write(session)


def _has_rows(session: Session) -> bool:
    """Whether the session has rows to write: to look for them in vain would write what waits in two goes."""
    return bool(session.new or session.deleted or any(session.is_modified(row) for row in session.dirty))


def _kept(session: Session) -> _Kept | None:
    kept: _Kept | None = session.info.get(KEPT)
    return kept


@event.listens_for(Session, "do_orm_execute")
def _before_reading(state: Any) -> None:
    _write(state.session)


@event.listens_for(Session, "before_flush")
def _before_writing(session: Session, _context: object, _instances: object) -> None:
    _write(session)


def _write(session: Session) -> None:
    kept = _kept(session)
    if kept is not None and kept.waits:
        _carry_out(session, kept)


def _carry_out(session: Session, kept: _Kept, lines: Sequence[Line] = ()) -> None:
    swaps, changes = kept.swaps, kept.changes
    kept.swaps, kept.changes = {}, {}
    if not (swaps or changes or lines):
        return
    give_way(session)
    connection = session.connection()
    with in_one_go(connection):
        swapped = _write_swaps(connection, swaps)
        for (_, statement), values in sorted(changes.items(), key=lambda each: each[0][0]):
            write(connection, statement, values)
        for table in dict.fromkeys(table for table, _ in lines):
            _insert_all(connection, table, [values for of, values in lines if of is table])
    _check(swapped)


def _write_swaps(
    connection: Connection, swaps: Mapping[tuple[type[SQLModel], UUID], _Swap]
) -> list[tuple[Callable[[], int], list[UUID]]]:
    alike: dict[Update, list[tuple[UUID, dict[str, object]]]] = {}
    for (table, row_id), one in swaps.items():
        statement = _compare_and_set(table, frozenset(one.was), frozenset(one.to))
        was = {f"was_{name}": value for name, value in one.was.items()}
        to = {f"to_{name}": value for name, value in one.to.items()}
        alike.setdefault(statement, []).append((row_id, {"was_id": row_id, **was, **to}))
    return [
        (write(connection, statement, [values for _, values in rows]), [row_id for row_id, _ in rows])
        for statement, rows in alike.items()
    ]


def _check(swapped: Sequence[tuple[Callable[[], int], list[UUID]]]) -> None:
    for count, ids in swapped:
        if count() != len(ids):
            told = ", ".join(str(row_id) for row_id in ids)
            raise Conflict("Somebody else changed it first; read it again.", id=told)


@cache
def _compare_and_set(table: type[SQLModel], was: frozenset[str], to: frozenset[str]) -> Update:
    columns = table_of(table).c
    same = [columns[name] == bindparam(f"was_{name}") for name in sorted({"id", *was})]
    return update(table_of(table)).where(*same).values({name: bindparam(f"to_{name}") for name in sorted(to)})


def _insert_all(connection: Connection, table: type[SQLModel], lines: Sequence[Values]) -> None:
    statement, renamed = _insert(table, connection.dialect, frozenset(lines[0]))
    if renamed:
        lines = [{renamed.get(name, name): value for name, value in values.items()} for values in lines]
    write(connection, statement, lines)


@lru_cache(maxsize=STATEMENTS_KEPT)
def _insert(
    table: type[SQLModel], dialect: Dialect, attributes: frozenset[str]
) -> tuple[Executable, Mapping[str, str]]:
    """The statement for rows of these attributes, and the columns that are called otherwise than theirs."""
    mapper: Any = inspect(table)
    names = {attribute.key: attribute.columns[0].key for attribute in mapper.column_attrs}
    columns = sorted(names[attribute] for attribute in attributes)
    renamed = {attribute: column for attribute, column in names.items() if attribute != column}
    return made(insert(table_of(table)).inline(), dialect, columns), renamed
