"""Copies the fields that a walk has found out of the messages, one Arrow array per column."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingestion.bags.arrays import array
from ingestion.bags.bodies import ragged, records
from ingestion.bags.layout import Block, Group, Program, Run, Slot, Step, Text
from ingestion.bags.walk import Found, Ints, Memory, Position, Spot, Unsound

ASCII = 0x7F


@dataclass(frozen=True, eq=False)
class Order:
    """How the elements of a list, numbered as they were met, are put in the order of the messages.

    `rows` by `ranks` of them where all messages have equally many and were read together; else `places` says where
    each one goes, None where they came in order.
    """

    rows: int
    ranks: int
    places: Ints | None = None
    is_even: bool = True

    def of(self, numbers: Ints) -> Ints:
        """The places of elements."""
        if self.is_even:
            return numbers if self.ranks == 1 else numbers % self.rows * self.ranks + numbers // self.rows
        return numbers if self.places is None else self.places[numbers]

    def arrange(self, parts: list[Ints]) -> Ints:
        """What was met in these parts, in the order of the messages."""
        if len(parts) == 1 and self.places is None:
            return parts[0]
        if self.is_even:
            return np.stack(parts, axis=1).reshape(-1) if parts else np.empty(0, np.int64)
        whole = np.concatenate(parts) if parts else np.empty(0, np.int64)
        if self.places is None:
            return whole
        arranged = np.empty_like(whole)
        arranged[self.places] = whole
        return arranged


def arrays(program: Program, memory: Memory, found: Found, rows: int) -> list[pa.Array]:
    """The columns of a program, without `header_stamp`.

    Raises:
        Unsound: texts of some messages are not UTF-8.
    """
    copy = _Copy(program, memory, found)
    copy.level(program.steps, Order(rows, 1), ())
    return copy.columns


class _Copy:
    def __init__(self, program: Program, memory: Memory, found: Found) -> None:
        self.arena, self.found = memory.arena, found
        self.columns: list[Any] = [None] * (len(program.columns) - bool(program.stamp))

    def level(self, steps: tuple[Step, ...], order: Order, offsets: tuple[NDArray[np.int32], ...]) -> None:
        for step in steps:
            spots = self.found.spots[step]
            if isinstance(step, Group):
                self.group(step, spots, order, offsets)
            elif isinstance(step, Run):
                self.run(step, spots, order, offsets)
            elif isinstance(step, Text):
                self.columns[step.column] = _listed(self.text(spots, order), offsets)
            else:
                self.columns[step.column] = _listed(self.block(step, spots, order), offsets)

    def group(self, group: Group, spots: list[Spot], order: Order, offsets: tuple[NDArray[np.int32], ...]) -> None:
        if group.run is not None:
            self.packed(group.run, spots, order, offsets)
        elif group.steps:
            self.elements(group, spots, order, offsets)

    def packed(self, run: Run, spots: list[Spot], order: Order, offsets: tuple[NDArray[np.int32], ...]) -> None:
        """A list whose elements lie close to each other is copied like a sequence of numbers."""
        content, own = self.stretches(spots, order, run.width)
        copied = content.reshape(-1, run.width)
        for slot in run.slots:
            self.columns[slot.column] = _listed(_slot(slot, _field(copied, slot)), (*offsets, own))

    def elements(self, group: Group, spots: list[Spot], order: Order, offsets: tuple[NDArray[np.int32], ...]) -> None:
        counts = order.arrange([_each(spot, spot.length) for spot in spots])
        ends = np.cumsum(counts)
        total = int(ends[-1]) if len(ends) else 0
        chunks = self.found.owners[group]
        if order.is_even and all(spot.cursor.rows is None for spot in self.found.spots[group.steps[0]]):
            inner = Order(order.rows, len(chunks))
        else:
            places = [(ends - counts)[order.of(owners)] + rank for owners, rank in chunks]
            is_sorted = len(places) == 1 and bool((places[0] == np.arange(total)).all())
            inner = Order(total, 1, None if is_sorted or not places else np.concatenate(places), is_even=False)
        self.level(group.steps, inner, (*offsets, _offsets(counts)))

    def run(self, run: Run, spots: list[Spot], order: Order, offsets: tuple[NDArray[np.int32], ...]) -> None:
        is_grid = _is_grid(spots, order)
        copied = None if is_grid else self.copied(run, order.arrange([_at(spot) for spot in spots]))
        for slot in run.slots:
            values = self.grid(slot, spots) if copied is None else _field(copied, slot)
            self.columns[slot.column] = _listed(_slot(slot, values), offsets)

    def copied(self, run: Run, at: Ints) -> NDArray[np.uint8]:
        return records(self.arena, at, run.width) if len(at) else np.empty((0, run.width), np.uint8)

    def grid(self, slot: Slot, spots: list[Spot]) -> NDArray[Any]:
        """A field of a run that lies at the same place in all messages."""
        first = spots[0].cursor
        shape, strides = _shape(slot), _shape(slot, slot.dtype.itemsize)
        values = np.empty((len(first), len(spots), *shape), slot.dtype)
        for rank, spot in enumerate(spots):
            start = int(first.base[0]) + spot.pos + slot.offset
            values[:, rank] = np.ndarray((len(first), *shape), slot.dtype, self.arena, start, (first.stride, *strides))
        return values.reshape(-1, *shape)

    def text(self, spots: list[Spot], order: Order) -> pa.Array:
        content, offsets = self.stretches(spots, order, 1)
        text = pa.Array.from_buffers(
            pa.string(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(content)]
        )
        if content.size and int(content.max()) > ASCII:
            try:
                text.validate(full=True)
            except pa.ArrowInvalid as error:
                is_bad = [not _is_text(value) for value in text.view(pa.binary()).to_pylist()]
                raise Unsound(order.arrange([spot.cursor.numbered for spot in spots])[is_bad]) from error
        return text

    def block(self, block: Block, spots: list[Spot], order: Order) -> pa.Array:
        content, offsets = self.stretches(spots, order, block.dtype.itemsize)
        if block.kind == pa.binary():
            return pa.Array.from_buffers(
                block.kind, len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(content)]
            )
        return _listed(_numbers(content.view(block.dtype), block.kind.value_type), (offsets,))

    def stretches(self, spots: list[Spot], order: Order, size: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """The bytes of texts or of numbers of `size` bytes each, one after the other, and the number before each."""
        if _is_grid(spots, order):
            return self.even_stretches(spots, size)
        lengths = order.arrange([_each(spot, spot.length) for spot in spots])
        at = order.arrange([_at(spot) for spot in spots])
        offsets = _offsets(lengths)
        total = int(offsets[-1]) * size
        if not total:
            return np.empty(0, np.uint8), offsets
        return np.frombuffer(ragged(self.arena, at, lengths * size).buffers()[2], np.uint8)[:total], offsets

    def even_stretches(self, spots: list[Spot], size: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        first = spots[0].cursor
        rows = len(first)
        ends = np.cumsum([spot.length for spot in spots])
        begins, total = ends - [spot.length for spot in spots], int(ends[-1])
        content = np.empty((rows, total * size), np.uint8)
        for spot, begin, end in zip(spots, (begins * size).tolist(), (ends * size).tolist(), strict=True):
            start = int(first.base[0] + spot.pos)
            _copy_columns(self.arena, (start, first.stride), content, (begin, end))
        offsets = np.empty(rows * len(spots) + 1, np.int32)
        offsets[:-1] = (np.arange(rows)[:, None] * total + begins).reshape(-1)
        offsets[-1] = rows * total
        return content.reshape(-1), offsets


def _copy_columns(
    arena: NDArray[np.uint8], at: tuple[int, int], content: NDArray[np.uint8], columns: tuple[int, int]
) -> None:
    """Fill these columns of `content` with stretches of the arena that begin at so many bytes, and every so many."""
    (start, stride), (begin, end) = at, columns
    if end == begin or not len(content):
        return
    # Each stretch as one value: byte by byte it takes twice the time.
    kind = f"V{end - begin}"
    taken = np.ndarray((len(content),), kind, arena, start, (stride,))
    np.ndarray((len(content),), kind, content, begin, (content.shape[1],))[...] = taken


def _is_grid(spots: list[Spot], order: Order) -> bool:
    is_even = order.is_even and bool(spots) and bool(spots[0].cursor.stride)
    return is_even and all(isinstance(spot.pos, int) and isinstance(spot.length, int) for spot in spots)


def _at(spot: Spot) -> Ints:
    return spot.cursor.base + spot.pos


def _each(spot: Spot, value: Position) -> Ints:
    return np.full(len(spot.cursor), value, np.int64) if isinstance(value, int) else value


def _offsets(counts: Ints) -> NDArray[np.int32]:
    offsets = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def _shape(slot: Slot, of: int | None = None) -> tuple[int, ...]:
    return () if slot.count is None else (slot.count if of is None else of,)


def _field(copied: NDArray[np.uint8], slot: Slot) -> NDArray[Any]:
    """A field of copied runs, as a view."""
    if not len(copied):
        return np.empty((0, *_shape(slot)), slot.dtype)
    strides = (copied.shape[1], *_shape(slot, slot.dtype.itemsize))
    return np.ndarray((len(copied), *_shape(slot)), slot.dtype, copied, slot.offset, strides)


def _slot(slot: Slot, values: NDArray[Any]) -> pa.Array:
    if slot.count is None:
        return _numbers(values, slot.kind)
    offsets = np.arange(0, values.size + 1, slot.count, dtype=np.int32)
    if slot.kind == pa.binary():
        whole = np.ascontiguousarray(values)
        return pa.Array.from_buffers(slot.kind, len(values), [None, pa.py_buffer(offsets), pa.py_buffer(whole)])
    return _listed(_numbers(values, slot.kind.value_type), (offsets,))


def _numbers(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    if kind == pa.bool_():
        bits = np.packbits(values.reshape(-1), bitorder="little")  # any byte but 0 is true
        return pa.Array.from_buffers(kind, values.size, [None, pa.py_buffer(bits)])
    return array(values.reshape(-1), kind)


def _listed(values: pa.Array, offsets: tuple[NDArray[np.int32], ...]) -> pa.Array:
    """The values in the lists that their messages lie in, the innermost last."""
    for numbers in reversed(offsets):
        values = pa.ListArray.from_arrays(array(numbers, pa.int32()), values)
    return values


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
