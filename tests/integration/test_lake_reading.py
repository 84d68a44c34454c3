"""The lake: stored bags become datasets of their organisation, and readers see what manifests name, nothing else."""

import hashlib
from datetime import UTC, date, datetime

import pyarrow.parquet as pq
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sqlmodel import select

from fleet.changes import Change
from fleet.errors import NotFound
from fleet.organisations import Organisation
from ingestion import lake
from ingestion.bags import CONVERTER, conversion
from ingestion.bags.processing import process
from ingestion.models import Bag, BagStatus
from ingestion.quality import differences

START_NS = 1_772_402_400_000_000_000  # 2026-03-01 22:00 UTC


@pytest.fixture
def recording(tmp_path):
    """The bytes of an MCAP written by rosbags: battery voltages, one a second."""

    def record(*voltages: float, topic: str = "/battery") -> bytes:
        types = get_typestore(Stores.ROS2_HUMBLE)
        folder = tmp_path / hashlib.sha256(repr((voltages, topic)).encode()).hexdigest()[:8]
        with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            connection = writer.add_connection(topic, "std_msgs/msg/Float64", typestore=types)
            for second, voltage in enumerate(voltages):
                message = types.types["std_msgs/msg/Float64"](data=voltage)
                content = types.serialize_cdr(message, "std_msgs/msg/Float64")
                writer.write(connection, START_NS + second * 10**9, content)
        return (folder / f"{folder.name}.mcap").read_bytes()

    return record


@pytest.fixture
def stored(runtime, world):
    """A bag row with its content in the object store."""

    def store(content: bytes, robot: str = "amr-01", organisation_id=None) -> Bag:
        sha256 = hashlib.sha256(content).hexdigest()
        owner = organisation_id or world.organisation.id
        key = f"{owner}/bags/{sha256}"
        runtime.objects.put(key, content)
        bag = Bag(
            organisation_id=owner,
            sha256=sha256,
            size=len(content),
            filename="night.mcap",
            object_key=key,
            robot_name=robot,
            uploaded_at=runtime.clock.now(),
        )
        with runtime.transaction() as session:
            session.add(bag)
        return bag

    return store


@pytest.fixture
def processed(runtime, stored):
    """A bag stored and converted; gives its manifest."""

    def run(content: bytes, robot: str = "amr-01", organisation_id=None) -> lake.Manifest:
        bag = stored(content, robot, organisation_id)
        return process(transaction=runtime.transaction, objects=runtime.objects, bag_id=bag.id)

    return run


@pytest.fixture
def read(runtime, world):
    """The rows of /battery as the organisation sees them."""
    return lambda **wanted: lake.read_topic(runtime.objects, world.organisation.id, "/battery", **wanted)


