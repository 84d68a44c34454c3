"""Where a life ends, and how much of it is left."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ml.labels import Failure, Life, Measurements, Window, lives, rul_hours, windows

BEGIN = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture
def two_lives():
    """A robot measured each hour for ten hours; its drive was changed after the sixth sample."""
    at_s = np.array([(BEGIN + timedelta(hours=n)).timestamp() for n in range(10)])
    hours = np.array([0, 1, 2, 3, 4, 5, 0, 1, 2, 3], dtype=float)
    return Measurements("amr-01", at_s, np.column_stack([hours, hours, hours, hours]))


def test_a_failure_ends_one_life_and_begins_the_next(two_lives):
    first, second = lives(two_lives, [Failure("amr-01", BEGIN + timedelta(hours=5), 5.0)])
    assert (first.name, first.failed_hours, len(first.windows)) == ("amr-01/0", 5.0, 6)
    assert (second.name, second.failed_hours, len(second.windows)) == ("amr-01/1", None, 4)


def test_of_two_failures_told_for_one_instant_the_one_that_says_its_hours_counts(two_lives):
    silent, told = (Failure("amr-01", BEGIN + timedelta(hours=5), hours) for hours in (None, 4.5))
    assert lives(two_lives, [silent, told]) == lives(two_lives, [told, silent])
    assert lives(two_lives, [silent, told])[0].failed_hours == 4.5


def test_a_running_life_ends_with_its_newest_measurement(two_lives):
    running = lives(two_lives, [])[-1]
    assert running.last_at_s == (BEGIN + timedelta(hours=9)).timestamp()


def test_a_sample_written_while_the_robot_stops_belongs_to_the_life_that_ended(two_lives):
    just_before = BEGIN + timedelta(hours=5) - timedelta(seconds=30)
    first, _ = lives(two_lives, [Failure("amr-01", just_before, 5.0)])
    assert len(first.windows) == 6


def test_a_new_drive_that_starts_at_once_does_not_join_the_old_life():
    at_s = BEGIN.timestamp() + np.array([0.0, 10.0, 20.0, 30.0])
    hours = np.array([60.0, 60.1, 0.1, 0.2])
    measured = Measurements("amr-01", at_s, np.column_stack([hours] * 4))
    first, second = lives(measured, [Failure("amr-01", BEGIN + timedelta(seconds=11), 60.1)])
    assert [window.operating_hours for window in first.windows] == pytest.approx([60.0, 60.1])
    assert second.windows[0].operating_hours == pytest.approx(0.1)


def test_a_failure_without_a_recording_gives_no_life_but_keeps_the_numbers(two_lives):
    early = Failure("amr-01", BEGIN - timedelta(days=1), 70.0)
    known = lives(two_lives, [early, Failure("amr-01", BEGIN + timedelta(hours=5), 5.0)])
    assert [life.name for life in known] == ["amr-01/1", "amr-01/2"]


def test_a_failure_that_does_not_say_its_hours_takes_the_last_measured(two_lives):
    first, _ = lives(two_lives, [Failure("amr-01", BEGIN + timedelta(hours=5), None)])
    assert first.failed_hours == 5.0


def test_the_label_counts_down_to_the_failure_and_is_capped():
    life = Life("amr-01", 0, tuple(Window(h, 0, 0, 0) for h in (0.0, 30.0, 59.0, 60.5)), 0.0, 60.0)
    assert rul_hours(life, cap_hours=40.0).tolist() == [40.0, 30.0, 1.0, 0.0]


def test_samples_of_one_tenth_of_an_operating_hour_become_one_window():
    samples = np.array([[0.01, 1.0, 10.0, 0.1], [0.09, 3.0, 30.0, 0.3], [0.11, 7.0, 70.0, 0.7]])
    first, second = windows(samples)
    assert first == pytest.approx((0.05, 2.0, 20.0, 0.2))
    assert second == pytest.approx((0.11, 7.0, 70.0, 0.7))


def test_no_samples_make_no_windows():
    assert windows(np.empty((0, 4))) == ()
