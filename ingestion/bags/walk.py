"""Finds where every field of many messages lies, all messages at a time; every length is checked before it is followed.

The position in the messages is one int as long as it is the same in all of them, and an array from there on.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ingestion.bags.bodies import records
from ingestion.bags.layout import Block, Group, Program, Run, Step, Text, place

Ints: TypeAlias = NDArray[np.int64]
Position: TypeAlias = int | Ints
# Reading element by element pays while many messages have an element left: a step costs as much as rosbags needs for
# some forty fields. So many steps are free; beyond them, each has to be taken for so many messages on average.
FREE_STEPS, FEWEST = 1_000, 16
MOST_EMPTY = 65_536  # elements without a byte that a list is believed to have
NUMBER, OCTET = np.dtype("<u4"), np.dtype(np.uint8)


class Unsound(Exception):
    """Some messages cannot be followed: `rows` of them, by number; or with `is_slow` are better read one by one."""

    def __init__(self, rows: Ints, *, is_slow: bool = False) -> None:
        """Name the messages."""
        super().__init__()
        self.rows, self.is_slow = rows, is_slow


@dataclass(frozen=True, eq=False)
class Memory:
    """The arena as numbers; `is_aligned` where every number lies on a multiple of its size."""

    arena: NDArray[np.uint8]
    is_aligned: bool

    def numbers(self, at: Ints) -> NDArray[np.uint32]:
        """The unsigned 32-bit numbers that begin at these bytes."""
        if self.is_aligned:
            return self.arena[: self.arena.size & -4].view("<u4").take(at >> 2)
        return records(self.arena, at, 4).view("<u4").reshape(-1)


@dataclass(frozen=True, eq=False)
class Cursor:
    """Some messages, or one element of each: where their payloads begin and how long those are.

    `rows` numbers the messages, None for all in order; `stride` is the distance of their payloads when it is one;
    `first` is the number of the first one among the elements of its list.
    """

    memory: Memory
    base: Ints
    size: Position
    rows: Ints | None = None
    stride: int = 0
    first: int = 0

    def __len__(self) -> int:
        return len(self.base)

    def demand(self, holds: "bool | NDArray[np.bool_]") -> None:
        """Go on only when it holds for all messages.

        Raises:
            Unsound: it does not.
        """
        if isinstance(holds, bool):
            if not holds:
                raise Unsound(self.numbered)
        elif not holds.all():
            raise Unsound(self.numbered[~holds])

    @property
    def numbered(self) -> Ints:
        """The number of each message."""
        return np.arange(len(self.base)) if self.rows is None else self.rows

    def number(self, pos: Position) -> Position:
        """The unsigned 32-bit number at `pos`: one int when it is the same in all messages."""
        found = self._column(pos, NUMBER) if self._is_regular(pos) else self.memory.numbers(self.base + pos)
        first = found[0]
        return int(first) if (found == first).all() else found.astype(np.int64)

    def is_zero(self, pos: Position) -> "bool | NDArray[np.bool_]":
        """Whether the byte at `pos` is 0."""
        found = self._column(pos, OCTET) if self._is_regular(pos) else self.memory.arena.take(self.base + pos)
        return found == 0 if found.any() else True

    def _is_regular(self, pos: Position) -> bool:
        return bool(self.stride) and isinstance(pos, int)

    def _column(self, pos: Position, dtype: np.dtype[Any]) -> NDArray[Any]:
        start = int(self.base[0]) + int(pos)
        return np.ndarray((len(self.base),), dtype, self.memory.arena, start, (self.stride,))

    def of(self, index: Ints, first: int) -> "Cursor":
        """The cursor of elements that belong to these of its messages."""
        size = self.size if isinstance(self.size, int) else self.size[index]
        return Cursor(self.memory, self.base[index], size, self.numbered[index], 0, first)

    def whole(self, first: int) -> "Cursor":
        """The cursor of one element of every message."""
        return Cursor(self.memory, self.base, self.size, self.rows, self.stride, first)


@dataclass(frozen=True, eq=False)
class Spot:
    """Where a field lies: at `pos`, `length` bytes or numbers, in every message of a cursor."""

    cursor: Cursor
    pos: Position
    length: Position = 0


@dataclass
class Found:
    """Where all fields lie; for a list, the numbers of elements, and of every element its owner and rank."""

    spots: defaultdict[Step, list[Spot]] = field(default_factory=lambda: defaultdict(list))
    owners: defaultdict[Group, list[tuple[Ints, Position]]] = field(default_factory=lambda: defaultdict(list))
    elements: defaultdict[Group, int] = field(default_factory=lambda: defaultdict(int))


def locate(program: Program, cursor: Cursor) -> Found:
    """Where every field of the messages lies.

    Raises:
        Unsound: some messages do not fit the definition, or are too odd to be read many at a time.
    """
    walk = _Walk(program.is_cdr)
    end = walk.steps(program.steps, cursor, 0)
    rest = cursor.size - end
    cursor.demand(rest <= 3 if program.is_cdr else rest == 0)  # CDR may be padded to a multiple of four
    return walk.found


class _Walk:
    def __init__(self, is_cdr: bool) -> None:
        self.found = Found()
        self.is_cdr = is_cdr
        self.taken, self.gained = 0, 0

    def steps(self, steps: tuple[Step, ...], cursor: Cursor, pos: Position) -> Position:
        for step in steps:
            if isinstance(step, Run):
                pos = self._run(step, cursor, pos)
            elif isinstance(step, Text):
                pos = self._text(step, cursor, pos)
            elif isinstance(step, Block):
                pos = self._block(step, cursor, pos)
            else:
                pos = self._group(step, cursor, pos)
        return pos

    def _aligned(self, pos: Position, align: int) -> Position:
        return (pos + (align - 1)) & -align if self.is_cdr and align > 1 else pos

    def _run(self, step: Run, cursor: Cursor, pos: Position) -> Position:
        pos = self._aligned(pos, step.align)
        end = pos + step.width
        cursor.demand(end <= cursor.size)
        self.found.spots[step].append(Spot(cursor, pos))
        return end

    def _length(self, cursor: Cursor, pos: Position) -> tuple[Position, Position]:
        pos = self._aligned(pos, 4)
        cursor.demand(pos + 4 <= cursor.size)
        return cursor.number(pos), pos + 4

    def _text(self, step: Text, cursor: Cursor, pos: Position) -> Position:
        length, pos = self._length(cursor, pos)
        end = pos + length
        cursor.demand(end <= cursor.size)
        if self.is_cdr:
            cursor.demand(length >= 1)
            length = length - 1
            cursor.demand(cursor.is_zero(end - 1))
        self.found.spots[step].append(Spot(cursor, pos, length))
        return end

    def _block(self, step: Block, cursor: Cursor, pos: Position) -> Position:
        count, pos = self._length(cursor, pos)
        size = step.dtype.itemsize
        cursor.demand(count * size <= cursor.size - pos)
        return self._stretch(step, Spot(cursor, pos, count), size, size)

    def _stretch(self, step: Block | Group, spot: Spot, size: int, align: int) -> Position:
        """Elements of `size` bytes, close to each other; where there are none, nothing is aligned."""
        cursor, count = spot.cursor, spot.length
        begin = _where(count, self._aligned(spot.pos, align), spot.pos)
        end = begin + count * size
        cursor.demand(end <= cursor.size)
        self.found.spots[step].append(Spot(cursor, begin, count))
        return end

    def _group(self, group: Group, cursor: Cursor, pos: Position) -> Position:
        count: Position
        if group.count is None:
            count, pos = self._length(cursor, pos)
            most = (cursor.size - pos) // group.smallest if group.smallest else MOST_EMPTY
            cursor.demand(count <= most)
        else:
            count = group.count
        if group.run is not None:
            return self._stretch(group, Spot(cursor, pos, count), group.width, group.align)
        self.found.spots[group].append(Spot(cursor, pos, count))
        if not group.steps or (isinstance(count, int) and not count):
            return pos
        if group.stride is not None:
            return self._evenly(group, cursor, pos, count)
        return self._one_by_one(group, cursor, pos, count)

    def _evenly(self, group: Group, cursor: Cursor, pos: Position, count: Position) -> Position:
        """Elements of fixed size: where each begins is plain arithmetic."""
        stride = group.stride or 0
        counts = np.broadcast_to(np.asarray(count, np.int64), len(cursor))
        first = np.broadcast_to(np.asarray(self._aligned(pos, group.align), np.int64), len(cursor))
        after = place(group.steps, first)
        second = np.asarray(self._aligned(after, group.align))
        end = np.where(counts > 1, second + (counts - 2) * stride + group.width, np.where(counts > 0, after, pos))
        cursor.demand(end <= cursor.size)
        owner = np.repeat(np.arange(len(cursor)), counts)
        rank = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        starts = np.where(rank > 0, second[owner] + (rank - 1) * stride, first[owner])
        self.steps(group.steps, self._elements(group, cursor, owner, rank), starts)
        return end

    def _one_by_one(self, group: Group, cursor: Cursor, pos: Position, count: Position) -> Position:
        """Elements of any size: the first of every message, then the second of those that have one, and so on."""
        if isinstance(count, int):
            for rank in range(count):
                pos = self.steps(group.steps, self._elements(group, cursor, None, rank), pos)
            return pos
        ends = np.array(np.broadcast_to(pos, len(cursor)))
        live = np.flatnonzero(count)
        at = pos if isinstance(pos, int) else pos[live]
        for rank in range(int(count.max())):
            at = self.steps(group.steps, self._elements(group, cursor, live, rank), at)
            goes_on = count[live] > rank + 1
            if not goes_on.all():
                ends[live] = at
                live = live[goes_on]
                at = at if isinstance(at, int) else at[goes_on]
        return ends

    def _spend(self, steps: int, cursor: Cursor) -> None:
        """Leave long lists that only few messages have to rosbags."""
        self.taken += steps
        self.gained += steps * len(cursor)
        if self.taken > FREE_STEPS + self.gained // FEWEST:
            raise Unsound(np.unique(cursor.numbered), is_slow=True)

    def _elements(self, group: Group, cursor: Cursor, owner: Ints | None, rank: Position) -> Cursor:
        first = self.found.elements[group]
        if owner is None or (isinstance(rank, int) and len(owner) == len(cursor)):
            inner = cursor.whole(first)
            owners = np.arange(cursor.first, cursor.first + len(cursor))
        else:
            inner = cursor.of(owner, first)
            owners = owner + cursor.first
        self._spend(len(group.steps), inner)
        self.found.owners[group].append((owners, rank))
        self.found.elements[group] += len(inner)
        return inner


def _where(count: Position, some: Position, none: Position) -> Position:
    """`some` in messages whose list has elements, `none` in the others."""
    if isinstance(count, int):
        return some if count else none
    return np.where(count > 0, some, none)
