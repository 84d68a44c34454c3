"""Recordings through a real Prefect server: a run that converts bags shows a page for each."""

import pytest

pytestmark = [pytest.mark.serial, pytest.mark.timeout(900)]
START_NS = 1_772_402_400_000_000_000  # 2026-03-01 22:00 UTC
FLOAT = "std_msgs/msg/Float64"


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
