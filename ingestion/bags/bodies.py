"""The bodies of messages side by side in one block, so placed that their numbers can be read where they lie."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingestion.bags.arrays import array
from ingestion.bags.recording import Batch

# A CDR payload begins behind four bytes of encapsulation: a body that begins here has its payload on eight bytes.
BEGIN = 4
WIDEST_ROW = 1 << 20
MOST_BYTES = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Bodies:
    """Messages in order: each begins four bytes before a multiple of eight of the arena, which holds nothing else."""

    arena: NDArray[np.uint8]
    starts: NDArray[np.int64]  # (N,)
    lengths: NDArray[np.int64]  # (N,)

    @property
    def size(self) -> int:
        """How many bytes they occupy."""
        return int(self.arena.size)

    def content(self, row: int) -> bytes:
        """One message as it was recorded."""
        start = int(self.starts[row])
        return self.arena[start : start + int(self.lengths[row])].tobytes()

    def contents(self) -> pa.Array:
        """All messages as they were recorded, as Arrow binary."""
        return ragged(self.arena, self.starts, self.lengths)

    def of(self, rows: NDArray[np.int64]) -> "Bodies":
        """A copy of these messages alone, in this order."""
        return _gathered(self.arena, self.starts[rows], self.lengths[rows])


def gather(batch: Batch) -> Bodies:
    """A copy of the messages of a batch that outlives its arena."""
    return _gathered(batch.arena, batch.starts, batch.lengths)


def join(parts: Sequence[Bodies]) -> Bodies:
    """The messages of all parts in order."""
    if len(parts) == 1:
        return parts[0]
    before = np.cumsum([0] + [part.arena.size for part in parts[:-1]])
    return Bodies(
        np.concatenate([part.arena for part in parts]),
        np.concatenate([part.starts + shift for part, shift in zip(parts, before, strict=True)]),
        np.concatenate([part.lengths for part in parts]),
    )


def ragged(arena: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> pa.Array:
    """A copy of stretches of the arena, in this order, as Arrow binary.

    Arrow is shown an array whose every other element is a stretch, and takes those; what lies between is never looked
    at, so stretches may overlap and come in any order.
    """
    count = len(starts)
    if not count:
        return array(np.empty(0, np.int64), pa.int64()).cast(pa.binary())
    wide = arena.size > MOST_BYTES
    offsets = np.empty(2 * count + 1, np.int64 if wide else np.int32)
    offsets[0:-1:2] = starts
    np.add(starts, lengths, out=offsets[1::2], casting="unsafe")
    offsets[-1] = arena.size
    kind = pa.large_binary() if wide else pa.binary()
    shown = pa.Array.from_buffers(kind, 2 * count, [None, pa.py_buffer(offsets), pa.py_buffer(arena)])
    taken = shown.take(array(np.arange(0, 2 * count, 2, dtype=np.int64), pa.int64()))
    return taken.cast(pa.binary()) if wide else taken


def records(arena: NDArray[np.uint8], starts: NDArray[np.int64], width: int) -> NDArray[np.uint8]:
    """A copy of `width` bytes from every start on, wherever it lies, as an array (N, width)."""
    overlapping: NDArray[np.void] = np.ndarray((arena.size - width + 1,), f"V{width}", arena, 0, (1,))
    return overlapping[starts].view(np.uint8).reshape(len(starts), width)


def _gathered(arena: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Bodies:
    widths = (lengths + (BEGIN + 7)) & -8
    starts = starts - BEGIN
    if int(starts.min()) < 0 or int((starts + widths).max()) > arena.size:
        arena = np.concatenate([np.zeros(BEGIN, np.uint8), arena, np.zeros(8, np.uint8)])
        starts = starts + BEGIN
    width = int(widths[0])
    if width <= WIDEST_ROW and bool((lengths == lengths[0]).all()):
        copied = records(arena, starts, width).reshape(-1)
        begins = np.arange(BEGIN, BEGIN + len(starts) * width, width, dtype=np.int64)
    else:
        copied = np.frombuffer(ragged(arena, starts, widths).buffers()[2], np.uint8)
        begins = np.cumsum(widths) - widths + BEGIN
    return Bodies(copied[: int(widths.sum())], begins, lengths.copy())
