"""The records within a block of a ROS 1 bag: found by a chunk's own index where it holds, else by walking over them."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ingestion.bags.chunks import Bytes, Numbers, Placed

MESSAGE, BAG_HEADER, INDEX, CHUNK, CHUNK_INFO, CONNECTION = range(2, 8)
U32 = struct.Struct("<I")
INDEX_ENTRY = np.dtype([("seconds", "<u4"), ("nanoseconds", "<u4"), ("offset", "<u4")])
SMALLEST_HEADER = 8  # op=x
LARGEST_HEADER = 16 << 20
WALKED_AT_ONCE = 65_536
MOST_SHAPES = 8
UNMATCHED_AT_MOST = 100


@dataclass(frozen=True)
class Layout:
    """What lies in a stretch of a block: messages, and the places of other records."""

    messages: Placed
    others: Sequence[int]
    end: int  # where the stretch ends, or where what follows cannot be read


class Record(NamedTuple):
    """One record: its header's fields, its content, and where it ends."""

    fields: Mapping[str, bytes]
    content: memoryview
    end: int

    @property
    def op(self) -> int:
        """Its kind; 0 when it has none."""
        return self.fields.get("op", b"")[0] if self.fields.get("op") else 0


def number(fields: Mapping[str, bytes], name: str) -> int:
    """A number in a header; KeyError when there is none."""
    return int.from_bytes(fields[name], "little")


def record_at(view: memoryview, at: int) -> Record:
    """The record at a place where one was found.

    Raises:
        struct.error, UnicodeDecodeError: its header cannot be read.
    """
    (header,) = U32.unpack_from(view, at)
    if header > LARGEST_HEADER:
        raise struct.error(f"a header of {header} bytes is absurd")
    begin = at + 4 + header
    (length,) = U32.unpack_from(view, begin)
    return Record(fields_of(bytes(view[at + 4 : begin])), view[begin + 4 : begin + 4 + length], begin + 4 + length)


def fields_of(header: bytes) -> dict[str, bytes]:
    """The fields of a header.

    Raises:
        struct.error, UnicodeDecodeError: it cannot be read.
    """
    if len(header) > LARGEST_HEADER:
        raise struct.error(f"a header of {len(header)} bytes is absurd")
    fields, at = {}, 0
    while at < len(header):
        (length,) = U32.unpack_from(header, at)
        if at + 4 + length > len(header):
            raise struct.error(f"a field of {length} bytes does not fit")
        name, _, value = header[at + 4 : at + 4 + length].partition(b"=")
        fields[name.decode(errors="replace")] = value
        at += 4 + length
    return fields


@dataclass(frozen=True)
class Shape:
    """How a writer lays out the header of a message: all its bytes but connection and time are the same each time."""

    head: np.dtype[np.void]  # length, header, length of the body
    fixed: Bytes
    mask: Bytes  # 255 where a byte is fixed

    @classmethod
    def of(cls, view: memoryview, at: int) -> Self | None:
        """That of the record at this place; None when it is no message."""
        try:
            record = record_at(view, at)
        except (struct.error, UnicodeDecodeError):
            return None
        sizes = (len(record.fields.get("conn", b"")), len(record.fields.get("time", b"")))
        if record.op != MESSAGE or sizes != (4, 8):
            return None
        (length,) = U32.unpack_from(view, at)
        header = bytes(view[at : at + 4 + length])
        connection, time = _field_at(header, b"conn"), _field_at(header, b"time")
        size = len(header) + 4
        places = {"connection": connection, "seconds": time, "nanoseconds": time + 4, "size": len(header)}
        head = np.dtype(
            {"names": list(places), "formats": ["<u4"] * 4, "offsets": list(places.values()), "itemsize": size}
        )
        mask = np.full(size, 255, np.uint8)
        for place in places.values():
            mask[place : place + 4] = 0
        return cls(head, np.frombuffer(header + bytes(4), np.uint8) & mask, mask)

    def heads(self, arena: Bytes, offsets: Numbers) -> tuple[NDArray[np.void], NDArray[np.bool_]]:
        """The heads at these places, and which of them are of this shape and have room for their body."""
        size = self.head.itemsize
        fits = offsets + size <= arena.size
        places = np.ndarray((arena.size - size + 1,), f"V{size}", buffer=arena, strides=(1,))
        heads = places[np.where(fits, offsets, 0)]
        is_so = fits & ((heads.view(np.uint8).reshape(len(offsets), size) & self.mask) == self.fixed).all(axis=1)
        heads = heads.view(self.head)
        is_so &= offsets + size + heads["size"] <= arena.size
        return heads, is_so

    def placed(self, heads: NDArray[np.void], offsets: Numbers) -> Placed:
        """The messages behind these heads."""
        time = heads["seconds"].astype(np.uint64) * np.uint64(10**9) + heads["nanoseconds"]
        starts, lengths = offsets + self.head.itemsize, heads["size"].astype(np.int64)
        return Placed(np.ascontiguousarray(heads["connection"]), time, None, starts, lengths)


