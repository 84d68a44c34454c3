"""ROS 1 bags (format 2.0), read from their first byte to their last: an index is not needed (wiki.ros.org/Bags/Format)."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rosbags.typesys.msg import normalize_msgtype

from fleet.errors import Invalid
from ingestion.bags.chunks import Bytes, Handed, Packed, Place, Storage, block, stretches
from ingestion.bags.recording import LARGEST_CHUNK_BYTES, Batch, Channel, Findings
from ingestion.bags.ros1_records import (
    BAG_HEADER,
    CHUNK,
    CHUNK_INFO,
    CONNECTION,
    INDEX,
    INDEX_ENTRY,
    LARGEST_HEADER,
    MESSAGE,
    SMALLEST_HEADER,
    U32,
    Layout,
    fields_of,
    listed,
    number,
    record_at,
    walk,
)

MAGIC = b"#ROSBAG V2.0\n"
INDEX_MAX_BYTES = 16 << 20
LARGEST_ENDING_BYTES = 64 << 20
READ = {MESSAGE, BAG_HEADER, CHUNK, CHUNK_INFO, CONNECTION}
UNREADABLE = (KeyError, struct.error, UnicodeDecodeError)


class _Head(NamedTuple):
    fields: Mapping[str, bytes]
    offset: int
    body: int  # where the content begins
    length: int  # of the content, as far as the file goes
    is_cut: bool = False

    @property
    def op(self) -> int:
        return (self.fields.get("op") or b"\0")[0]

    @property
    def place(self) -> Place:
        return Place(self.offset, self.body + self.length - self.offset)


@dataclass
class _Ending:
    """What the end of a bag says of it."""

    channels: dict[int, Channel] = field(default_factory=dict)
    chunks: list[int] = field(default_factory=list)


def batches(path: Path, found: Findings) -> Iterator[Batch]:
    """Every message that a sequential scan can reach, in file order within its channel.

    Raises:
        Invalid: the bag is encrypted, or there is nothing behind the magic.
    """
    size = path.stat().st_size
    if size <= len(MAGIC):
        raise Invalid("The bag ends after its first line; nothing was recorded in it.")
    with path.open("rb") as file:
        yield from _Recording(file, size, found).batches()


class _Recording:
    def __init__(self, file: BufferedReader, size: int, found: Findings) -> None:
        self.file = file
        self.size = size
        self.found = found
        self._channels: dict[int, Channel] = {}
        self._handed = Handed(found)
        self._storage = Storage(file)
        self._announced = 0
        self._index_at = 0
        self._chunks = 0
        self._ending: _Ending | None = None

    def batches(self) -> Iterator[Batch]:
        self.file.seek(len(MAGIC))
        for head in self._heads():
            if head.length > LARGEST_CHUNK_BYTES and head.op in READ:
                self.found.lose(*head.place[:2], f"a record is larger than {LARGEST_CHUNK_BYTES} bytes")
                self.file.seek(head.length, 1)
            elif head.op == CHUNK:
                yield from self._chunk(head)
            elif head.op == MESSAGE:
                yield from self._loose(head)
            elif head.op in READ:
                self._learn(head.fields, memoryview(self.file.read(head.length)), head.place)
            else:
                self.file.seek(head.length, 1)
                if head.op != INDEX or "conn" not in head.fields:
                    self._handed.pass_over(head.place, head.op)
        for channel in self._channels.values():
            self._handed.meet(channel)
        if self._index_at > self.size:
            self.found.lose(self.size, self._index_at - self.size, "the bag was cut before its index")
        elif self._index_at and self._chunks > 0:
            self.found.repair(f"the index at the end of the bag lacks {self._chunks} chunks")
        self._handed.end(self._announced, self.size)

    def _heads(self) -> Iterator[_Head]:
        """The heads of records; who takes one leaves the file where the next record begins."""
        while (offset := self.file.tell()) < self.size:
            self.found.part = offset / self.size
            head, reason = None, "the bag was cut inside a record"
            try:
                head = self._head()
            except (struct.error, UnicodeDecodeError) as error:
                reason = f"the bag was cut, or is damaged from here on: {error}"
            if head and head.body + head.length <= self.size:
                yield head
                continue
            resumed = self._chunk_after(offset)
            self.found.lose(offset, (resumed or self.size) - offset, reason)
            if head and head.op == CHUNK:
                yield head._replace(length=(resumed or self.size) - head.body, is_cut=True)
            if resumed is None:
                return
            self.file.seek(resumed)

    def _head(self) -> _Head:
        offset = self.file.tell()
        (length,) = U32.unpack(self.file.read(4))
        if not SMALLEST_HEADER <= length <= min(LARGEST_HEADER, self.size - offset):
            raise struct.error(f"a header of {length} bytes does not fit")
        fields = fields_of(self.file.read(length))
        (length,) = U32.unpack(self.file.read(4))
        return _Head(fields, offset, self.file.tell(), length)

    def _chunk_after(self, offset: int) -> int | None:
        """Where the end of the bag says that the next chunk begins."""
        return min((at for at in self._ended().chunks if offset < at < self.size), default=None)

    def _ended(self) -> _Ending:
        if self._ending is None:
            at = self.file.tell()
            self._ending = _Ending()
            if len(MAGIC) < self._index_at < self.size <= self._index_at + LARGEST_ENDING_BYTES:
                self.file.seek(self._index_at)
                _read_ending(block(self.file.read()), self._ending)
                self.file.seek(at)
        return self._ending

    def _channel(self, connection: int) -> Channel | None:
        if connection not in self._channels and connection in self._ended().channels:
            self._channels[connection] = self._ended().channels[connection]
            self.found.repair("the description of a connection was taken from the end of the bag")
        return self._channels.get(connection)

    def _chunk(self, head: _Head) -> Iterator[Batch]:
        content = self._storage.read(head.length)
        index = [] if head.is_cut else self._index()
        place = head.place
        try:
            packed = Packed(head.fields["compression"].decode(), number(head.fields, "size"), content)
            packed = self._storage.settled(packed)
        except (KeyError, UnicodeDecodeError) as error:
            self.found.lose(*place[:2], f"a chunk cannot be unpacked: {error!r}")
            return
        try:
            arena = packed.unpacked()
        except (OSError, ValueError) as error:
            arena = packed.saved()
            if not head.is_cut:
                self.found.lose(*place[:2], f"a chunk cannot be unpacked: {error}")
                place = place._replace(doubt=f"its chunk at byte {head.offset} cannot be unpacked as a whole")
                self._rejoin(head)
            yield from self._scanned(arena, [], place)
            return
        layout = self._checked(arena, index, place) if index else None
        yield from self._stretch(layout, arena, place) if layout else self._scanned(arena, index, place)

    def _rejoin(self, head: _Head) -> None:
        """Go on at the next chunk that the end of the bag knows, when this one claims to reach beyond it."""
        after = self._chunk_after(head.offset)
        if after is not None and after < head.body + head.length:
            self.file.seek(after)

    def _checked(self, arena: Bytes, index: list[tuple[int, bytes]], place: Place) -> Layout | None:
        told = listed(arena, index)
        if not told.is_whole:
            self.found.lose(place.offset, 0, "the index of a chunk does not match what it holds")
        return told.layout(arena)

    def _index(self) -> list[tuple[int, bytes]]:
        """The entries of each connection in the index that follows a chunk; none when they are absurdly many."""
        begin, index = self.file.tell(), list[tuple[int, bytes]]()
        while (at := self.file.tell()) < min(self.size, begin + INDEX_MAX_BYTES):
            try:
                head = self._head()
            except (struct.error, UnicodeDecodeError):
                head = None
            if head is None or head.op != INDEX or head.body + head.length > min(self.size, begin + INDEX_MAX_BYTES):
                self.file.seek(at)
                return index
            entries = self.file.read(head.length)
            if "conn" in head.fields:
                index.append((number(head.fields, "conn"), entries[: len(entries) // INDEX_ENTRY.itemsize * 12]))
        return index if at < begin + INDEX_MAX_BYTES else []

    def _scanned(self, arena: Bytes, index: list[tuple[int, bytes]], place: Place) -> Iterator[Batch]:
        for layout in stretches(
            arena.size,
            partial(walk, arena),
            lambda: listed(arena, index).offsets,
            partial(self.found.lose, *place[:2]),
        ):
            yield from self._stretch(layout, arena, place)

    def _loose(self, head: _Head) -> Iterator[Batch]:
        """A message outside chunks."""
        self.file.seek(head.offset)
        arena = block(self.file.read(head.place.size))
        for layout in walk(arena):
            yield from self._stretch(layout, arena, head.place)

    def _stretch(self, layout: Layout, arena: Bytes, place: Place) -> Iterator[Batch]:
        for at in layout.others:
            try:
                record = record_at(arena.data, at)
            except UNREADABLE as error:
                self.found.lose(*place[:2], f"a record cannot be read: {error}")
            else:
                self._learn(record.fields, record.content, place)
        yield from self._handed.batches(layout.messages, arena, place, self._channel)

    def _learn(self, fields: Mapping[str, bytes], content: memoryview, place: Place) -> None:
        op = (fields.get("op") or b"\0")[0]
        try:
            if op == CONNECTION:
                self._channels.setdefault(*_described(fields, content))
            elif op == BAG_HEADER:
                self._index_at = self._index_of(fields)
                self._chunks = number(fields, "chunk_count") if "chunk_count" in fields else 0
            elif op == CHUNK_INFO:
                self._chunks -= 1
                self._announced += int(np.frombuffer(content, "<u4")[1::2].sum(dtype=np.int64))
            elif op == MESSAGE:
                self.found.lose(*place[:2], "a message has no time, or is of no connection")
            else:
                self._handed.pass_over(place, op)
        except (*UNREADABLE, ValueError) as error:
            self.found.lose(*place[:2], f"a record of kind {op} cannot be read: {error}")

    def _index_of(self, fields: Mapping[str, bytes]) -> int:
        if fields.get("encryptor"):
            raise Invalid(f"The bag is encrypted by {fields['encryptor'].decode(errors='replace')!r}; decrypt it.")
        index_at = number(fields, "index_pos")
        if index_at == 0:
            self.found.repair("the bag was not closed and has no index")
        return index_at


def _described(fields: Mapping[str, bytes], content: memoryview) -> tuple[int, Channel]:
    """The number of a connection and its channel."""
    described = fields_of(bytes(content))
    text = described["message_definition"].decode(errors="replace")
    topic = fields["topic"].decode() or "/"
    # As rosbags does it: doubled slashes of a topic go, so that both name it alike.
    topic = "/" * topic.startswith("/") + "/".join(part for part in topic.split("/") if part)
    name = normalize_msgtype(described["type"].decode())
    return number(fields, "conn"), Channel(topic, name, "ros1", "ros1msg", text)


def _read_ending(content: Bytes, ending: _Ending) -> None:
    for layout in walk(content):
        for at in layout.others:
            try:
                record = record_at(content.data, at)
                if record.op == CONNECTION:
                    ending.channels.setdefault(*_described(record.fields, record.content))
                elif record.op == CHUNK_INFO:
                    ending.chunks.append(number(record.fields, "chunk_pos"))
            except UNREADABLE:
                continue
