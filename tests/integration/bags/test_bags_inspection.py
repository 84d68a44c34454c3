"""Inspecting: what is in a recording, what is damaged, in bounded time, and nothing is written."""

import csv
import os
from pathlib import Path

import pytest

from fleet.clock import SystemClock
from fleet.errors import Invalid
from ingestion.bags import convert
from ingestion.bags.inspection import inspect
from ingestion.bags.verification import verify
from ingestion.statuses import BagStatus

SECOND_NS = 10**9


@pytest.fixture
def written(tmp_path):
    """A file with these bytes."""

    def write(content: bytes, name: str = "run.mcap"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def test_topics_are_told_with_type_count_rate_and_definition(points, written):
    found = inspect(written(points([n * SECOND_NS for n in range(25)]).content()))
    (topic,) = found.topics
    assert (topic.name, topic.type, topic.messages) == ("/point", "geometry_msgs/msg/Point", 25)
    assert (topic.rate_hz, topic.definition, topic.reason) == (1.0, "recorded", None)
    assert (found.format, found.status, found.duration_s, found.messages) == ("mcap", BagStatus.complete, 24.0, 25)
    assert (found.is_whole, found.lost, found.reason) == (True, [], None)


def test_every_format_is_inspected(ros1_bag, db3_bag):
    ros1, db3 = inspect(ros1_bag("bz2")), inspect(db3_bag)
    assert [(topic.name, topic.messages) for topic in ros1.topics] == [("/point", 200), ("/text", 200)]
    assert [(topic.name, topic.messages) for topic in db3.topics] == [("/joint_states", 200)]
    assert inspect(db3_bag.parent).format == "folder"
    assert inspect(db3_bag.parent).messages == 200


def test_a_flipped_byte_is_told_and_costs_its_chunk(points, written):
    content = bytearray(points([n * SECOND_NS for n in range(30)]).content(compression=""))
    content[content.index(b"\x05", 700) + 60] ^= 0xFF
    found = inspect(written(bytes(content)))
    assert found.status is BagStatus.partial
    assert found.lost or any(topic.doubtful for topic in found.topics)
    assert 20 <= found.messages <= 30


def test_it_foretells_what_a_conversion_says(points, written, tmp_path):
    content = points([n * SECOND_NS for n in range(30)]).content()
    for name, part in {"whole": content, "cut": content[: len(content) * 2 // 3], "headless": content[:30]}.items():
        path = written(part, f"{name}.mcap")
        found, made = inspect(path), convert(path, tmp_path / name)
        assert (found.status, found.messages, found.lost) == (made.status, made.messages, made.lost), name


def test_a_topic_without_a_usable_definition_is_told_with_the_reason(mcap, written):
    mcap.add(mcap.channel("/odd", "a/msg/B", "b/C nothing\n"), 5, bytes(8))
    (topic,) = inspect(written(mcap.content())).topics
    assert topic.messages == 1
    assert topic.reason


def test_what_is_no_recording_is_refused_with_the_reason(written, tmp_path):
    found = inspect(written(b"version https://git-lfs.github.com/spec/v1\n"))
    assert found.status is BagStatus.refused
    assert "Git LFS pointer" in str(found.reason)
    assert inspect(written(b"")).status is BagStatus.refused
    with pytest.raises(Invalid, match="There is no file"):
        inspect(tmp_path / "none.mcap")


def test_a_recording_that_takes_too_long_is_told_as_far_as_it_was_seen(points, written):
    class Hurried(SystemClock):
        looks = 0

        def monotonic(self) -> float:
            self.looks += 1
            return 10.0 * self.looks

    path = written(points([n * SECOND_NS for n in range(100)]).content())
    found = inspect(path, within_s=25.0, clock=Hurried())
    assert (found.is_whole, found.messages) == (False, 30)


def test_nothing_is_written_beside_the_recording(points, written, tmp_path):
    inspect(written(points([0, 1]).content()))
    assert [path.name for path in tmp_path.iterdir()] == ["run.mcap"]


def test_the_real_recordings_have_the_messages_that_are_known_of_them(shared_data):
    with (shared_data / "bags" / "MANIFEST.csv").open() as file:
        known = {row["file"]: row for row in csv.DictReader(file)}
    found = {name: inspect(shared_data / "bags" / name) for name in known}
    assert {name: look.messages for name, look in found.items()} == {
        n: int(row["messages"]) for n, row in known.items()
    }
    for name, row in known.items():
        assert found[name].duration_s == pytest.approx(float(row["duration_s"]), abs=0.01), name
    assert all(look.lost == [] and look.status is not BagStatus.refused for look in found.values())


def test_what_is_neither_a_file_nor_a_folder_is_refused_before_it_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.mcap")
    for source in (Path("/dev/null"), tmp_path / "pipe.mcap"):
        with pytest.raises(Invalid, match="neither a file nor a folder"):
            inspect(source)
    for use in (verify, convert):
        with pytest.raises(Invalid, match="neither a file nor a folder"):
            use(Path("/dev/null"), tmp_path)


def test_a_robot_whose_name_is_no_text_is_named_as_far_as_it_can_be_written(points, written, tmp_path):
    name = os.fsdecode(b"carrier-\xff")
    manifest = convert(written(points(range(3)).content()), tmp_path / "out", robot=name)
    assert (manifest.status, manifest.robot) == (BagStatus.complete, "carrier-\ufffd")
