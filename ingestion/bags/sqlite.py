"""ROS 2 recordings in SQLite (.db3), every version of its schema, with or without metadata.yaml."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from fleet.errors import Invalid
from ingestion.bags.recording import Channel, Findings, Message

MAGIC = b"SQLite format 3\0"
LARGEST_GAP = 1 << 20
ROWS = "SELECT id, topic_id, timestamp, data FROM messages WHERE id > ? ORDER BY id"


def messages(path: Path, found: Findings) -> Iterator[Message]:
    """Every message that can be read, in the order of recording; unreadable stretches are passed over and noted.

    Raises:
        Invalid: it is a database, but not a recording, or its list of topics cannot be read.
    """
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
        database.text_factory = lambda text: text.decode(errors="replace")
        # Without this SQLite reads nothing at all from a file that was cut.
        database.execute("PRAGMA writable_schema = ON")
        _note_cut(path, found)
        try:
            channels = _channels(database, found)
        except sqlite3.Error as error:
            raise Invalid(f"The database {path.name} is damaged or not a recording: {error}.") from error
        yield from _rows(database, channels, found)


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
    texts: dict[str, tuple[str, str]] = {}
    if "message_definitions" in tables:
        query = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
        texts = {name: (encoding, text) for name, encoding, text in database.execute(query)}
    channels = {}
    for number, *words in database.execute("SELECT id, name, type, serialization_format FROM topics ORDER BY id"):
        described = (*words, *texts.get(words[1], ("", "")))
        if all(isinstance(word, str) for word in described):
            channels[number] = found.meet(Channel(*described))
        else:
            found.lose(0, 0, f"the description of topic {number} is damaged")
    return channels


def _rows(database: sqlite3.Connection, channels: dict[int, Channel], found: Findings) -> Iterator[Message]:
    after, gap = 0, 1
    while gap <= LARGEST_GAP:
        start = after
        try:
            for number, topic_id, log_time, content in database.execute(ROWS, (after,)):
                if not isinstance(number, int) or number <= after:
                    raise sqlite3.DatabaseError("rows are out of order")
                after = number
                yield from _message(channels.get(topic_id), number, log_time, content, found)
        except sqlite3.DatabaseError as error:
            # The next readable page may lie a few or many rows further on: step further each time nothing was found.
            found.lose(after, 0, f"rows after {after} cannot be read: {error}")
            gap = 1 if after > start else gap * 2
            after += gap
        else:
            return


def _message(
    channel: Channel | None, number: int, log_time: object, content: object, found: Findings
) -> Iterator[Message]:
    if channel is None or not isinstance(log_time, int) or not isinstance(content, bytes):
        found.lose(number, 0, f"row {number} is of a topic that is not described, or has no time or content")
    else:
        yield Message(channel, log_time, None, content)
