"""Messages of one topic that wait until their row group is full: in memory, or put aside in a file when there are many."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ingestion.bags.bodies import Bodies, Shelf, gather, join
from ingestion.bags.recording import Batch

MESSAGE_COST_BYTES = 40  # what a message that waits needs besides its body
BATCH_COST_BYTES = 1_000  # what Python adds to a batch that waits
NO_TIME = np.uint64(2**64 - 1)
Times = NDArray[np.uint64]


@dataclass(frozen=True)
class Messages:
    """Messages of one channel in file order, with bodies of their own."""

    bodies: Bodies
    log_time: Times
    publish_time: Times  # NO_TIME where there is none

    @classmethod
    def of(cls, batch: Batch) -> "Messages":
        """A copy of those of a batch."""
        return cls(gather(batch), batch.log_time.copy(), _published(batch))

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
        self._shelf = Shelf()
        self._log_time: list[Times] = []
        self._publish_time: list[Times] = []
        self._is_aside = False

    def add(self, batch: Batch, size: int) -> None:
        """Take the messages of a batch, which count as `size` bytes."""
        self._shelf.add(batch)
        self._log_time.append(batch.log_time.copy())
        self._publish_time.append(_published(batch))
        self.rows += len(batch.log_time)
        self.bytes += size
        self.held_bytes += size + BATCH_COST_BYTES

    def put_aside(self) -> None:
        """Move what is in memory to the file."""
        if self._log_time:
            with self._path.open("ab") as out:
                _write(out, self._held())
            self._is_aside = True
        self._clear()

    def take(self) -> Messages:
        """All of them, one or more; afterwards none wait."""
        parts = [self._held()] if self._log_time else []
        if self._is_aside:
            parts = [*_read(self._path), *parts]
            self._path.unlink()
        self._clear()
        self._is_aside, self.rows, self.bytes = False, 0, 0
        return parts[0] if len(parts) == 1 else _joined(parts)

    def _held(self) -> Messages:
        return Messages(self._shelf.bodies(), np.concatenate(self._log_time), np.concatenate(self._publish_time))

    def _clear(self) -> None:
        self._shelf.clear()
        self._log_time, self._publish_time, self.held_bytes = [], [], 0


def _published(batch: Batch) -> Times:
    return np.full(len(batch.log_time), NO_TIME) if batch.publish_time is None else batch.publish_time.copy()


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
