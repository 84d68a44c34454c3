"""The timeline of a bag: a mark where a topic has messages, none before, after and in its gaps."""

from datetime import UTC, datetime

import pytest

from ingestion.bags.timeline import AWAY, CELLS, HERE, Scale, marks, presence
from ingestion.lake import Gap, Quality, TopicTable

SECOND_NS = 10**9
MINUTE = Scale(0, CELLS * SECOND_NS)  # a cell is a second


@pytest.fixture
def topic():
    """A topic with messages from and to these seconds, and gaps of begin and length."""

    def make(first: float, last: float, *gaps: tuple[float, float]) -> TopicTable:
        longest = [Gap(begin_ns=int(b * SECOND_NS), length_ns=int(n * SECOND_NS)) for b, n in gaps]
        quality = Quality(gaps=len(longest), longest_gaps=longest)
        times = {"first_ns": int(first * SECOND_NS), "last_ns": int(last * SECOND_NS)}
        return TopicTable(name="/t", type="a/b", rows=2, quality=quality, **times)

    return make


def test_a_topic_that_goes_on_all_the_time_is_marked_everywhere(topic):
    assert presence(topic(0, 60), MINUTE) == HERE * CELLS


def test_before_the_first_and_after_the_last_message_there_is_no_mark(topic):
    assert presence(topic(10, 19.5), MINUTE) == AWAY * 10 + HERE * 10 + AWAY * 40


def test_a_gap_has_no_mark_where_it_covers_half_of_a_cell_or_more(topic):
    assert presence(topic(0, 60, (20.4, 4.0)), MINUTE) == HERE * 20 + AWAY * 4 + HERE * 36


def test_a_gap_shorter_than_half_a_cell_is_not_seen(topic):
    assert presence(topic(0, 60, (20.1, 0.4)), MINUTE) == HERE * CELLS


def test_a_recording_of_one_instant_fills_one_cell(topic):
    assert presence(topic(5, 5), Scale(5 * SECOND_NS, 5 * SECOND_NS)) == HERE + AWAY * (CELLS - 1)


def test_what_happened_is_marked_in_its_cell_and_at_the_ends_when_it_lies_outside():
    told = marks([datetime.fromtimestamp(second, UTC) for second in (-3, 30, 30.5, 999)], MINUTE)
    assert [place for place, mark in enumerate(told) if mark == "!"] == [0, 30, 59]


def test_times_of_three_hundred_years_are_no_trouble(topic):
    scale = Scale(-(2**63), 2**63 - 1)
    assert [scale.cell(time) for time in (-(2**63), 0, 2**63 - 1)] == [0, CELLS // 2, CELLS - 1]
