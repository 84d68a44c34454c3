"""From flattened diagnostics to measurements, and a name for exactly this data."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from ml.datasets import data_hash, examples, measurements_from
from ml.features import FEATURES
from ml.labels import Life, Window

KEYS = ["operating_hours", "motor_current_a", "motor_temperature_degc", "vibration_m_s2"]


@pytest.fixture
def diagnostics():
    """A table as the lake gives it: rows of (robot, second, statuses as {name: values})."""

    def table(*rows):
        return pa.table(
            {
                "log_time": pa.array([second * 10**9 for _, second, _ in rows], pa.timestamp("ns", tz="UTC")),
                "status.name": pa.array([list(statuses) for *_, statuses in rows], pa.list_(pa.string())),
                "status.values.key": pa.array(
                    [[KEYS[: len(v)] for v in statuses.values()] for *_, statuses in rows],
                    pa.list_(pa.list_(pa.string())),
                ),
                "status.values.value": pa.array(
                    [list(statuses.values()) for *_, statuses in rows], pa.list_(pa.list_(pa.string()))
                ),
                "robot": [robot for robot, *_ in rows],
            }
        )

    return table


@pytest.fixture
def ended():
    """A life of forty windows that failed at four operating hours."""
    return Life("amr-01", 0, tuple(Window(0.1 * n, 4 + 0.1 * n, 30.0, 0.5) for n in range(40)), 0.0, 4.0)


def test_each_robot_gets_its_own_measurements_in_order_of_time(diagnostics):
    found = measurements_from(
        diagnostics(
            ("amr-01", 20, {"drive_motor": ["1.5", "4.5", "31", "0.6"]}),
            ("amr-02", 5, {"drive_motor": ["9", "5", "40", "1e-1"]}),
            ("amr-01", 10, {"drive_motor": ["1.0", "4.0", "30", "0.5"]}),
        )
    )
    assert sorted(found) == ["amr-01", "amr-02"]
    assert found["amr-01"].at_s.tolist() == [10.0, 20.0]
    assert found["amr-01"].values.tolist() == [[1.0, 4.0, 30.0, 0.5], [1.5, 4.5, 31.0, 0.6]]
    assert found["amr-02"].values.tolist() == [[9.0, 5.0, 40.0, 0.1]]


def test_the_drive_is_found_among_other_components(diagnostics):
    statuses = {"lidar": ["77", "77", "77", "77"], "drive_motor": ["1", "4", "30", "0.5"], "brake": []}
    found = measurements_from(diagnostics(("amr-01", 1, statuses)))
    assert found["amr-01"].values.tolist() == [[1.0, 4.0, 30.0, 0.5]]


@pytest.mark.parametrize("bad", ["", "broken", "nan", "1,5", "inf"])
def test_a_value_that_is_no_number_costs_its_own_message_only(diagnostics, bad):
    found = measurements_from(
        diagnostics(
            ("amr-01", 1, {"drive_motor": ["1", bad, "30", "0.5"]}),
            ("amr-01", 2, {"drive_motor": ["2", "4", "30", "0.5"]}),
            ("amr-01", 3, {"drive_motor": ["3", "4"]}),
            ("amr-01", 4, {}),
        )
    )
    assert found["amr-01"].at_s.tolist() == [2.0]


def test_a_robot_without_a_drive_is_not_there(diagnostics):
    assert measurements_from(diagnostics(("amr-01", 1, {"lidar": ["1"]}))) == {}


def test_nothing_recorded_gives_nothing():
    assert measurements_from(pa.table({"log_time": pa.nulls(0), "robot": pa.nulls(0)})) == {}


def test_another_type_under_the_same_name_is_not_read(diagnostics):
    table = diagnostics(("amr-01", 1, {}))
    for name in ("status.name", "status.values.key", "status.values.value"):
        table = table.set_column(table.schema.get_field_index(name), name, pa.nulls(1))
    assert measurements_from(table) == {}


def test_the_hash_names_exactly_the_data(ended):
    assert data_hash([ended]) == data_hash([replace(ended)])
    assert data_hash([ended]) != data_hash([replace(ended, failed_hours=4.1)])
    assert data_hash([ended]) != data_hash([replace(ended, windows=ended.windows[:-1])])


def test_with_a_seed_a_life_is_told_again_from_a_drawn_window(ended):
    plain, twice = examples([ended], cap_hours=48.0), examples([ended], cap_hours=48.0, seed=3)
    again = len(twice.rul_hours) - len(plain.rul_hours)
    assert 0 < again <= 40
    np.testing.assert_array_equal(twice.rul_hours[-again:], plain.rul_hours[-again:])
    np.testing.assert_array_equal(twice.features[: len(plain.features)], plain.features)
    assert twice.features.shape[1] == len(FEATURES)


@pytest.mark.parametrize("value", ["1e300", "-1e300", "1e999", "1e6", "nan", "inf", "", "0x10", "1,5", "4 A", "٣"])
@pytest.mark.parametrize("column", range(4))
def test_a_value_no_drive_can_have_gives_no_measurement_and_spoils_no_other(diagnostics, value: str, column: int):
    wrong = ["1.0", "4.0", "30", "0.5"]
    wrong[column] = value
    found = measurements_from(
        diagnostics(
            ("amr-01", 10, {"drive_motor": wrong}), ("amr-01", 20, {"drive_motor": ["1.1", "4.1", "31", "0.6"]})
        )
    )
    assert found["amr-01"].at_s.tolist() == [20.0]
