"""Recordings made on the spot: by rosbags where they are sound, byte by byte where a writer would refuse."""

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

START_NS = 1_772_402_400_000_000_000  # 2026-03-01 22:00 UTC
MAGIC = b"\x89MCAP0\r\n"


@pytest.fixture(scope="session")
def humble() -> Typestore:
    """The types of ROS 2 Humble."""
    return get_typestore(Stores.ROS2_HUMBLE)


@pytest.fixture(scope="session")
def noetic() -> Typestore:
    """The types of ROS 1 Noetic."""
    return get_typestore(Stores.ROS1_NOETIC)


@dataclass
class Mcap:
    """An MCAP file in the making; every part of the format that a damaged file may lack can be left out."""

    schemas: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    channels: dict[int, tuple[int, str, str]] = field(default_factory=dict)
    messages: list[tuple[int, int, bytes]] = field(default_factory=list)
    has_index: bool = False  # a message index behind each chunk, and a summary with schemas, channels and chunk index
    has_message_index: bool = True  # False: chunks are told in the summary only, as writers do that save bytes
    is_described_in_chunks: bool = False  # schemas and channels lie in the first chunk, not before it

    def channel(
        self, topic: str, type_name: str, definition: str, *, encoding: str = "cdr", form: str = "ros2msg"
    ) -> int:
        number = len(self.channels) + 1
        self.schemas[number] = (type_name, form, definition)
        self.channels[number] = (number, topic, encoding)
        return number

    def add(self, channel: int, log_time: int, content: bytes) -> None:
        self.messages.append((channel, log_time, content))

    def content(
        self,
        *,
        compression: str | None = "zstd",
        per_chunk: int = 10,
        checksum: Callable[[bytes], int] = zlib.crc32,
        footer: bool = True,
        announced: int | None = None,
    ) -> bytes:
        """The file; `compression` None writes no chunks, `announced` adds statistics that claim so many messages."""
        records = [self._record(5, struct.pack("<HIQQ", c, 0, t, t) + body) for c, t, body in self.messages]
        described = [self._schema(n) for n in self.schemas] + [self._channel(n) for n in self.channels]
        content = MAGIC + self._record(1, self._text("ros2") + self._text("test"))
        content += b"" if self.is_described_in_chunks else b"".join(described)
        places = []
        for at in range(0, len(records), per_chunk) if compression is not None else ():
            before = described if self.is_described_in_chunks and not places else []
            places.append(len(content))
            part = before + records[at : at + per_chunk]
            content += self._chunk(b"".join(part), compression, checksum)
            content += (
                self._index(self.messages[at : at + per_chunk], before)
                if self.has_index and self.has_message_index
                else b""
            )
        content += b"".join(records) if compression is None else b""
        content += self._record(0x0F, bytes(4)) if footer else b""
        summary = len(content)
        if self.has_index and footer:
            content += b"".join(described) + b"".join(self._chunk_index(place) for place in places)
        if announced is not None:
            content += self._record(0x0B, struct.pack("<QHIIIIQQI", announced, 1, 1, 0, 0, 1, 0, 0, 0))
        begin = summary if len(content) > summary else 0
        return content + (self._record(2, struct.pack("<QQI", begin, 0, 0)) + MAGIC if footer else b"")

    def _index(self, messages: Sequence[tuple[int, int, bytes]], before: Sequence[bytes]) -> bytes:
        listed: dict[int, bytes] = {}
        at = sum(map(len, before))
        for channel, time, body in messages:
            listed[channel] = listed.get(channel, b"") + struct.pack("<QQ", time, at)
            at += 31 + len(body)
        return b"".join(self._record(7, struct.pack("<HI", c, len(e)) + e) for c, e in listed.items())

    def _chunk_index(self, place: int) -> bytes:
        return self._record(8, struct.pack("<QQQQIQ", 0, 2**63 - 1, place, 0, 0, 0) + self._text("") + bytes(16))

    def _schema(self, number: int) -> bytes:
        name, form, text = self.schemas[number]
        return self._record(3, struct.pack("<H", number) + self._text(name) + self._text(form) + self._text(text))

    def _channel(self, number: int) -> bytes:
        schema, topic, encoding = self.channels[number]
        body = struct.pack("<HH", number, schema) + self._text(topic) + self._text(encoding) + struct.pack("<I", 0)
        return self._record(4, body)

    def _chunk(self, content: bytes, compression: str, checksum: Callable[[bytes], int]) -> bytes:
        packed = pa.Codec(compression).compress(content, asbytes=True) if compression else content
        head = struct.pack("<QQQI", 0, 0, len(content), checksum(content)) + self._text(compression)
        return self._record(6, head + struct.pack("<Q", len(packed)) + packed)

    @staticmethod
    def _record(op: int, body: bytes) -> bytes:
        return struct.pack("<BQ", op, len(body)) + body

    @staticmethod
    def _text(text: str) -> bytes:
        return struct.pack("<I", len(text.encode())) + text.encode()


