"""Messages of one topic that wait until their row group is full: in memory, or put aside in a file when there are many."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ingestion.bags.bodies import Bodies, gather, join
from ingestion.bags.recording import Batch

MESSAGE_COST_BYTES = 40  # what a message that waits needs besides its body
BATCH_COST_BYTES = 1_000  # what Python adds to a batch that waits
NO_TIME = np.uint64(2**64 - 1)


@dataclass(frozen=True)
class Messages:
    """Messages of one channel in file order, with bodies of their own."""

    bodies: Bodies
    log_time: NDArray[np.uint64]
    publish_time: NDArray[np.uint64]  # NO_TIME where there is none

    @classmethod
    def of(cls, batch: Batch) -> "Messages":
        """A copy of those of a batch."""
        none = batch.publish_time is None
        published = np.full(len(batch.log_time), NO_TIME) if none else np.array(batch.publish_time)
        return cls(gather(batch), np.array(batch.log_time), published)

    def at(self, places: NDArray[np.int64]) -> "Messages":
        """Those at these places."""
        none = Bodies(np.zeros(0, np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int64))
        bodies = self.bodies.of(places) if len(places) else none
        return Messages(bodies, self.log_time[places], self.publish_time[places])

    def __len__(self) -> int:
        return len(self.log_time)


class Waiting:
    """The messages that wait, in order."""

    def __init__(self, path: Path) -> None:
        """The file at `path` appears when they are put aside."""
        self.rows = 0
        self.bytes = 0
        self.held_bytes = 0
        self._path = path
        self._held: list[Messages] = []
        self._is_aside = False

    def add(self, messages: Messages, size: int) -> None:
        """Take messages that count as `size` bytes."""
        self._held.append(messages)
        self.rows += len(messages)
        self.bytes += size
        self.held_bytes += size + BATCH_COST_BYTES

    def put_aside(self) -> None:
        """Move what is in memory to the file."""
        if self._held:
            with self._path.open("ab") as out:
                _write(out, _joined(self._held))
            self._is_aside = True
        self._held, self.held_bytes = [], 0

    def take(self) -> Messages:
        """All of them, one or more; afterwards none wait."""
        parts = list(_read(self._path)) if self._is_aside else []
        messages = _joined(parts + self._held)
        if self._is_aside:
            self._path.unlink()
        self._held, self._is_aside, self.rows, self.bytes, self.held_bytes = [], False, 0, 0, 0
        return messages


def _joined(parts: list[Messages]) -> Messages:
    return Messages(
        join([part.bodies for part in parts]),
        np.concatenate([part.log_time for part in parts]),
        np.concatenate([part.publish_time for part in parts]),
    )


def _write(out: BinaryIO, messages: Messages) -> None:
    bodies = messages.bodies
    np.array([len(messages), bodies.arena.size], np.int64).tofile(out)
    for values in (messages.log_time, messages.publish_time, bodies.starts, bodies.lengths, bodies.arena):
        np.ascontiguousarray(values).tofile(out)


def _read(path: Path) -> Iterator[Messages]:
    with path.open("rb") as file:
        while len(head := np.fromfile(file, np.int64, 2)):
            rows, size = map(int, head)
            log_time, published = (np.fromfile(file, np.uint64, rows) for _ in range(2))
            starts, lengths = (np.fromfile(file, np.int64, rows) for _ in range(2))
            yield Messages(Bodies(np.fromfile(file, np.uint8, size), starts, lengths), log_time, published)
