"""MCAP in batches: a chunk's index is believed only where the chunk confirms it, and damage costs no more than it must."""

import random
import resource
import struct
import zlib
from collections import Counter
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from ingestion.bags.chunks import Packed, stretches
from ingestion.bags.mcap import batches
from ingestion.bags.recording import Findings

START_NS = 1_772_402_400_000_000_000


class Ended(NamedTuple):
    """A stretch of a block."""

    end: int


@pytest.fixture
def read(tmp_path):
    """The messages of a recording with these bytes as (topic, time, body), their doubts, and what was told."""

    def take(content):
        path, found = tmp_path / "recording.mcap", Findings()
        path.write_bytes(content)
        messages, doubts = [], Counter()
        for batch in batches(path, found):
            ends = (batch.starts + batch.lengths).tolist()
            for time, start, end in zip(batch.log_time.tolist(), batch.starts.tolist(), ends, strict=True):
                messages.append((batch.channel.topic, time, batch.arena[start:end].tobytes()))
            doubts[batch.doubt] += len(ends)
        return messages, doubts, found

    return take


@pytest.fixture
def three_topics(mcap):
    """60 messages of three topics with bodies of many lengths, unsorted in time, in chunks of 20 with an index."""
    draw = random.Random(3)
    channels = [mcap.channel(f"/t{n}", "a/msg/B", "uint8[] data\n") for n in range(3)]
    for n in range(60):
        mcap.add(
            draw.choice(channels), START_NS + draw.randrange(1000), draw.randbytes(draw.randrange(50)) + bytes([n])
        )
    mcap.has_index = True
    return mcap


def by_topic(messages):
    ordered = {}
    for topic, time, body in messages:
        ordered.setdefault(topic, []).append((time, body))
    return ordered


def expected(mcap):
    return by_topic((f"/t{channel - 1}", time, body) for channel, time, body in mcap.messages)


def shuffled(content, place, part):
    """The entries of the message index record at `place` in another order."""
    _, size, _ = struct.unpack_from("<HIQ", content, place + 9)
    begin = place + 15
    entries = [content[at : at + 16] for at in range(begin, begin + size, 16)]
    part.shuffle(entries)
    return content[:begin] + b"".join(entries) + content[begin + size :]


def indexes(content):
    """Where the message index records of a file begin."""
    found, at = [], 8
    while at + 9 <= len(content) - 8:
        op, size = struct.unpack_from("<BQ", content, at)
        found += [at] if op == 7 else []
        at += 9 + size
    return found


def test_messages_of_a_topic_keep_the_order_of_the_file_also_when_its_index_is_sorted_otherwise(three_topics, read):
    content = three_topics.content(per_chunk=20)
    for place in indexes(content):
        content = shuffled(content, place, random.Random(1))
    messages, doubts, found = read(content)
    assert by_topic(messages) == expected(three_topics)
    assert (doubts, found.lost, found.repairs) == ({None: 60}, [], [])


@pytest.mark.parametrize("compression", ["zstd", "lz4", ""])
def test_with_and_without_its_index_a_file_gives_the_same(three_topics, read, compression):
    with_index = read(three_topics.content(per_chunk=20, compression=compression))
    three_topics.has_index = False
    assert with_index[:2] == read(three_topics.content(per_chunk=20, compression=compression))[:2]


def test_without_chunks_a_file_gives_the_same(three_topics, read):
    messages, doubts, found = read(three_topics.content(compression=None))
    assert (by_topic(messages), doubts, found.lost) == (expected(three_topics), {None: 60}, [])


@pytest.mark.parametrize(("checksum", "per_chunk"), [(zlib.crc32, 60), (lambda _: 0, 60), (zlib.crc32, 6)])
def test_an_index_changed_at_any_place_costs_no_message_and_is_told(three_topics, read, checksum, per_chunk):
    content = three_topics.content(per_chunk=per_chunk, checksum=checksum)
    draw = random.Random(4)
    for place in indexes(content)[:6]:
        (size,) = struct.unpack_from("<Q", content, place + 1)
        for at in range(place + 9, place + 9 + size, 3):
            damaged = bytearray(content)
            damaged[at] ^= draw.randrange(1, 256)
            messages, _, found = read(bytes(damaged))
            assert by_topic(messages) == expected(three_topics)
            assert "index of a chunk does not match" in (found.repairs + [lost.reason for lost in found.lost])[0]


