"""Chunks of recordings: unpacked into one block of bytes, also what can be saved of a cut or damaged one."""

import bz2
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BufferedReader
from itertools import pairwise
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingestion.bags.recording import LARGEST_CHUNK_BYTES, MOST_LOSSES, Batch, Channel, Findings

SAVED_AT_ONCE = 4096
USUAL_CHUNK_BYTES = 8 << 20  # as stored; only larger ones are read into memory of their own

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]
Times = NDArray[np.uint64]


@dataclass(frozen=True)
class Packed:
    """The content of a chunk as it is stored."""

    compression: str  # none, lz4, zstd or bz2
    size: int  # what it claims to have unpacked
    content: memoryview

    def unpacked(self) -> Bytes:
        """All of it.

        Raises:
            OSError, ValueError: it is damaged, of another size than it claims, or claims too much.
        """
        if self.size > LARGEST_CHUNK_BYTES:
            raise ValueError(f"it claims {self.size} bytes, more than {LARGEST_CHUNK_BYTES}")
        if self.compression not in {"none", "lz4", "zstd", "bz2"}:
            raise ValueError(f"its compression {self.compression!r} is not known")
        content = self._unpacked()
        if len(content) != self.size:
            raise ValueError(f"it claims {self.size} bytes and has {len(content)}")
        return block(content)

    def _unpacked(self) -> pa.Buffer | bytes | memoryview:
        if self.compression == "none":
            return self.content
        if self.compression == "bz2":
            return bz2.BZ2Decompressor().decompress(self.content, max_length=self.size + 1)
        if self.compression == "zstd":
            return pa.Codec("zstd").decompress(pa.py_buffer(self.content), decompressed_size=self.size)
        # The codec fills up what an lz4 frame lacks with whatever was in memory: the stream tells the true size.
        return self._stream().read_buffer(self.size + 1)

    def saved(self) -> Bytes:
        """What comes before the first unreadable byte, whatever size it claims."""
        if self.compression == "none":
            return block(self.content)
        try:
            return block(self._saved_bz2() if self.compression == "bz2" else self._saved())
        except (OSError, ValueError):
            return block(b"")

    def _saved(self) -> bytearray:
        saved, most = bytearray(), LARGEST_CHUNK_BYTES
        for step in (SAVED_AT_ONCE, 1):
            # A failed read takes along what it had read: the second time comes nearer to the damage.
            stream = self._stream()
            try:
                stream.read(len(saved))
                while len(saved) < most and (part := stream.read(min(step, most - len(saved)))):
                    saved += part
            except OSError:
                continue
            break
        return saved

    def _saved_bz2(self) -> bytearray:
        saved, most, unpacker = bytearray(), LARGEST_CHUNK_BYTES, bz2.BZ2Decompressor()
        for at in range(0, len(self.content), SAVED_AT_ONCE):
            try:
                saved += unpacker.decompress(self.content[at : at + SAVED_AT_ONCE], max_length=most - len(saved))
            except (OSError, EOFError):
                break
            if len(saved) >= most or unpacker.eof:
                break
        return saved

    def _stream(self) -> pa.CompressedInputStream:
        return pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(self.content)), self.compression)


def block(content: pa.Buffer | bytes | bytearray | memoryview) -> Bytes:
    """These bytes as a flat array that nobody can change."""
    array = np.frombuffer(content, np.uint8) if len(content) else np.empty(0, np.uint8)
    array.flags.writeable = False
    return array


class Storage:
    """Reads what is stored of one chunk after another into the same memory.

    In a heap, blocks of this size that come and go settle between small things that stay, and it grows with the bag.
    """

    def __init__(self, file: BufferedReader) -> None:
        """Of this file, from wherever it stands."""
        self._file = file
        self._buffer: memoryview | None = None
        self._is_plain = False

    def read(self, length: int) -> memoryview:
        """The next bytes of the file, as far as it goes; they stay until the next are read."""
        if self._is_plain or length > USUAL_CHUNK_BYTES:
            return memoryview(self._file.read(length))
        if self._buffer is None:
            self._buffer = np.empty(USUAL_CHUNK_BYTES, np.uint8).data
        return self._buffer[: self._file.readinto(self._buffer[:length])]

    def settled(self, packed: Packed) -> Packed:
        """A chunk that was read so; content that is its own unpacked form is copied, and that of the next is not."""
        was_plain, self._is_plain = self._is_plain, packed.compression == "none"
        if was_plain or not self._is_plain:
            return packed
        return replace(packed, content=memoryview(bytes(packed.content)))


