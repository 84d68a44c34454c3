"""Recordings through a real Prefect server: a run that converts bags shows a page for each."""

import hashlib

import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from ingestion.models import Bag

pytestmark = [pytest.mark.serial, pytest.mark.timeout(900)]
START_NS = 1_772_402_400_000_000_000  # 2026-03-01 22:00 UTC
FLOAT = "std_msgs/msg/Float64"


@pytest.fixture
def stored(prefect, demo_site, tmp_path):
    """A bag of these bytes, not converted yet; gives its id."""

    def store(content: bytes, filename: str) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        key = f"{demo_site}/bags/{sha256}"
        prefect.runtime.objects.put(key, content)
        known = {"filename": filename, "object_key": key, "uploaded_at": prefect.runtime.clock.now()}
        bag = Bag(organisation_id=demo_site, sha256=sha256, size=len(content), **known)
        with prefect.runtime.transaction() as session:
            session.add(bag)
        return str(bag.id)

    return store


@pytest.fixture
def recording(tmp_path) -> bytes:
    """A minute of /voltage."""
    types = get_typestore(Stores.ROS2_HUMBLE)
    with Writer(tmp_path / "run", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        line = writer.add_connection("/voltage", FLOAT, typestore=types)
        for second in range(60):
            content = types.serialize_cdr(types.types[FLOAT](data=24.0), FLOAT)
            writer.write(line, START_NS + second * 10**9, content)
    return (tmp_path / "run" / "run.mcap").read_bytes()


def test_a_run_shows_a_page_for_each_bag_with_topics_quality_and_timeline(prefect, stored, recording):
    good, bad = stored(recording, "night.mcap"), stored(b"no recording", "note.txt")
    run_id = prefect.press("process-bag", bag_ids=[good, bad])
    assert prefect.state(run_id)["type"] == "COMPLETED"
    shown = prefect.artifacts(run_id)
    page = shown[f"bag-{good}"]
    for told in ("## night.mcap: complete", "2026-03-01 22:00:00 to 22:00:59 UTC", "/voltage", "Float64", "█" * 60):
        assert told in page
    assert "This is no recording we know" in shown[f"bag-{bad}"]
    assert '"status": "refused"' in shown["bags"]