def test_an_index_that_lacks_messages_hides_none(three_topics, read):
    content = three_topics.content(per_chunk=60)
    place = indexes(content)[0]
    (size,) = struct.unpack_from("<I", content, place + 11)
    entries = content[place + 15 : place + 15 + size - 16]
    record = struct.pack("<BQ", 7, 6 + len(entries)) + content[place + 9 : place + 11]
    record += struct.pack("<I", len(entries)) + entries
    messages, _, _ = read(content[:place] + record + content[place + 15 + size :])
    assert by_topic(messages) == expected(three_topics)


@pytest.mark.parametrize("compression", ["zstd", "lz4", ""])
def test_a_file_cut_inside_a_chunk_gives_what_was_unpacked_before_the_cut(mcap, read, compression):
    draw = random.Random(6)
    channel = mcap.channel("/noise", "a/msg/B", "uint8[] data\n")
    for n in range(3000):
        mcap.add(channel, START_NS + n, draw.randbytes(200))
    content = mcap.content(per_chunk=3000, compression=compression)
    messages, doubts, found = read(content[: len(content) // 2])
    assert 1000 < len(messages) < 1600
    assert [body for _, _, body in messages] == [body for _, _, body in mcap.messages[: len(messages)]]
    assert set(doubts) == {None}
    assert "cut" in found.lost[0].reason


def test_a_chunk_damaged_in_its_middle_gives_its_beginning_in_doubt(mcap, read):
    draw = random.Random(7)
    channel = mcap.channel("/noise", "a/msg/B", "uint8[] data\n")
    for n in range(6000):
        mcap.add(channel, START_NS + n, draw.randbytes(200))
    content = bytearray(mcap.content(per_chunk=6000))
    # The head of a block in the middle: what comes before it can still be unpacked.
    content[len(content) // 2 : len(content) // 2 + 200_000] = b"\xff" * 200_000
    messages, doubts, found = read(bytes(content))
    assert 1000 < len(messages) < 6000
    assert None not in doubts
    assert "a chunk cannot be unpacked" in found.lost[0].reason or "checksum" in str(doubts)


def test_when_the_chunk_with_the_descriptions_is_lost_they_come_from_the_summary(three_topics, read):
    three_topics.is_described_in_chunks = True
    content = bytearray(three_topics.content(per_chunk=20))
    content[content.index(b"\x28\xb5\x2f\xfd")] ^= 0xFF
    messages, doubts, found = read(bytes(content))
    assert Counter(messages) == Counter(
        (f"/t{channel - 1}", time, body) for channel, time, body in three_topics.messages[20:]
    )
    assert doubts == {None: 40}
    assert (len(found.lost), found.repairs) == (1, ["the description of a channel was taken from the summary"])


@pytest.mark.parametrize("length", [2**60, 2**40, 1000, 40])
def test_a_chunk_that_lies_about_its_length_costs_no_other(three_topics, read, length):
    content = three_topics.content(per_chunk=20)
    first = content.index(struct.pack("<I4s", 4, b"zstd")) - 37
    assert content[first] == 6
    messages, _, found = read(content[: first + 1] + struct.pack("<Q", length) + content[first + 9 :])
    later = Counter((f"/t{c - 1}", time, body) for c, time, body in three_topics.messages[20:])
    assert not later - Counter(messages)
    assert found.lost


def test_a_channel_described_anew_in_a_chunk_takes_only_what_follows(mcap, read):
    old = mcap.channel("/old", "a/msg/B", "uint8 x\n")
    mcap.add(old, START_NS, b"first")
    described = mcap.content(per_chunk=1, compression="", footer=False)
    mcap.channels[old] = (1, "/new", "cdr")
    mcap.messages = [(old, START_NS + 1, b"second")]
    again = mcap.content(per_chunk=1, compression="", footer=False)
    head = 8 + 9 + struct.unpack_from("<Q", again, 9)[0]
    messages, _, _ = read(described + again[head:])
    assert messages == [("/old", START_NS, b"first"), ("/new", START_NS + 1, b"second")]


def test_a_schema_that_comes_after_its_channel_is_still_its_schema(mcap, read, tmp_path):
    mcap.channel("/late", "a/msg/B", "uint8 x\n")
    mcap.add(1, START_NS, b"0")
    content = mcap.content(compression=None, footer=False)
    schema = content.index(b"\x03", 8 + 9 + struct.unpack_from("<Q", content, 9)[0])
    size = 9 + struct.unpack_from("<Q", content, schema + 1)[0]
    channel = 9 + struct.unpack_from("<Q", content, schema + size + 1)[0]
    path, found = tmp_path / "late.mcap", Findings()
    moved = content[schema + size : schema + size + channel] + content[schema : schema + size]
    path.write_bytes(content[:schema] + moved + content[schema + size + channel :])
    (batch,) = batches(path, found)
    assert (batch.channel.type, batch.channel.definition, len(found.channels)) == ("a/msg/B", "uint8 x\n", 1)


def test_a_chunk_of_nothing_but_tiny_records_takes_bounded_memory(mcap, read):
    channel = mcap.channel("/tiny", "a/msg/B", "")
    mcap.add(channel, START_NS, b"")
    content = mcap.content(compression="zstd", footer=False)
    bomb = struct.pack("<BQ", 0x0C, 0) * (8 << 20)
    packed = bytes(pa.Codec("zstd").compress(bomb))
    body = struct.pack("<QQQI", 0, 0, len(bomb), 0) + struct.pack("<I4s", 4, b"zstd") + struct.pack("<Q", len(packed))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    messages, _, _ = read(content + struct.pack("<BQ", 6, len(body) + len(packed)) + body + packed)
    assert len(messages) == 1
    # The chunk itself has 72 MB; a list of its records would take five times as much.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 250_000


def test_behind_something_unreadable_in_a_chunk_its_index_shows_the_way(three_topics, read):
    three_topics.has_index = True
    content = three_topics.content(per_chunk=60, compression="", checksum=lambda _: 0)
    at = content.index(three_topics.messages[10][2]) - 31
    messages, _, found = read(content[: at + 1] + struct.pack("<Q", 2**40) + content[at + 9 :])
    assert len(messages) == 59
    assert any("something unreadable" in lost.reason for lost in found.lost)


def test_damage_after_damage_asks_the_index_once():
    asked, told = [], []

    def known():
        asked.append(True)
        return np.arange(0, 3000, 3)

    ends = [stretch.end for stretch in stretches(3000, lambda at: iter([Ended(at + 2)]), known, told.append)]
    assert (ends, len(told), len(asked)) == (list(range(2, 3000, 3)), 1000, 1)


def test_a_message_that_lies_inside_another_is_not_taken_for_one(mcap, read):
    channel = mcap.channel("/nested", "a/msg/B", "")
    inner = struct.pack("<BQHIQQ", 5, 24, channel, 0, START_NS, 0) + b"in"
    mcap.add(channel, START_NS, inner + b"tail")
    mcap.has_index = True
    content = mcap.content(per_chunk=1, compression="")
    (place,) = indexes(content)
    listed = content[place + 15 : place + 31] + struct.pack("<QQ", START_NS, 31)
    record = struct.pack("<BQHI", 7, 6 + len(listed), channel, len(listed)) + listed
    messages, _, _ = read(content[:place] + record + content[place + 31 :])
    assert messages == [("/nested", START_NS, inner + b"tail")]


def test_a_chunk_that_claims_to_hold_the_next_one_too_costs_no_message(three_topics, read):
    content = three_topics.content(per_chunk=20)
    first = content.index(struct.pack("<I4s", 4, b"zstd")) - 37
    second = content.index(struct.pack("<I4s", 4, b"zstd"), first + 50) - 37
    after = second + 9 + struct.unpack_from("<Q", content, second + 1)[0]
    messages, _, found = read(content[: first + 1] + struct.pack("<Q", after - first - 9) + content[first + 9 :])
    assert by_topic(messages) == expected(three_topics)
    assert found.lost[0].reason == "a chunk claims to reach into the next one"


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
@pytest.mark.parametrize("size", [3000, 70_000])
def test_of_a_frame_without_its_last_byte_all_that_can_be_had_is_saved(compression, size):
    content = random.Random(8).randbytes(size)
    codec = pa.Codec(compression)
    sound = memoryview(bytes(codec.compress(content)))
    saved = Packed(compression, size, sound[:-1]).saved().tobytes()
    assert content.startswith(saved)
    assert len(saved) == size - (compression == "zstd")  # what lz4 lacks is only its end mark