def _field_at(header: bytes, name: bytes) -> int:
    at, found = 4, 0
    while at < len(header):
        (length,) = U32.unpack_from(header, at)
        # As in a mapping: of two fields of one name the last one counts.
        if header[at + 4 : at + 4 + length].startswith(name + b"="):
            found = at + 5 + len(name)
        at += 4 + length
    return found


def walk(arena: Bytes, at: int = 0) -> Iterator[Layout]:
    """Stretches of records from `at` on; the last ends with the block or before something unreadable."""
    while at < arena.size:
        offsets, end = _walked(arena.data, at)
        places = np.array(offsets, np.int64)
        messages, which = _messages_at(arena, places, patience=len(places))
        others = np.delete(places, which).tolist()
        yield Layout(messages, others, end)
        if end == at:
            return
        at = end


def _walked(view: memoryview, at: int) -> tuple[list[int], int]:
    offsets = []
    unpack, size = U32.unpack_from, len(view)
    for _ in range(WALKED_AT_ONCE):
        if at + 4 > size:
            break
        header = unpack(view, at)[0]
        begin = at + 4 + header
        if not SMALLEST_HEADER <= header <= LARGEST_HEADER or begin + 4 > size:
            break
        after = begin + 4 + unpack(view, begin)[0]
        if after > size:
            break
        offsets.append(at)
        at = after
    return offsets, at


def _messages_at(arena: Bytes, offsets: Numbers, *, patience: int) -> tuple[Placed, Numbers]:
    """The messages among the records at these ascending places, and which of the places they are.

    After more than `patience` places without a message the rest is given up.
    """
    found, which, shapes = [NOTHING], [NOTHING.starts], 0
    left = np.arange(len(offsets))
    while len(left) and patience >= 0:
        shape = Shape.of(arena.data, int(offsets[left[0]]))
        if shape is None:
            left, patience = left[1:], patience - 1
            continue
        shapes += 1
        among = left if shapes <= MOST_SHAPES else left[:1]
        heads, is_so = shape.heads(arena, offsets[among])
        found.append(shape.placed(heads[is_so], offsets[among[is_so]]))
        which.append(among[is_so])
        is_so[0] = True
        left = left[1:] if len(among) == 1 else left[~is_so]
    return _joined(found), np.sort(np.concatenate(which))


NO_NUMBERS = np.empty(0, np.int64)
NOTHING = Placed(NO_NUMBERS, np.empty(0, np.uint64), None, NO_NUMBERS, NO_NUMBERS)


def _joined(parts: Sequence[Placed]) -> Placed:
    """All of these in the order of their places."""
    if len(parts) <= 2:
        return parts[-1]
    starts = np.concatenate([part.starts for part in parts])
    order = np.argsort(starts, kind="stable")
    return Placed(
        np.concatenate([part.numbers for part in parts])[order],
        np.concatenate([part.log_time for part in parts])[order],
        None,
        starts[order],
        np.concatenate([part.lengths for part in parts])[order],
    )


@dataclass(frozen=True)
class Listed:
    """What the index of a chunk lists and the chunk confirms, in file order."""

    messages: Placed
    offsets: Numbers
    is_whole: bool  # nothing listed was wrong

    def layout(self, arena: Bytes) -> Layout | None:
        """The chunk as its index tells it; None unless that is exactly what the chunk holds."""
        if not self.is_whole or not len(self.offsets):
            return None
        begins = np.append(self.offsets, arena.size)
        ends = np.append(0, self.messages.starts + self.messages.lengths)
        others = _between(arena.data, ends, begins)
        return None if others is None else Layout(self.messages, others, arena.size)


def listed(arena: Bytes, index: Sequence[tuple[int, bytes]]) -> Listed:
    """The messages that the index of a chunk lists (connection, entries), checked against the chunk."""
    if not index:
        return Listed(NOTHING, NO_NUMBERS, is_whole=True)
    entries = np.concatenate([np.frombuffer(part, INDEX_ENTRY) for _, part in index])
    connections = np.repeat([each for each, _ in index], [len(part) // INDEX_ENTRY.itemsize for _, part in index])
    order = np.argsort(entries["offset"], kind="stable")
    entries, connections = entries[order], connections[order]
    offsets = entries["offset"].astype(np.int64)
    messages, which = _messages_at(arena, offsets, patience=UNMATCHED_AT_MOST)
    times = entries["seconds"].astype(np.uint64) * np.uint64(10**9) + entries["nanoseconds"]
    is_so = (messages.numbers == connections[which]) & (messages.log_time == times[which])
    is_whole = len(which) == len(entries) and bool(is_so.all())
    return Listed(messages if is_whole else NOTHING, offsets[which][is_so], is_whole)


def _between(view: memoryview, ends: Numbers, begins: Numbers) -> list[int] | None:
    """The places of other records between messages; None when messages overlap, or more of them lie between."""
    if (ends > begins).any():
        return None
    others: list[int] = []
    for gap in np.flatnonzero(ends < begins).tolist():
        begin, end = int(ends[gap]), int(begins[gap])
        while begin < end:
            offsets, stop = _walked(view[:end], begin)
            if stop == begin or any(Shape.of(view, at) for at in offsets):
                return None
            others += offsets
            begin = stop
    return others
