"""Small recordings of every format, cut at every byte and flipped at every byte, beside a plain sequential scan.

The scan here is written from the descriptions of the formats alone: it reads records one after the other, trusts every
length, knows no index and no summary, and stops where it understands nothing.
"""

import bz2
import gc
import random
import resource
import sqlite3
import struct
from collections import Counter
from contextlib import suppress

import pyarrow as pa
import pytest

from fleet.errors import Invalid
from ingestion.bags.recording import Findings
from ingestion.bags.sources import reader_of

START_NS = 1_772_402_400_000_000_000
UNPACK = {
    "": lambda content, _: content,
    "none": lambda content, _: content,
    "zstd": lambda content, size: pa.Codec("zstd").decompress(content, decompressed_size=size, asbytes=True),
    "lz4": lambda content, _: pa.CompressedInputStream(pa.BufferReader(content), "lz4").read(),
    "bz2": lambda content, _: bz2.decompress(content),
}
HEAD_BYTES = 160  # of a ROS 1 bag; writers pad it to 4096
MAGICS = {"mcap": b"\x89MCAP0\r\n", "bag": b"#ROSBAG V2.0\n", "db3": b"SQLite format 3\0"}
Said = tuple[int, bytes]


class Scan:
    """A plain sequential scan; what it finds before it stops counts."""

    def __init__(self):
        self.found: list[Said] = []
        self.topics: dict[int, str] = {}

    def mcap(self, content: bytes, at: int = 8) -> "Scan":
        while at + 9 <= len(content):
            op, size = struct.unpack_from("<BQ", content, at)
            body = content[at + 9 : at + 9 + size]
            if op in {0, 2} or len(body) < size:
                break
            with suppress(struct.error, ValueError, OSError, KeyError, MemoryError):
                self._mcap_record(op, body)
            at += 9 + size
        return self

    def _mcap_record(self, op: int, body: bytes) -> None:
        if op == 4:
            number, length = struct.unpack_from("<HxxI", body)
            (encoding,) = struct.unpack_from("<I", body, 8 + length)
            body[12 + length : 12 + length + encoding].decode()
            if 12 + length + encoding <= len(body):
                self.topics[number] = body[8 : 8 + length].decode()
        elif op == 5:
            channel, _, time, _ = struct.unpack_from("<HIQQ", body)
            if channel in self.topics:
                self.found.append((time, body[22:]))
        elif op == 6:
            size, _, length = struct.unpack_from("<16xQII", body)
            packed = body[32 + length + 8 :][: struct.unpack_from("<Q", body, 32 + length)[0]]
            if size < 2**29:
                self.mcap(UNPACK[body[32 : 32 + length].decode()](packed, size), 0)

    def ros1(self, content: bytes, at: int = 13) -> "Scan":
        while at + 4 <= len(content):
            (header,) = struct.unpack_from("<I", content, at)
            if at + 8 + header > len(content):
                break
            (size,) = struct.unpack_from("<I", content, at + 4 + header)
            end = at + 8 + header + size
            try:
                fields = self._fields(content[at + 4 : at + 4 + header])
                if end > len(content):
                    break
                self._ros1_record(fields, content[end - size : end])
            except (struct.error, ValueError, OSError, KeyError, EOFError, IndexError):
                break
            at = end
        return self

    def _ros1_record(self, fields: dict[bytes, bytes], content: bytes) -> None:
        op = fields.get(b"op", b"\0")[0]
        if op == 7:
            topic = fields[b"topic"].decode()
            described = self._fields(content)
            if {b"type", b"message_definition"} <= described.keys() and described[b"type"].decode():
                self.topics.setdefault(int.from_bytes(fields[b"conn"], "little"), topic)
        elif op == 2:
            seconds, nanoseconds = struct.unpack("<II", fields[b"time"])
            if int.from_bytes(fields[b"conn"], "little") in self.topics:
                self.found.append((seconds * 10**9 + nanoseconds, content))
        elif op == 5:
            self.ros1(UNPACK[fields[b"compression"].decode()](content, int.from_bytes(fields[b"size"], "little")), 0)

    @staticmethod
    def _fields(header: bytes) -> dict[bytes, bytes]:
        fields, at = {}, 0
        while at < len(header):
            (length,) = struct.unpack_from("<I", header, at)
            if at + 4 + length > len(header):
                raise ValueError("a field does not fit")
            name, _, value = header[at + 4 : at + 4 + length].partition(b"=")
            name.decode()
            fields[name] = value
            at += 4 + length
        return fields

    def db3(self, path) -> "Scan":
        database = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
        try:
            database.execute("PRAGMA writable_schema = ON")
            self.topics = dict(database.execute("SELECT id, name FROM topics"))
            for topic, time, content in database.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY id"):
                if isinstance(content, bytes) and isinstance(time, int) and isinstance(self.topics.get(topic), str):
                    self.found.append((time % 2**64, content))
        except sqlite3.Error:
            pass
        finally:
            database.close()
        return self


