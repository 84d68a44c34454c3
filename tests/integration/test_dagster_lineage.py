"""Dagster as a data scientist meets it: lineage, materialised dates with a check, and a date made again from there."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from itertools import pairwise

import pytest
from dagster import AssetCheckKey, AssetKey, DagsterInstance, Definitions, Failure, materialize
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from fleet.errors import Unavailable
from ingestion.bags import CONVERTER
from ingestion.bags.processing import process
from ingestion.models import Bag, BagStatus
from orchestration.assets import events, tables
from orchestration.assets.home import prepare
from orchestration.assets.lineage import COUNTS, EXTERNAL, TOPIC_TABLES
from orchestration.definitions import defined

START_NS = 1_772_402_400_000_000_000  # 2026-03-01 22:00 UTC
DATE = "2026-03-01"


@pytest.fixture
def bag(runtime, world, tmp_path):
    """A stored bag of three readings, not yet converted."""
    types = get_typestore(Stores.ROS2_HUMBLE)
    with Writer(tmp_path / "night", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/reading", "std_msgs/msg/Float64", typestore=types)
        for n in range(3):
            message = types.types["std_msgs/msg/Float64"](data=float(n))
            writer.write(connection, START_NS + n, types.serialize_cdr(message, "std_msgs/msg/Float64"))
    content = (tmp_path / "night/night.mcap").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    key = f"{world.organisation.id}/bags/{sha256}"
    runtime.objects.put(key, content)
    with runtime.transaction() as session:
        row = Bag(
            organisation_id=world.organisation.id,
            sha256=sha256,
            size=len(content),
            filename="night.mcap",
            object_key=key,
            robot_name="amr-01",
            uploaded_at=runtime.clock.now(),
        )
        session.add(row)
    return row


@pytest.fixture
def convert(runtime, bag):
    """The bag, converted."""
    return lambda: process(transaction=runtime.transaction, objects=runtime.objects, bag_id=bag.id)


@pytest.fixture
def home(tmp_path):
    """Dagster's folder."""
    return tmp_path / "dagster"


@pytest.fixture
def materialisations():
    """The materialisation events of the topic tables, newest first."""

    def look(catalogue: DagsterInstance):
        return [record.asset_materialization for record in catalogue.fetch_materializations(TOPIC_TABLES, 10).records]

    return look


def test_a_converted_bag_shows_as_a_materialised_date_with_a_passed_check(
    runtime, convert, home, bag, materialisations
):
    assert events.report_bag(home, convert(), runtime.objects)
    with events.instance(home) as catalogue:
        (shown,) = materialisations(catalogue)
        assert catalogue.get_materialized_partitions(TOPIC_TABLES) == {DATE}
        assert catalogue.get_materialized_partitions(AssetKey("bags")) == {DATE}
    assert (shown.metadata["robot"].value, shown.metadata["messages"].value) == ("amr-01", 3)
    assert "| /reading | std_msgs/msg/Float64 | 3 |" in shown.metadata["topics"].value
    assert events.reported_bags(home) == {bag.sha256: True}


def test_the_data_version_is_that_of_content_and_converter(runtime, convert, home, bag, materialisations):
    events.report_bag(home, convert(), runtime.objects)
    events.report_bag(home, convert(), runtime.objects)
    with events.instance(home) as catalogue:
        versions = {event.tags["dagster/data_version"] for event in materialisations(catalogue)}
    assert versions == {f"{bag.sha256[:16]}-{CONVERTER}"}


def test_a_file_that_lost_rows_fails_the_check(runtime, convert, home, bag):
    manifest = convert()
    runtime.objects.delete(f"{manifest.organisation}/lake/{manifest.files[0].path}")
    assert not events.report_bag(home, manifest, runtime.objects)
    assert events.reported_bags(home) == {bag.sha256: False}


def test_the_newest_check_of_a_bag_counts(runtime, convert, home, bag):
    manifest = convert()
    key = f"{manifest.organisation}/lake/{manifest.files[0].path}"
    content = runtime.objects.read(key)
    runtime.objects.delete(key)
    events.report_bag(home, manifest, runtime.objects)
    runtime.objects.put(key, content)
    events.report_bag(home, manifest, runtime.objects)
    assert events.reported_bags(home) == {bag.sha256: True}


def test_a_refused_bag_is_shown_without_a_date(runtime, world, bag, convert, home):
    runtime.objects.put(bag.object_key, b"no recording at all")
    assert events.report_bag(home, convert(), runtime.objects)
    with events.instance(home) as catalogue:
        assert catalogue.get_materialized_partitions(TOPIC_TABLES) == set()
    assert events.reported_bags(home) == {bag.sha256: True}


def test_telemetry_is_off_and_settings_of_ones_own_are_left_alone(home):
    prepare(home)
    with events.instance(home) as catalogue:
        assert (catalogue.telemetry_enabled, catalogue.nux_enabled) == (False, False)
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n# mine\n")
    prepare(home)
    assert "# mine" in (home / "dagster.yaml").read_text()


def test_a_model_and_a_report_are_shown_too(home):
    events.report_model(home, version="3", metrics={"rmse_hours": 4.5})
    events.report_publication(home, report="r-1", url="http://127.0.0.1:8000/v1/reports/r-1")
    with events.instance(home) as catalogue:
        model = catalogue.get_latest_materialization_event(AssetKey("drive_rul")).asset_materialization
        report = catalogue.get_latest_materialization_event(AssetKey("fleet_report")).asset_materialization
    assert (model.metadata["version"].value, model.metadata["rmse_hours"].value) == ("3", 4.5)
    assert report.metadata["download"].value.endswith("/r-1")


def test_a_date_is_made_again_from_dagster(runtime, convert, home, settings, monkeypatch):
    manifest = convert()
    key = f"{manifest.organisation}/lake/{manifest.files[0].path}"
    before = runtime.objects.read(key)
    runtime.objects.delete(key)
    monkeypatch.setenv("YARDMASTER_VAR_DIR", str(settings.var_dir))
    with events.instance(home) as catalogue:
        result = materialize(
            [*EXTERNAL, tables.topic_tables], partition_key=DATE, instance=catalogue, selection=[TOPIC_TABLES]
        )
        assert result.success
        (check,) = result.get_asset_check_evaluations()
        assert catalogue.get_materialized_partitions(TOPIC_TABLES) == {DATE}
    assert (check.passed, check.check_name) == (True, COUNTS.name)
    assert runtime.objects.read(key) == before


def test_a_bag_never_converted_belongs_to_the_date_of_its_upload(runtime, bag, settings, monkeypatch):
    monkeypatch.setenv("YARDMASTER_VAR_DIR", str(settings.var_dir))
    result = tables.materialise(runtime, date(2026, 3, 1))
    assert (result.metadata["bags"].value, result.metadata["messages"].value) == (1, 3)
    with runtime.reading() as session:
        assert session.get_one(Bag, bag.id).status is BagStatus.complete
        assert tables.bags_on(session, date(2026, 3, 2)) == []
        assert [found.id for found in tables.bags_on(session, date(2026, 3, 1))] == [bag.id]


def test_a_bag_that_cannot_be_converted_from_dagster_is_named_and_says_why(runtime, bag, settings, monkeypatch):
    monkeypatch.setenv("YARDMASTER_VAR_DIR", str(settings.var_dir))
    runtime.objects.delete(bag.object_key)
    with pytest.raises(Failure, match=rf"1 of 1 bags are not converted\. {bag.filename}: The object store has no file"):
        tables.materialise(runtime, date(2026, 3, 1))
    with runtime.reading() as session:
        assert "The object store has no file" in session.get_one(Bag, bag.id).error


def test_what_an_earlier_converter_refused_is_tried_again_with_the_date_of_its_upload(runtime, bag):
    with runtime.transaction() as session:
        row = session.get_one(Bag, bag.id)
        row.converter, row.status = "1", BagStatus.refused
        session.add(row)
    with runtime.reading() as session:
        assert tables.outdated_dates(session) == {date(2026, 3, 1): 1}
        assert [found.id for found in tables.bags_on(session, date(2026, 3, 1))] == [bag.id]


def test_a_clock_that_is_wrong_keeps_no_other_date_from_being_made_again():
    assert tables.of_partitions([date(1969, 12, 31), date(2026, 3, 1), date(2999, 1, 1)]) == [date(2026, 3, 1)]


def test_the_lineage_leads_from_bags_to_the_report(runtime):
    definitions = defined(runtime)
    Definitions.validate_loadable(definitions)
    graph = definitions.resolve_asset_graph()
    chain = [AssetKey(name) for name in ("bags", "topic_tables", "drive_features", "drive_rul", "fleet_report")]
    for upstream, downstream in pairwise(chain):
        assert graph.get(downstream).parent_keys == {upstream}
    assert graph.get(TOPIC_TABLES).code_version == f"converter-{CONVERTER}"
    assert graph.get(TOPIC_TABLES).check_keys == {COUNTS, AssetCheckKey(TOPIC_TABLES, "made_by_this_converter")}


def test_processes_that_open_a_new_catalogue_together_leave_one_that_works(home):
    together = threading.Barrier(3)

    def open_it(_number: int) -> int:
        together.wait(30)
        with events.instance(home) as catalogue:
            return len(catalogue.get_asset_keys())

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(open_it, range(3))) == [0, 0, 0]
    with events.instance(home) as catalogue:
        assert catalogue.get_asset_keys() == []


def test_a_catalogue_that_does_not_answer_is_unavailable_and_costs_no_conversion(home, convert, runtime, bag):
    manifest = convert()
    with events.instance(home):
        pass
    (home / "schedules/schedules.db").write_bytes(b"this is no database")
    with pytest.raises(Unavailable, match="run the same again"):
        events.report_bag(home, manifest, runtime.objects)
    with runtime.reading() as session:
        assert session.get(Bag, bag.id).status is BagStatus.complete
