"""ROS 1 bags in batches: a chunk's index is believed only where the chunk confirms it, headers may be of any shape."""

import bz2
import random
import struct

import pyarrow as pa
import pytest

from fleet.errors import Invalid
from ingestion.bags.recording import Findings
from ingestion.bags.ros1 import batches

START_S = 1_772_402_400
PACK = {"none": bytes, "bz2": bz2.compress, "lz4": lambda content: bytes(pa.Codec("lz4").compress(content))}


def record(content=b"", **fields):
    parts = [name.encode() + b"=" + value for name, value in fields.items()]
    header = b"".join(struct.pack("<I", len(part)) + part for part in parts)
    return struct.pack("<I", len(header)) + header + struct.pack("<I", len(content)) + content


def u32(number):
    return struct.pack("<I", number)


def connection(number, topic):
    described = [b"type=std_msgs/String", b"md5sum=*", b"message_definition=string data\n"]
    content = b"".join(u32(len(part)) + part for part in described)
    return record(content, op=b"\7", conn=u32(number), topic=topic.encode())


def message(number, nanoseconds, content, *, order=("op", "conn", "time"), **more):
    fields = {"op": b"\2", "conn": u32(number), "time": struct.pack("<II", START_S, nanoseconds), **more}
    return record(content, **{name: fields[name] for name in (*order, *more)})


def chunk(inner, compression="none"):
    packed = PACK[compression](inner)
    return record(packed, op=b"\5", compression=compression.encode(), size=u32(len(inner)))


def index(number, entries):
    content = b"".join(struct.pack("<III", START_S, time, at) for time, at in entries)
    return record(content, op=b"\4", ver=u32(1), conn=u32(number), count=u32(len(entries)))


def bag(*records):
    return b"#ROSBAG V2.0\n" + record(op=b"\3", index_pos=bytes(8)) + b"".join(records)


@pytest.fixture
def read(tmp_path):
    """The bodies of a bag with these bytes, by topic, and what was told."""

    def take(content):
        path, found = tmp_path / "drive.bag", Findings()
        path.write_bytes(content)
        bodies = {}
        for batch in batches(path, found):
            ends = (batch.starts + batch.lengths).tolist()
            some = bodies.setdefault(batch.channel.topic, [])
            times = batch.log_time - START_S * 10**9
            for time, start, end in zip(times.tolist(), batch.starts.tolist(), ends, strict=True):
                some.append((time, batch.arena[start:end].tobytes()))
        return bodies, found

    return take


@pytest.mark.parametrize("compression", PACK)
def test_headers_of_any_shape_and_order_are_read(read, compression):
    inner = connection(0, "/a") + connection(1, "//b/")
    inner += message(0, 1, b"x") + message(1, 2, b"y", order=("conn", "op", "time"))
    inner += (
        message(0, 3, b"zz", latching=b"1") + message(0, 4, b"", order=("time", "conn", "op")) + message(1, 5, b"w")
    )
    bodies, found = read(bag(chunk(inner, compression)))
    assert bodies == {"/a": [(1, b"x"), (3, b"zz"), (4, b"")], "/b": [(2, b"y"), (5, b"w")]}
    assert (found.lost, found.repairs) == ([], ["the bag was not closed and has no index"])


def test_more_shapes_of_headers_than_anyone_has_are_read_one_by_one(read):
    inner = connection(0, "/a") + b"".join(message(0, n, b"x" * n, **{f"f{n}": b"1"}) for n in range(40))
    assert read(bag(chunk(inner)))[0] == {"/a": [(n, b"x" * n) for n in range(40)]}


@pytest.fixture
def indexed():
    """A chunk of eight messages, and where they begin in it."""
    inner, places = connection(0, "/a"), []
    for n in range(8):
        places.append((n, len(inner)))
        inner += message(0, n, bytes([n]) * n)
    return inner, places


def test_the_index_of_a_chunk_in_any_order_keeps_the_order_of_the_file(read, indexed):
    inner, places = indexed
    bodies, found = read(bag(chunk(inner), index(0, places[::-1])))
    assert bodies == {"/a": [(n, bytes([n]) * n) for n in range(8)]}
    assert found.lost == []


@pytest.mark.parametrize(
    "lie",
    [
        lambda places: [(9, 0), *places],
        lambda places: [(time + 1, at) for time, at in places],
        lambda places: [(time, at + 1) for time, at in places],
        lambda places: [*places, (0, 2**32 - 1)],
        lambda places: [*places, places[0]],
    ],
)
def test_an_index_that_lies_costs_no_message(read, indexed, lie):
    inner, places = indexed
    bodies, _ = read(bag(chunk(inner), index(0, lie(places))))
    assert bodies == {"/a": [(n, bytes([n]) * n) for n in range(8)]}


