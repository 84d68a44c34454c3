"""Where a text stands in a column: the same answer of SQLite and of PostgreSQL, also beyond the letters of English.

SQLite's LIKE takes A for a, also where capitals count, and never Ä for ä. Its GLOB knows sets of characters, so both cases
of a letter are given to it.
"""

import json
from typing import Any

from sqlalchemy import Boolean, String, cast
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import SQLCoreOperations
from sqlalchemy.sql.functions import FunctionElement


class _Pattern(FunctionElement[bool]):
    """A column, the pattern for LIKE, the pattern for GLOB."""

    type = Boolean()
    inherit_cache = True


class _Fits(_Pattern):
    """The whole text, as it is written."""

    inherit_cache = True


class _Holds(_Pattern):
    """Any place in the text, in any case."""

    inherit_cache = True


class _InEnglish(_Pattern):
    """As `_Holds`, for a text of ASCII, which SQLite's LIKE takes in any case and five times as fast as GLOB."""

    inherit_cache = True


class _Told(_Pattern):
    """Any value or name in JSON, in any case."""

    inherit_cache = True


def fits(column: SQLCoreOperations[Any], pattern: str) -> _Fits:
    """The column is what the pattern says, in which `*` stands for anything; capitals count."""
    glob = "".join(f"[{sign}]" if sign in "?[" else sign for sign in pattern)
    return _Fits(column, _escaped(pattern).replace("*", "%"), glob)


def holds(column: SQLCoreOperations[Any], text: str) -> _Holds | _InEnglish:
    """The column has this text in it; capitals do not count."""
    like = f"%{_escaped(text)}%"
    return _InEnglish(column, like) if text.isascii() else _Holds(column, like, _anywhere(text))


def told_in(column: SQLCoreOperations[Any], text: str) -> _Holds | _InEnglish | _Told:
    """A column of JSON has this text in it; capitals do not count."""
    kept, written = cast(column, String), json.dumps(text, ensure_ascii=False)[1:-1]
    # SQLite keeps JSON in ASCII, as our own writer wrote it: what is no ASCII is only found by reading it.
    return holds(kept, written) if text.isascii() else _Told(kept, f"%{_escaped(written)}%", _anywhere(text))


def _anywhere(text: str) -> str:
    return f"*{''.join(map(_in_any_case, text))}*"


def _in_any_case(sign: str) -> str:
    cases = {case for case in (sign, sign.lower(), sign.upper()) if _lower(case) == _lower(sign)}
    return f"[{''.join(sorted(cases))}]" if len(cases) > 1 or sign in "*?[" else sign


def _lower(sign: str) -> str:
    """As databases do it: a letter becomes one letter or stays."""
    return sign.lower() if len(sign.lower()) == 1 else sign


def _escaped(text: str) -> str:
    for mark in "\\%_":
        text = text.replace(mark, f"\\{mark}")
    return text


@compiles(_Fits)
def _fits(element: _Fits, compiler: SQLCompiler, **given: Any) -> str:
    column, like, _ = element.clauses
    return f"{compiler.process(column, **given)} LIKE {compiler.process(like, **given)}"


@compiles(_Holds)
@compiles(_InEnglish)
@compiles(_Told)
def _holds(element: _Pattern, compiler: SQLCompiler, **given: Any) -> str:
    column, like, *_ = element.clauses
    return f"{compiler.process(column, **given)} ILIKE {compiler.process(like, **given)}"


@compiles(_InEnglish, "sqlite")
def _liked(element: _InEnglish, compiler: SQLCompiler, **given: Any) -> str:
    column, like = element.clauses
    return f"{compiler.process(column, **given)} LIKE {compiler.process(like, **given)} ESCAPE '\\'"


@compiles(_Fits, "sqlite")
@compiles(_Holds, "sqlite")
def _globbed(element: _Pattern, compiler: SQLCompiler, **given: Any) -> str:
    column, _, glob = element.clauses
    return f"{compiler.process(column, **given)} GLOB {compiler.process(glob, **given)}"


@compiles(_Told, "sqlite")
def _read(element: _Told, compiler: SQLCompiler, **given: Any) -> str:
    column, _, glob = element.clauses
    names, values = (f"{name} GLOB {compiler.process(glob, **given)}" for name in ("one.key", "one.atom"))
    tree = f"json_tree({compiler.process(column, **given)})"
    return f"EXISTS (SELECT 1 FROM {tree} AS one WHERE {names} OR {values})"  # noqa: S608  parts that were compiled