def said(path) -> tuple[Counter, Counter, Findings]:
    """What our readers give, how much of it is in no doubt, and what they tell; every batch keeps what it promises."""
    found, messages, trusted = Findings(), Counter(), Counter()
    try:
        for batch in reader_of(path)[1](path, found):
            ends = batch.starts + batch.lengths
            assert len(batch.starts) == len(batch.lengths) == len(batch.log_time) >= 1
            assert min(batch.starts.min(), batch.lengths.min()) >= 0
            assert ends.max() <= batch.arena.size
            assert not batch.arena.flags.writeable
            for start, end, time in zip(batch.starts, ends, batch.log_time, strict=True):
                message = int(time), batch.arena[start:end].tobytes()
                messages[message] += 1
                trusted[message] += batch.doubt is None
    except Invalid as error:
        found.repair(error.message)
    return messages, trusted, found


@pytest.fixture
def sound(mcap, points, tmp_path, noetic):
    """The bytes of a small sound recording."""

    def make(form: str) -> bytes:
        kind, _, compression = form.partition(" ")
        if kind == "bag":
            return _bag(compression)
        if kind == "db3":
            return _db3(tmp_path / "sound.db3")
        made = points(range(7))
        text = made.channel("/text", "std_msgs/msg/String", "string data\n")
        for n in range(5):
            made.add(text, START_NS + 5 - n, b"\0\1\0\0" + struct.pack("<I", n + 1) + b"x" * n + b"\0")
        made.has_index = "index" in form
        made.is_described_in_chunks = "within" in form
        name = {"flat": None, "zstd": "zstd", "lz4": "lz4"}.get(compression.split(" ")[0], "")
        return made.content(compression=name, per_chunk=5, announced=12 if made.has_index else None)

    return make


def _record(content: bytes, **fields: bytes) -> bytes:
    parts = [name.encode() + b"=" + value for name, value in fields.items()]
    header = b"".join(struct.pack("<I", len(part)) + part for part in parts)
    return struct.pack("<I", len(header)) + header + struct.pack("<I", len(content)) + content


