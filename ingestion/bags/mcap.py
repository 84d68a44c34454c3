"""MCAP, read from its first byte to its last: no summary, index or footer is needed (mcap.dev/spec, version 1)."""

import struct
import zlib
from collections.abc import Iterator
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fleet.errors import Invalid
from ingestion.bags.chunks import Bytes, Handed, Packed, Place, Storage, block, stretches
from ingestion.bags.compressed import decompressed
from ingestion.bags.mcap_records import (
    ATTACHMENT,
    CHANNEL,
    CHUNK,
    DATA_END,
    FOOTER,
    HEAD,
    HEADER,
    INDEX_HEAD,
    LEARNT,
    MESSAGE,
    MESSAGE_INDEX,
    METADATA,
    SCHEMA,
    STATISTICS,
    Known,
    Layout,
    is_confirmed,
    listed,
    text,
    walk,
)
from ingestion.bags.mcap_summary import Summary, summary_of
from ingestion.bags.recording import LARGEST_CHUNK_BYTES, Batch, Channel, Findings

MAGIC = b"\x89MCAP0\r\n"
FOOTER_BYTES = 20
INDEX_MAX_BYTES = 16 << 20
LOOSE_BYTES = 4 << 20
PACKED_HEAD_BYTES = 40
BESIDE = frozenset({ATTACHMENT, METADATA})  # what may lie among the messages
NOT_LOOSE = frozenset(range(256)) - LEARNT
NO_END = "the file does not say where its data end: whether more was recorded cannot be told"
UNREADABLE = (struct.error, UnicodeDecodeError)


class _Head(NamedTuple):
    op: int
    offset: int
    length: int  # of the body, as far as the file goes
    is_cut: bool = False


def batches(path: Path, found: Findings) -> Iterator[Batch]:
    """Every message that a sequential scan can reach, in file order within its channel.

    Raises:
        Invalid: there is nothing behind the magic.
    """
    size = path.stat().st_size
    if size <= len(MAGIC):
        raise Invalid("The file ends after its first eight bytes; nothing was recorded in it.")
    with path.open("rb") as file:
        yield from decompressed(_Recording(file, size, found).batches())