@pytest.fixture
def mcap() -> Mcap:
    """An empty MCAP file in the making."""
    return Mcap()


@pytest.fixture
def point(humble: Typestore) -> Callable[[float], bytes]:
    """A geometry_msgs/Point in CDR whose x is the number."""
    kind = humble.types["geometry_msgs/msg/Point"]
    return lambda x: bytes(humble.serialize_cdr(kind(x=x, y=0.5, z=-1.0), "geometry_msgs/msg/Point"))


POINT = "float64 x\nfloat64 y\nfloat64 z\n"


@pytest.fixture
def points(mcap: Mcap, point: Callable[[float], bytes]) -> Callable[[Sequence[int]], Mcap]:
    """An MCAP file of /point messages at these offsets from 22:00, in nanoseconds; x is the place in the file."""

    def make(offsets: Sequence[int]) -> Mcap:
        channel = mcap.channel("/point", "geometry_msgs/msg/Point", POINT)
        for number, offset in enumerate(offsets):
            mcap.add(channel, START_NS + offset, point(float(number)))
        return mcap

    return make


@pytest.fixture
def ros1_bag(tmp_path: Path, noetic: Typestore) -> Callable[..., Path]:
    """A ROS 1 bag of 200 points and as many strings, written by rosbags."""

    def make(compression: str = "none") -> Path:
        path = tmp_path / f"{compression}.bag"
        writer = Writer1(path)
        if compression != "none":
            writer.set_compression(Writer1.CompressionFormat[compression.upper()])
        with writer:
            point = writer.add_connection("/point", "geometry_msgs/msg/Point", typestore=noetic)
            text = writer.add_connection("/text", "std_msgs/msg/String", typestore=noetic)
            for n in range(200):
                message = noetic.types[point.msgtype](x=float(n), y=0.0, z=0.0)
                writer.write(point, START_NS + n, noetic.serialize_ros1(message, point.msgtype))
                said = noetic.types[text.msgtype](data=f"größer {n}")
                writer.write(text, START_NS + n, noetic.serialize_ros1(said, text.msgtype))
        return path

    return make


@pytest.fixture
def db3_bag(tmp_path: Path, humble: Typestore) -> Path:
    """A ROS 2 recording in SQLite of 200 joint states, written by rosbags."""
    import numpy as np

    kind, header, time = (
        humble.types[f"{name}"]
        for name in ("sensor_msgs/msg/JointState", "std_msgs/msg/Header", "builtin_interfaces/msg/Time")
    )
    with Writer2(tmp_path / "joints", version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        joints = writer.add_connection("/joint_states", "sensor_msgs/msg/JointState", typestore=humble)
        for n in range(200):
            stamp = time(sec=START_NS // 10**9, nanosec=n)
            effort = np.array([0.5 * n, -1.0])
            message = kind(header(stamp, "base"), ["left", "right"], np.zeros(0), np.zeros(2), effort)
            writer.write(joints, START_NS + n * 10**6, humble.serialize_cdr(message, joints.msgtype))
    return tmp_path / "joints" / "joints.db3"