def test_a_robot_that_records_something_else_under_the_name_hides_no_others_rows(read, processed, recording, tmp_path):
    types = get_typestore(Stores.ROS2_HUMBLE)
    with Writer(tmp_path / "text", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/battery", "std_msgs/msg/String", typestore=types)
        said = types.types["std_msgs/msg/String"](data="full")
        writer.write(connection, START_NS, types.serialize_cdr(said, "std_msgs/msg/String"))
    processed((tmp_path / "text" / "text.mcap").read_bytes(), "amr-02")
    processed(recording(24.0, 23.5))
    rows = read(columns=["data"])
    assert sorted(zip(rows["robot"].to_pylist(), rows["data"].to_pylist(), strict=True), key=str) == [
        ("amr-01", 23.5),
        ("amr-01", 24.0),
        ("amr-02", None),
    ]


def test_a_converted_bag_tells_in_its_row_what_it_holds(runtime, stored, recording):
    bag = stored(recording(24.0, 23.5))
    process(transaction=runtime.transaction, objects=runtime.objects, bag_id=bag.id)
    with runtime.reading() as session:
        row = session.get_one(Bag, bag.id)
        told = [(change.subject, change.kind) for change in session.exec(select(Change)).all()]
    assert (row.status, row.messages, row.topics, row.error) == (BagStatus.complete, 2, 1, None)
    assert (row.converter, row.recorded_on) == (CONVERTER, date(2026, 3, 1))
    assert row.started_at == datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
    assert row.finished_at == datetime(2026, 3, 1, 22, 0, 1, tzinfo=UTC)
    assert row.manifest_key == f"{row.organisation_id}/lake/manifests/{row.sha256}.json"
    assert ("bag", "converted") in told


def test_a_bag_that_cannot_be_read_is_refused_and_its_content_kept(runtime, stored):
    bag = stored(b"this is no recording")
    process(transaction=runtime.transaction, objects=runtime.objects, bag_id=bag.id)
    with runtime.reading() as session:
        row = session.get_one(Bag, bag.id)
    assert (row.status, row.messages, row.recorded_on) == (BagStatus.refused, 0, None)
    assert "This is no recording we know" in str(row.error)
    assert runtime.objects.read(bag.object_key) == b"this is no recording"


def test_processing_again_writes_no_file(runtime, stored, recording, monkeypatch):
    bag = stored(recording(24.0))
    first = process(transaction=runtime.transaction, objects=runtime.objects, bag_id=bag.id)
    monkeypatch.setattr(conversion, "read", None)  # a second reading would fail
    assert process(transaction=runtime.transaction, objects=runtime.objects, bag_id=bag.id) == first


def test_a_bag_whose_content_is_gone_is_named(runtime, stored, recording):
    bag = stored(recording(24.0))
    runtime.objects.delete(bag.object_key)
    with pytest.raises(NotFound, match=bag.sha256):
        process(transaction=runtime.transaction, objects=runtime.objects, bag_id=bag.id)


def test_a_bag_that_never_was_is_not_found(runtime, world):
    with pytest.raises(NotFound, match="There is no bag"):
        process(transaction=runtime.transaction, objects=runtime.objects, bag_id=world.site.id)


def test_a_topic_is_read_over_all_bags_with_its_robots(processed, recording, read):
    processed(recording(24.0, 23.0), "amr-01")
    processed(recording(22.0), "amr-02")
    rows = read(columns=["log_time", "data"])
    assert rows.column_names == ["log_time", "data", "robot"]
    found = zip(rows["robot"].to_pylist(), rows["data"].to_pylist(), strict=True)
    assert sorted(found) == [("amr-01", 23.0), ("amr-01", 24.0), ("amr-02", 22.0)]
    assert read(robots=["amr-02"])["data"].to_pylist() == [22.0]


def test_other_topics_are_left_out(processed, recording, read):
    processed(recording(24.0, topic="/battery/old"))
    assert read().num_rows == 0


def test_a_column_that_a_file_does_not_have_is_null(processed, recording, read):
    processed(recording(24.0))
    assert read(columns=["data", "current"])["current"].to_pylist() == [None]


def test_nothing_published_gives_no_rows_with_the_columns_asked_for(read):
    rows = read(columns=["log_time", "data"])
    assert (rows.num_rows, rows.column_names) == (0, ["log_time", "data", "robot"])


def test_a_file_that_no_manifest_names_is_not_there(runtime, processed, recording, read):
    manifest = processed(recording(24.0))
    key = f"{manifest.organisation}/lake/{manifest.files[0].path}"
    runtime.objects.put(key.replace("-0.parquet", "-1.parquet"), runtime.objects.read(key))
    assert read().num_rows == 1
    runtime.objects.delete(f"{manifest.organisation}/lake/manifests/{manifest.sha256}.json")
    assert read().num_rows == 0


def test_another_organisations_lake_is_apart(runtime, processed, recording, read):
    with runtime.transaction() as session:
        other = Organisation(name="other", created_at=runtime.clock.now())
        session.add(other)
        session.flush()
    processed(recording(24.0), organisation_id=other.id)
    assert read().num_rows == 0
    assert lake.read_topic(runtime.objects, other.id, "/battery")["data"].to_pylist() == [24.0]


def test_a_dataset_equals_its_manifest_until_a_file_is_changed(runtime, processed, recording, tmp_path):
    manifest = processed(recording(24.0, 23.0))
    found = lake.Lake(runtime.objects, f"{manifest.organisation}/lake/", manifest.organisation)
    assert differences(found, manifest) == []
    key = found.key(manifest.files[0].path)
    shorter = pq.ParquetFile(runtime.objects.open(key)).read().slice(1)
    pq.write_table(shorter, tmp_path / "shorter")
    runtime.objects.put_file(key, tmp_path / "shorter")
    assert differences(found, manifest) == [f"{manifest.files[0].path} holds 1 rows, the manifest says 2"]
    runtime.objects.put(key, b"garbage")
    assert "is no Parquet file" in differences(found, manifest)[0]
    runtime.objects.delete(key)
    assert differences(found, manifest) == [f"{manifest.files[0].path} is missing"]


def test_a_very_long_topic_gets_a_folder_of_bounded_length(runtime, world):
    found = lake.lake_of(runtime.objects, world.organisation.id)
    one, two = (found.folder(robot="a", on=date(2026, 3, 1), topic="/x" * 500 + end) for end in ("1", "2"))
    assert one != two
    assert max(len(part) for part in one.split("/")) < 255


@pytest.mark.parametrize(("time_ns", "year"), [(0, 1970), (START_NS, 2026), (2**63 - 1, 2262), (-5, 1970)])
def test_every_time_has_an_instant(time_ns, year):
    assert lake.instant(time_ns).year == year
