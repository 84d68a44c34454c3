"""Topics that were recorded without definitions: read by .msg files that people give, and marked as assumed."""

import sqlite3
import struct
import zipfile

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from deployments.cli.app import app
from fleet.errors import Invalid
from ingestion.bags import convert
from ingestion.bags.inspection import inspect
from ingestion.bags.verification import verify
from ingestion.statuses import BagStatus

START_NS = 1_772_402_400_000_000_000
ORIGIN = "assumed from the .msg files that were given, and ros2_humble"
FILES = {
    "my_msgs/msg/Wheel.msg": "std_msgs/Header header\nSlip[] slips\n",
    "my_msgs/msg/Slip.msg": "float32 share\nstring side\n",
    "my_msgs/README.md": "no definition",
}


@pytest.fixture
def recording(tmp_path):
    """A database of one topic of a type that no distribution knows, as ROS 2 before Iron makes it."""
    folder = tmp_path / "drive"
    folder.mkdir()
    with sqlite3.connect(folder / "drive_0.db3") as database:
        database.executescript(
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT);"
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB);"
            "INSERT INTO topics VALUES (1, '/wheel', 'my_msgs/msg/Wheel', 'cdr');"
        )
        for n in range(3):
            body = b"\0\1\0\0" + struct.pack("<iII5s3xIfI2s", 5, n, 5, b"base\0", 1, n / 2, 2, b"l\0")
            database.execute("INSERT INTO messages VALUES (?, 1, ?, ?)", (n + 1, START_NS + n, body))
    database.close()
    return folder / "drive_0.db3"


@pytest.fixture
def definitions(tmp_path):
    """A folder of .msg files as in a ROS workspace."""
    for name, text in FILES.items():
        path = tmp_path / "workspace" / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "workspace"


def test_without_definitions_the_messages_are_kept_raw_and_it_says_what_to_do(recording, tmp_path):
    manifest = convert(recording, tmp_path / "out")
    assert (manifest.status, manifest.topics[0].rows) == (BagStatus.partial, 3)
    assert "give its .msg files" in str(manifest.topics[0].reason)


def test_definitions_that_are_given_are_used_and_marked_as_assumed(recording, definitions, tmp_path):
    convert(recording, tmp_path / "out")
    manifest = convert(recording, tmp_path / "out", definitions=definitions)
    (topic,) = manifest.topics
    table = pq.ParquetFile(tmp_path / "out" / topic.files[0].path).read()
    assert (manifest.status, topic.definition, topic.reason) == (BagStatus.complete, ORIGIN, None)
    assert table["slips.share"].to_pylist() == [[0.0], [0.5], [1.0]]
    assert table["header.frame_id"].to_pylist() == ["base"] * 3
    assert convert(recording, tmp_path / "out", definitions=definitions) == manifest
    assert verify(recording, tmp_path / "out", definitions=definitions) == []


def test_other_definitions_make_the_dataset_anew(recording, definitions, tmp_path):
    convert(recording, tmp_path / "out", definitions=definitions)
    (definitions / "src/my_msgs/msg/Slip.msg").write_text("float32 amount\nstring side\n")
    (topic,) = convert(recording, tmp_path / "out", definitions=definitions).topics
    assert "slips.amount" in pq.read_schema(tmp_path / "out" / topic.files[0].path).names


def test_definitions_may_lie_in_the_folder_or_archive_of_the_recording(recording, definitions, tmp_path):
    (definitions / "src/my_msgs").rename(recording.parent / "my_msgs")
    archive = tmp_path / "drive.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in recording.parent.rglob("*.*"):
            packed.write(path, path.relative_to(recording.parent.parent))
    for source in (recording.parent, archive):
        (topic,) = convert(source, tmp_path / "out").topics
        assert (topic.definition, topic.rows) == (ORIGIN, 3)
        assert verify(source, tmp_path / "out") == []
        assert inspect(source).topics[0].definition == ORIGIN


def test_a_definition_that_is_no_definition_costs_its_topic_only(recording, definitions, tmp_path):
    (definitions / "src/my_msgs/msg/Slip.msg").write_text("float32 3x\n")
    manifest = convert(recording, tmp_path / "out", definitions=definitions)
    assert (manifest.status, manifest.topics[0].rows) == (BagStatus.partial, 3)
    assert "given for 'my_msgs/msg/Slip' cannot be parsed" in str(manifest.topics[0].reason)


def test_a_folder_without_definitions_is_refused_with_what_belongs_there(recording, tmp_path):
    with pytest.raises(Invalid, match=r"<package>/msg/<Name>.msg"):
        convert(recording, tmp_path / "out", definitions=recording.parent)


def test_the_commands_take_a_folder_of_definitions(recording, definitions, tmp_path):
    for command in ("convert", "verify"):
        words = [str(recording), *(["--out"] if command == "convert" else []), str(tmp_path / "out")]
        told = CliRunner().invoke(app, ["bags", command, *words, "--definitions", str(definitions)])
        assert told.exit_code == 0, told.output
