"""ROS 1 bags (format 2.0), read from their first byte to their last: an index is not needed (wiki.ros.org/Bags/Format)."""

import bz2
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa
from rosbags.rosbag1.reader import normalize
from rosbags.typesys.msg import normalize_msgtype

from fleet.errors import Invalid
from ingestion.bags.recording import LARGEST_CHUNK_BYTES, Channel, Findings, Message

MAGIC = b"#ROSBAG V2.0\n"
MESSAGE, BAG_HEADER, CHUNK, CHUNK_INFO, CONNECTION = 2, 3, 5, 6, 7
READ = {MESSAGE, BAG_HEADER, CHUNK, CHUNK_INFO, CONNECTION}


class _Record(NamedTuple):
    fields: Mapping[str, bytes]
    content: bytes
    offset: int
    size: int

    @property
    def op(self) -> int:
        return self.fields.get("op", b"\0")[0]

    def number(self, name: str) -> int:
        return int.from_bytes(self.fields[name], "little")


@dataclass
class _Known:
    channels: dict[int, Channel] = field(default_factory=dict)
    messages: int = 0
    announced: int = 0
    index_at: int = 0


def messages(path: Path, found: Findings) -> Iterator[Message]:
    """Every message that a sequential scan can reach, in file order.

    Raises:
        Invalid: the bag is encrypted.
    """
    known = _Known()
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(len(MAGIC))
        for record in _records(file, size, found, base=0):
            if record.op == CHUNK:
                yield from _chunk(record, known, found)
            else:
                yield from _record(record, known, found)
    if known.index_at > size:
        found.lose(size, known.index_at - size, "the bag was cut before its index")
    found.expect(known.announced, known.messages, size)


def _records(file: BinaryIO, size: int, found: Findings, *, base: int) -> Iterator[_Record]:
    """The records of a file or of an unpacked chunk; what is of no use to us comes without its content."""
    while (offset := file.tell()) < size:
        try:
            fields = _fields(_sized(file, size))
            (length,) = struct.unpack("<I", file.read(4))
        except (struct.error, UnicodeDecodeError) as error:
            found.lose(base + offset, size - offset, f"the bag was cut, or is damaged from here on: {error}")
            return
        if file.tell() + length > size:
            found.lose(base + offset, size - offset, "the bag was cut inside a record")
            return
        is_read = fields.get("op", b"\0")[0] in READ
        content = file.read(length) if is_read else b""
        if not is_read:
            file.seek(length, 1)
        yield _Record(fields, content, base + offset, file.tell() - offset)


def _sized(file: BinaryIO, size: int) -> bytes:
    (length,) = struct.unpack("<I", file.read(4))
    if file.tell() + length > size:
        raise struct.error(f"a header of {length} bytes does not fit")
    return file.read(length)


def _fields(header: bytes) -> dict[str, bytes]:
    fields, at = {}, 0
    while at < len(header):
        (length,) = struct.unpack_from("<I", header, at)
        name, _, value = header[at + 4 : at + 4 + length].partition(b"=")
        fields[name.decode()] = value
        at += 4 + length
    return fields


def _chunk(record: _Record, known: _Known, found: Findings) -> Iterator[Message]:
    try:
        content = _unpack(record)
    except (KeyError, OSError, ValueError) as error:
        found.lose(record.offset, record.size, f"a chunk cannot be unpacked: {error}")
        return
    inner = Findings()
    for part in _records(BytesIO(content), len(content), inner, base=0):
        yield from _record(part._replace(offset=record.offset), known, found)
    for lost in inner.lost:
        found.lose(record.offset, record.size, f"at byte {lost.offset} of a chunk: {lost.reason}")


def _unpack(record: _Record) -> bytes:
    compression, size = record.fields["compression"].decode(), record.number("size")
    if size > LARGEST_CHUNK_BYTES:
        raise ValueError(f"it claims {size} bytes, more than {LARGEST_CHUNK_BYTES}")
    if compression == "none":
        return record.content
    if compression == "lz4":
        return bytes(pa.Codec("lz4").decompress(record.content, decompressed_size=size))
    if compression != "bz2":
        raise ValueError(f"its compression {compression!r} is not known")
    content = bz2.BZ2Decompressor().decompress(record.content, max_length=size)
    if len(content) != size:
        raise ValueError(f"it claims {size} bytes and has {len(content)}")
    return content


def _record(record: _Record, known: _Known, found: Findings) -> Iterator[Message]:
    try:
        if record.op == MESSAGE:
            yield from _message(record, known, found)
        elif record.op == CONNECTION:
            known.channels.setdefault(record.number("conn"), _channel(record, found))
        elif record.op == BAG_HEADER:
            known.index_at = _index_at(record, found)
        elif record.op == CHUNK_INFO:
            known.announced += sum(count for _, count in struct.iter_unpack("<II", record.content))
    except (KeyError, struct.error, UnicodeDecodeError) as error:
        found.lose(record.offset, record.size, f"a record of kind {record.op} cannot be read: {error}")


def _message(record: _Record, known: _Known, found: Findings) -> Iterator[Message]:
    number = record.number("conn")
    seconds, nanoseconds = struct.unpack("<II", record.fields["time"])
    if number not in known.channels:
        found.lose(record.offset, record.size, f"a message is of connection {number}, which is not described")
        return
    known.messages += 1
    yield Message(known.channels[number], seconds * 10**9 + nanoseconds, None, record.content)


def _channel(record: _Record, found: Findings) -> Channel:
    described = _fields(record.content)
    name = normalize_msgtype(described["type"].decode())
    text = described["message_definition"].decode(errors="replace")
    # As rosbags does it: doubled slashes of a topic go, so that both name it alike.
    topic = normalize(record.fields["topic"].decode() or "/")
    return found.meet(Channel(topic, name, "ros1", "ros1msg", text))


def _index_at(record: _Record, found: Findings) -> int:
    if record.fields.get("encryptor"):
        raise Invalid(f"The bag is encrypted by {record.fields['encryptor'].decode(errors='replace')!r}; decrypt it.")
    index_at = record.number("index_pos")
    if index_at == 0:
        found.repairs.append("the bag was not closed and has no index")
    return index_at
