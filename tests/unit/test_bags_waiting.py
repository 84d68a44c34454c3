"""Messages that wait come back as they were taken, in order, also when they were put aside in a file in between."""

import numpy as np
import pytest

from ingestion.bags import bodies
from ingestion.bags.recording import Batch, Channel
from ingestion.bags.waiting import NO_TIME, Messages, Waiting

CHANNEL = Channel("/said", "std_msgs/msg/String", "cdr", "ros2msg", "string data\n")


@pytest.fixture
def batch():
    """A batch of these contents, recorded from a time on."""

    def make(*contents: bytes, start: int = 0, published: bool = True) -> Batch:
        arena = np.frombuffer(b"head" + b"".join(contents), np.uint8)
        lengths = np.array([len(content) for content in contents], np.int64)
        times = np.arange(start, start + len(contents), dtype=np.uint64)
        starts = np.cumsum(lengths) - lengths + 4
        return Batch(CHANNEL, times, times + 1 if published else None, arena, starts, lengths, None, 0)

    return make


@pytest.mark.parametrize("aside_after", [set(), {0}, {1}, {0, 1, 2}])
def test_messages_come_back_in_order_also_from_a_file(tmp_path, batch, aside_after):
    waiting = Waiting(tmp_path / "waiting")
    contents = [(b"one", b"three"), (b"", b"x" * 3000), (b"last",)]
    for number, some in enumerate(contents):
        waiting.add(batch(*some, start=number * 10, published=number != 1), 100)
        if number in aside_after:
            waiting.put_aside()
    assert (waiting.rows, waiting.bytes) == (5, 300)
    taken = waiting.take()
    assert [taken.bodies.content(row) for row in range(5)] == [b"one", b"three", b"", b"x" * 3000, b"last"]
    assert taken.log_time.tolist() == [0, 1, 10, 11, 20]
    assert taken.publish_time.tolist() == [1, 2, NO_TIME, NO_TIME, 21]
    assert (waiting.rows, waiting.bytes, waiting.held_bytes, list(tmp_path.iterdir())) == (0, 0, 0, [])


def test_what_was_put_aside_holds_no_memory(tmp_path, batch):
    waiting = Waiting(tmp_path / "waiting")
    waiting.add(batch(b"x" * 1000), 1040)
    assert waiting.held_bytes > 1000
    waiting.put_aside()
    waiting.put_aside()
    assert (waiting.held_bytes, waiting.rows, waiting.bytes) == (0, 1, 1040)


def test_the_arena_of_a_batch_may_change_afterwards(batch):
    arena = np.frombuffer(bytearray(b"head1234"), np.uint8)
    made = batch(b"1234")
    messages = Messages.of(Batch(CHANNEL, made.log_time, None, arena, made.starts, made.lengths, None, 0))
    arena[:] = 0
    made.log_time[:] = 7
    assert (messages.bodies.content(0), messages.log_time.tolist()) == (b"1234", [0])


def test_none_of_the_messages_is_an_answer_too(batch):
    messages = Messages.of(batch(b"a", b"b")).at(np.zeros(0, np.int64))
    assert (len(messages), messages.bodies.size) == (0, 0)


@pytest.fixture
def spare():
    """The addresses of the large blocks that wait for the next messages."""
    bodies.free_spare_blocks()
    yield lambda: [np.frombuffer(block, np.uint8).ctypes.data for block in bodies._spare]
    bodies.free_spare_blocks()


@pytest.fixture
def busy(tmp_path, batch):
    """So many topics, each of which has had two megabytes of messages in memory and put them aside."""

    def wait(count: int) -> list[Waiting]:
        many = [Waiting(tmp_path / str(n)) for n in range(count)]
        for waiting in many:
            waiting.add(batch(b"x" * (2 << 20)), 100)
        for waiting in many:
            waiting.put_aside()
        return many

    return wait


def test_memory_of_many_messages_is_used_again_once_nobody_looks_at_them(tmp_path, batch, spare):
    waiting = Waiting(tmp_path / "waiting")
    waiting.add(batch(b"1" * (2 << 20)), 100)
    taken = waiting.take()
    waiting.add(batch(b"2" * (2 << 20)), 100)
    again = waiting.take()
    assert (spare(), taken.bodies.content(0)) == ([], b"1" * (2 << 20))
    part, place = taken.bodies.arena[1000:2000], again.bodies.arena.ctypes.data
    del taken, again
    assert spare() == [place]  # of the other one a part is still looked at
    waiting.add(batch(b"3" * (2 << 20)), 100)
    assert (spare(), bytes(part)) == ([], b"1" * 1000)
    third = waiting.take()
    assert (third.bodies.arena.ctypes.data, third.bodies.content(0)) == (place, b"3" * (2 << 20))


def test_memory_that_waits_is_bounded_and_can_be_given_back(busy, spare):
    busy(bodies.MOST_SPARE + 2)
    assert len(spare()) == bodies.MOST_SPARE
    bodies.free_spare_blocks()
    assert spare() == []


def test_a_busy_topic_takes_a_block_that_waits_at_once_and_leaves_it_to_those_that_need_it(
    tmp_path, batch, busy, spare
):
    many = busy(bodies.MOST_SPARE + 1)
    idle = Waiting(tmp_path / "idle")
    idle.add(batch(b"1"), 100)
    assert len(spare()) == bodies.MOST_SPARE
    many[0].add(batch(b"2"), 100)
    assert len(spare()) == bodies.MOST_SPARE - 1
    for waiting in many[1:]:
        waiting.add(batch(b"3" * (2 << 20)), 100)
    many[1].put_aside()
    assert (len(spare()), len(bodies._used)) == (1, bodies.MOST_SPARE)
    many[1].add(batch(b"4"), 100)
    assert (len(spare()), len(bodies._used)) == (1, bodies.MOST_SPARE)
