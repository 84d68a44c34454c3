"""ROS 2 recordings in SQLite (.db3), every version of its schema, with or without metadata.yaml."""

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np

from fleet.errors import Invalid
from ingestion.bags.chunks import Handed, Place, Placed, block
from ingestion.bags.compressed import decompressed
from ingestion.bags.recording import LARGEST_CHUNK_BYTES, Batch, Channel, Findings
from ingestion.bags.sqlite_cut import cut_rows

LARGEST_GAP = 1 << 20
FIRST = -(2**63)
SMALLEST_ROW = 4  # in a page
BLOCK_BYTES = 2 << 20
BLOCK_ROWS = 65_536
ROWS = "SELECT rowid, topic_id, timestamp, data FROM messages WHERE rowid > ? ORDER BY rowid"
TOPICS = "SELECT rowid, name, type, serialization_format FROM topics ORDER BY rowid"
CUT = "the file was cut, and a part of this row lies behind its end"
DAMAGES = (sqlite3.Error, UnicodeDecodeError)  # the latter where a message of SQLite quotes what is damaged
Row = tuple[object, object, object, object]


def batches(path: Path, found: Findings) -> Iterator[Batch]:
    """Every message that can be read, in the order of recording; unreadable stretches are passed over and noted.

    Raises:
        Invalid: it is a database, but not a recording, or its list of topics cannot be read.
    """
    if waiting := log_bytes(path):
        found.lose(
            path.stat().st_size, waiting, f"{log_of(path).name} holds what is not in the file yet: give its folder"
        )
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
        database.text_factory = lambda text: text.decode(errors="replace")
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_CHUNK_BYTES)
        # Without this SQLite reads nothing at all from a file that was cut.
        database.execute("PRAGMA writable_schema = ON")
        try:
            channels = _channels(database, found)
        except DAMAGES as error:
            raise Invalid(f"The database {path.name} is damaged or not a recording: {error}.") from error
        yield from decompressed(_Recording(path, database, channels, found).batches())


def log_of(path: Path) -> Path:
    """The write-ahead log of a database: what its recorder could not write into it when it was killed."""
    return path.with_name(f"{path.name}-wal")


def log_bytes(path: Path) -> int:
    """The size of the write-ahead log; 0 when there is none."""
    log = log_of(path)
    return log.stat().st_size if log.is_file() else 0


