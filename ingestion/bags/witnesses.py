"""The messages of a recording as somebody else than the converter reads them, by topic and time: what `verify` compares with.

rosbags reads most recordings from end to end. Where its reader cannot (ROS 1 in MCAP, archives, damages), our reader
finds the messages, and rosbags still says what is in each of them.
"""

import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import lru_cache
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, Protocol

from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection, MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag1 import ReaderError as ReaderError1
from rosbags.rosbag2 import ReaderError as ReaderError2
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.msg import normalize_msgtype
from rosbags.typesys.store import Typestore

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdError
else:
    from backports.zstd import ZstdError

from fleet.errors import Invalid
from ingestion.bags.archives import unzip, unzstd
from ingestion.bags.definitions import DECODE_ERRORS, PARSE_ERRORS, Given, decoder
from ingestion.bags.dialects import idl_parts, msg_to_parse
from ingestion.bags.directories import METADATA, definitions_in, listing_of
from ingestion.bags.formats import ZIP, ZSTD, head_of
from ingestion.bags.recording import Batch, Channel, Findings
from ingestion.bags.sources import reader_of

REFUSALS = (AnyReaderError, ReaderError1, ReaderError2)
# What rosbags lets out of its readers besides, also that of its libraries.
UNREADABLE = (
    *REFUSALS,
    *PARSE_ERRORS,
    *DECODE_ERRORS,
    Invalid,
    RuntimeError,
    EOFError,
    OSError,
    sqlite3.Error,
    ZstdError,
)
TABLE = "CREATE TABLE messages (topic TEXT, time INTEGER, channel INTEGER, content BLOB)"
LAST_TIME = 2**63 - 1
SCHEMALESS = "__schemaless__"  # as rosbags calls the type of a channel of MCAP that has none


class Seen(NamedTuple):
    """One message; `types` gives the definitions that it was recorded with."""

    time: int
    type: str
    content: bytes
    is_cdr: bool
    types: Callable[[], Typestore]


class Witness(Protocol):
    """Somebody who has read a recording."""

    topics: set[str]
    seen: Counter[str]  # messages of each topic that were given so far

    def messages(self, topic: str) -> Iterator[Seen]:
        """Those of a topic, by time."""


class Refused(Exception):
    """rosbags cannot read a recording; says why."""


@contextmanager
def rosbags_witness(source: Path, given: Given) -> Iterator[Witness]:
    """What rosbags reads, from end to end; of archives what is in them.

    Raises:
        Refused: it cannot.
    """
    with ExitStack() as opened:
        try:
            paths = _unpacked(source, opened)
            folder = paths[0] if paths[0].is_dir() else paths[0].parent
            beside = () if paths == [source] and not source.is_dir() else definitions_in(folder)
            reader = opened.enter_context(AnyReader(paths, default_typestore=get_typestore(Stores.ROS2_HUMBLE)))
        except UNREADABLE as error:
            raise Refused(_told(error)) from error
        yield _Rosbags(reader, (*given, *beside))


def _unpacked(source: Path, opened: ExitStack) -> list[Path]:
    """The files or the folder that rosbags is to read."""
    if not source.is_dir() and not head_of(source).startswith((ZIP, ZSTD)):
        return [source]
    folder = source
    if not source.is_dir():
        folder = Path(opened.enter_context(TemporaryDirectory(prefix="yardmaster-zip-")))
        if head_of(source).startswith(ZSTD):
            return [_without_zstd(source, folder)]
        unzip(source, folder)
    files = listing_of(folder).files
    home = files[0].parent if files else folder
    if (home / METADATA).is_file() or not any(head_of(path).startswith(ZSTD) for path in files):
        return [home] if (home / METADATA).is_file() else files
    beside = Path(opened.enter_context(TemporaryDirectory(prefix="yardmaster-zstd-")))
    return [_without_zstd(path, beside) if head_of(path).startswith(ZSTD) else path for path in files]


def _without_zstd(path: Path, folder: Path) -> Path:
    target = folder / path.stem
    if damage := unzstd(path, target):
        raise Invalid(f"{path.name} is damaged: {damage}.")
    return target


def _told(error: BaseException) -> str:
    if isinstance(error, Invalid):
        return error.message
    return str(error) if isinstance(error, REFUSALS) else repr(error)


