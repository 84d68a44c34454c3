"""A definition compiled once into a program: the few steps that find every field of many messages at once.

Fields of fixed size that lie side by side are one step (a run); a text, a sequence of numbers and a list of messages
are a step each. CDR aligns every number to its own size (OMG CDR, version 1), ROS 1 nothing.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from rosbags.interfaces import Nodetype

from ingestion.bags.arrays import TIME
from ingestion.bags.columns import BYTES, DTYPES, arrow_type, unique_names
from ingestion.bags.definitions import FILLER, Decoder, Fields, Undecodable

MOST_FIELDS = 10_000
MOST_BYTES = 1 << 40  # so that no sum of lengths runs over
HEADER, STAMP = "std_msgs/msg/Header", ("header.stamp.sec", "header.stamp.nanosec")


@dataclass(frozen=True, eq=False)
class Slot:
    """A field of a run: `count` numbers, or one where it is None; as a column it is of type `kind`."""

    column: int
    offset: int
    dtype: np.dtype[Any]
    count: int | None
    kind: pa.DataType


@dataclass(frozen=True, eq=False)
class Run:
    """Fields that lie at fixed distances from the first one, which is aligned to `align`."""

    align: int
    width: int
    slots: tuple[Slot, ...]


@dataclass(frozen=True, eq=False)
class Text:
    """A string."""

    column: int


@dataclass(frozen=True, eq=False)
class Block:
    """A sequence of numbers; as a column it is of type `kind`."""

    column: int
    dtype: np.dtype[Any]
    kind: pa.DataType


@dataclass(frozen=True, eq=False)
class Group:
    """A list of texts or messages: `count` of them, or as many as the message says.

    Where all elements are of fixed size, those from the second on are of `width` bytes and `stride` bytes apart.
    """

    count: int | None
    steps: tuple["Step", ...]
    smallest: int
    align: int
    stride: int | None
    width: int

    @property
    def run(self) -> Run | None:
        """The run that its elements are, where they lie close to each other."""
        only = self.steps[0] if len(self.steps) == 1 and self.stride == self.width else None
        return only if isinstance(only, Run) else None


Step = Run | Text | Block | Group


@dataclass(frozen=True, eq=False)
class Program:
    """How to read many messages of one definition; `columns` are the names and types that it gives, in order."""

    decoder: Decoder
    columns: tuple[tuple[str, pa.DataType], ...]
    steps: tuple[Step, ...]
    is_cdr: bool
    smallest: int  # fewer bytes than this hold no message
    stamp: tuple[int, int] | None  # the columns that make `header_stamp`
    is_vectorised: bool  # False: rosbags reads all of it
    is_endless: bool  # a list in it may claim any number of elements without a byte for them


@lru_cache(maxsize=256)
def program(decoder: Decoder) -> Program:
    """The program of a definition.

    Raises:
        Undecodable: a field has no column type, or the definition is too large or contains itself.
    """
    draft = _Draft(decoder.fielddefs, decoder.is_cdr)
    body = _Body(draft, known=8)
    body.message(decoder.type, "")
    names = [name for name, _ in draft.columns]
    stamp = _stamp(decoder, draft.columns)
    reserved = [("header_stamp", TIME)] if stamp else []
    kinds = [kind for _, kind in draft.columns]
    return Program(
        decoder,
        (*reserved, *zip(unique_names(names), kinds, strict=True)),
        body.closed(),
        decoder.is_cdr,
        body.smallest,
        stamp,
        draft.is_vectorised,
        draft.is_endless,
    )


def _stamp(decoder: Decoder, columns: list[tuple[str, pa.DataType]]) -> tuple[int, int] | None:
    fields = dict(decoder.fielddefs[decoder.type][1])
    parts = [n for n, (name, kind) in enumerate(columns) if name in STAMP and pa.types.is_integer(kind)]
    is_stamped = fields.get("header") == (Nodetype.NAME, HEADER) and len(parts) == len(STAMP)
    return (parts[0], parts[1]) if is_stamped else None


@dataclass
class _Draft:
    types: Fields
    is_cdr: bool
    columns: list[tuple[str, pa.DataType]] = field(default_factory=list)
    fields: int = 0
    is_vectorised: bool = True
    is_endless: bool = False

    def column(self, name: str, kind: pa.DataType, lists: int) -> int:
        for _ in range(lists):
            kind = pa.list_(kind)
        self.columns.append((name, kind))
        return len(self.columns) - 1

    def fields_of(self, type_name: str) -> list[tuple[str, Any]]:
        fields: list[tuple[str, Any]] = self.types[type_name][1]
        self.fields += len(fields)
        if self.fields > MOST_FIELDS:
            raise Undecodable(f"The definition has more than {MOST_FIELDS} fields when it is laid out flat.")
        return fields


class _Body:
    """The steps of a message, or of an element of a list, in the making."""

    def __init__(self, draft: _Draft, known: int, lists: int = 0) -> None:
        self.draft = draft
        self.lists = lists
        self.steps: list[Step] = []
        self.smallest = 0
        # Where the next field lies: `offset` modulo `known`, from where on the present run began at `begin`.
        self.known, self.offset, self.begin = known, 0, 0
        self.align = 0
        self.slots: list[Slot] = []

    def message(self, type_name: str, prefix: str) -> None:
        for name, (kind, detail) in self.draft.fields_of(type_name):
            path = f"{prefix}.{name}" if prefix else name
            if name == FILLER and (kind, detail) != (Nodetype.BASE, ("uint8", 0)):
                raise Undecodable(f"The field {path!r} has the name that ROS gives to the only byte of empty messages.")
            if kind == Nodetype.NAME:
                self.message(detail, path)
            elif kind == Nodetype.BASE:
                self.base(detail[0], path, is_filler=name == FILLER)
            else:
                self.many(detail[0], path, detail[1] if kind == Nodetype.ARRAY else None)

    def base(self, name: str, path: str, *, is_filler: bool) -> None:
        kind = arrow_type(name)
        if is_filler and not self.draft.is_cdr:
            return
        if name == "string":
            self.text(path)
        else:
            column = -1 if is_filler else self.draft.column(path, kind, self.lists)
            self.fixed(column, name, None, kind)

    def many(self, element: Any, path: str, count: int | None) -> None:
        kind, detail = element
        self.draft.is_vectorised = self.draft.is_vectorised and count != 0
        if kind == Nodetype.NAME or detail[0] == "string":
            self.group(element, path, count)
            return
        arrow = pa.binary() if detail[0] in BYTES else pa.list_(arrow_type(detail[0]))
        column = self.draft.column(path, arrow, self.lists)
        if count is None:
            dtype = _dtype(detail[0])
            self.then(Block(column, dtype, arrow), 4, known=min(4, dtype.itemsize))
        else:
            self.fixed(column, detail[0], count, arrow)

    def text(self, path: str) -> None:
        column = self.draft.column(path, pa.string(), self.lists)
        self.then(Text(column), 5 if self.draft.is_cdr else 4, known=1)

    def group(self, element: Any, path: str, count: int | None) -> None:
        inner, columns = _Body(self.draft, known=1, lists=self.lists + 1), len(self.draft.columns)
        if element[0] == Nodetype.NAME:
            inner.message(element[1], path)
        else:
            inner.text(path)
        # Nothing of nothing is not looked for; CDR has a byte for each.
        steps = inner.closed() if inner.smallest or len(self.draft.columns) > columns else ()
        self.draft.is_endless = self.draft.is_endless or (count is None and inner.smallest == 0)
        align, stride, width = _regular(steps)
        smallest = 4 if count is None else count * inner.smallest
        self.then(Group(count, steps, inner.smallest, align, stride, width), smallest, known=1)

    def fixed(self, column: int, name: str, count: int | None, kind: pa.DataType) -> None:
        dtype = _dtype(name)
        align = dtype.itemsize if self.draft.is_cdr else 1
        size = dtype.itemsize * (1 if count is None else count)
        if align > self.known:
            self._close_run()
            self.known, self.offset = align, 0
        self.offset += -self.offset % align
        if not self.align:
            self.begin, self.align = self.offset, align
        if column >= 0:
            self.slots.append(Slot(column, self.offset - self.begin, dtype, count, kind))
        self.offset += size
        self.smallest += size

    def then(self, step: Step, smallest: int, *, known: int) -> None:
        self._close_run()
        self.steps.append(step)
        self.smallest += smallest
        self.known, self.offset = known if self.draft.is_cdr else 8, 0

    def closed(self) -> tuple[Step, ...]:
        self._close_run()
        if self.smallest > MOST_BYTES:
            raise Undecodable(f"A message of this definition has at least {self.smallest} bytes.")
        return tuple(self.steps)

    def _close_run(self) -> None:
        if self.align:
            self.steps.append(Run(self.align, self.offset - self.begin, tuple(self.slots)))
        self.slots, self.align = [], 0


def place(steps: tuple[Step, ...], pos: Any) -> Any:
    """Where an element of these runs ends that begins at `pos`, an int or an array."""
    for step in steps:
        if isinstance(step, Run):
            pos = ((pos + (step.align - 1)) & -step.align) + step.width
    return pos


def _regular(steps: tuple[Step, ...]) -> tuple[int, int | None, int]:
    """Alignment, distance and size of elements from the second one on; no distance where they are not runs alone.

    The first one may lie otherwise: behind it, all have gone through the same alignments.
    """
    first = steps[0] if steps else None
    if not isinstance(first, Run) or not all(isinstance(step, Run) for step in steps):
        return 1, None, 0
    second = place((Run(first.align, 0, ()),), place(steps, 0))
    end = place(steps, second)
    return first.align, place((Run(first.align, 0, ()),), end) - second, end - second


def _dtype(name: str) -> np.dtype[Any]:
    # Any byte but 0 is true.
    return np.dtype(DTYPES.get(name, name)).newbyteorder("<")
