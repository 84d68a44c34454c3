"""ROS 2 databases in batches: every version of their schema, damage row by row, and nothing endless."""

import sqlite3
import struct
from contextlib import closing

import pytest

from fleet.errors import Invalid
from ingestion.bags.recording import Findings
from ingestion.bags.sqlite import batches

START_NS = 1_772_402_400_000_000_000
TOPIC = "id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, serialization_format TEXT NOT NULL"
MESSAGES = "id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL, data BLOB NOT NULL"
DEFINITIONS = "id INTEGER PRIMARY KEY, topic_type TEXT, encoding TEXT, encoded_message_definition TEXT"
SCHEMA = "schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL"
# As rosbag2 has written them: Dashing, Foxy, Humble, Iron and later.
VERSIONS = {
    1: [f"topics({TOPIC})", f"messages({MESSAGES})"],
    2: [f"topics({TOPIC}, offered_qos_profiles TEXT NOT NULL DEFAULT '')", f"messages({MESSAGES})"],
    3: [
        f"schema({SCHEMA})",
        "metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL, metadata TEXT NOT NULL)",
        f"topics({TOPIC}, offered_qos_profiles TEXT NOT NULL DEFAULT '')",
        f"messages({MESSAGES})",
    ],
    4: [
        f"schema({SCHEMA})",
        "metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL, metadata TEXT NOT NULL)",
        f"topics({TOPIC}, offered_qos_profiles TEXT NOT NULL DEFAULT '', type_description_hash TEXT DEFAULT '')",
        f"message_definitions({DEFINITIONS}, type_description_hash TEXT)",
        f"messages({MESSAGES})",
    ],
}


@pytest.fixture
def database(tmp_path):
    """A recording of this schema version with these bodies, each its own time, on one topic; more SQL after it."""

    def make(contents, *, version=4, more=()):
        path = tmp_path / "recording.db3"
        with closing(sqlite3.connect(path)) as db:
            for table in VERSIONS[version]:
                db.execute(f"CREATE TABLE {table}")
            db.execute("INSERT INTO topics (id, name, type, serialization_format) VALUES (1, '/p', 'a/msg/P', 'cdr')")
            if version >= 3:
                db.execute("INSERT INTO schema VALUES (?, 'jazzy')", (version,))
            if version >= 4:
                db.execute("INSERT INTO message_definitions VALUES (1, 'a/msg/P', 'ros2msg', 'uint8 x', 'h')")
            rows = [(1, START_NS + n, content) for n, content in enumerate(contents)]
            db.executemany("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)", rows)
            for statement in more:
                db.execute(statement)
            db.commit()
        return path

    return make


def read(path):
    found, bodies, times = Findings(), [], []
    for batch in batches(path, found):
        ends = (batch.starts + batch.lengths).tolist()
        bodies += [batch.arena[start:end].tobytes() for start, end in zip(batch.starts.tolist(), ends, strict=True)]
        times += [batch.doubt or time for time in batch.log_time.tolist()]
    return bodies, times, found


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_of_the_schema_is_read(database, version):
    bodies, times, found = read(database([b"\0\1\0\0a", b"\0\1\0\0bb"], version=version))
    (channel,) = found.channels
    assert (bodies, times, found.lost) == ([b"\0\1\0\0a", b"\0\1\0\0bb"], [START_NS, START_NS + 1], [])
    assert (channel.topic, channel.type, channel.encoding) == ("/p", "a/msg/P", "cdr")
    assert (channel.definition, found.distribution) == (
        "uint8 x" if version == 4 else "",
        "jazzy" if version >= 3 else "",
    )


def test_large_and_small_rows_come_in_blocks_of_some_megabytes(database):
    sizes = [10] * 500 + [1 << 20] * 7 + [0, 5, 3 << 20]
    path = database([bytes([n % 256]) * size for n, size in enumerate(sizes)])
    blocks = [batch.arena.size for batch in batches(path, Findings())]
    assert sum(blocks) == sum(sizes)
    assert max(blocks) <= 5 << 20
    assert [len(body) for body in read(path)[0]] == sizes


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE messages SET data = NULL WHERE id = 3",
        "UPDATE messages SET data = 7.5 WHERE id = 3",
        "UPDATE messages SET timestamp = 'noon' WHERE id = 3",
        "UPDATE messages SET topic_id = 1.5 WHERE id = 3",
        "UPDATE messages SET topic_id = 9 WHERE id = 3",
    ],
)
def test_a_row_without_topic_time_or_content_costs_only_itself(database, damage):
    path = database([bytes([n]) for n in range(6)], more=["PRAGMA writable_schema = ON", *relaxed(), damage])
    bodies, _, found = read(path)
    assert bodies == [bytes([n]) for n in (0, 1, 3, 4, 5)]
    assert len(found.lost) == 1


def relaxed():
    """The rules of the tables taken back, so that a row can be damaged."""
    return [
        "CREATE TABLE loose(id INTEGER PRIMARY KEY, topic_id, timestamp, data)",
        "INSERT INTO loose SELECT * FROM messages",
        "DROP TABLE messages",
        "ALTER TABLE loose RENAME TO messages",
    ]


def test_rows_with_numbers_below_one_are_read(database):
    path = database([b"a", b"b"], more=["UPDATE messages SET id = -7 WHERE id = 1"])
    assert read(path)[0] == [b"a", b"b"]


def test_damaged_definitions_are_told_and_the_messages_are_read(database):
    more = ["DROP TABLE message_definitions", "CREATE TABLE message_definitions(x)"]
    bodies, _, found = read(database([b"a"], more=more))
    assert (bodies, "definitions of the messages" in found.lost[0].reason) == ([b"a"], True)


def test_a_view_in_the_place_of_a_table_is_refused(database):
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id, 1 AS topic_id"
    path = database(
        [], more=["DROP TABLE messages", f"CREATE VIEW messages AS {endless}, 1 AS timestamp, x'00' AS data FROM n"]
    )
    with pytest.raises(Invalid, match="no tables `topics` and `messages`"):
        read(path)


def test_a_column_that_makes_more_than_the_file_can_hold_ends(database):
    generated = "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id, timestamp, data AS (zeroblob(9000000)))"
    fill = "INSERT INTO messages (topic_id, timestamp) SELECT 1, value FROM (SELECT 1 AS value UNION SELECT 2)"
    more = ["DROP TABLE messages", generated, *[fill] * 50]
    bodies, _, found = read(database([], more=more))
    assert len(bodies) < 4
    assert found.lost[-1].reason == "rows come again and again"


@pytest.mark.parametrize("cut", [1, 100, 4000, 4096, 5000, 12_000])
def test_a_row_of_which_a_part_is_cut_off_is_doubted_not_filled_up_with_zeros(database, cut):
    bodies = [struct.pack("<I", n) * 2500 for n in range(1, 9)]
    path = database(bodies)
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    got, times, found = read(path)
    for body, time in zip(got, times, strict=True):
        assert body in bodies or "lies behind its end" in str(time)
    assert sum(not isinstance(time, str) for time in times) >= 8 - 1 - -(-cut // 10_000)
    assert found.lost[0].reason == "the file was cut"


def test_content_that_a_flipped_bit_calls_a_text_is_read_as_it_was(database):
    bodies = [b"\0\1\0\0" + bytes([n, 0xFF, 0xFE, 0]) for n in range(4)]
    got, _, found = read(database(bodies, more=["UPDATE messages SET data = CAST(data AS TEXT) WHERE id = 2"]))
    assert (got, found.lost) == (bodies, [])
