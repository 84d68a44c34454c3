"""Messages that rosbag2 compressed one by one (compression mode `message`, format zstd)."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingestion.bags.chunks import block
from ingestion.bags.recording import LARGEST_CHUNK_BYTES, Batch

ZSTD_MAGIC = np.frombuffer(b"\x28\xb5\x2f\xfd", np.uint8)
NONE = np.zeros(1, np.bool_)
UNPACKED_AT_ONCE = 4 << 20
SMALLEST_FRAME = 6


def decompressed(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The batches with what is compressed in them unpacked; what cannot be is passed on in doubt.

    A message in CDR begins with a zero byte, so the magic of zstd cannot be the beginning of one.
    """
    for batch in batches:
        is_packed = _is_packed(batch) if batch.channel.encoding == "cdr" else NONE
        if not is_packed.any():
            yield batch
            continue
        # Order within the channel is kept: each stretch of one kind by itself.
        cuts = [0, *(np.flatnonzero(is_packed[1:] != is_packed[:-1]) + 1).tolist(), len(is_packed)]
        for begin, end in pairwise(cuts):
            part = _part(batch, begin, end)
            yield from _unpacked(part) if is_packed[begin] else (part,)


def _is_packed(batch: Batch) -> NDArray[np.bool_]:
    size = len(ZSTD_MAGIC)
    if batch.arena.size < size:
        return NONE
    is_packed = batch.arena.take(batch.starts, mode="clip") == ZSTD_MAGIC[0]
    if not is_packed.any():
        return NONE
    is_packed &= batch.lengths >= size
    for at, byte in enumerate(ZSTD_MAGIC):
        is_packed &= batch.arena.take(batch.starts + at, mode="clip") == byte
    return np.asarray(is_packed)


def _unpacked(batch: Batch) -> Iterator[Batch]:
    contents, begin, waiting = list[pa.Buffer](), 0, 0
    whole = pa.py_buffer(batch.arena)
    for number, (start, length) in enumerate(zip(batch.starts.tolist(), batch.lengths.tolist(), strict=True)):
        try:
            content = _message(whole.slice(start, length))
        except (OSError, ValueError) as error:
            if contents:
                yield _joined(_part(batch, begin, number), contents)
            yield replace(_part(batch, number, number + 1), doubt=f"it cannot be decompressed: {error}")
            contents, begin, waiting = [], number + 1, 0
            continue
        contents.append(content)
        waiting += content.size
        if waiting >= UNPACKED_AT_ONCE:
            yield _joined(_part(batch, begin, number + 1), contents)
            contents, begin, waiting = [], number + 1, 0
    if contents:
        yield _joined(_part(batch, begin, len(batch.starts)), contents)


def _message(packed: pa.Buffer) -> pa.Buffer:
    size = _content_size(memoryview(packed[:18]))
    if size is None:
        stream = pa.CompressedInputStream(pa.BufferReader(packed), "zstd")
        content = stream.read_buffer(LARGEST_CHUNK_BYTES)
        if content.size == LARGEST_CHUNK_BYTES:
            raise ValueError(f"it has {LARGEST_CHUNK_BYTES} bytes or more")
        return content
    if size > LARGEST_CHUNK_BYTES:
        raise ValueError(f"it claims {size} bytes, more than {LARGEST_CHUNK_BYTES}")
    return pa.Codec("zstd").decompress(packed, decompressed_size=size) if size else pa.py_buffer(b"")


def _content_size(frame: memoryview) -> int | None:
    """The size that a zstd frame states, if it does (RFC 8878, 3.1.1.1)."""
    if len(frame) < SMALLEST_FRAME:
        return None
    described = frame[4]
    is_single = described >> 5 & 1
    size = (is_single, 2, 4, 8)[described >> 6]
    at = 5 + (0 if is_single else 1) + (0, 1, 2, 4)[described & 3]
    if size == 0 or at + size > len(frame):
        return None
    return int.from_bytes(frame[at : at + size], "little") + (256 if size == 2 else 0)


def _part(batch: Batch, begin: int, end: int) -> Batch:
    published = None if batch.publish_time is None else batch.publish_time[begin:end]
    return replace(
        batch,
        log_time=batch.log_time[begin:end],
        publish_time=published,
        starts=batch.starts[begin:end],
        lengths=batch.lengths[begin:end],
    )


def _joined(batch: Batch, contents: list[pa.Buffer]) -> Batch:
    lengths = np.fromiter((content.size for content in contents), np.int64, len(contents))
    arena = block(b"".join(memoryview(content) for content in contents))
    return replace(batch, arena=arena, starts=np.cumsum(lengths) - lengths, lengths=lengths)
