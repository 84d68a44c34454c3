"""Features look only back: prefix, stream and batch agree to the last bit."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ml.features import FeatureState, Window, matrix, step, stream
from ml.labels import windows

readings = st.floats(-1e3, 1e3, allow_nan=False)
lives = st.lists(st.builds(Window, st.floats(0, 200), readings, readings, readings), min_size=1, max_size=60)


@given(lives, st.data())
def test_features_of_a_prefix_are_the_prefix_of_the_features(life, data):
    cut = data.draw(st.integers(1, len(life)))
    np.testing.assert_array_equal(matrix(life[:cut]), matrix(life)[:cut])


@given(lives)
def test_one_by_one_gives_what_the_batch_gives(life):
    state, rows = FeatureState(), []
    for window in life:
        state, row = step(state, window)
        rows.append(row)
    np.testing.assert_array_equal(np.array(rows), matrix(life))
    np.testing.assert_array_equal(np.array(list(stream(life))), matrix(life))


@given(lives)
def test_a_state_can_be_used_again_because_a_step_changes_nothing(life):
    state = FeatureState()
    first = step(state, life[0])
    second = step(state, life[0])
    np.testing.assert_array_equal(first[1], second[1])


@given(st.lists(st.tuples(st.floats(0, 50), readings, readings, readings), min_size=1, max_size=200))
def test_windows_keep_the_mean_of_what_they_gather(rows):
    samples = np.array(rows)
    found = windows(samples)
    hours = [window.operating_hours for window in found]
    assert hours == sorted(hours)
    assert min(w.motor_current_a for w in found) >= samples[:, 1].min() - 1e-9
    assert max(w.motor_current_a for w in found) <= samples[:, 1].max() + 1e-9
