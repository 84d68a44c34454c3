"""Errors, intervals and the gate, by hand-calculated examples."""

import math

import numpy as np
import pytest

from ml.evaluate import Evaluation, conformal_width, coverage_of, evaluate, judge


@pytest.fixture
def rated():
    """An evaluation with this RMSE."""
    return lambda rmse: Evaluation(rmse_hours=rmse, mae_hours=rmse, windows=100)


def test_errors_are_in_hours():
    found = evaluate(np.array([3.0, 5.0]), np.array([0.0, 1.0]))
    assert found.rmse_hours == pytest.approx(math.sqrt(12.5))
    assert found.mae_hours == 3.5
    assert found.windows == 2


def test_a_life_counts_once_however_many_windows_it_has():
    long_and_exact, short_and_wrong = np.zeros(1000), np.full(3, -7.0)
    assert conformal_width([long_and_exact, short_and_wrong]) == 7.0


def test_within_a_life_nine_of_ten_windows_are_covered():
    assert conformal_width([np.arange(1.0, 12.0)]) == 10.0  # of 1 … 11 the error that covers 90 %


def test_with_many_lives_the_worst_ones_are_left_out_by_rank():
    lives = [np.full(5, float(size)) for size in range(1, 20)]
    assert conformal_width(lives) == 18.0  # ceil(20 * 0.9) = 18th of 19


def test_coverage_counts_what_lies_within():
    assert coverage_of(np.zeros(4), np.array([0.0, 1.0, -1.0, 2.0]), 1.0) == 0.75


def test_a_model_no_better_than_the_mean_is_refused(rated):
    decision = judge(rated(20.0), baseline=rated(20.0), champion=None)
    assert not decision.is_promoted
    assert decision.reason == "RMSE 20.00 h is no better than the mean's 20.00 h"


def test_the_first_good_model_becomes_champion(rated):
    assert judge(rated(8.0), baseline=rated(20.0), champion=None).is_promoted


def test_a_model_worse_than_the_champion_is_refused_with_both_figures(rated):
    decision = judge(rated(9.0), baseline=rated(20.0), champion=rated(8.0))
    assert not decision.is_promoted
    assert "9.00 h is worse than the champion's 8.00 h" in decision.reason


def test_a_difference_within_the_noise_lets_the_newer_model_in(rated):
    assert judge(rated(8.1), baseline=rated(20.0), champion=rated(8.0)).is_promoted
