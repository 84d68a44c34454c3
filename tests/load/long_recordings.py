"""Very long recordings to measure with: the chunks of one that was recorded, again and again, each time later.

Written once for each repetition and never held as a whole, so that some gigabytes take seconds. Only log_time and
publish_time go on; chunks are stored as they are, with a whole index.
"""

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

MAGIC = b"\x89MCAP0\r\n"
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, INDEX, CHUNK_INDEX, STATISTICS = 1, 2, 3, 4, 5, 6, 7, 8, 11
DATA_END = 15
HEAD = struct.Struct("<BQ")
TIMES_AT = HEAD.size + 6  # behind channel and sequence: log_time, then publish_time
PAUSE_NS = 10**7  # between one time and the next
ENTRY = np.dtype([("time", "<u8"), ("offset", "<u8")])


@dataclass
class Chunk:
    """One chunk as it was recorded: its records, where their times lie, and its index by channel."""

    records: np.ndarray
    places: np.ndarray  # (N, 16) the bytes of both times of each message
    times: np.ndarray  # (N, 2)
    index: dict[int, np.ndarray]

    def later(self, by_ns: int) -> tuple[bytes, bytes, int, int]:
        """Chunk record, index records, first and last time, all so much later."""
        records, times = self.records.copy(), self.times + np.uint64(by_ns)
        records[self.places] = times.view(np.uint8).reshape(-1, 16)
        first, last = int(times[:, 0].min()), int(times[:, 0].max())
        head = struct.pack("<QQQIIQ", first, last, len(records), 0, 0, len(records))
        return _record(CHUNK, head + records.tobytes()), b"".join(self._index(by_ns)), first, last

    def _index(self, by_ns: int) -> Iterator[bytes]:
        for channel, entries in self.index.items():
            later = entries.copy()
            later["time"] += np.uint64(by_ns)
            yield _record(INDEX, struct.pack("<HI", channel, later.nbytes) + later.tobytes())


@dataclass
class Long:
    """What was written so far."""

    out: IO[bytes]
    counts: Counter[int] = field(default_factory=Counter)
    chunks: list[bytes] = field(default_factory=list)
    times: list[int] = field(default_factory=list)

    def add(self, chunk: Chunk, by_ns: int) -> None:
        """Write a chunk so much later, with its index."""
        record, index, first, last = chunk.later(by_ns)
        at, places, inside = self.out.tell(), b"", 0
        for channel, entries in chunk.index.items():
            places += struct.pack("<HQ", channel, at + len(record) + inside)
            inside += HEAD.size + 6 + entries.nbytes
            self.counts[channel] += len(entries)
        told = struct.pack("<QQQQI", first, last, at, len(record), len(places)) + places
        told += struct.pack("<QIQQ", len(index), 0, len(chunk.records), len(chunk.records))
        self.chunks.append(_record(CHUNK_INDEX, told))
        self.times += [first, last]
        self.out.write(record + index)

    def end(self, known: list[bytes]) -> None:
        """Write the summary."""
        self.out.write(_record(DATA_END, bytes(4)))
        at = self.out.tell()
        schemas = sum(record[0] == SCHEMA for record in known)
        counts = b"".join(struct.pack("<HQ", channel, count) for channel, count in sorted(self.counts.items()))
        numbers = (self.counts.total(), schemas, len(known) - schemas, 0, 0, len(self.chunks))
        told = struct.pack("<QHIIII", *numbers) + struct.pack("<QQI", min(self.times), max(self.times), len(counts))
        self.out.write(b"".join((*known, _record(STATISTICS, told + counts), *self.chunks)))
        self.out.write(_record(FOOTER, struct.pack("<QQI", at, 0, 0)) + MAGIC)


def repeated(source: Path, target: Path, *, size: int) -> Path:
    """Write into `target` the chunks of the MCAP file `source` again and again until it has `size` bytes or more."""
    header, known, chunks = _read(source)
    times = np.concatenate([chunk.times[:, 0] for chunk in chunks])
    length_ns = int(times.max() - times.min()) + PAUSE_NS
    with target.open("wb") as out:
        out.write(b"".join((MAGIC, header, *known)))
        long, number = Long(out), 0
        while out.tell() < size:
            for chunk in chunks:
                long.add(chunk, number * length_ns)
            number += 1
        long.end(known)
    return target


def _read(source: Path) -> tuple[bytes, list[bytes], list[Chunk]]:
    header, known, chunks = b"", dict[bytes, None](), []
    for op, _, body in _records(np.fromfile(source, np.uint8)[len(MAGIC) : -len(MAGIC)]):
        if op == HEADER:
            header = _record(op, body.tobytes())
        elif op in {SCHEMA, CHANNEL}:
            known[_record(op, body.tobytes())] = None
        elif op == CHUNK:
            chunks.append(_chunk(body))
        elif op == INDEX:
            (channel,) = struct.unpack_from("<H", body)
            chunks[-1].index[channel] = body[6:].copy().view(ENTRY)
    return header, sorted(known), chunks


def _chunk(body: np.ndarray) -> Chunk:
    size, _, name = struct.unpack_from("<QII", body, 16)
    records = body[40 + name :]
    if name:
        codec = pa.Codec(body[32 : 32 + name].tobytes().decode())
        records = np.frombuffer(codec.decompress(records, size), np.uint8)
    at = np.array([place for op, place, _ in _records(records) if op == MESSAGE], np.int64) + TIMES_AT
    places = at[:, None] + np.arange(16)
    return Chunk(records, places, records[places].view("<u8"), {})


def _records(content: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Kind, place and body of every record."""
    at, view = 0, memoryview(content)
    while at < len(content):
        op, length = HEAD.unpack_from(view, at)
        yield op, at, content[at + HEAD.size : at + HEAD.size + length]
        at += HEAD.size + length


def _record(op: int, body: bytes) -> bytes:
    return HEAD.pack(op, len(body)) + body
