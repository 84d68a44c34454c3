"""A recording as its readers give it: channels, batches of messages in file order, and an honest account of what was damaged."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingestion.lake import Lost

LARGEST_CHUNK_BYTES = 512 << 20
MOST_LOSSES = 1_000
UNSAYABLE = re.compile("[\ud800-\udfff]")  # what Python makes of bytes that are no UTF-8


def sayable(text: str) -> str:
    """A text that may name files, whose names can be any bytes, as it can be written anywhere."""
    return UNSAYABLE.sub("\ufffd", text)


@dataclass(frozen=True)
class Channel:
    """A topic with the definition its messages were recorded with."""

    topic: str
    type: str
    encoding: str  # how a message is laid out: cdr, ros1, or something we cannot decode
    definition_format: str  # ros1msg, ros2msg, ros2idl, or empty when the recording has none
    definition: str


@dataclass(frozen=True, eq=False)
class Batch:
    """Messages of one channel in file order: arrays of equal length N >= 1 over one block of bytes.

    Every body lies within the arena: `0 <= starts` and `starts + lengths <= arena.size`. With a `doubt` the bytes
    cannot be trusted. A reader holds one arena at a time: who keeps bodies copies them.
    """

    channel: Channel
    log_time: NDArray[np.uint64]  # (N,) ns since 1970 as recorded, also where that is no instant
    publish_time: NDArray[np.uint64] | None  # (N,)
    arena: NDArray[np.uint8]  # flat, read-only
    starts: NDArray[np.int64]  # (N,) first byte of each body: of its encapsulation for cdr
    lengths: NDArray[np.int64]  # (N,)
    doubt: str | None
    at: int  # offset in the file of the chunk or record, for people


@dataclass
class Findings:
    """What a reader found besides messages; complete when its last message was read."""

    channels: list[Channel] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    distribution: str = ""
    given: tuple[tuple[str, str], ...] = ()  # definitions by type, for what was recorded without
    part: float = 0.0  # of the recording has been read, by bytes; for people
    _met: set[Channel] = field(default_factory=set, repr=False)

    def meet(self, channel: Channel) -> Channel:
        """Note a channel once."""
        if channel not in self._met:
            self._met.add(channel)
            self.channels.append(channel)
        return channel

    def lose(self, offset: int, size: int, reason: str) -> None:
        """Note unreadable bytes; a neighbour lost for the same reason grows, and so does the last of very many."""
        reason = sayable(reason)
        last = self.lost[-1] if self.lost else None
        if last and last.reason == reason and last.offset + last.bytes == offset:
            self.lost[-1] = Lost(offset=last.offset, bytes=last.bytes + size, reason=reason)
        elif last and len(self.lost) >= MOST_LOSSES:
            end = max(last.offset + last.bytes, offset + size)
            begin = min(last.offset, offset)
            self.lost[-1] = Lost(offset=begin, bytes=end - begin, reason="more places than can be listed")
        else:
            self.lost.append(Lost(offset=offset, bytes=size, reason=reason))

    def repair(self, told: str) -> None:
        """Note once what was missing or wrong without a loss."""
        if (told := sayable(told)) not in self.repairs:
            self.repairs.append(told)

    def expect(self, announced: int | None, found: int, offset: int) -> None:
        """Note a loss when the recording itself announces more messages than could be found."""
        if announced is not None and announced > found:
            self.lose(offset, 0, f"the recording announces {announced} messages, {found} could be found")


Reader = Callable[[Path, Findings], Iterator[Batch]]
