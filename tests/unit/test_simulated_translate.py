"""The cloud's own words, as written in its samples, in ours."""

import math
from datetime import UTC, datetime

import pytest

from fleet.adapter import Activity, DiscoveredRobot, Happening, Order, OrderReport, OrderStatus, OrderTask, TaskKind
from fleet.adapters.simulated import translate, wire
from fleet.errors import Invalid

AT = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
AT_US = 1_772_402_400_000_000


def unit(**news):
    return wire.UnitState(unit_sn="SIM-0001", stamp_us=AT_US, mode=wire.Mode.standby, **news)


def test_microseconds_since_1970_are_an_aware_instant():
    assert translate.instant_from(AT_US) == AT
    assert translate.stamp_from(AT) == AT_US


@pytest.mark.parametrize(
    ("bearing_deg", "yaw_rad"), [(90.0, 0.0), (0.0, math.pi / 2), (180.0, -math.pi / 2), (270.0, math.pi)]
)
def test_a_compass_bearing_becomes_an_angle_counter_clockwise_from_east(bearing_deg, yaw_rad):
    assert translate.observation_from(unit(bearing_deg=bearing_deg)).yaw_rad == pytest.approx(yaw_rad)


def test_millimetres_and_percent_become_metres_and_fractions():
    seen = translate.observation_from(unit(x_mm=1250.0, y_mm=-40.0, charge_pct=81.5))
    assert (seen.x_m, seen.y_m) == pytest.approx((1.25, -0.04))
    assert seen.battery_fraction == pytest.approx(0.815)
    assert seen.activity is Activity.idle


def test_a_vibration_in_their_unit_becomes_metres_per_second_squared():
    measured = wire.Measurement(value=1830.0, unit="mm/s2")
    step = wire.StepState(index=0, state=wire.StepWord.ok, measured=measured)
    job = wire.JobState(
        token="m/1", unit_sn="S", state=wire.JobWord.done, stamp_us=AT_US, revision=3, epoch=1, steps=(step,)
    )
    (task,) = translate.report_from(job).tasks
    assert (task.value, task.unit) == (pytest.approx(1.83), "m/s^2")


def test_operating_minutes_become_operating_hours():
    notice = wire.Notice(
        notice_id="n", code="COMPONENT_FAULT", stamp_us=AT_US, level=wire.Level.fault, details={"operatingMin": 90.0}
    )
    happening = translate.happening_from(notice)
    assert happening.kind == "component_failed"
    assert happening.severity == "error"
    assert happening.fields == {"operating_hours": 1.5}


def test_a_code_that_is_new_to_us_keeps_its_name():
    notice = wire.Notice(notice_id="n", code="FIRMWARE_UPDATED", stamp_us=AT_US)
    assert translate.happening_from(notice).kind == "firmware_updated"


def test_an_order_is_written_as_a_job_with_tokens_epochs_and_steps():
    task = OrderTask(position=2, kind=TaskKind.reading, station="press-1", x_m=8.0, y_m=10.0, timeout_s=60)
    order = Order(key="m/1", fence=4, serial_number="SIM-0001", mission_id="m", tasks=(task,))
    written = translate.job_from(order).model_dump(mode="json", by_alias=True)
    assert written == {
        "token": "m/1",
        "epoch": 4,
        "unitSn": "SIM-0001",
        "reference": "m",
        "steps": [
            {
                "index": 2,
                "op": "MEASURE",
                "place": "press-1",
                "xMm": 8000.0,
                "yMm": 10000.0,
                "args": {},
                "limitMs": 60000.0,
            }
        ],
    }


def test_a_robot_is_listed_as_a_unit_and_found_again():
    robot = DiscoveredRobot(serial_number="S", name="amr-01", model="M", capabilities=("drive",))
    assert translate.robot_from(translate.unit_from(robot)) == robot


def test_the_cloud_has_no_word_for_an_order_that_it_never_had():
    report = OrderReport(key="m/1", serial_number="S", status=OrderStatus.not_found, observed_at=AT)
    with pytest.raises(Invalid, match="404"):
        translate.job_state_from(report)


def test_a_number_that_json_does_not_know_is_invalid():
    with pytest.raises(Invalid):
        translate.events_from(b'{"entries":[{"type":"UNIT","unitSn":"S","stampUs":1,"mode":"STANDBY","xMm":NaN}]}')


def test_the_message_about_wrong_bytes_says_where_and_what_but_not_the_bytes():
    with pytest.raises(Invalid) as refused:
        translate.events_from(b'{"entries":[{"type":"UNIT","unitSn":"S","stampUs":1,"mode":"DANCING"}]}')
    assert "entries.0.UNIT.mode" in refused.value.message
    assert "DANCING" not in refused.value.message


def test_every_word_of_ours_has_exactly_one_of_theirs():
    for table in (translate.OPS, translate.STEP_WORDS, translate.MODES, translate.LEVELS, translate.CODES):
        assert len(set(table.values())) == len(table)
    assert set(translate.OPS) == set(TaskKind)
    assert set(translate.MODES) == set(Activity)


def test_a_happening_without_robot_stays_without_one():
    happening = Happening(key="k", kind="battery_low", occurred_at=AT)
    assert translate.happening_from(translate.notice_from(happening)).serial_number is None
