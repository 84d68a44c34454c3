"""The page of a bag: topics with their quality, a timeline with the battery, what was warned of and what is missing."""

from dataclasses import replace

import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from fleet.database import new_id
from fleet.events import Alert, Event
from fleet.objectstore import ObjectStore
from ingestion.bags import convert
from ingestion.bags.timeline import AWAY, CELLS, HERE, timeline
from ingestion.lake import Lake, Lost, instant
from ingestion.models import BagTopic
from missions.during import Stint
from orchestration.bag_page import ROWS_SHOWN, bag_page
from reports.meanwhile import Happened

START_NS = 1_772_402_400_000_000_000  # 2026-03-01 22:00 UTC
SECOND_NS = 10**9
BATTERY, POINT = "sensor_msgs/msg/BatteryState", "geometry_msgs/msg/Point"


@pytest.fixture
def converted(tmp_path, humble):
    """A minute of a battery that goes from full to empty, and of points with a hole of 30 seconds."""
    types = humble.types

    def make(full: float = 1.0):
        with Writer(tmp_path / "run", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            battery = writer.add_connection("/battery", BATTERY, typestore=humble)
            points = writer.add_connection("/po`int", POINT, typestore=humble)
            for second in range(61):
                charge = types[BATTERY](**_battery(types, full * (1 - second / 60)))
                writer.write(battery, START_NS + second * SECOND_NS, humble.serialize_cdr(charge, BATTERY))
                if not 15 < second < 45:
                    point = humble.serialize_cdr(types[POINT](x=0.0, y=0.0, z=0.0), POINT)
                    writer.write(points, START_NS + second * SECOND_NS, point)
        manifest = convert(tmp_path / "run", tmp_path / "lake", robot="amr-01")
        return Lake(ObjectStore(f"file://{tmp_path}/lake", signing_key=b""), "", "local"), manifest

    return make


def _battery(types, share: float) -> dict:
    import numpy as np

    numbers = ("voltage", "temperature", "current", "charge", "capacity", "design_capacity")
    states = ("power_supply_status", "power_supply_health", "power_supply_technology")
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](1, 0), "")
    cells = dict.fromkeys(("cell_voltage", "cell_temperature"), np.zeros(0, np.float32))
    known = dict.fromkeys(numbers, 1.0) | dict.fromkeys(states, 0) | {"location": "", "serial_number": ""}
    return {"header": header, "percentage": share, "present": True} | known | cells


@pytest.mark.parametrize("full", [1.0, 100.0])
def test_the_timeline_shows_topics_their_gaps_the_battery_and_events(converted, full: float):
    lake, manifest = converted(full)
    lines = timeline(lake, manifest, [instant(START_NS + 30 * SECOND_NS)]).splitlines()
    shown = {line[: -CELLS - 2].strip(): line[-CELLS:] for line in lines[1:]}
    assert lines[0].split() == ["2026-03-01", "22:00:00", "2026-03-01", "22:01:00"]
    assert shown["/battery"] == HERE * CELLS
    assert shown["/po'int"] == HERE * 15 + AWAY * 30 + HERE * 15
    charge = shown["battery /battery"]
    assert (charge[0], charge[-1], len(charge)) == ("█", "▁", CELLS)
    assert list(charge) == sorted(charge, reverse=True)
    assert shown["events"].index("!") == 30


def test_a_bag_without_messages_has_no_timeline(converted):
    lake, manifest = converted()
    assert timeline(lake, replace(manifest, first_ns=None), []) == ""


@pytest.fixture
def row():
    """A catalogued topic."""
    return lambda **known: BagTopic(
        **{"bag_id": new_id(), "number": 0, "organisation_id": new_id(), "name": "/t", "type": "a/b"} | known
    )


def test_the_page_tells_quality_errors_events_and_losses(converted, row):
    _, manifest = converted()
    lost = replace(manifest, lost=[Lost(offset=7, bytes=9, reason="torn")], repairs=["no index"])
    event = Event(id=new_id(), kind="bumper", severity="error", occurred_at=instant(START_NS))
    mission = Stint(new_id(), "Inspect press-1", event.occurred_at, None)
    happened = Happened(event, Alert(rule="bumper", message="It hit something.", opened_at=event.occurred_at), mission)
    topics = [row(rows=61, rate_hz=1.0, gaps=2, longest_gap_s=30.0, errors="drive: hot\ndrive: stuck")]
    text = bag_page(lost, topics, [happened], "THE LINES")
    assert "```text\nTHE LINES\n```" in text
    assert "2026-03-01 22:00:00 to 22:01:00 UTC" in text
    assert "| /t | a/b | 61 | 0 | 1 | 2 | 30 |" in text
    for told in ("drive: hot", "drive: stuck", "bumper", "9 bytes at 7: torn", "no index", str(event.id)):
        assert told in text
    for told in ("It hit something.", f"Inspect press-1 ({mission.mission_id})"):
        assert told in text


def test_nothing_from_a_recording_is_markup(converted, row):
    _, manifest = converted()
    named = replace(manifest, filename="<b>|x", reason="a|b")
    text = bag_page(named, [row(name="[x](javascript:1)", errors="<script>|")], [], "")
    assert "<b>" not in text.replace("\\<b\\>", "")
    assert "\\[x\\]" in text
    assert "<script>" not in text.replace("\\<script\\>", "")


def test_very_many_rows_are_cut_and_counted(converted, row):
    _, manifest = converted()
    text = bag_page(manifest, [row(name=f"/t{number}") for number in range(ROWS_SHOWN + 5)], [], "")
    assert "and 5 more" in text
    assert text.count("| /t") == ROWS_SHOWN