def with_log(path: Path, folder: Path) -> Path:
    """A copy in `folder` that has what the write-ahead log holds; of a damaged log as far as its checksums hold."""
    target = folder / path.name
    shutil.copyfile(path, target)
    shutil.copyfile(log_of(path), log_of(target))
    with suppress(*DAMAGES), closing(sqlite3.connect(target)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return target


def _note_cut(path: Path, found: Findings) -> set[int]:
    """The rows that a cut has damaged."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(100)
    page = int.from_bytes(head[16:18], "big")
    announced = int.from_bytes(head[28:32], "big") * (65536 if page == 1 else page)
    if announced > size:
        found.lose(size, announced - size, "the file was cut")
    return cut_rows(path) if announced > size else set()


def _channels(database: sqlite3.Connection, found: Findings) -> dict[int, Channel]:
    tables = {name for (name,) in database.execute("SELECT name FROM pragma_table_list WHERE type = 'table'")}
    if not {"topics", "messages"} <= tables:
        raise Invalid("The database has no tables `topics` and `messages`: it is not a ROS 2 recording.")
    texts = {}
    try:
        found.distribution = _distribution(database) if "schema" in tables else ""
        texts = _definitions(database) if "message_definitions" in tables else {}
    except DAMAGES as error:
        found.lose(0, 0, f"the definitions of the messages cannot be read: {error}")
    channels = dict[int, Channel]()
    for number, name, *words in ((*row, *[None] * 4)[:4] for row in _topics(database)):
        if not isinstance(number, int) or not isinstance(name, str):
            found.lose(0, 0, f"the description of topic {number} is damaged")
            continue
        # Without a type or a layout its messages are kept as they are.
        type_name, layout = (word if isinstance(word, str) else "" for word in words)
        encoding, text = texts.get(type_name, ("", ""))
        channels[number] = found.meet(Channel(name, type_name, layout, encoding, text))
    return channels


def _topics(database: sqlite3.Connection) -> list[tuple[object, ...]]:
    try:
        return database.execute(TOPICS).fetchall()
    except DAMAGES:
        # A column's name, or one word of one row: what else is there is still good.
        table = _by_position(database)
        numbers = database.execute(f"{table} SELECT number FROM t ORDER BY number").fetchall()  # noqa: S608  our own text
        words = ("name", "type", "layout")
        return [
            (number, *(_word(database, f"{table} SELECT {word}", number) for word in words)) for (number,) in numbers
        ]


def _by_position(database: sqlite3.Connection) -> str:
    """The topics with the columns named by their places, which are the same in every version."""
    for more in ("", ", d", ", d, e", ", d, e, f"):
        table = f"WITH t(number, id, name, type, layout{more}) AS (SELECT rowid, * FROM topics)"  # noqa: S608  our own text
        with suppress(*DAMAGES):
            database.execute(f"{table} SELECT number FROM t LIMIT 0")  # noqa: S608  our own text
            return table
    raise Invalid("The table `topics` of the database is damaged: its columns cannot be told apart.")


def _word(database: sqlite3.Connection, query: str, number: int) -> object:
    try:
        row = database.execute(f"{query} FROM t WHERE number = ?", (number,)).fetchone()
    except DAMAGES:
        return ""
    return row[0] if row else ""


def _distribution(database: sqlite3.Connection) -> str:
    """The ROS distribution that recorded it; empty when it does not say."""
    row = database.execute("SELECT * FROM schema LIMIT 1").fetchone()
    return str(row[1]) if row and len(row) > 1 else ""


def _definitions(database: sqlite3.Connection) -> dict[str, tuple[str, str]]:
    query = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
    return {row[0]: (row[1], row[2]) for row in database.execute(query) if {*map(type, row)} == {str}}


class _Recording:
    def __init__(self, path: Path, database: sqlite3.Connection, channels: dict[int, Channel], found: Findings) -> None:
        self._database = database
        self._found = found
        self._channels = channels
        self._handed = Handed(found)
        self._cut = _note_cut(path, found)
        self._size = path.stat().st_size
        self._rows = self._bytes = 0
        self._after = FIRST

    def batches(self) -> Iterator[Batch]:
        self._database.text_factory = bytes  # one flipped bit of a row's head calls its content a text: it is all there
        gap = 1
        while gap <= LARGEST_GAP and self._is_possible():
            start = self._after
            try:
                for rows in _blocks(self._database.execute(ROWS, (start,))):
                    yield from self._block(rows)
                    if not self._is_possible():
                        break
            except DAMAGES as error:
                # The next readable page may lie a few or many rows further on: step further each time nothing came.
                gap = 1 if self._after > start else gap * 2
                self._after = max(self._after, 0)
                self._found.lose(self._after, 0, f"rows after {self._after} cannot be read: {error}")
                self._after = min(self._after + gap, 2**63 - 1)
            else:
                return

    def _is_possible(self) -> bool:
        """Whether the file can hold what was read: a damaged one can lead SQLite over the same pages for ever."""
        is_possible = self._rows * SMALLEST_ROW + self._bytes <= self._size
        if not is_possible:
            self._found.lose(0, 0, "rows come again and again")
        return is_possible

    def _block(self, rows: Sequence[Row]) -> Iterator[Batch]:
        numbers = [row[0] for row in rows if isinstance(row[0], int)]
        if any(number <= before for before, number in pairwise([self._after, *numbers])):
            self._found.lose(0, 0, "rows are not in the order of their numbers")
        self._after = max([self._after, *numbers])
        self._rows += len(rows)
        for is_cut, some in groupby(rows, key=lambda row: row[0] in self._cut) if self._cut else [(False, rows)]:
            yield from self._handed_on(list(some), CUT if is_cut else None)

    def _handed_on(self, rows: Sequence[Row], doubt: str | None) -> Iterator[Batch]:
        if not rows:
            return
        numbers, topics, times, contents = zip(*rows, strict=True)
        if {*map(type, topics)} != {int} or {*map(type, times)} != {int} or {*map(type, contents)} != {bytes}:
            rows = list(self._whole(rows))
            if not rows:
                return
            numbers, topics, times, contents = zip(*rows, strict=True)
        lengths = np.fromiter(map(len, contents), np.int64, len(contents))
        self._bytes += int(lengths.sum())
        self._found.part = min(self._bytes / self._size, 1.0)
        messages = Placed(
            numbers=np.array(topics, np.int64),
            log_time=np.array(times, np.int64).view(np.uint64),
            publish_time=None,
            starts=np.cumsum(lengths) - lengths,
            lengths=lengths,
        )
        place = Place(int(numbers[0] or 0), 0, doubt)
        yield from self._handed.batches(messages, block(b"".join(contents)), place, self._channels.get)

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
    except DAMAGES:
        yield rows
        raise
    yield rows
