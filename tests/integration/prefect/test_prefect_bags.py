"""Recordings through a real Prefect server: a run that converts bags shows a page for each."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from uuid import UUID

import psutil
import pytest
import yaml

from ingestion.models import Bag

pytestmark = [pytest.mark.serial, pytest.mark.timeout(900)]
APPLY = """
import asyncio, pathlib, sys
from fleet.runtime import open_runtime
from orchestration.pool_settings import point_prefect_here
point_prefect_here(open_runtime())
from orchestration.pool_deployments import apply
asyncio.run(apply(pathlib.Path(sys.argv[1])))
"""
START_NS = 1_772_402_400_000_000_000  # 2026-03-01 22:00 UTC
FLOAT = "std_msgs/msg/Float64"


def test_a_run_shows_a_page_for_each_bag_with_topics_quality_and_timeline(prefect, stored, recording):
    good, bad = stored(recording, "night.mcap"), stored(b"no recording", "note.txt")
    run_id = prefect.press("process-bag", bag_ids=[good, bad])
    state = prefect.state(run_id)
    assert (state["type"], state["message"]) == ("COMPLETED", "Bags: 1 complete, 1 refused; 60 messages.")
    assert prefect.run(run_id)["name"] == "night.mcap and 1 more"
    shown = prefect.artifacts(run_id)
    page = shown[f"bag-{good}"]
    for told in ("## night.mcap: complete", "2026-03-01 22:00:00 to 22:00:59 UTC", "/voltage", "Float64", "█" * 60):
        assert told in page
    assert "This is no recording we know" in shown[f"bag-{bad}"]
    assert '"status": "refused"' in shown["bags"]


def test_a_run_of_a_file_that_is_no_recording_fails_with_the_reason(prefect, stored):
    state = prefect.state(prefect.press("process-bag", bag_ids=[stored(b"none at all", "note.mcap")]))
    assert state["type"] == "FAILED"
    assert "note.mcap: This is no recording we know" in state["message"]


def test_a_bag_whose_content_is_gone_says_so_itself(prefect, stored, recording):
    bag = stored(recording + b"\1", "gone.mcap")
    with prefect.runtime.reading() as session:
        prefect.runtime.objects.delete(session.get_one(Bag, UUID(bag)).object_key)
    state = prefect.state(prefect.press("process-bag", bag_ids=[bag]))
    assert state["type"] == "FAILED"
    with prefect.runtime.reading() as session:
        row = session.get_one(Bag, UUID(bag))
    assert f"gone.mcap: {row.error.removeprefix('It could not be converted: ')}" in state["message"]
    assert "has no file" in row.error


def test_a_run_tells_how_many_bytes_it_has_done(prefect, stored, recording):
    bag = stored(recording + b"\0", "bytes.mcap")
    run_id = prefect.press("process-bag", bag_ids=[bag])
    assert prefect.state(run_id)["type"] == "COMPLETED"
    asked = {"artifacts": {"flow_run_id": {"any_": [run_id]}, "key": {"any_": ["bags-progress"]}}}
    (shown,) = prefect.post("/artifacts/filter", asked)
    assert (shown["data"], shown["description"]) == (100.0, f"1 bag, {(len(recording) + 1) / 1e6:.1f} MB")


@pytest.mark.proof
def test_a_run_whose_worker_was_killed_goes_on_with_what_is_not_converted(prefect, stored, recording, eventually):
    first, second = stored(recording + bytes(2), "first.mcap"), stored(recording + bytes(3), "second.mcap")
    assert prefect.state(prefect.press("process-bag", bag_ids=[first]))["type"] == "COMPLETED"
    file = prefect.runtime.engine.url.database
    with closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")  # its child has begun, and waits
        run_id = prefect.press("process-bag", bag_ids=[first, second])
        (child,) = eventually(lambda: _heavy(prefect), bool)
        prefect.end_worker(signal.SIGKILL)
        eventually(lambda: child.is_running() and child.status() != psutil.STATUS_ZOMBIE, lambda lives: not lives)
        holder.execute("ROLLBACK")
    at = _published_at(prefect, first)
    prefect.start_worker()
    assert prefect.state(run_id)["type"] == "COMPLETED"
    assert prefect.run(run_id)["run_count"] == 2
    assert _published_at(prefect, first) == at < _published_at(prefect, second)


@pytest.mark.proof
def test_a_run_whose_child_is_killed_is_tried_again_by_prefect(prefect, stored, recording, eventually):
    bag = stored(recording + bytes(4), "killed.mcap")
    file = prefect.runtime.engine.url.database
    with closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        run_id = prefect.press("process-bag", bag_ids=[bag])
        (child,) = eventually(lambda: _heavy(prefect), bool)
        child.kill()
        holder.execute("ROLLBACK")
    assert prefect.state(run_id)["type"] == "COMPLETED"
    assert prefect.run(run_id)["run_count"] == 2
    asked = {"artifacts": {"flow_run_id": {"any_": [run_id]}, "key": {"any_": ["bags-progress"]}}}
    # The bar of the first try stays where it was.
    assert sorted(bar["data"] for bar in prefect.post("/artifacts/filter", asked)) == [0.0, 100.0]


def _heavy(prefect) -> list[psutil.Process]:
    children = psutil.Process(prefect.worker.pid).children()
    return [child for child in children if "orchestration.heavy" in child.cmdline()]


def _published_at(prefect, bag_id: str) -> int:
    """When the manifest of the bag was written."""
    with prefect.runtime.reading() as session:
        key = session.get_one(Bag, UUID(bag_id)).manifest_key
    return prefect.runtime.objects.local_path(key).stat().st_mtime_ns


@pytest.fixture
def process_pool(prefect, tmp_path, eventually) -> Iterator[str]:
    """Prefect's own pool `heavy` of type process, with its worker, and a deployment for it; gives the deployment's name."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "heavy", "--type", "process"]
    with (tmp_path / "worker.log").open("wb") as log:
        worker = psutil.Popen(command, env=prefect.environment, stdout=log, stderr=log)
    eventually(
        lambda: prefect.post("/work_pools/filter", {}), lambda pools: "heavy" in {pool["name"] for pool in pools}
    )
    entry = {"name": "process-bag-apart", "entrypoint": "orchestration.flows.bags.process_bag", "description": "Apart."}
    file = tmp_path / "prefect.yaml"
    file.write_text(yaml.safe_dump({"deployments": [{**entry, "work_pool": {"name": "heavy"}}]}))
    subprocess.run([sys.executable, "-c", APPLY, str(file)], env=prefect.environment, check=True, timeout=100)
    (made,) = prefect.post("/deployments/filter", {"deployments": {"name": {"any_": [entry["name"]]}}})
    prefect.ids[entry["name"]] = made["id"]
    yield entry["name"]
    worker.terminate()
    try:
        worker.wait(20)
    except psutil.TimeoutExpired:
        worker.kill()
        worker.wait()


@pytest.mark.proof
def test_the_same_flow_runs_on_a_pool_of_prefects_own(prefect, process_pool, stored, recording):
    bag = stored(recording + bytes(5), "apart.mcap")
    run_id = prefect.press(process_pool, bag_ids=[bag])
    assert prefect.state(run_id)["type"] == "COMPLETED"
    assert f"bag-{bag}" in prefect.artifacts(run_id)
