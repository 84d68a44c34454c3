"""Drive motors wear, batteries drain, points show readings: the same for the same seed."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from fleet.adapters.simulated import battery, history, readings, site_map, wear
from fleet.adapters.simulated.body import Body, driven
from fleet.adapters.simulated.hazards import Hazards
from fleet.organisations import StationKind

OPENED_AT = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
ROBOT = site_map.robots(1)[0]


def test_a_new_motor_is_not_worn_and_a_failed_one_is_worn_out():
    life = wear.life(7, "SIM-0001", 1)
    assert life.wear(0) == 0
    assert life.wear(life.length_h) == 1
    assert life.wear(2 * life.length_h) == 1


def test_wear_never_falls_and_shows_late():
    life = wear.life(7, "SIM-0001", 1)
    worn = [life.wear(life.length_h * share / 20) for share in range(21)]
    assert worn == sorted(worn)
    assert worn[10] < 0.3


@pytest.mark.parametrize("sign", ["current_a", "temperature_degc", "vibration_m_s2"])
def test_current_temperature_and_vibration_rise_towards_failure(sign):
    life = wear.life(7, "SIM-0001", 1)
    young = getattr(life.signs(life.length_h * 0.1, load=1.0), sign)
    old = getattr(life.signs(life.length_h, load=1.0), sign)
    assert old > young * 1.5


def test_a_standing_motor_draws_next_to_nothing():
    life = wear.life(7, "SIM-0001", 1)
    assert life.signs(10, load=0.0).current_a < life.signs(10, load=1.0).current_a / 4


def test_lives_differ_in_length_and_are_the_same_for_the_same_seed():
    lengths = {wear.life(7, "SIM-0001", number).length_h for number in range(1, 9)}
    assert len(lengths) == 8
    assert all(wear.SHORTEST_LIFE_H <= length <= wear.LONGEST_LIFE_H for length in lengths)
    assert wear.life(7, "SIM-0001", 3) == wear.life(7, "SIM-0001", 3)
    assert wear.life(8, "SIM-0001", 3) != wear.life(7, "SIM-0001", 3)


def test_the_present_motor_has_at_least_two_hours_left():
    for number in range(1, 50):
        life = wear.life(number, "SIM-0001", 3)
        assert life.length_h - wear.age_at_start(number, life, "SIM-0001") > 2


def test_the_past_ends_just_before_the_opening_with_the_present_motor():
    past = history.past_lives(7, ROBOT, lives=2, opened_at=OPENED_AT)
    assert [life.has_failed for life in past] == [True, True, False]
    assert [life.life.number for life in past] == [1, 2, 3]
    assert past[-1].ended_at == OPENED_AT - history.ENDS_BEFORE_OPENING


def test_each_past_motor_begins_when_the_one_before_was_replaced():
    past = history.past_lives(7, ROBOT, lives=3, opened_at=OPENED_AT)
    for before, after in itertools.pairwise(past):
        assert after.started_at - before.ended_at == history.REPLACED_AFTER


def test_failures_and_replacements_of_the_past_are_told_in_order_with_stable_keys():
    past = history.past_lives(7, ROBOT, lives=2, opened_at=OPENED_AT)
    told = history.happenings(past)
    assert [one.kind for one in told] == ["component_failed", "component_replaced"] * 2
    assert [one.occurred_at for one in told] == sorted(one.occurred_at for one in told)
    again = history.happenings(history.past_lives(7, ROBOT, lives=2, opened_at=OPENED_AT))
    assert [one.key for one in told] == [one.key for one in again]
    assert told[0].fields["operating_hours"] == past[0].life.length_h


def test_a_past_life_has_one_sample_a_minute_up_to_the_failure():
    (first, *_) = history.past_lives(7, ROBOT, lives=1, opened_at=OPENED_AT)
    recording = history.recording(7, first)
    assert len(recording.samples) == int(first.hours * 60)
    assert recording.samples[59].operating_h == pytest.approx(1.0)
    steps = {
        after.at_ns - before.at_ns for before, after in zip(recording.samples, recording.samples[1:], strict=False)
    }
    assert steps == {60_000_000_000}
    assert recording.samples[-1].at_ns <= first.ended_at.timestamp() * 1e9


def test_a_battery_never_leaves_zero_to_one():
    assert battery.drained(0.001, metres=100, seconds=100) == 0
    assert battery.charged(0.999, seconds=1000) == 1


def test_a_full_pack_has_29_volt_and_an_empty_one_22():
    assert battery.voltage_v(1.0) == pytest.approx(29.0)
    assert battery.voltage_v(0.0) == pytest.approx(22.0)


def test_driving_stops_at_the_point_and_looks_there():
    there = driven(Body(0.0, 0.0, 0.0, 1.0), 0.0, 3.0, seconds=10)
    assert (there.x_m, there.y_m) == (0.0, 3.0)
    assert there.yaw_rad == pytest.approx(1.5707963)
    assert there.speed_m_s == pytest.approx(0.3)


def test_a_reading_is_the_same_for_the_same_seed_robot_point_and_count():
    first = readings.reading(7, "press-1", "temperature", reader="SIM-0001", count=1)
    assert first == readings.reading(7, "press-1", "temperature", reader="SIM-0001", count=1)
    assert first != readings.reading(7, "press-1", "temperature", reader="SIM-0001", count=2)


def test_a_blocked_station_is_free_after_its_first_visitor():
    hazards = Hazards(seed=7, blocked={"press-1"})
    assert not hazards.blocks("press-2")
    assert hazards.blocks("press-1")
    assert not hazards.blocks("press-1")


def test_orders_fail_by_chance_about_as_often_as_asked():
    hazards = Hazards(seed=7, failure_rate=0.25)
    failed = sum(hazards.fault("SIM-0001", number, 3) is not None for number in range(2000))
    assert 400 < failed < 600
    assert Hazards(seed=7).fault("SIM-0001", 1, 3) is None


def test_the_map_has_four_docks_and_ten_inspection_points_within_the_hall():
    kinds = [place.kind for place in site_map.SITE_MAP]
    assert kinds.count(StationKind.dock) == 4
    assert kinds.count(StationKind.inspection_point) == 10
    assert len(site_map.PLACES) == len(site_map.SITE_MAP)
    assert all(0 <= place.x_m <= 40 and 0 <= place.y_m <= 30 for place in site_map.SITE_MAP)


def test_robots_are_numbered_and_docks_are_shared_side_by_side():
    robots = site_map.robots(6)
    assert [robot.name for robot in robots][:2] == ["amr-01", "amr-02"]
    assert robots[5].serial_number == "SIM-0006"
    assert "inspect_gas" not in robots[0].capabilities
    homes = {(site_map.home_of(index).x_m, site_map.home_of(index).y_m) for index in range(6)}
    assert len(homes) == 6


def test_a_restarted_site_says_the_same_ends_of_lives_under_the_same_keys():
    later = history.past_lives(7, ROBOT, lives=1, opened_at=OPENED_AT + timedelta(days=1))
    keys = [one.key for one in history.happenings(later)]
    assert keys == ["SIM-0001/drive_motor/1/failed", "SIM-0001/drive_motor/1/replaced"]