def _bag(compression: str) -> bytes:
    """Two connections, four chunks with an index each; the header of a message changes its shape in the third."""
    pack = {"lz4": pa.Codec("lz4").compress, "bz2": bz2.compress}.get(compression, bytes)
    content, places, connections = b"", [], []
    for conn, topic in enumerate((b"/point", b"/text")):
        described = [b"topic=" + topic, b"type=std_msgs/String", b"md5sum=*", b"message_definition=string data\n"]
        body = b"".join(struct.pack("<I", len(part)) + part for part in described)
        connections.append(_record(body, op=b"\7", conn=struct.pack("<I", conn), topic=topic))
    begin = 13 + HEAD_BYTES
    for chunk in range(4):
        inner, listed = b"".join(connections) if chunk == 0 else b"", {0: b"", 1: b""}
        for n in range(4):
            time = struct.pack("<II", START_NS // 10**9 + chunk, n)
            listed[n % 2] += time + struct.pack("<I", len(inner))
            fields = {"op": b"\2", "conn": struct.pack("<I", n % 2), "time": time}
            if chunk == 2 and n > 1:
                fields = {"conn": fields["conn"], "latching": b"1", "op": b"\2", "time": time}
            inner += _record(struct.pack("<I", n) + b"y" * n, **fields)
        places.append(begin + len(content))
        packed = bytes(memoryview(pack(inner)))
        content += _record(packed, op=b"\5", compression=compression.encode(), size=struct.pack("<I", len(inner)))
        for conn, entries in listed.items():
            numbers = {"ver": struct.pack("<I", 1), "conn": struct.pack("<I", conn), "count": struct.pack("<I", 2)}
            content += _record(entries, op=b"\4", **numbers)
    index = struct.pack("<Q", begin + len(content))
    content += b"".join(connections)
    for place in places:
        numbers = {"ver": struct.pack("<I", 1), "chunk_pos": struct.pack("<Q", place), "count": struct.pack("<I", 2)}
        content += _record(struct.pack("<IIII", 0, 2, 1, 2), op=b"\6", **numbers)
    head = _record(b"", op=b"\3", index_pos=index, conn_count=b"\2\0\0\0", chunk_count=b"\4\0\0\0")
    padding = HEAD_BYTES - len(head)
    head = head[:-4] + struct.pack("<I", padding) + b" " * padding
    return b"#ROSBAG V2.0\n" + head + content


def _db3(path) -> bytes:
    database = sqlite3.connect(path)
    database.executescript(
        "PRAGMA page_size = 512;"
        "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,"
        " serialization_format TEXT NOT NULL);"
        "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,"
        " data BLOB NOT NULL);"
        "INSERT INTO topics VALUES (1, '/point', 'geometry_msgs/msg/Point', 'cdr'), (2, '/text', 'a/msg/B', 'cdr');"
    )
    rows = [(1 + n % 2, START_NS + n, b"\0\1\0\0" + bytes([n]) * (n * 60)) for n in range(12)]
    database.executemany("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)", rows)
    database.commit()
    database.close()
    return path.read_bytes()


MCAPS = ["mcap none", "mcap zstd index", "mcap lz4 index within", "mcap flat", "mcap none index within"]
FORMS = [*MCAPS, "bag none", "bag lz4", "bag bz2", "db3"]


@pytest.fixture
def beside(tmp_path):
    """Damaged bytes read by the plain scan and by us: everything the scan reaches, and perhaps more."""
    path = tmp_path / "damaged"

    def compare(content: bytes, form: str, at: int = 0) -> tuple[Counter, Findings]:
        path.write_bytes(content)
        kind, scan = form.partition(" ")[0], Scan()
        if content.startswith(MAGICS[kind]):
            scan.db3(path) if kind == "db3" else scan.ros1(content) if kind == "bag" else scan.mcap(content)
        plain = Counter(scan.found)
        ours, trusted, found = said(path)
        fewer = (plain - ours).total()
        assert fewer == 0, f"byte {at}: {fewer} messages fewer than a plain scan; told: {found.lost} {found.repairs}"
        return trusted, found

    return compare


@pytest.mark.parametrize("form", FORMS)
def test_a_sound_recording_is_read_whole_and_nothing_is_told(form, sound, beside):
    ours, found = beside(sound(form), form)
    assert ours.total() == {"mcap": 12, "bag": 16, "db3": 12}[form.partition(" ")[0]]
    assert (found.lost, found.repairs) == ([], [])


@pytest.mark.parametrize("form", FORMS)
def test_memory_of_a_recording_is_given_back_as_soon_as_it_is_read(form, sound, tmp_path):
    path = tmp_path / "damaged"
    path.write_bytes(sound(form)[:-70])
    gc.collect()
    gc.disable()  # what it would find is kept until it happens to look, and chunks are large
    try:
        said(path)
        assert gc.collect() == 0
    finally:
        gc.enable()


# Every byte in `make proof`, every 29th (with all formats: other places) in `make test`.
STEPS = [pytest.param(1, marks=pytest.mark.proof, id="every byte"), pytest.param(29, id="here and there")]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("form", FORMS)
def test_a_recording_cut_at_any_byte_gives_what_a_plain_scan_reaches_and_tells_the_cut(form, step, sound, beside):
    content = sound(form)
    whole, _ = beside(content, form)
    for size in range(0, len(content), step):
        ours, found = beside(content[:size], form)
        assert not ours - whole, size
        assert found.lost or found.repairs, size


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("form", FORMS)
def test_a_byte_flipped_anywhere_never_costs_what_a_plain_scan_reaches(form, step, sound, beside):
    content = sound(form)
    draw = random.Random(5)
    for at in range(0, len(content), step):
        damaged = bytearray(content)
        damaged[at] ^= draw.randrange(1, 256)
        beside(bytes(damaged), form, at)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("form", FORMS)
def test_a_length_of_2_to_the_60_anywhere_takes_no_memory(form, step, sound, beside):
    content = sound(form)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for at in range(0, len(content) - 8, step):
        beside(content[:at] + struct.pack("<Q", 2**60) + content[at + 8 :], form, at)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB
