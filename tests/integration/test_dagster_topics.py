"""Each recorded topic in Dagster: its rows, columns and path, its checks, and what an earlier converter made, made again."""

import hashlib
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from dagster import AssetCheckKey, AssetCheckSeverity, AssetKey, AssetSpec, DagsterInstance, Definitions
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from deployments.ports import any_free
from ingestion.bags import CONVERTER, conversion, reading
from ingestion.bags.processing import process
from ingestion.lake import Manifest, Quality, TopicTable, lake_of
from ingestion.models import Bag
from orchestration.assets import events, tables, topics
from orchestration.assets.lineage import TOPIC_TABLES
from orchestration.definitions import defined

START_NS = 1_772_402_400_000_000_000  # 2026-03-01 22:00 UTC
DATE = "2026-03-01"
FLOAT = "std_msgs/msg/Float64"
IMU = AssetKey(["topics", "arm", "imu"])
DAGSTER = (sys.executable, "-m", "dagster")


@pytest.fixture
def bag(runtime, world, tmp_path) -> Bag:
    """A stored bag of ten readings on /arm/imu and one on /voltage, not yet converted."""
    types = get_typestore(Stores.ROS2_HUMBLE)
    with Writer(tmp_path / "night", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, rows in (("/arm/imu", 10), ("/voltage", 1)):
            line = writer.add_connection(topic, FLOAT, typestore=types)
            for n in range(rows):
                writer.write(line, START_NS + n * 10**9, types.serialize_cdr(types.types[FLOAT](float(n)), FLOAT))
    content = (tmp_path / "night/night.mcap").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    key = f"{world.organisation.id}/bags/{sha256}"
    runtime.objects.put(key, content)
    known = {"filename": "night.mcap", "object_key": key, "robot_name": "amr-01", "uploaded_at": runtime.clock.now()}
    row = Bag(organisation_id=world.organisation.id, sha256=sha256, size=len(content), **known)
    with runtime.transaction() as session:
        session.add(row)
    return row


@pytest.fixture
def home(settings) -> Path:
    """Dagster's folder."""
    return settings.var_dir / "dagster"


@pytest.fixture
def converted(runtime, bag, home, monkeypatch) -> Callable[..., Manifest]:
    """The bag as converted and told, by this converter or an earlier one."""

    def convert(converter: str = CONVERTER) -> Manifest:
        with monkeypatch.context() as patch:
            patch.setattr(reading, "CONVERTER", converter)
            patch.setattr(conversion, "CONVERTER", converter)
            manifest = process(transaction=runtime.transaction, objects=runtime.objects, bag_id=bag.id)
        events.report_bag(home, manifest, runtime.objects)
        return manifest

    return convert


def _check(catalogue: DagsterInstance, name: str):
    key = AssetCheckKey(IMU, name)
    (record,) = catalogue.event_log_storage.get_asset_check_execution_history(key, limit=1)
    return record.event.dagster_event.asset_check_evaluation_data


def test_a_topic_of_a_bag_shows_what_its_table_holds_and_where_it_lies(converted, home):
    converted()
    with events.instance(home) as catalogue:
        assert catalogue.get_materialized_partitions(IMU) == {DATE}
        shown = catalogue.get_latest_materialization_event(IMU).asset_materialization.metadata
        checks = {name: _check(catalogue, name).passed for name in (topics.WHOLE, topics.QUALITY)}
    assert (shown["dagster/row_count"].value, shown["type"].value, shown["robot"].value) == (10, FLOAT, "amr-01")
    columns = {column.name: column.type for column in shown["dagster/column_schema"].value.columns}
    assert columns["data"] == "double"
    assert pq.read_table(shown["path"].value, partitioning=None)["data"].to_pylist() == [float(n) for n in range(10)]
    assert f"read_parquet('{shown['path'].value}')" in shown["duckdb"].value
    assert "| 4.0 |" in shown["sample"].value
    assert checks == {topics.WHOLE: True, topics.QUALITY: True}


def test_a_file_that_was_changed_fails_the_check_of_its_topic(converted, runtime, home):
    manifest = converted()
    key = f"{manifest.organisation}/lake/{manifest.topics[0].files[0].path}"
    content = bytearray(runtime.objects.read(key))
    content[10] ^= 1
    runtime.objects.put(key, bytes(content))
    assert not events.report_bag(home, manifest, runtime.objects)
    with events.instance(home) as catalogue:
        told = _check(catalogue, topics.WHOLE)
    assert (told.passed, told.severity) == (False, AssetCheckSeverity.ERROR)
    assert "the manifest says" in told.metadata["problems"].value[0]


@pytest.mark.parametrize(
    ("quality", "rejected", "passed", "severity"),
    [
        (Quality(gaps=10, log_time_regressions=1), 0, True, "WARN"),
        (Quality(gaps=11), 0, False, "WARN"),
        (Quality(log_time_regressions=1, stamp_regressions=1), 0, False, "WARN"),
        (Quality(), 1, False, "ERROR"),
    ],
)
def test_few_gaps_pass_many_warn_and_a_rejected_message_is_an_error(
    runtime, world, quality, rejected, passed, severity
):
    table = TopicTable(name="/imu", type=FLOAT, rows=1000, rejected=rejected, quality=quality)
    *_, found = topics.findings(lake_of(runtime.objects, world.organisation.id), table)
    assert (found.check, found.passed, found.severity.value) == (topics.QUALITY, passed, severity)


def test_recorded_topics_are_assets_with_checks_that_can_be_carried_out(converted, runtime, settings, monkeypatch):
    manifest = converted()
    monkeypatch.setenv("YARDMASTER_VAR_DIR", str(settings.var_dir))
    known = defined(runtime)
    Definitions.validate_loadable(known)
    graph = known.resolve_asset_graph()
    assert graph.get(IMU).parent_keys == {TOPIC_TABLES}
    assert graph.get(IMU).check_keys == {AssetCheckKey(IMU, name) for name in (topics.WHOLE, topics.QUALITY)}
    assert [finding.passed for _, finding in topics.found_now(runtime, {IMU})[IMU]] == [True, True]
    runtime.objects.delete(f"{manifest.organisation}/lake/{manifest.topics[0].files[0].path}")
    found = topics.found_now(runtime, {IMU})[IMU]
    result = topics.judged(AssetCheckKey(IMU, topics.WHOLE), [one for one in found if one[1].check == topics.WHOLE])
    assert (result.passed, result.metadata["not passed"].value) == (False, ["night.mcap"])


def test_what_an_earlier_converter_made_is_out_of_date(converted, runtime, home, settings, monkeypatch):
    from dagster._core.definitions.data_version import CachingStaleStatusResolver
    from dagster._core.loader import LoadingContextForTest

    monkeypatch.setenv("YARDMASTER_VAR_DIR", str(settings.var_dir))
    statuses, checks = [], []
    for converter in ("1", CONVERTER):
        converted(converter)
        with events.instance(home) as catalogue:
            graph = defined(runtime).resolve_asset_graph()
            resolver = CachingStaleStatusResolver(catalogue, graph, LoadingContextForTest(catalogue))
            statuses.append([cause.reason for cause in resolver.get_stale_causes(TOPIC_TABLES, DATE)])
        checks.append(tables.made_by_this_converter())
    assert statuses == [["has a new code version"], []]
    assert [check.passed for check in checks] == [False, True]
    assert checks[0].metadata["dates"].value == [DATE]


ODD = ["/", "/~x", "/\xfc/x", "a topic", "/x'y", "/a|b", "/%2F", "/a,b", '/a"b', "/*", "/" + "l" * 300, "/a/../b"]


def test_topics_of_any_name_are_shown_with_their_checks():
    alike = ["/a/b", "/a_b", "/a-b", "/a.b"]
    assets = [AssetSpec(topics.key_of(name)) for name in [*ODD, *alike]]
    defined = Definitions(assets=assets, asset_checks=topics.topic_checks(assets))
    Definitions.validate_loadable(defined)
    graph = defined.resolve_asset_graph()
    checked = [asset.key for asset in assets if len(graph.get(asset.key).check_keys) == 2]
    assert checked == [asset.key for asset in assets[:-2]]  # those that differ by - and . alone have the first's


@pytest.fixture
def environment(settings, home, monkeypatch) -> None:
    """What processes of this installation know."""
    monkeypatch.setenv("YARDMASTER_VAR_DIR", str(settings.var_dir))
    monkeypatch.setenv("DAGSTER_HOME", str(home))


def _until(condition: Callable[[], object], within_s: float = 120.0) -> object:
    end = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {within_s} s"
        time.sleep(0.2)
    return found


@pytest.mark.proof
@pytest.mark.serial
@pytest.mark.timeout(400)
def test_a_job_asks_for_a_backfill_that_makes_outdated_dates_anew(converted, runtime, bag, home, environment, tmp_path):
    before = converted("1")
    port = any_free()
    with (tmp_path / "dagster.log").open("wb") as log:
        command = [sys.executable, "-m", "deployments.cli", "dagster", "--port", str(port)]
        daemon = psutil.Popen(command, stdout=log, stderr=log, preexec_fn=_in_the_background)
    try:
        job = (*DAGSTER, "job", "execute", "--module-name", "orchestration.definitions", "--job", "convert_again")
        subprocess.run(job, check=True, timeout=120)
        lake = lake_of(runtime.objects, bag.organisation_id)
        _until(lambda: (now := lake.manifest(bag.sha256)) and now.converter == CONVERTER, 240)
        _until(lambda: _versions(home)[:1] == [f"{bag.sha256[:16]}-{CONVERTER}"])
    finally:
        for process in (*daemon.children(recursive=True), daemon):
            process.terminate()
        daemon.wait(30)
    assert before.converter == "1"


def _in_the_background() -> None:
    """As a shell without a terminal begins what it does not wait for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _versions(home: Path) -> list[str]:
    with events.instance(home) as catalogue:
        records = catalogue.fetch_materializations(TOPIC_TABLES, 10).records
    return [record.asset_materialization.tags["dagster/data_version"] for record in records]


@pytest.mark.proof
@pytest.mark.serial
@pytest.mark.timeout(300)
def test_a_date_that_was_killed_while_it_was_made_anew_is_made_by_the_next_try(
    converted, runtime, bag, environment, settings
):
    converted("1")
    make = (*DAGSTER, "asset", "materialize", "--module-name", "orchestration.definitions")
    command = [*make, "--select", "topic_tables", "--partition", DATE]
    with closing(sqlite3.connect(settings.var_dir / "yardmaster.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")  # its child has begun, and waits
        run = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        (child,) = _until(
            lambda: [each for each in run.children(recursive=True) if "heavy" in " ".join(each.cmdline())]
        )
        run.send_signal(signal.SIGKILL)
        run.wait()
        _until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
        holder.execute("ROLLBACK")
    lake = lake_of(runtime.objects, bag.organisation_id)
    assert lake.manifest(bag.sha256).converter == "1"
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    assert lake.manifest(bag.sha256).converter == CONVERTER
