"""ROS 2 recordings in SQLite (.db3), every version of its schema, with or without metadata.yaml."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from fleet.errors import Invalid
from ingestion.bags.chunks import Handed, Place, Placed, block
from ingestion.bags.compressed import decompressed
from ingestion.bags.recording import LARGEST_CHUNK_BYTES, Batch, Channel, Findings, Message, messages_of

MAGIC = b"SQLite format 3\0"
LARGEST_GAP = 1 << 20
FIRST = -(2**63)
BLOCK_BYTES = 2 << 20
BLOCK_ROWS = 65_536
ROWS = "SELECT id, topic_id, timestamp, data FROM messages WHERE id > ? ORDER BY id"
Row = tuple[object, object, object, object]


def messages(path: Path, found: Findings) -> Iterator[Message]:
    """The messages of `batches` one by one."""
    return messages_of(batches(path, found))


def batches(path: Path, found: Findings) -> Iterator[Batch]:
    """Every message that can be read, in the order of recording; unreadable stretches are passed over and noted.

    Raises:
        Invalid: it is a database, but not a recording, or its list of topics cannot be read.
    """
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
        database.text_factory = lambda text: text.decode(errors="replace")
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_CHUNK_BYTES)
        # Without this SQLite reads nothing at all from a file that was cut.
        database.execute("PRAGMA writable_schema = ON")
        _note_cut(path, found)
        try:
            channels = _channels(database, found)
        except sqlite3.Error as error:
            raise Invalid(f"The database {path.name} is damaged or not a recording: {error}.") from error
        yield from decompressed(_Recording(database, channels, found).batches())


def _note_cut(path: Path, found: Findings) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(100)
    page = int.from_bytes(head[16:18], "big")
    announced = int.from_bytes(head[28:32], "big") * (65536 if page == 1 else page)
    if announced > size:
        found.lose(size, announced - size, "the file was cut")


def _channels(database: sqlite3.Connection, found: Findings) -> dict[int, Channel]:
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"topics", "messages"} <= tables:
        raise Invalid("The database has no tables `topics` and `messages`: it is not a ROS 2 recording.")
    texts = {}
    try:
        found.distribution = _distribution(database) if "schema" in tables else ""
        texts = _definitions(database) if "message_definitions" in tables else {}
    except sqlite3.Error as error:
        found.lose(0, 0, f"the definitions of the messages cannot be read: {error}")
    channels = {}
    for number, *words in database.execute("SELECT id, name, type, serialization_format FROM topics ORDER BY id"):
        described = (*words, *texts.get(words[1], ("", "")))
        if all(isinstance(word, str) for word in described):
            channels[number] = found.meet(Channel(*described))
        else:
            found.lose(0, 0, f"the description of topic {number} is damaged")
    return channels


def _distribution(database: sqlite3.Connection) -> str:
    """The ROS distribution that recorded it; empty when it does not say."""
    row = database.execute("SELECT * FROM schema LIMIT 1").fetchone()
    return str(row[1]) if row and len(row) > 1 else ""


def _definitions(database: sqlite3.Connection) -> dict[str, tuple[str, str]]:
    query = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
    return {name: (encoding, text) for name, encoding, text in database.execute(query)}


class _Recording:
    def __init__(self, database: sqlite3.Connection, channels: dict[int, Channel], found: Findings) -> None:
        self._database = database
        self._found = found
        self._handed = Handed(found, channels.get)
        self._after = FIRST

    def batches(self) -> Iterator[Batch]:
        gap = 1
        while gap <= LARGEST_GAP:
            start = self._after
            try:
                for rows in _blocks(self._database.execute(ROWS, (start,))):
                    yield from self._block(rows)
            except sqlite3.DatabaseError as error:
                # The next readable page may lie a few or many rows further on: step further each time nothing came.
                gap = 1 if self._after > start else gap * 2
                self._after = max(self._after, 0)
                self._found.lose(self._after, 0, f"rows after {self._after} cannot be read: {error}")
                self._after = min(self._after + gap, 2**63 - 1)
            else:
                return

    def _block(self, rows: Sequence[Row]) -> Iterator[Batch]:
        sound = [row for row in rows if isinstance(row[0], int)]
        numbers = np.array([row[0] for row in sound], np.int64)
        is_behind = numbers <= np.append(self._after, numbers)[:-1]
        until = int(is_behind.argmax()) if is_behind.any() else len(sound)
        if until:
            first, self._after = int(numbers[0]), int(numbers[until - 1])
            yield from self._handed_on(sound[:until], first)
        if until < len(rows):
            raise sqlite3.DatabaseError("rows are out of order")

    def _handed_on(self, rows: Sequence[Row], first: int) -> Iterator[Batch]:
        _, topics, times, contents = zip(*rows, strict=True)
        if {*map(type, topics)} != {int} or {*map(type, times)} != {int} or {*map(type, contents)} != {bytes}:
            rows = list(self._whole(rows))
            if not rows:
                return
            _, topics, times, contents = zip(*rows, strict=True)
        lengths = np.fromiter(map(len, contents), np.int64, len(contents))
        messages = Placed(
            numbers=np.array(topics, np.int64),
            log_time=np.array(times, np.int64).view(np.uint64),
            publish_time=None,
            starts=np.cumsum(lengths) - lengths,
            lengths=lengths,
        )
        yield from self._handed.batches(messages, block(b"".join(contents)), Place(first, 0))

    def _whole(self, rows: Sequence[Row]) -> Iterator[Row]:
        for row in rows:
            if isinstance(row[1], int) and isinstance(row[2], int) and isinstance(row[3], bytes):
                yield row
            else:
                self._found.lose(0, 0, f"row {row[0]} has no topic, time or content")


def _blocks(cursor: sqlite3.Cursor) -> Iterator[list[Row]]:
    """Rows, some megabytes at once; those before an error come before it."""
    rows, waiting = list[Row](), 0
    try:
        for row in cursor:
            rows.append(row)
            waiting += len(row[3]) if isinstance(row[3], bytes) else 0
            if waiting >= BLOCK_BYTES or len(rows) >= BLOCK_ROWS:
                yield rows
                rows, waiting = [], 0
    except sqlite3.DatabaseError:
        yield rows
        raise
    yield rows
