"""How regularly a topic was recorded: worked by hand on messages whose flaws are known."""

import numpy as np
import pytest

from ingestion.bags.bodies import Bodies
from ingestion.bags.quality import TopicQuality

SECOND = 10**9
START = 1_772_402_400 * SECOND


@pytest.fixture
def judged():
    """The quality of messages at these times (seconds from the start), given in pieces of some length."""

    def judge(seconds, stamps=None, contents=None, piece=1000):
        quality = TopicQuality()
        times = np.array([START + round(t * SECOND) for t in seconds], np.int64)
        stamped = None if stamps is None else np.array([round(t * SECOND) for t in stamps], np.int64)
        contents = contents or [b"%06d" % n for n in range(len(times))]
        for at in range(0, len(times), piece):
            part = contents[at : at + piece]
            lengths = np.array([len(content) for content in part], np.int64)
            bodies = Bodies(np.frombuffer(b"".join(part), np.uint8), np.cumsum(lengths) - lengths, lengths)
            quality.add(times[at : at + piece], None if stamped is None else stamped[at : at + piece], bodies)
        return quality.result()

    return judge


def test_the_rate_is_that_of_the_median_interval(judged):
    assert judged([0, 0.1, 0.2, 0.3, 5.0]).rate_hz == pytest.approx(10)


def test_one_message_has_no_rate_and_no_gap(judged):
    found = judged([0])
    assert (found.rate_hz, found.gaps, found.longest_gaps, found.bytes) == (None, 0, [], 6)


def test_no_messages_have_no_quality_to_tell_of(judged):
    found = judged([])
    assert (found.rate_hz, found.bytes, found.skew_median_s) == (None, 0, None)


def test_an_interval_of_more_than_five_medians_is_a_gap_and_is_told_with_its_begin(judged):
    found = judged([0, 1, 2, 3, 4, 9.5, 10.5, 15.4])
    assert (found.gaps, [(gap.begin_ns - START, gap.length_ns) for gap in found.longest_gaps]) == (
        1,
        [(4 * SECOND, 5_500_000_000)],
    )


def test_of_many_gaps_the_ten_longest_are_told_and_all_counted(judged):
    times = np.concatenate([[0], np.cumsum(([1.0] * 99 + [20.0]) * 25 + [1.0, 30.0])])
    found = judged(times.tolist(), piece=333)
    assert found.gaps == 26
    assert [gap.length_ns for gap in found.longest_gaps] == [30 * SECOND] + [20 * SECOND] * 9


@pytest.mark.parametrize("piece", [1, 2, 3, 1000])
def test_a_message_that_equals_the_one_before_is_a_duplicate_also_from_batch_to_batch(judged, piece):
    times = [0, 0, 1, 1, 2, 2, 3]
    contents = [b"same", b"same", b"this", b"that", b"of one", b"length", b"length"]
    assert judged(times, contents=contents, piece=piece).duplicates == 1


def test_a_long_message_is_a_duplicate_too(judged):
    assert judged([0, 0, 0], contents=[bytes(2 << 20)] * 3, piece=1).duplicates == 2


def test_empty_messages_at_one_time_are_duplicates(judged):
    assert judged([0, 0, 0], contents=[b"", b"", b""]).duplicates == 2


@pytest.mark.parametrize("piece", [1, 2, 1000])
def test_times_that_go_back_are_counted_and_are_no_interval(judged, piece):
    found = judged([0, 1, 2, 1.5, 3], stamps=[1, 2, 3, 4, 2], piece=piece)
    assert (found.log_time_regressions, found.stamp_regressions, found.rate_hz) == (1, 1, pytest.approx(1))


def test_skew_is_how_much_later_than_its_stamp_a_message_was_recorded(judged):
    now = START / SECOND
    found = judged([0, 1, 2], stamps=[now - 0.25, now + 1 - 0.5, now + 2 - 4.0])
    assert (found.skew_median_s, found.skew_largest_s) == (pytest.approx(0.5), pytest.approx(4.0))


def test_a_clock_that_runs_ahead_gives_negative_skew(judged):
    now = START / SECOND
    found = judged([0, 1, 2], stamps=[now + 7, now + 1 + 0.5, now + 2 - 0.25])
    assert (found.skew_median_s, found.skew_largest_s) == (pytest.approx(-0.5), pytest.approx(-7))


def test_headers_without_a_time_are_counted_and_have_no_skew(judged):
    found = judged([0, 1], stamps=[0, 0])
    assert (found.unstamped, found.skew_median_s, found.stamp_regressions) == (2, None, 0)


def test_the_whole_range_of_times_is_fine():
    quality = TopicQuality()
    bodies = Bodies(np.zeros(8, np.uint8), np.array([0, 4]), np.array([4, 4]))
    quality.add(np.array([0, 2**63 - 1]), np.array([2**31 * SECOND, -(2**31) * SECOND]), bodies)
    assert quality.result().unstamped == 1


def test_the_result_does_not_depend_on_how_the_messages_come_in_batches(judged):
    random = np.random.default_rng(1)
    times = np.cumsum(random.exponential(0.1, 5000)) + random.normal(0, 0.05, 5000)
    stamps = times + START / SECOND + random.normal(0, 1, 5000)
    assert judged(times.tolist(), stamps.tolist(), piece=7) == judged(times.tolist(), stamps.tolist(), piece=5000)