class _Rosbags:
    def __init__(self, reader: AnyReader, given: Given) -> None:
        self._reader = reader
        self._given = given
        self.topics = {connection.topic for connection in reader.connections}
        self.seen = Counter[str]()
        if self.topics and not reader.message_count:
            raise Refused("it finds no message, for which it needs its index and statistics")

    def messages(self, topic: str) -> Iterator[Seen]:
        connections = [connection for connection in self._reader.connections if connection.topic == topic]
        if not connections:
            return
        try:
            for connection, time, content in self._reader.messages(connections):
                name = _type_name(connection)
                self.seen[topic] += 1
                yield Seen(time, name, bytes(content), self._is_cdr(connection), self._types(name, connection))
        except UNREADABLE as error:
            raise Refused(_told(error)) from error

    def _is_cdr(self, connection: Connection) -> bool:
        return self._reader.is2 and getattr(connection.ext, "serialization_format", "cdr") != "ros1"

    def _types(self, name: str, connection: Connection) -> Callable[[], Typestore]:
        definition = connection.msgdef
        if definition.data:
            return lambda: types_of(name, definition)
        if any(name == other for other, _ in self._given):
            return lambda: decoder(Channel("", name, "cdr", "", ""), given=self._given).types
        return lambda: self._reader.typestore


def _type_name(connection: Connection) -> str:
    """The type in full, also where a writer has left out the middle of its name."""
    name: str = connection.msgtype
    if name == SCHEMALESS:
        return ""
    return normalize_msgtype(name) if name.count("/") == 1 else name


@lru_cache(maxsize=256)
def types_of(name: str, definition: MessageDefinition) -> Typestore:
    """The types of one connection: a reader has one store for all, in which the last definition of a name counts."""
    types = get_typestore(Stores.EMPTY)
    if definition.format is MessageDefinitionFormat.MSG:
        types.register(get_types_from_msg(msg_to_parse(definition.data), name))
    else:
        types.register(
            dict(chain.from_iterable(get_types_from_idl(part).items() for part in idl_parts(definition.data)))
        )
    return types


@contextmanager
def own_witness(source: Path, given: Given) -> Iterator[Witness]:
    """The messages that our reader finds, put in order on the disk; what is in each is for rosbags to say."""
    with (
        TemporaryDirectory(prefix="yardmaster-bag-") as folder,
        closing(sqlite3.connect(Path(folder) / "messages", isolation_level=None)) as database,
    ):
        database.execute("PRAGMA journal_mode = OFF").fetchall()
        database.execute("PRAGMA synchronous = OFF").fetchall()
        yield _Own(source, database, given)


class _Own:
    def __init__(self, source: Path, database: sqlite3.Connection, given: Given) -> None:
        self._database = database
        self._found = Findings(given=given)
        self._channels: dict[Channel, int] = {}
        database.execute(TABLE)
        database.execute("BEGIN")
        try:
            for batch in reader_of(source)[1](source, self._found):
                number = self._channels.setdefault(batch.channel, len(self._channels))
                database.executemany("INSERT INTO messages VALUES (?, ?, ?, ?)", _rows(batch, number))
        except Invalid:
            pass  # a recording that cannot be read has no messages, in the dataset neither
        database.execute("COMMIT")
        database.execute("CREATE INDEX by_time ON messages (topic, time)")
        self.topics = {channel.topic for channel in self._channels}
        self.seen = Counter[str]()

    def messages(self, topic: str) -> Iterator[Seen]:
        channels = {number: channel for channel, number in self._channels.items()}
        query = "SELECT time, channel, content FROM messages WHERE topic = ? ORDER BY time, rowid"
        for time, number, content in self._database.execute(query, (_name(topic),)):
            channel = channels[number]
            self.seen[topic] += 1
            yield Seen(time, channel.type, content, channel.encoding == "cdr", self._types(channel))

    def _types(self, channel: Channel) -> Callable[[], Typestore]:
        if not channel.definition.strip():
            return lambda: decoder(channel, self._found.distribution or "humble", self._found.given).types
        is_idl = channel.definition_format in {"ros2idl", "omgidl"}
        form = MessageDefinitionFormat.IDL if is_idl else MessageDefinitionFormat.MSG
        return lambda: types_of(channel.type, MessageDefinition(form, channel.definition))


def _name(topic: str) -> str:
    return topic.encode(errors="replace").decode()


def _rows(batch: Batch, number: int) -> Iterator[tuple[str, int, int, bytes]]:
    ends = (batch.starts + batch.lengths).tolist()
    for time, start, end in zip(batch.log_time.tolist(), batch.starts.tolist(), ends, strict=True):
        yield _name(batch.channel.topic), min(time, LAST_TIME), number, batch.arena[start:end].tobytes()
