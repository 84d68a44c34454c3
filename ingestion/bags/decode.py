"""Messages of one definition become Arrow columns, all at a time; what does not fit is read one by one by rosbags.

A message is kept exactly when rosbags can read it, with the values that rosbags gives; the others are told with the
reason. Whatever the bytes are: nothing is raised, nothing outside of a message is read as part of it, and memory stays
in proportion to the bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ingestion.bags.arrays import TIME, array, taken
from ingestion.bags.bodies import BEGIN, MOST_BYTES, Bodies
from ingestion.bags.columns import fields
from ingestion.bags.definitions import DECODE_ERRORS, PARSE_ERRORS
from ingestion.bags.layout import Program
from ingestion.bags.values import arrays
from ingestion.bags.walk import Cursor, Ints, Memory, Unsound, locate

LITTLE_ENDIAN = 0x0100  # the encapsulation 00 01, as one number
ATTEMPTS, PARTS, SMALL_PART = 4, 8, 64
UNBOUNDED = "It does not fit its definition, or would have to be read field by field and has a list of empty elements."
TOO_LARGE = "The message lies beyond the first 2 GiB of those that were read together."
OBJECTS_BYTES = 1 << 20  # objects of Python need many times the bytes of their messages
LARGEST_OBJECT_BYTES = 32 << 20
Columns = list[pa.Array]
Bad = tuple[int, str]


@dataclass(frozen=True, eq=False)
class Decoded:
    """The columns of the messages that were kept; `kept` and `bad` number the messages, rising."""

    columns: dict[str, pa.Array]
    kept: Ints
    bad: list[Bad]


def decode(program: Program, bodies: Bodies) -> Decoded:
    """The columns of these messages; every message is either kept or bad."""
    done: list[tuple[Ints, Columns]] = []
    odd: list[Ints] = []
    rows = _regular(program, bodies)
    if len(rows) < len(bodies.starts):
        is_odd = np.ones(len(bodies.starts), np.bool_)
        is_odd[rows] = False
        odd.append(np.flatnonzero(is_odd))
    waiting = [rows] if len(rows) else []
    while waiting:
        waiting += _attempt(program, bodies, waiting.pop(), done, odd)
    bad = _one_by_one(program, bodies, np.sort(np.concatenate(odd)).tolist() if odd else [], done)
    kept, found = _together(program, done)
    return Decoded(dict(zip((name for name, _ in program.columns), found, strict=True)), kept, bad)


def _regular(program: Program, bodies: Bodies) -> Ints:
    """The messages that can be read many at a time, as far as their first bytes tell."""
    if not program.is_vectorised or not len(bodies.starts):
        return np.empty(0, np.int64)
    is_regular = bodies.lengths >= program.smallest + (BEGIN if program.is_cdr else 0)
    if program.is_cdr:
        heads = bodies.arena[: bodies.arena.size & -2].view("<u2")
        is_regular &= heads.take(bodies.starts >> 1) == LITTLE_ENDIAN
    if bodies.size > MOST_BYTES:
        is_regular &= bodies.starts + bodies.lengths <= MOST_BYTES
    return np.flatnonzero(is_regular)


def _attempt(
    program: Program, bodies: Bodies, rows: Ints, done: list[tuple[Ints, Columns]], odd: list[Ints]
) -> list[Ints]:
    """Read these messages; those that hinder go to `odd`, and where too many do, the rest is to be tried in parts."""
    is_slow = False
    for _ in range(ATTEMPTS):
        part = bodies if len(rows) == len(bodies.starts) else bodies.of(rows)
        try:
            done.append((rows, _fast(program, part)))
        except Unsound as error:
            hindering, is_slow = np.unique(error.rows), error.is_slow
            odd.append(rows[hindering])
            rows = np.delete(rows, hindering)
            if not len(rows):
                return []
        else:
            return []
    if len(rows) > SMALL_PART and not is_slow:
        return np.array_split(rows, PARTS)
    odd.append(rows)
    return []


def _fast(program: Program, bodies: Bodies) -> Columns:
    memory = Memory(bodies.arena, program.is_cdr)
    skip = BEGIN if program.is_cdr else 0
    length = int(bodies.lengths[0])
    is_equal = bool((bodies.lengths == length).all())
    size = length - skip if is_equal else bodies.lengths - skip
    cursor = Cursor(memory, bodies.starts + skip, size, stride=_stride(bodies.starts))
    return _stamped(program, arrays(program, memory, locate(program, cursor), len(cursor)))


def _stride(starts: Ints) -> int:
    """The distance of neighbours where it is always the same, else 0."""
    if len(starts) == 1:
        return 8
    distance = int(starts[1] - starts[0])
    return distance if bool((np.diff(starts) == distance).all()) else 0


def _stamped(program: Program, found: Columns) -> Columns:
    if program.stamp is None:
        return found
    seconds, rest = (
        np.frombuffer(found[column].buffers()[1], str(found[column].type), len(found[column])).astype(np.int64)
        for column in program.stamp
    )
    return [array(seconds * 10**9 + rest, TIME), *found]


def _one_by_one(program: Program, bodies: Bodies, rows: list[int], done: list[tuple[Ints, Columns]]) -> list[Bad]:
    """These messages as rosbags reads them go to `done`; gives those that it cannot read, with the reason."""
    kept: list[int] = []
    messages: list[object] = []
    bad, size = [], 0
    for row in rows:
        message, reason = _read(program, bodies, row)
        if reason is None:
            kept.append(row)
            messages.append(message)
            size += int(bodies.lengths[row])
        else:
            bad.append((row, reason))
        if messages and (size > OBJECTS_BYTES or row == rows[-1]):
            found = [values for _, values in fields(program.decoder, messages)]
            done.append((np.array(kept, np.int64), _stamped(program, found)))
            kept, messages, size = [], [], 0
    return bad


def _read(program: Program, bodies: Bodies, row: int) -> tuple[object, str | None]:
    """A message as rosbags reads it, or the reason why it cannot be read."""
    if bodies.size > MOST_BYTES and bodies.starts[row] + bodies.lengths[row] > MOST_BYTES:
        return None, TOO_LARGE
    if program.is_endless:  # rosbags would make as many empty messages as a list claims
        return None, UNBOUNDED
    size = int(bodies.lengths[row])
    if size > LARGEST_OBJECT_BYTES:
        return (
            None,
            f"It has {size} bytes and has to be read field by field; at most {LARGEST_OBJECT_BYTES} are taken so.",
        )
    try:
        return program.decoder.decode(bodies.content(row)), None
    except (*DECODE_ERRORS, *PARSE_ERRORS) as error:
        return None, f"{type(error).__name__}: {error}"[:300]


def _together(program: Program, done: list[tuple[Ints, Columns]]) -> tuple[Ints, Columns]:
    """The parts as one, in the order of the messages."""
    if len(done) == 1:
        return done[0]
    if not done:
        return np.empty(0, np.int64), [pa.nulls(0, kind) for _, kind in program.columns]
    rows = np.concatenate([part for part, _ in done])
    order = np.argsort(rows)
    return rows[order], list(_joined(zip(*(found for _, found in done), strict=True), order))


def _joined(parts: "Iterator[tuple[pa.Array, ...]]", order: Ints) -> Iterator[pa.Array]:
    for part in parts:
        yield taken(pa.concat_arrays(part), order)
