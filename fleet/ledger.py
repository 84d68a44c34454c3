"""Rows that are only ever appended: history and changes. Nobody reads them in the transaction that writes them.

Alone, each is written like any row. A writer that puts many pieces of work into one commit has them written together at
its end, one statement a table, which is most of what a commit costs otherwise.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import insert
from sqlmodel import Session, SQLModel

KEPT = "ledger"
Line = tuple[type[SQLModel], Mapping[str, object]]


def append(session: Session, table: type[SQLModel], values: Mapping[str, object]) -> None:
    """Write a row of `table`; within `together` at the end of its block, in the order of the calls."""
    kept: list[Line] | None = session.info.get(KEPT)
    if kept is None:
        session.add(table(**values))
    else:
        kept.append((table, values))


@contextmanager
def together(session: Session) -> Iterator[None]:
    """Keep what is appended in the block and write it at its end; when the block raises, none of it is.

    Within another such block it is the other one that writes.
    """
    if KEPT in session.info:
        yield
        return
    kept: list[Line] = []
    session.info[KEPT] = kept
    try:
        yield
        session.flush()  # the rows that the lines speak of come first
        _write(session, kept)
    finally:
        del session.info[KEPT]


@contextmanager
def savepoint(session: Session) -> Iterator[None]:
    """Undo this block alone when it raises, with what it appended, and raise the error on."""
    kept: list[Line] = session.info.get(KEPT, [])
    before, is_done = len(kept), False
    try:
        with session.begin_nested():
            yield
        is_done = True
    finally:
        if not is_done:
            del kept[before:]


def _write(session: Session, kept: list[Line]) -> None:
    connection = session.connection()
    for table in dict.fromkeys(table for table, _ in kept):
        connection.execute(insert(table), [dict(values) for of, values in kept if of is table])
