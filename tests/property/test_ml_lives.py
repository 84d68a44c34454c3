"""Lives, labels, splits and the gate: what holds for every history."""

from datetime import UTC, datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ml.evaluate import Evaluation, conformal_width, coverage_of, judge
from ml.labels import GRACE_S, Failure, Life, Measurements, Window, lives, rul_hours
from ml.splits import LIVES_MIN, folds, split

seconds = st.floats(0, 1e6, allow_nan=False)
hours = st.floats(0, 200, allow_nan=False)
errors = st.floats(0.01, 100, allow_nan=False)


@st.composite
def histories(draw):
    """A robot's samples in order of time, and failures at any times."""
    at_s = np.array(sorted(draw(st.lists(seconds, max_size=40))))
    values = np.array([[draw(hours), 4.0, 30.0, 0.5] for _ in at_s]).reshape(len(at_s), 4)
    ends = draw(st.lists(seconds, max_size=5, unique=True))
    failures = [Failure("amr-01", datetime.fromtimestamp(end, UTC), draw(st.none() | hours)) for end in ends]
    return Measurements("amr-01", at_s, values), failures


@given(histories())
def test_only_the_newest_life_may_still_run(history):
    measured, failures = history
    known = lives(measured, failures)
    assert all(life.failed_hours is not None for life in known[:-1])
    assert len({life.name for life in known}) == len(known) <= len(failures) + 1


@given(histories())
def test_every_life_has_windows_and_they_ascend(history):
    for life in lives(*history):
        found = [window.operating_hours for window in life.windows]
        assert found
        assert found == sorted(found)


@given(histories())
def test_lives_follow_each_other_in_time_and_end_with_the_last_sample(history):
    measured, failures = history
    known = lives(measured, failures)
    ends = [life.last_at_s for life in known]
    assert ends == sorted(ends)
    assert not known or ends[-1] == measured.at_s[-1]


@given(histories())
def test_the_running_life_has_nothing_from_before_the_last_failure(history):
    measured, failures = history
    running = [life for life in lives(measured, failures) if life.failed_hours is None]
    if running and failures:
        newest = max(failure.occurred_at.timestamp() for failure in failures)
        assert running[0].last_at_s > newest - GRACE_S


@given(histories(), st.randoms())
def test_the_order_in_which_failures_are_told_does_not_matter(history, random):
    measured, failures = history
    mixed = random.sample(failures, len(failures))
    assert lives(measured, mixed) == lives(measured, failures)


@given(st.lists(hours, min_size=1, max_size=50), hours, st.floats(1, 100))
def test_a_label_lies_between_failure_and_cap_and_never_rises(ages, failed, cap):
    life = Life("amr-01", 0, tuple(Window(age, 4.0, 30.0, 0.5) for age in sorted(ages)), 0.0, failed)
    label = rul_hours(life, cap_hours=cap)
    assert ((label >= 0) & (label <= cap)).all()
    assert (np.diff(label) <= 0).all()


@given(st.integers(LIVES_MIN, 60), st.text("abc", max_size=3))
def test_a_split_is_whole_disjoint_and_leaves_more_to_learn_from_than_to_judge_by(count, prefix):
    ended = [Life(f"{prefix}{number}", 0, (), 0.0, 50.0) for number in range(count)]
    parts = split(ended)
    train, held_out = {life.name for life in parts.train}, {life.name for life in parts.held_out}
    assert train | held_out == {life.name for life in ended}
    assert not train & held_out
    assert len(train) >= len(held_out) >= count // 4


@given(st.integers(2, 30))
def test_folds_predict_each_life_once(count):
    train = [Life(f"r{number}", 0, (), 0.0, 50.0) for number in range(count)]
    unseen = [life.name for _, part in folds(train) for life in part]
    assert sorted(unseen) == sorted(life.name for life in train)
    assert all(learn for learn, _ in folds(train))


@given(st.lists(st.lists(errors, min_size=1, max_size=30), min_size=1, max_size=8))
def test_with_few_lives_the_interval_covers_nine_tenths_of_each(residuals):
    by_life = [np.array(one) for one in residuals]
    width = conformal_width(by_life)
    for one in by_life:
        assert coverage_of(np.zeros(len(one)), one, width) >= 0.9


@given(errors, errors, st.none() | errors)
def test_what_the_gate_lets_in_beats_the_mean_and_is_about_as_good_as_the_champion(mine, mean, champion):
    candidate, baseline = Evaluation(mine, mine, 1), Evaluation(mean, mean, 1)
    present = None if champion is None else Evaluation(champion, champion, 1)
    decision = judge(candidate, baseline=baseline, champion=present)
    assert decision.reason
    if decision.is_promoted:
        assert mine < mean
        assert champion is None or mine <= champion * 1.02
