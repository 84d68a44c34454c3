"""The bodies of messages side by side in one block, so placed that their numbers can be read where they lie."""

import mmap
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingestion.bags.arrays import taken
from ingestion.bags.recording import Batch

# A CDR payload begins behind four bytes of encapsulation: a body that begins here has its payload on eight bytes.
BEGIN = 4
# Few or wide stretches are copied one by one; else that takes longer than the bytes need.
FEW, WIDE = 4, 8_192
MOST_BYTES = 2**31 - 1
SMALL_BLOCK, LARGE_BLOCK = 1 << 20, 10 << 20
MOST_SPARE = 2  # blocks: more are not faster, and each keeps up to 6 MB
_spare: list[mmap.mmap] = []  # large blocks that nobody looks at any more
_used: set[int] = set()  # those that somebody looks at


@dataclass(frozen=True, eq=False)
class Bodies:
    """Messages in order: each begins four bytes before a multiple of eight of the arena; the bytes between are any."""

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


class Shelf:
    """Copies of the messages of one channel, one behind the other in a block that grows."""

    def __init__(self) -> None:
        """An empty one."""
        self._was_large = False
        self.clear()

    def clear(self) -> None:
        """Forget all messages; bodies that were handed out stay as they are."""
        self.size, self.rows = 0, 0
        self._block = np.empty(0, np.uint8)
        self._starts: list[NDArray[np.int64]] = []
        self._lengths: list[NDArray[np.int64]] = []

    def add(self, batch: Batch) -> None:
        """Take the messages of a batch, whose arena is not needed any more."""
        if self._added_evenly(batch):
            return
        widths, ends = _room(batch.lengths)
        size = self.size + int(ends[-1])
        self._reserve(size)
        _copy(batch.arena, batch.starts - BEGIN, widths, self._block[self.size : size])
        self._starts.append(ends - widths + (self.size + BEGIN))
        self._lengths.append(batch.lengths.copy())
        self.size, self.rows = size, self.rows + len(widths)

    def _added_evenly(self, batch: Batch) -> bool:
        """Whether that could be done at once: many messages of one length that is not large, with room around each."""
        rows, length = len(batch.lengths), int(batch.lengths[0])
        width = (length + (BEGIN + 7)) & -8
        if rows <= FEW or width > WIDE or not (batch.lengths == length).all():
            return False
        starts = batch.starts - BEGIN
        if int(starts.min()) < 0 or int(starts.max()) + width > batch.arena.size:
            return False
        size = self.size + rows * width
        self._reserve(size)
        self._block[self.size : size] = records(batch.arena, starts, width).reshape(-1)
        self._starts.append(np.arange(self.size + BEGIN, size + BEGIN, width))
        self._lengths.append(batch.lengths.copy())
        self.size, self.rows = size, self.rows + rows
        return True

    def bodies(self) -> Bodies:
        """All of them, one or more, without a copy."""
        return Bodies(self._block[: self.size], np.concatenate(self._starts), np.concatenate(self._lengths))

    def _reserve(self, size: int) -> None:
        if size > self._block.size:
            # Memory costs nothing until it is written to: beyond a megabyte there is room for a whole row group.
            is_small = size < SMALL_BLOCK and not (self._was_large and _is_at_hand())
            larger = np.empty(2 * size, np.uint8) if is_small else _mapped(max(LARGE_BLOCK, size + size // 4))
            self._was_large = self._was_large or not is_small
            larger[: self.size] = self._block[: self.size]
            self._block = larger


def _mapped(size: int) -> NDArray[np.uint8]:
    """A block apart from the heap: in it, small things would settle between large ones, and it would grow with the bag."""
    block = _spare.pop() if size == LARGE_BLOCK and _spare else _new_block(size)
    array = np.frombuffer(block, np.uint8)
    if size == LARGE_BLOCK:
        # It goes with the last array that looks at it. To be filled with zeros by the system costs more than a copy.
        _used.add(id(block))
        weakref.finalize(array, _keep, block).atexit = False
    return array


def _is_at_hand() -> bool:
    """Whether a block waits that may be taken for few messages: where many are large, each would keep one for itself."""
    return bool(_spare) and len(_used) < MOST_SPARE


def _keep(block: mmap.mmap) -> None:
    _used.discard(id(block))
    if len(_spare) < MOST_SPARE:
        _spare.append(block)


def _new_block(size: int) -> mmap.mmap:
    try:
        block = mmap.mmap(-1, size, **({"flags": mmap.MAP_PRIVATE} if hasattr(mmap, "MAP_PRIVATE") else {}))
    except OSError as error:
        raise MemoryError(f"There are no {size} bytes for messages that wait: {error}.") from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without
            block.madvise(mmap.MADV_HUGEPAGE)
    return block


def free_spare_blocks() -> None:
    """Give back the memory that would else wait for the messages of another recording."""
    _spare.clear()


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
        return pa.nulls(0, pa.binary())
    wide = arena.size > MOST_BYTES
    offsets = np.empty(2 * count + 1, np.int64 if wide else np.int32)
    offsets[0:-1:2] = starts
    np.add(starts, lengths, out=offsets[1::2], casting="unsafe")
    offsets[-1] = arena.size
    kind = pa.large_binary() if wide else pa.binary()
    shown = pa.Array.from_buffers(kind, 2 * count, [None, pa.py_buffer(offsets), pa.py_buffer(arena)])
    stretches = taken(shown, np.arange(0, 2 * count, 2, dtype=np.int64))
    return stretches.cast(pa.binary()) if wide else stretches


def records(arena: NDArray[np.uint8], starts: NDArray[np.int64], width: int) -> NDArray[np.uint8]:
    """A copy of `width` bytes from every start on, wherever it lies, as an array (N, width)."""
    overlapping: NDArray[np.void] = np.ndarray((arena.size - width + 1,), f"V{width}", arena, 0, (1,))
    return overlapping[starts].view(np.uint8).reshape(len(starts), width)


def _gathered(arena: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Bodies:
    widths, ends = _room(lengths)
    block = np.empty(int(ends[-1]), np.uint8)
    _copy(arena, starts - BEGIN, widths, block)
    return Bodies(block, ends - widths + BEGIN, lengths.copy())


def _room(lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The bytes that each message takes in a block, and where it ends."""
    widths = (lengths + (BEGIN + 7)) & -8
    return widths, np.cumsum(widths)


def _copy(
    arena: NDArray[np.uint8], starts: NDArray[np.int64], widths: NDArray[np.int64], out: NDArray[np.uint8]
) -> None:
    """Fill `out` with stretches of the arena; what they have beyond its ends is left as it is."""
    lies_within = (starts >= 0) & (starts + widths <= arena.size)
    if lies_within.all():
        _copy_within(arena, starts, widths, out)
        return
    # Only the first and the last messages of an arena reach beyond it, as messages do not overlap; if they do, one by one.
    inner = np.flatnonzero(lies_within)
    first, last = (int(inner[0]), int(inner[-1]) + 1) if len(inner) else (0, 0)
    if not lies_within[first:last].all():
        first = last = 0
    ends = np.cumsum(widths)
    begins = ends - widths
    if last:
        within = slice(first, last)
        _copy_within(arena, starts[within], widths[within], out[int(begins[first]) : int(ends[last - 1])])
    for row in (*range(first), *range(last, len(starts))):
        missing = max(-int(starts[row]), 0)
        found = arena[int(starts[row]) + missing : int(starts[row] + widths[row])]
        begin = int(begins[row]) + missing
        out[begin : begin + found.size] = found


def _copy_within(
    arena: NDArray[np.uint8], starts: NDArray[np.int64], widths: NDArray[np.int64], out: NDArray[np.uint8]
) -> None:
    width = int(widths[0])
    if len(starts) <= FEW or out.size > len(starts) * WIDE:
        at = 0
        for start, size in zip(starts.tolist(), widths.tolist(), strict=True):
            out[at : at + size] = arena[start : start + size]
            at += size
    elif bool((widths == width).all()):
        out[:] = records(arena, starts, width).reshape(-1)
    else:
        out[:] = np.frombuffer(ragged(arena, starts, widths).buffers()[2], np.uint8)[: out.size]
