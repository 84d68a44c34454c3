"""MCAP, read from its first byte to its last: no summary, index or footer is needed (mcap.dev/spec, version 1)."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from fleet.errors import Invalid
from ingestion.bags.recording import LARGEST_CHUNK_BYTES, Channel, Findings, Message

MAGIC = b"\x89MCAP0\r\n"
FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, STATISTICS, DATA_END = 0x02, 0x03, 0x04, 0x05, 0x06, 0x0B, 0x0F
READ = {SCHEMA, CHANNEL, MESSAGE, CHUNK, STATISTICS}


class _Record(NamedTuple):
    op: int
    body: memoryview
    offset: int  # of the record in the file; for a record in a chunk, of the chunk


class _Schema(NamedTuple):
    name: str
    encoding: str
    text: str


@dataclass
class _Known:
    schemas: dict[int, _Schema] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    messages: int = 0
    announced: int | None = None


def messages(path: Path, found: Findings) -> Iterator[Message]:
    """Every message that a sequential scan can reach, in file order.

    Raises:
        Invalid: there is nothing behind the magic.
    """
    known = _Known()
    size = path.stat().st_size
    if size == len(MAGIC):
        raise Invalid("The file ends after its first eight bytes; nothing was recorded in it.")
    with path.open("rb") as file:
        file.seek(len(MAGIC))
        for record in _top_records(file, size, found):
            if record.op == CHUNK:
                yield from _chunk(record, known, found)
            else:
                yield from _record(record, known, found, doubt=None)
    found.expect(known.announced, known.messages, size)


def _top_records(file: BinaryIO, size: int, found: Findings) -> Iterator[_Record]:
    ended = False
    while (offset := file.tell()) < size:
        head = file.read(9)
        op, length = struct.unpack("<BQ", head) if len(head) == 9 else (0, 0)
        if op == FOOTER:
            return
        if op == 0 or offset + 9 + length > size:
            _note_cut(found, offset, size, ended=ended)
            return
        ended = ended or op == DATA_END
        if op in READ:
            yield _Record(op, memoryview(file.read(length)), offset)
        else:
            file.seek(length, 1)
    found.repairs.append("the file has no footer")


def _note_cut(found: Findings, offset: int, size: int, *, ended: bool) -> None:
    if ended:
        found.repairs.append(f"the summary is damaged from byte {offset} on")
    else:
        found.lose(offset, size - offset, "the file was cut, or is not MCAP from here on")


def _chunk(record: _Record, known: _Known, found: Findings) -> Iterator[Message]:
    size = len(record.body) + 9
    try:
        content, is_sound = _unpack(record.body)
    except (struct.error, UnicodeDecodeError, OSError, ValueError) as error:
        found.lose(record.offset, size, f"a chunk cannot be unpacked: {error}")
        return
    doubt = None if is_sound else f"the checksum of its chunk at byte {record.offset} does not match"
    at = 0
    while at < len(content):
        op, length = struct.unpack_from("<BQ", content, at) if at + 9 <= len(content) else (0, 0)
        if op == 0 or at + 9 + length > len(content):
            found.lose(record.offset, size, f"a chunk holds something unreadable at its byte {at}")
            return
        yield from _record(_Record(op, content[at + 9 : at + 9 + length], record.offset), known, found, doubt=doubt)
        at += 9 + length


def _unpack(body: memoryview) -> tuple[memoryview, bool]:
    """The content of a chunk, and whether its checksum holds (a chunk without one is taken as sound)."""
    _, _, size, checksum = struct.unpack_from("<QQQI", body)
    compression, at = _text(body, 28)
    (packed_size,) = struct.unpack_from("<Q", body, at)
    packed = body[at + 8 : at + 8 + packed_size]
    if size > LARGEST_CHUNK_BYTES:
        raise ValueError(f"it claims {size} bytes, more than {LARGEST_CHUNK_BYTES}")
    if compression not in {"", "lz4", "zstd"}:
        raise ValueError(f"its compression {compression!r} is not known")
    content = packed
    if compression:
        content = memoryview(pa.Codec(compression).decompress(pa.py_buffer(packed), decompressed_size=size))
    return content, checksum in {0, zlib.crc32(content)}


def _record(record: _Record, known: _Known, found: Findings, *, doubt: str | None) -> Iterator[Message]:
    try:
        if record.op == MESSAGE:
            yield from _message(record, known, found, doubt)
        elif record.op == SCHEMA:
            _learn_schema(record.body, known)
        elif record.op == CHANNEL:
            _learn_channel(record.body, known, found)
        elif record.op == STATISTICS:
            known.announced = struct.unpack_from("<Q", record.body)[0]
    except (struct.error, UnicodeDecodeError) as error:
        found.lose(record.offset, len(record.body) + 9, f"a record of kind {record.op} cannot be read: {error}")


def _message(record: _Record, known: _Known, found: Findings, doubt: str | None) -> Iterator[Message]:
    channel_id, _, log_time, publish_time = struct.unpack_from("<HIQQ", record.body)
    channel = known.channels.get(channel_id)
    if channel is None:
        found.lose(record.offset, len(record.body) + 9, f"a message is of channel {channel_id}, which is not described")
        return
    known.messages += 1
    yield Message(channel, log_time, publish_time, bytes(record.body[22:]), doubt)


def _learn_schema(body: memoryview, known: _Known) -> None:
    (number,) = struct.unpack_from("<H", body)
    name, at = _text(body, 2)
    encoding, at = _text(body, at)
    known.schemas[number] = _Schema(name, encoding, _text(body, at)[0])


def _learn_channel(body: memoryview, known: _Known, found: Findings) -> None:
    number, schema_number = struct.unpack_from("<HH", body)
    topic, at = _text(body, 4)
    encoding, _ = _text(body, at)
    schema = known.schemas.get(schema_number, _Schema("", "", ""))
    known.channels[number] = found.meet(Channel(topic, schema.name, encoding, schema.encoding, schema.text))


def _text(body: memoryview, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", body, at)
    if at + 4 + length > len(body):
        raise struct.error(f"a text of {length} bytes does not fit")
    return bytes(body[at + 4 : at + 4 + length]).decode(), at + 4 + length
