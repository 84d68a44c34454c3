"""Cuts: the rows of a span of every topic become a dataset of their own that its manifest describes."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow.parquet as pq
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from fleet.errors import Invalid, NotFound
from fleet.objectstore import ObjectStore
from ingestion.bags import convert, tables
from ingestion.bags.cutting import Excerpt, Span, cut
from ingestion.lake import Lake
from ingestion.quality import differences

START_NS = 1_772_402_400_000_000_000  # 2026-03-01 22:00 UTC
START = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
POINT, PICTURE = "geometry_msgs/msg/Point", "sensor_msgs/msg/CompressedImage"


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.fixture
def dataset(tmp_path, humble):
    """A minute of /point, ten a second, and of /camera, one a second: the lake, the manifest."""
    types = humble.types
    with Writer(tmp_path / "run", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        points = writer.add_connection("/point", POINT, typestore=humble)
        pictures = writer.add_connection("/camera", PICTURE, typestore=humble)
        for n in range(600):
            point = types[POINT](x=float(n), y=0.0, z=0.0)
            writer.write(points, START_NS + n * 10**8, humble.serialize_cdr(point, POINT))
            if n % 10 == 0:
                header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](1, 0), "camera")
                jpeg = np.frombuffer(b"\xff\xd8\xff" + bytes([n // 10]) * 40, np.uint8)
                content = humble.serialize_cdr(types[PICTURE](header, "jpeg", jpeg), PICTURE)
                writer.write(pictures, START_NS + n * 10**8, content)
    manifest = convert(tmp_path / "run", tmp_path / "lake", robot="amr-01")
    return Lake(ObjectStore(f"file://{tmp_path}/lake", signing_key=b""), "", "local"), manifest


@pytest.fixture
def made(tmp_path):
    """The lake that the cuts are written into."""
    return Lake(ObjectStore(f"file://{tmp_path}/cut", signing_key=b""), "", "local")


@pytest.fixture
def opened(made):
    """The Parquet file of a topic of a cut."""

    def open_topic(excerpt: Excerpt, topic: str) -> pq.ParquetFile:
        (file,) = next(table.files for table in excerpt.topics if table.name == topic)
        return pq.ParquetFile(made.objects.local_path(made.key(file.path)))

    return open_topic


def test_a_cut_has_the_rows_of_the_span_and_no_other(dataset, opened, tmp_path):
    excerpt = cut(*dataset, Span(_at(10), _at(20)), tmp_path / "cut")
    assert opened(excerpt, "/point").read()["x"].to_pylist() == [float(n) for n in range(100, 200)]
    assert (excerpt.messages, excerpt.first_ns, excerpt.last_ns) == (
        110,
        START_NS + 10 * 10**9,
        START_NS + 199 * 10**8,
    )
    assert {topic.name: topic.rows for topic in excerpt.topics} == {"/point": 100, "/camera": 10}


def test_its_pictures_lie_beside_it_as_they_were(dataset, opened, tmp_path):
    excerpt = cut(*dataset, Span(_at(10), _at(20)), tmp_path / "cut")
    (topic,) = (topic for topic in excerpt.topics if topic.name == "/camera")
    folder = (tmp_path / "cut" / topic.files[0].path).parent
    paths = opened(excerpt, "/camera").read()["data.path"].to_pylist()
    assert [(folder / path).read_bytes()[3] for path in paths] == list(range(10, 20))
    assert (topic.media, topic.media_bytes) == (10, 430)


def test_the_manifest_describes_the_cut_and_names_its_bag(dataset, made, opened, tmp_path):
    lake, manifest = dataset
    excerpt = cut(lake, manifest, Span(_at(10), _at(20)), tmp_path / "cut")
    assert differences(made, excerpt) == []
    published = made.manifest(excerpt.sha256)
    assert excerpt == Excerpt(
        **vars(published), bag_sha256=excerpt.bag_sha256, begin_ns=excerpt.begin_ns, end_ns=excerpt.end_ns
    )
    assert (excerpt.bag_sha256, excerpt.robot, excerpt.status) == (manifest.sha256, "amr-01", manifest.status)
    footer = opened(excerpt, "/point").schema_arrow.metadata
    assert footer[b"yardmaster.topic"] == b"/point"
    assert footer[b"yardmaster.cut_from"] == f"{excerpt.begin_ns} {excerpt.end_ns}".encode()


def test_two_cuts_of_a_bag_lie_side_by_side_and_the_same_again_changes_nothing(dataset, made, tmp_path):
    first = cut(*dataset, Span(_at(10), _at(20)), tmp_path / "cut")
    before = {path: path.read_bytes() for path in (tmp_path / "cut").rglob("*") if path.is_file()}
    second = cut(*dataset, Span(_at(15), _at(25)), tmp_path / "cut")
    assert cut(*dataset, Span(_at(10), _at(20)), tmp_path / "cut") == first
    assert {path: path.read_bytes() for path in before} == before
    assert differences(made, first) == differences(made, second) == []


def test_only_row_groups_of_the_span_are_read(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROW_GROUP_ROWS", 50)
    lake = Lake(ObjectStore(f"file://{tmp_path}/small", signing_key=b""), "", "local")
    manifest = convert(tmp_path / "run", tmp_path / "small")
    groups = []
    whole = pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda *a: groups.append(a[1]) or whole(*a))
    assert cut(lake, manifest, Span(_at(10), _at(12)), tmp_path / "cut").messages == 22
    assert len(groups) < 4


def test_a_topic_without_rows_in_the_span_is_named_without_a_file(dataset, tmp_path):
    excerpt = cut(*dataset, Span(_at(10.05), _at(10.95)), tmp_path / "cut")
    camera = next(topic for topic in excerpt.topics if topic.name == "/camera")
    assert (camera.rows, camera.files, camera.media) == (0, [], 0)
    assert not list((tmp_path / "cut").rglob("*camera*"))


def test_a_span_outside_of_the_bag_is_told_with_the_bags_own(dataset, tmp_path):
    with pytest.raises(NotFound, match="recorded from 2026-03-01 22:00:00"):
        cut(*dataset, Span(_at(100), _at(200)), tmp_path / "cut")
    assert not list((tmp_path / "cut").rglob("*.json"))


def test_a_span_that_ends_before_it_begins_is_refused(dataset, tmp_path):
    with pytest.raises(Invalid, match="its end must come after its begin"):
        cut(*dataset, Span(_at(20), _at(10)), tmp_path / "cut")


def test_the_time_around_an_instant_includes_both_ends(dataset, tmp_path):
    excerpt = cut(*dataset, Span.around(_at(30), before_s=1, after_s=1), tmp_path / "cut")
    assert {topic.name: topic.rows for topic in excerpt.topics} == {"/point": 21, "/camera": 3}


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 1e18])
def test_a_time_beyond_the_calendar_is_refused(seconds: float):
    with pytest.raises(Invalid, match="calendar"):
        Span.around(START, before_s=seconds, after_s=1)
