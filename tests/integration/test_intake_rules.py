"""Rules: who must look, told once, and ended by what ends it, in whatever order it is told."""

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from sqlmodel import select

from fleet.adapter import Activity, Happening, Observation
from fleet.changes import Change
from fleet.events import Alert, record
from fleet.runtime import Runtime
from ingestion.rules import Verdict, evaluate, follow, follow_state

START = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)


@pytest.fixture
def happens(runtime: Runtime, world):
    """Records a happening of amr-01 at a second and follows the rules."""

    def do(kind: str, at_s: float, **fields) -> None:
        seen = Happening(
            key=f"{kind}-{at_s}-{fields}", kind=kind, occurred_at=START + timedelta(seconds=at_s), fields=fields
        )
        robot = world.robots["amr-01"]
        with runtime.transaction() as session:
            event = record(
                session, organisation_id=robot.organisation_id, robot_id=robot.id, seen=seen, received_at=START
            )
            assert event is not None
            follow(session, robot, event)

    return do


@pytest.fixture
def alerts(runtime: Runtime):
    """Every alert: rule, and whether it is open."""

    def read() -> list[tuple[str, bool]]:
        with runtime.reading() as session:
            return [(row.rule, row.closed_at is None) for row in session.exec(select(Alert)).all()]

    return read


@pytest.fixture
def charged(runtime: Runtime, world):
    """amr-01 says how full its battery is at a second."""

    def do(battery: float | None, at_s: float) -> None:
        seen = Observation(
            serial_number="SN-amr-01",
            observed_at=START + timedelta(seconds=at_s),
            activity=Activity.charging,
            battery_fraction=battery,
        )
        with runtime.transaction() as session:
            follow_state(session, world.robots["amr-01"], seen)

    return do


def test_a_failed_component_opens_an_alert_that_names_robot_and_part():
    (verdict,) = evaluate("component_failed", {"component": "drive_motor"}, robot="amr-01")
    assert (verdict.rule, verdict.is_opening) == ("component_failed/drive_motor", True)
    assert "amr-01" in verdict.message
    assert "drive_motor" in verdict.message


def test_a_replaced_component_closes_the_alert_of_that_part():
    (verdict,) = evaluate("component_replaced", {"component": "drive_motor"}, robot="amr-01")
    assert (verdict.rule, verdict.is_opening) == ("component_failed/drive_motor", False)


@pytest.mark.parametrize("kind", ["mission_failed", "unknown_robot", "anything"])
def test_what_no_rule_names_opens_nothing(kind: str):
    assert evaluate(kind, {}, robot="amr-01") == []


def test_a_low_battery_is_one_alert_without_a_part():
    assert [verdict.rule for verdict in evaluate("battery_low", {"battery_fraction": 0.1}, robot="r")] == [
        "battery_low"
    ]
    assert isinstance(evaluate("battery_low", {}, robot="r")[0], Verdict)


def test_two_low_batteries_are_one_open_alert(happens, alerts):
    happens("battery_low", 1)
    happens("battery_low", 2)
    assert alerts() == [("battery_low", True)]


def test_two_failed_parts_are_two_alerts_and_replacing_one_leaves_the_other(happens, alerts):
    happens("component_failed", 1, component="drive_motor")
    happens("component_failed", 2, component="lidar")
    happens("component_replaced", 3, component="lidar")
    assert sorted(alerts()) == [("component_failed/drive_motor", True), ("component_failed/lidar", False)]


def test_after_it_was_closed_the_same_rule_opens_a_new_alert(happens, alerts):
    happens("component_failed", 1, component="drive_motor")
    happens("component_replaced", 2, component="drive_motor")
    happens("component_failed", 3, component="drive_motor")
    assert sorted(is_open for _, is_open in alerts()) == [False, True]


@pytest.mark.parametrize("order", list(permutations(["failed", "replaced"])))
def test_failure_and_replacement_leave_no_open_alert_in_whatever_order_they_are_told(happens, alerts, order):
    at_s = {"failed": 1, "replaced": 2}
    for what in order:
        happens(f"component_{what}", at_s[what], component="drive_motor")
    assert not any(is_open for _, is_open in alerts())


def test_a_replacement_before_the_failure_does_not_end_it(happens, alerts):
    happens("component_failed", 5, component="drive_motor")
    happens("component_replaced", 1, component="drive_motor")
    assert alerts() == [("component_failed/drive_motor", True)]


def test_a_robot_that_says_it_is_charged_ends_its_battery_alert(happens, alerts, charged):
    happens("battery_low", 1)
    charged(0.3, 2)
    charged(None, 3)
    assert alerts() == [("battery_low", True)]
    charged(0.8, 4)
    assert alerts() == [("battery_low", False)]


def test_a_charge_before_the_battery_was_low_ends_nothing(happens, alerts, charged):
    happens("battery_low", 5)
    charged(0.9, 1)
    assert alerts() == [("battery_low", True)]


def test_opening_and_closing_are_told_to_the_feed(runtime: Runtime, happens):
    happens("component_failed", 1, component="drive_motor")
    happens("component_replaced", 2, component="drive_motor")
    with runtime.reading() as session:
        changes = session.exec(select(Change).where(Change.subject == "alert").order_by(Change.id)).all()
    assert [change.kind for change in changes] == ["opened", "closed"]
    assert len({change.subject_id for change in changes}) == 1