def test_an_index_that_names_the_wrong_connection_is_told(read, indexed):
    inner, places = indexed
    bodies, found = read(bag(chunk(inner), index(5, places)))
    assert (len(bodies["/a"]), found.lost[0].reason) == (8, "the index of a chunk does not match what it holds")


@pytest.mark.parametrize("kept", [places for n in range(8) if (places := slice(n, None))])
def test_an_index_that_lacks_messages_hides_none(read, indexed, kept):
    inner, places = indexed
    assert len(read(bag(chunk(inner), index(0, places[kept])))[0]["/a"]) == 8


def test_behind_something_unreadable_the_index_shows_the_way(read, indexed):
    inner, places = indexed
    damaged = bytearray(inner)
    damaged[places[2][1] : places[2][1] + 4] = u32(2**31)
    bodies, found = read(bag(chunk(bytes(damaged)), index(0, places)))
    assert [time for time, _ in bodies["/a"]] == [0, 1, 3, 4, 5, 6, 7]
    assert any("something unreadable" in lost.reason for lost in found.lost)


@pytest.mark.parametrize("compression", ["none", "lz4", "bz2"])
def test_a_bag_cut_inside_a_chunk_gives_what_was_unpacked_before_the_cut(read, compression):
    draw = random.Random(2)
    bodies = [draw.randbytes(300) for _ in range(9000)]
    inner = connection(0, "/a") + b"".join(message(0, n, body) for n, body in enumerate(bodies))
    content = bag(chunk(inner, compression))
    got, found = read(content[: len(content) * 2 // 3])
    assert 2000 < len(got["/a"]) < 6500
    assert got["/a"] == list(enumerate(bodies))[: len(got["/a"])]
    assert found.lost


@pytest.mark.parametrize("size", [0, 10, 2**31, 2**32 - 1])
@pytest.mark.parametrize("compression", PACK)
def test_a_chunk_that_lies_about_its_size_is_doubted_and_told(read, indexed, compression, size, tmp_path):
    inner, _ = indexed
    lying = record(PACK[compression](inner), op=b"\5", compression=compression.encode(), size=u32(size))
    bodies, found = read(bag(lying, chunk(message(0, 99, b"next"))))
    assert [time for time, _ in bodies["/a"]] == [0, 1, 2, 3, 4, 5, 6, 7, 99]
    assert "a chunk cannot be unpacked: it claims" in found.lost[0].reason or "buffer" in found.lost[0].reason
    assert {batch.doubt is None for batch in batches(tmp_path / "drive.bag", Findings())} == {True, False}


def test_messages_outside_of_chunks_are_read(read):
    bodies, _ = read(bag(connection(0, "/a"), message(0, 1, b"x"), message(0, 2, b"y")))
    assert bodies == {"/a": [(1, b"x"), (2, b"y")]}


def test_a_message_without_time_is_told(read):
    inner = connection(0, "/a") + record(b"x", op=b"\2", conn=u32(0)) + message(0, 1, b"y")
    bodies, found = read(bag(chunk(inner)))
    assert (bodies, found.lost[0].reason) == ({"/a": [(1, b"y")]}, "a message has no time, or is of no connection")


def test_a_connection_described_only_at_the_end_is_taken_from_there(read):
    body = chunk(message(3, 1, b"x"))
    head = record(op=b"\3", index_pos=bytes(8))
    begin = struct.pack("<Q", 13 + len(head) + len(body))
    content = b"#ROSBAG V2.0\n" + record(op=b"\3", index_pos=begin) + body + connection(3, "/late")
    bodies, found = read(content)
    assert bodies == {"/late": [(1, b"x")]}
    assert found.repairs == ["the description of a connection was taken from the end of the bag"]


def test_a_tail_of_zeros_is_told_as_lost(read):
    bodies, found = read(bag(connection(0, "/a"), chunk(message(0, 1, b"x"))) + bytes(5000))
    assert (bodies, found.lost[0].bytes) == ({"/a": [(1, b"x")]}, 5000)


@pytest.mark.parametrize("content", [b"#ROSBAG V2.0\n"])
def test_only_a_magic_is_refused(read, content):
    with pytest.raises(Invalid, match="ends after its first line"):
        read(content)
