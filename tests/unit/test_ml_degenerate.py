"""Learning from what is hardly data: nothing, one of everything, constants, failures at odd times."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from fleet.errors import Invalid
from ml.evaluate import Evaluation, conformal_width, judge
from ml.features import FEATURES, Window, matrix
from ml.labels import Failure, Life, Measurements, lives, rul_hours, windows
from ml.splits import folds, split
from ml.train import fit_lives

BEGIN = datetime(2026, 2, 1, tzinfo=UTC)

# MLflow warns of its own type hints while it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")


@pytest.fixture
def measured():
    """Six hours of operation of one robot, a sample each tenth of an hour; every channel shows `level`."""

    def of(level: float = 1.0) -> Measurements:
        hours = np.arange(60) * 0.1
        values = np.column_stack([hours, *[np.full(60, level)] * 3])
        return Measurements("amr-01", BEGIN.timestamp() + hours * 3600, values)

    return of


@pytest.fixture
def failed():
    """A failure so many hours after the beginning."""
    return lambda hours, said=None: Failure("amr-01", BEGIN + timedelta(hours=hours), said)


@pytest.fixture
def constant_lives():
    """Lives that failed and whose channels never moved."""

    def of(count: int, windows_each: int = 30) -> list[Life]:
        shown = tuple(Window(0.1 * number, 4.0, 30.0, 0.5) for number in range(windows_each))
        return [Life(f"amr-{number:02}", 0, shown, 0.0, 0.1 * windows_each) for number in range(count)]

    return of


def test_nothing_measured_is_no_life(failed):
    nothing = Measurements("amr-01", np.array([]), np.zeros((0, 4)))
    assert lives(nothing, []) == lives(nothing, [failed(1)]) == []
    assert windows(np.zeros((0, 4))) == ()
    assert matrix([]).shape == (0, len(FEATURES))


def test_a_failure_before_anything_was_recorded_ends_nothing_that_is_known(measured, failed):
    (life,) = lives(measured(), [failed(-5)])
    assert (life.number, life.failed_hours, len(life.windows)) == (1, None, 60)


def test_a_failure_long_after_the_last_sample_still_ends_the_life(measured, failed):
    (life,) = lives(measured(), [failed(500)])
    assert life.failed_hours == pytest.approx(5.9)


def test_three_failures_at_one_moment_end_one_life(measured, failed):
    first, last = lives(measured(), [failed(3), failed(3), failed(3)])
    assert (first.number, len(first.windows), last.failed_hours) == (0, 31, None)
    assert len(first.windows) + len(last.windows) == 60


def test_no_label_lies_outside_its_range_whatever_the_robot_says(measured, failed):
    for said in (-100.0, 0.0, 3.0, 1e9):
        labels = rul_hours(lives(measured(), [failed(3, said)])[0], cap_hours=48.0)
        assert ((labels >= 0) & (labels <= 48)).all()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_lives_are_told_with_what_to_do(constant_lives, count: int):
    with pytest.raises(Invalid, match=f"Only {count} lives have ended.*training needs 4. Upload the bags"):
        split(constant_lives(count))


def test_channels_that_never_move_train_a_model_that_knows_the_hours_at_most(constant_lives):
    fitted = fit_lives(split(constant_lives(4)), seed=7)
    assert np.isfinite([fitted.evaluation.rmse_hours, fitted.interval_hours, fitted.interval_coverage]).all()
    assert 0 <= fitted.interval_coverage <= 1


def test_lives_of_one_window_train_a_model_that_is_never_promoted(constant_lives):
    fitted = fit_lives(split(constant_lives(4, windows_each=1)), seed=7)
    decision = judge(fitted.evaluation, baseline=fitted.baseline, champion=None)
    assert not decision.is_promoted
    assert "no better than the mean" in decision.reason


def test_a_model_whose_error_is_no_number_is_never_promoted():
    nothing = Evaluation(float("nan"), float("nan"), 0)
    sound = Evaluation(1.0, 1.0, 10)
    assert not judge(nothing, baseline=sound, champion=None).is_promoted
    assert not judge(nothing, baseline=sound, champion=sound).is_promoted


def test_every_life_is_predicted_once_by_a_model_that_has_not_seen_it(constant_lives):
    for count in (2, 3, 4, 5, 9):
        train = constant_lives(count)
        unseen = [life.name for _, fold in folds(train) for life in fold]
        assert sorted(unseen) == sorted(life.name for life in train)
        assert all(not {one.name for one in learn} & {one.name for one in fold} for learn, fold in folds(train))


def test_one_life_gives_the_interval_of_its_own_errors():
    assert conformal_width([np.array([-2.0, 1.0])]) == 2.0
    assert conformal_width([np.zeros(5)]) == 0.0
