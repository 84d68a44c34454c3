"""What the features of a drive say, by hand-calculated examples."""

import math

import numpy as np
import pytest

from ml.features import BASELINE_WINDOWS, FEATURES, FeatureState, Window, feature_hash, matrix, step


@pytest.fixture
def at():
    """Picks features of a row by name."""
    return lambda row, name: row[FEATURES.index(name)]


def test_the_first_window_is_its_own_mean_and_both_averages(at):
    _, row = step(FeatureState(), Window(0.0, 4.0, 30.0, 0.5))
    assert at(row, "motor_current_a_mean") == 4.0
    assert at(row, "motor_temperature_degc_ewma_fast") == 30.0
    assert at(row, "vibration_m_s2_ewma_slow") == 0.5
    assert at(row, "motor_current_a_sd") == 0.0
    assert at(row, "motor_current_a_drift") == 0.0


def test_mean_and_spread_are_those_of_the_last_ten_windows(at):
    windows = [Window(0.1 * n, float(n), 30.0, 0.5) for n in range(14)]
    row = matrix(windows)[-1]
    assert at(row, "motor_current_a_mean") == pytest.approx(8.5)  # the mean of 4 … 13
    assert at(row, "motor_current_a_sd") == pytest.approx(math.sqrt(8.25))  # (10^2 - 1) / 12 for ten equal steps


def test_the_fast_average_follows_by_two_elevenths(at):
    row = matrix([Window(0.0, 0.0, 0.0, 0.0), Window(0.1, 11.0, 0.0, 0.0)])[-1]
    assert at(row, "motor_current_a_ewma_fast") == pytest.approx(2.0)  # 0 + 2 / (10 + 1) * 11
    assert at(row, "motor_current_a_ewma_slow") == pytest.approx(11 * 2 / 81)


def test_drift_is_measured_from_the_first_hours_alone(at):
    calm = [Window(0.1 * n, 4.0, 30.0, 0.5) for n in range(BASELINE_WINDOWS)]
    worn = [Window(50 + 0.1 * n, 6.0, 30.0, 0.5) for n in range(100)]
    row = matrix([*calm, *worn])[-1]
    assert at(row, "motor_current_a_drift") == pytest.approx(2.0, abs=1e-6)


def test_drift_is_unknown_when_the_first_hours_were_not_recorded(at):
    rows = matrix([Window(40.0 + 0.1 * n, 4.0, 30.0, 0.5) for n in range(30)])
    drift = rows[:, FEATURES.index("motor_current_a_drift")]
    assert np.isnan(drift).all()


def test_no_windows_give_an_empty_matrix_of_the_right_width():
    assert matrix([]).shape == (0, len(FEATURES))


def test_the_recipe_has_a_stable_name():
    assert feature_hash() == feature_hash()
    assert len(feature_hash()) == 16
