"""The summary at the end of an MCAP file: only asked where the file before it is damaged."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from ingestion.bags.mcap_records import CHANNEL, CHUNK_INDEX, FOOTER, HEAD, SCHEMA, Known

TAIL = struct.Struct("<BQQQI8s")  # footer record and magic
LARGEST_SUMMARY_BYTES = 64 << 20


@dataclass(frozen=True)
class Summary:
    """What a summary says: its channels, and where chunks begin."""

    known: Known = field(default_factory=Known)
    chunks: list[int] = field(default_factory=list)


def summary_of(file: BinaryIO, size: int) -> Summary:
    """The summary as far as it can be read; an empty one when there is none. Moves the position in the file."""
    summary = Summary()
    for op, body in _records(_content(file, size)):
        try:
            if op in {SCHEMA, CHANNEL}:
                summary.known.learn(op, body)
            elif op == CHUNK_INDEX:
                summary.chunks.append(struct.unpack_from("<QQQ", body)[2])
        except (struct.error, UnicodeDecodeError):
            break
    return summary


def _content(file: BinaryIO, size: int) -> memoryview:
    if size < TAIL.size:
        return memoryview(b"")
    file.seek(size - TAIL.size)
    op, _, begin, _, _, _ = TAIL.unpack(file.read(TAIL.size))
    length = size - TAIL.size - begin
    if op != FOOTER or begin == 0 or not 0 < length <= LARGEST_SUMMARY_BYTES:
        return memoryview(b"")
    file.seek(begin)
    return memoryview(file.read(length))


def _records(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    at = 0
    while at + HEAD.size <= len(content):
        op, length = HEAD.unpack_from(content, at)
        after = at + HEAD.size + length
        if op == 0 or after > len(content):
            return
        yield op, content[at + HEAD.size : after]
        at = after
