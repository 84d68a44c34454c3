"""Recordings as files: genuine ROS 2 bags that rosbags reads, the same bytes for the same samples."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from fleet.adapters.simulated import history, site_map
from fleet.adapters.simulated.body import Body
from fleet.adapters.simulated.messages import TYPES
from fleet.adapters.simulated.recorder import NIGHT_EVERY, SAMPLES_MAX, Recording, thinned, write_bag
from fleet.adapters.simulated.samples import Sample
from fleet.adapters.simulated.wear import Signs

START_NS = 1_772_402_400_000_000_000


def sample(number, speed_m_s=1.0):
    return Sample(
        at_ns=START_NS + number * 25_000_000,
        body=Body(number / 2, 3.0, 0.5, 0.8, speed_m_s=speed_m_s, odometer_m=number / 2),
        operating_h=40 + number / 7200,
        signs=Signs(current_a=3.2, temperature_degc=44.0, vibration_m_s2=0.6),
        component="SIM-0001/drive_motor/3",
    )


def recording(count=100, **news):
    samples = [sample(number) for number in range(count)]
    return replace(Recording("amr-01-night-1", "amr-01", samples, NIGHT_EVERY, noise="7/amr-01-night-1"), **news)


@pytest.fixture
def messages(tmp_path):
    """Writes a recording and gives its messages by topic, as rosbags reads them back."""

    def written(what):
        found = {}
        path = write_bag(tmp_path, what)
        with AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
            for connection, at_ns, raw in reader.messages():
                body = reader.deserialize(raw, connection.msgtype)
                found.setdefault(connection.topic, []).append((at_ns, connection.msgtype, body))
        return found

    return written


def test_every_topic_is_there_with_its_type_and_rate(messages):
    found = messages(recording(100))
    assert {topic: len(told) for topic, told in found.items()} == {
        "/battery_state": 10,
        "/joint_states": 100,
        "/imu": 100,
        "/odom": 100,
        "/diagnostics": 20,
    }
    assert {topic: told[0][1] for topic, told in found.items()} == TYPES


def test_odometry_carries_exactly_the_place_and_the_time(messages):
    at_ns, _, odometry = messages(recording(20))["/odom"][7]
    assert at_ns == sample(7).at_ns
    assert odometry.pose.pose.position.x == 3.5
    assert odometry.twist.twist.linear.x == 1.0
    stamp = odometry.header.stamp
    assert stamp.sec * 1_000_000_000 + stamp.nanosec == at_ns


def test_diagnostics_name_the_motor_and_its_values_as_text(messages):
    (status,) = messages(recording(20))["/diagnostics"][0][2].status
    values = {pair.key: float(pair.value) for pair in status.values}
    assert status.name == "drive_motor"
    assert status.hardware_id == "SIM-0001/drive_motor/3"
    assert values["motor_current_a"] == pytest.approx(3.2, abs=0.4)
    assert values["motor_temperature_degc"] == pytest.approx(44.0, abs=3)
    assert values["vibration_m_s2"] == pytest.approx(0.6, abs=0.3)
    assert values["operating_hours"] == pytest.approx(40.0)


def test_a_standing_robot_gives_no_diagnostics_of_its_drive(messages):
    still = [replace(sample(number), body=replace(sample(number).body, speed_m_s=0.0)) for number in range(20)]
    found = messages(recording(samples=still))
    assert "/diagnostics" not in found
    assert len(found["/odom"]) == 20


def test_vibration_shows_as_the_spread_of_the_acceleration(messages):
    readings = [told.linear_acceleration.x for _, _, told in messages(recording(400))["/imu"]]
    mean = sum(readings) / len(readings)
    spread = (sum((value - mean) ** 2 for value in readings) / len(readings)) ** 0.5
    assert spread == pytest.approx(0.6, rel=0.2)


def test_the_same_recording_written_twice_has_the_same_bytes(tmp_path):
    first = write_bag(tmp_path / "one", recording()).read_bytes()
    assert write_bag(tmp_path / "two", recording()).read_bytes() == first
    assert write_bag(tmp_path / "one", recording()).read_bytes() == first


def test_another_noise_gives_other_bytes(tmp_path):
    first = write_bag(tmp_path / "one", recording()).read_bytes()
    assert write_bag(tmp_path / "two", recording(noise="8")).read_bytes() != first


def test_a_rest_of_a_crashed_write_is_cleared_away(tmp_path):
    scratch = tmp_path / ".writing-amr-01-night-1"
    scratch.mkdir()
    (scratch / "half").write_bytes(b"half")
    write_bag(tmp_path, recording(10))
    assert [path.name for path in tmp_path.iterdir()] == ["amr-01-night-1.mcap"]


def test_a_very_long_run_is_thinned_and_stays_within_the_limit():
    samples = [sample(0)] * SAMPLES_MAX
    assert len(thinned(samples)) == SAMPLES_MAX // 2
    assert thinned(samples[:10]) == samples[:10]


def test_a_past_life_is_a_bag_whose_motor_warms_up_towards_its_failure(messages):
    opened_at = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
    (first, _) = history.past_lives(7, site_map.robots(1)[0], lives=1, opened_at=opened_at)
    told = messages(history.recording(7, first))["/diagnostics"]
    assert len(told) == int(first.hours * 60)
    values = [{pair.key: float(pair.value) for pair in message.status[0].values} for _, _, message in told]
    young, old = values[:60], values[-60:]
    for sign, factor in {"motor_current_a": 1.6, "motor_temperature_degc": 1.3, "vibration_m_s2": 2.0}.items():
        assert sum(value[sign] for value in old) > factor * sum(value[sign] for value in young)
    assert values[-1]["operating_hours"] == pytest.approx(first.hours, abs=0.02)
    assert told[-1][0] < opened_at.timestamp() * 1e9