class _Recording:
    def __init__(self, file: BufferedReader, size: int, found: Findings) -> None:
        self.file = file
        self.size = size
        self.found = found
        self.known = Known()
        self._handed = Handed(found)
        self._storage = Storage(file)
        self._summary: Summary | None = None
        self._has_ended = False  # where messages can be
        self._is_open = False  # the file ends there: nothing says that they were all
        self._is_proved = True  # every message by the checksum of its chunk

    def batches(self) -> Iterator[Batch]:
        self.file.seek(len(MAGIC))
        for head in self._heads():
            if head.op == CHUNK:
                yield from self._chunk(head)
            elif head.op == MESSAGE and head.length <= LARGEST_CHUNK_BYTES:
                yield from self._loose(head)
            elif head.op in LEARNT or head.op == STATISTICS:
                self._learn(head.op, self._body(head), Place(head.offset, HEAD.size + head.length))
            else:
                self._pass_over(head)
        for channel in self.known.channels.values():
            self._handed.meet(channel)
        if self._is_open and self.known.announced is None:
            self.found.lose(self.size, 0, NO_END)
        self._handed.end(self.known.announced, self.size)

    def _pass_over(self, head: _Head) -> None:
        """A record that nothing is learnt from; one that may be another in damage is told."""
        begin = self.file.read(min(head.length, INDEX_HEAD))
        self.file.seek(head.offset + HEAD.size + head.length)
        size = int.from_bytes(begin[2:], "little")
        is_index = head.op == MESSAGE_INDEX and size + INDEX_HEAD == head.length
        is_header = head.op == HEADER and head.offset == len(MAGIC)
        if head.op == DATA_END:
            self._prove(int.from_bytes(begin[:4], "little"), head.offset)
        elif not (self._has_ended or is_index or is_header or head.op in BESIDE):
            self._handed.pass_over(Place(head.offset, HEAD.size + head.length), head.op)

    def _prove(self, checksum: int, size: int) -> None:
        """Compare the checksum of all that comes before the end of the data, where the writer has made one."""
        if not checksum:
            return
        after, found = self.file.tell(), 0
        self.file.seek(0)
        for at in range(0, size, LOOSE_BYTES):
            found = zlib.crc32(self.file.read(min(LOOSE_BYTES, size - at)), found)
        self.file.seek(after)
        if found == checksum:
            return
        if self._is_proved:
            self.found.repair("the checksum of the file does not match; those of its chunks do")
        else:
            self.found.lose(0, 0, "the checksum of the file does not match: what no chunk proves may be damaged")

    def _heads(self) -> Iterator[_Head]:
        """The heads of records; who takes one leaves the file where the next record begins."""
        while (offset := self.file.tell()) < self.size:
            self.found.part = offset / self.size
            head = self.file.read(HEAD.size)
            op, length = HEAD.unpack(head) if len(head) == HEAD.size else (0, 0)
            if op == FOOTER and length == FOOTER_BYTES and self._is_end():
                return
            after = offset + HEAD.size + length
            if op and after <= self.size:
                self._has_ended = op == DATA_END or (self._has_ended and op not in {CHUNK, MESSAGE})
                yield _Head(op, offset, length)
                continue
            resumed = None if self._has_ended else self._chunk_after(offset)
            self._note_cut(offset, resumed or self.size)
            if op == CHUNK and not self._has_ended:
                yield _Head(op, offset, (resumed or self.size) - offset - HEAD.size, is_cut=True)
            if resumed is None:
                return
            self.file.seek(resumed)
        self._is_open = not self._has_ended
        self.found.repair("the file has no footer")

    def _is_end(self) -> bool:
        """Whether the file ends with this footer; what lies behind is told."""
        at = self.file.tell() + FOOTER_BYTES
        self.file.seek(at)
        is_whole = self.file.read(len(MAGIC)) == MAGIC
        behind = self.size - at - len(MAGIC)
        if not is_whole and behind > 0:
            return False
        if not is_whole:
            self.found.repair("the file was cut within its last bytes")
        elif behind > LOOSE_BYTES or any(self.file.read(max(behind, 0))):
            self.found.lose(at + len(MAGIC), behind, "something else follows the end of the recording")
        elif behind:
            self.found.repair("zeros follow the end of the recording")
        return True

    def _chunk_after(self, offset: int) -> int | None:
        """Where the summary says that the next chunk begins."""
        return min((at for at in self._summarised().chunks if offset < at < self.size), default=None)

    def _summarised(self) -> Summary:
        if self._summary is None:
            at = self.file.tell()
            self._summary = summary_of(self.file, self.size)
            self.file.seek(at)
        return self._summary

    def _note_cut(self, offset: int, end: int) -> None:
        if self._has_ended:
            self.found.repair(f"the summary is damaged from byte {offset} on")
        else:
            self.found.lose(offset, end - offset, "the file was cut, or is not MCAP from here on")

    def _body(self, head: _Head) -> memoryview:
        """The body of a record, empty when it is larger than any that we take in; of a chunk until the next is read."""
        if head.length <= LARGEST_CHUNK_BYTES:
            is_chunk = head.op == CHUNK
            return self._storage.read(head.length) if is_chunk else memoryview(self.file.read(head.length))
        self.found.lose(head.offset, HEAD.size + head.length, f"a record is larger than {LARGEST_CHUNK_BYTES} bytes")
        self.file.seek(head.length, 1)
        return memoryview(b"")

    def _chunk(self, head: _Head) -> Iterator[Batch]:
        body = self._body(head)
        index = [] if head.is_cut else self._index()
        place = Place(head.offset, HEAD.size + head.length)
        try:
            packed, checksum = _packed(body)
            packed = self._storage.settled(packed)
            if len(body) > PACKED_HEAD_BYTES + len(packed.compression) + len(packed.content):
                self._rejoin(head)
        except UNREADABLE as error:
            self.found.lose(*place[:2], f"a chunk cannot be unpacked: {error}")
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
        if checksum and checksum != zlib.crc32(arena.data):
            place = place._replace(doubt=f"the checksum of its chunk at byte {head.offset} does not match")
        self._is_proved = self._is_proved and checksum != 0
        layout = self._checked(arena, index, place, is_proved=checksum != 0) if index else None
        yield from self._stretch(layout, arena, place) if layout else self._scanned(arena, index, place)

    def _rejoin(self, head: _Head) -> None:
        """Go on at the next chunk that the summary knows, when this one claims to reach beyond it."""
        after = self._chunk_after(head.offset)
        if after is not None and after < head.offset + HEAD.size + head.length:
            self.found.lose(head.offset, after - head.offset, "a chunk claims to reach into the next one")
            self.file.seek(after)

    def _checked(self, arena: Bytes, index: list[bytes], place: Place, *, is_proved: bool) -> Layout | None:
        if is_confirmed(arena, index):
            return None
        told = listed(arena, index)
        if not told.is_whole and not place.doubt:
            reason = "the index of a chunk does not match what it holds"
            if is_proved:
                self.found.repair(reason)
            else:
                self.found.lose(place.offset, 0, f"{reason}, and it has no checksum")
        return told.layout(arena)

    def _index(self) -> list[bytes]:
        """The records of the message index that follow a chunk; none when they are absurdly many."""
        begin, index = self.file.tell(), list[bytes]()
        while (at := self.file.tell()) < begin + INDEX_MAX_BYTES:
            head = self.file.read(HEAD.size)
            op, length = HEAD.unpack(head) if len(head) == HEAD.size else (0, 0)
            if op != MESSAGE_INDEX or length > INDEX_MAX_BYTES or at + HEAD.size + length > self.size:
                self.file.seek(at)
                return index
            index.append(self.file.read(length))
        return []

    def _scanned(self, arena: Bytes, index: list[bytes], place: Place) -> Iterator[Batch]:
        for layout in stretches(
            arena.size,
            partial(walk, arena),
            lambda: listed(arena, index).offsets,
            partial(self.found.lose, *place[:2]),
        ):
            yield from self._stretch(layout, arena, place)

    def _loose(self, head: _Head) -> Iterator[Batch]:
        """Messages outside chunks, read many at once."""
        self._is_proved = False
        self.file.seek(head.offset)
        arena = block(self.file.read(max(LOOSE_BYTES, HEAD.size + head.length)))
        end = 0
        for layout in walk(arena, 0, NOT_LOOSE):
            yield from self._stretch(layout, arena, Place(head.offset, layout.end))
            end = layout.end
        self.file.seek(head.offset + end)

    def _stretch(self, layout: Layout, arena: Bytes, place: Place) -> Iterator[Batch]:
        begin, view = 0, arena.data
        for at in layout.others:
            op, length = HEAD.unpack_from(view, at)
            body = view[at + HEAD.size : at + HEAD.size + length]
            if self._is_changed_by(op, body):
                until = int(np.searchsorted(layout.offsets, at))
                yield from self._handed.batches(layout.messages.part(begin, until), arena, place, self._channel)
                begin = until
            if op in LEARNT:
                self._learn(op, body, place)
            else:
                self._handed.pass_over(place, op)
        yield from self._handed.batches(layout.messages.part(begin, len(layout.offsets)), arena, place, self._channel)

    def _is_changed_by(self, op: int, body: memoryview) -> bool:
        try:
            return self.known.is_changed_by(op, body)
        except UNREADABLE:
            return False

    def _learn(self, op: int, body: memoryview, place: Place) -> None:
        if place.doubt and self._is_summarised(op, body):
            return  # what the summary says of it is taken when a message needs it
        try:
            if self.known.learn(op, body):
                self._handed.pass_over(place, op)  # it says more than it should: another one it may have been
        except UNREADABLE as error:
            self.found.lose(*place[:2], f"a record of kind {op} cannot be read: {error}")

    def _is_summarised(self, op: int, body: memoryview) -> bool:
        """Whether the summary describes the schema or the channel of this number too."""
        known = self._summarised().known
        number = int.from_bytes(body[:2], "little")
        return (op == SCHEMA and number in known.schemas) or (op == CHANNEL and number in known.channels)

    def _channel(self, number: int) -> Channel | None:
        if number not in self.known.channels and number in self._summarised().known.channels:
            self.known.channels[number] = self._summarised().known.channels[number]
            self.found.repair("the description of a channel was taken from the summary")
        return self.known.channels.get(number)


def _packed(body: memoryview) -> tuple[Packed, int]:
    """The content of a chunk and its checksum (0: it has none)."""
    _, _, size, checksum = struct.unpack_from("<QQQI", body)
    compression, at = text(body, 28)
    (packed_size,) = struct.unpack_from("<Q", body, at)
    return Packed(compression or "none", size, body[at + 8 : at + 8 + packed_size]), checksum