@dataclass(frozen=True)
class Placed:
    """Messages found in a block, in the order in which they lie there: arrays of equal length."""

    numbers: NDArray[np.integer]  # of the channel in the recording
    log_time: Times
    publish_time: Times | None
    starts: Numbers
    lengths: Numbers

    def part(self, begin: int, end: int) -> "Placed":
        """Those from `begin` to before `end`."""
        published = None if self.publish_time is None else self.publish_time[begin:end]
        return Placed(
            self.numbers[begin:end],
            self.log_time[begin:end],
            published,
            self.starts[begin:end],
            self.lengths[begin:end],
        )

    def grouped(self) -> Iterator[tuple[int, "Placed"]]:
        """Those of each channel number, in the order of the numbers."""
        if not len(self.numbers):
            return
        if bool((self.numbers == self.numbers[0]).all()):
            yield int(self.numbers[0]), self
            return
        order = np.argsort(self.numbers, kind="stable")
        numbers = self.numbers[order]
        published = None if self.publish_time is None else self.publish_time[order]
        whole = Placed(numbers, self.log_time[order], published, self.starts[order], self.lengths[order])
        cuts = [0, *(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist(), len(numbers)]
        for begin, end in pairwise(cuts):
            yield int(numbers[begin]), whole.part(begin, end)


class Stretch(Protocol):
    """A stretch of a block whose records were found."""

    @property
    def end(self) -> int:
        """Where it ends, or where what follows cannot be read."""


S = TypeVar("S", bound=Stretch)


def stretches(
    size: int,
    walk: Callable[[int], Iterator[S]],
    known: Callable[[], Numbers],
    lose: Callable[[str], None],
) -> Iterator[S]:
    """What a walk finds in a block; from something unreadable it goes on at the next message that the index knows.

    `walk` begins at a place, `known` gives those of the index in rising order, `lose` is told what cannot be read.
    """
    at, places = 0, None
    while at < size:
        for stretch in walk(at):
            yield stretch
            at = stretch.end
        if at < size:
            lose(f"a chunk holds something unreadable at its byte {at}")
            places = known() if places is None else places
            behind = int(places.searchsorted(at, side="right"))
            at = int(places[behind]) if behind < len(places) else size


ChannelOf = Callable[[int], Channel | None]


class Place(NamedTuple):
    """Where in the file a block comes from, and whether its bytes can be trusted."""

    offset: int
    size: int
    doubt: str | None = None


class Handed:
    """What a reader has handed on: messages as batches, and channels once each."""

    def __init__(self, found: Findings) -> None:
        """Losses go to `found`."""
        self.messages = 0
        self._found = found
        self._met: set[Channel] = set()
        self._passed_over: list[tuple[Place, int]] = []

    def batches(self, messages: Placed, arena: Bytes, place: Place, channel_of: ChannelOf) -> Iterator[Batch]:
        """One batch for each channel of a number; messages of one that is not described are lost."""
        for number, some in messages.grouped():
            channel = channel_of(number)
            count = len(some.starts)
            if channel is None:
                told = f"{count} messages are of channel {number}, which is not described"
                self._found.lose(place.offset, place.size, told)
                continue
            self.messages += count
            self.meet(channel)
            times = some.log_time, some.publish_time
            yield Batch(channel, *times, arena, some.starts, some.lengths, place.doubt, place.offset)

    def pass_over(self, place: Place, kind: int) -> None:
        """Note a record that does not belong where it lies, which may be one that does and is damaged."""
        if len(self._passed_over) < MOST_LOSSES:
            self._passed_over.append((place, kind))

    def end(self, announced: int | None, offset: int) -> None:
        """Tell what is missing: of so many messages that the recording announces, or of what was passed over."""
        self._found.expect(announced, self.messages, offset)
        is_whole = announced is not None and 0 < announced <= self.messages
        for place, kind in self._passed_over:
            told = f"a record of kind {kind}, unknown or out of place, was passed over"
            self._found.repair(told) if is_whole else self._found.lose(place.offset, place.size, told)

    def meet(self, channel: Channel) -> None:
        """Note a channel, also one that no message is of."""
        if channel not in self._met:
            self._met.add(channel)
            self._found.meet(channel)
