"""Flattening: which columns a definition gives, and that their values are those of the messages."""

import struct

import numpy as np
import pyarrow as pa
import pytest

from ingestion.bags.arrays import TIME
from ingestion.bags.bodies import gather
from ingestion.bags.decode import decode
from ingestion.bags.definitions import Undecodable, decoder
from ingestion.bags.layout import program
from ingestion.bags.recording import Batch, Channel


@pytest.fixture
def flat():
    """The columns of CDR messages of a definition."""

    def flatten(definition: str, *contents: bytes, type_name: str = "my_msgs/msg/Thing", written: str = "ros2msg"):
        channel = Channel("/thing", type_name, "cdr", written, definition)
        bodies = [b"\x00\x01\x00\x00" + content for content in contents] or [b"no message"]
        lengths = np.array([len(body) for body in bodies])
        times, arena = np.zeros(len(bodies), np.uint64), np.frombuffer(b"".join(bodies), np.uint8)
        batch = Batch(channel, times, None, arena, np.cumsum(lengths) - lengths, lengths, None, 0)
        found = decode(program(decoder(channel)), gather(batch))
        assert len(found.kept) == len(contents)
        return found.columns

    return flatten


HEADER = """std_msgs/Header header
float32 value
================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
================================================================================
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
"""
NESTED = """my_msgs/Part[] parts
================================================================================
MSG: my_msgs/Part
string name
my_msgs/Pair[] pairs
================================================================================
MSG: my_msgs/Pair
int32 key
float64[2] range
"""


def test_a_nested_message_becomes_dotted_columns_in_the_order_of_its_definition(flat):
    found = flat(HEADER, struct.pack("<iII4sf", 12, 345, 4, b"map\0", 0.5))
    assert list(found) == ["header_stamp", "header.stamp.sec", "header.stamp.nanosec", "header.frame_id", "value"]
    assert [array[0].as_py() for name, array in found.items() if name != "header_stamp"] == [12, 345, "map", 0.5]


def test_the_headers_stamp_is_also_an_instant(flat):
    stamp = flat(HEADER, struct.pack("<iII4sf", 12, 345, 4, b"map\0", 0.5))["header_stamp"]
    assert (stamp.type, stamp[0].value) == (TIME, 12_000_000_345)


def test_no_messages_give_the_same_columns_and_types(flat):
    full, empty = flat(HEADER, struct.pack("<iII4sf", 1, 2, 4, b"map\0", 0.5)), flat(HEADER)
    assert {name: array.type for name, array in empty.items()} == {name: array.type for name, array in full.items()}
    assert {len(array) for array in empty.values()} == {0}


def test_a_list_of_messages_becomes_one_list_per_field_however_deep(flat):
    pair = struct.pack("<ixxxxdd", 7, 1.0, 2.0)  # one part "a" with one pair, one part "b" with none
    content = struct.pack("<II2sxxI", 2, 2, b"a\0", 1) + pair + struct.pack("<I2sxxI", 2, b"b\0", 0)
    found = flat(NESTED, content, struct.pack("<I", 0))
    assert {name: array.to_pylist() for name, array in found.items()} == {
        "parts.name": [["a", "b"], []],
        "parts.pairs.key": [[[7], []], []],
        "parts.pairs.range": [[[[1.0, 2.0]], []], []],
    }


def test_bytes_stay_bytes_and_signed_numbers_are_a_list(flat):
    found = flat("uint8[] image\nint8[] map\n", struct.pack("<I3sxI2b", 3, b"\xff\xd8\x00", 2, -1, 100))
    assert found["image"].type == pa.binary()
    assert found["image"].to_pylist() == [b"\xff\xd8\x00"]
    assert found["map"].to_pylist() == [[-1, 100]]


@pytest.mark.parametrize(
    ("name", "code", "value", "expected"),
    [
        ("bool", "?", True, pa.bool_()),
        ("byte", "b", -3, pa.int8()),
        ("char", "B", 200, pa.uint8()),
        ("int8", "b", -128, pa.int8()),
        ("uint8", "B", 255, pa.uint8()),
        ("int16", "h", -32768, pa.int16()),
        ("uint16", "H", 65535, pa.uint16()),
        ("int32", "i", -(2**31), pa.int32()),
        ("uint32", "I", 2**32 - 1, pa.uint32()),
        ("int64", "q", -(2**63), pa.int64()),
        ("uint64", "Q", 2**64 - 1, pa.uint64()),
        ("float32", "f", 0.25, pa.float32()),
        ("float64", "d", 1e300, pa.float64()),
    ],
)
def test_every_number_keeps_its_type_and_its_extremes(flat, name, code, value, expected):
    array = flat(f"{name} value\n", struct.pack(f"<{code}", value))["value"]
    assert (array.type, array[0].as_py()) == (expected, value)


def test_constants_never_become_columns(flat):
    assert list(flat("uint8 RED=1\nuint8 colour\n", b"\x01")) == ["colour"]


def test_a_message_without_fields_has_no_columns(flat):
    assert flat("", b"\x00", type_name="std_msgs/msg/Empty") == {}
    assert flat("uint8 RED=1\n", b"\x00") == {}


def test_a_field_that_bears_the_name_of_one_of_our_columns_is_told_apart(flat):
    assert list(flat("float64 log_time\nfloat64 publish_time\n")) == ["log_time_", "publish_time_"]


def test_a_field_named_like_a_word_of_python_keeps_its_name(flat):
    assert flat("int32 from\nint32 class\n", struct.pack("<ii", 1, 2))["from"].to_pylist() == [1]


@pytest.mark.parametrize(
    ("channel", "reason"),
    [
        (Channel("/t", "a/msg/B", "json", "jsonschema", "{}"), "laid out as 'json'"),
        (Channel("/t", "a/msg/B", "cdr", "flatbuffer", "x"), "written in 'flatbuffer'"),
        (Channel("/t", "a/msg/B", "cdr", "ros2msg", "!!! no definition !!!"), "cannot be parsed"),
        (Channel("/t", "a/msg/B", "cdr", "ros2msg", "other/Missing x\n"), "not usable"),
        (Channel("/t", "a/msg/B", "cdr", "", ""), "no definition of 'a/msg/B'"),
    ],
)
def test_a_definition_that_is_of_no_use_says_why(channel, reason):
    with pytest.raises(Undecodable, match=reason):
        decoder(channel)


def test_a_known_type_without_a_definition_is_assumed_from_the_distribution_and_marked():
    known = decoder(Channel("/b", "sensor_msgs/msg/BatteryState", "cdr", "", ""), "jazzy")
    assert known.origin == "assumed from ros2_jazzy"
    assert "voltage" in dict(program(known).columns)


def test_an_idl_definition_is_understood(flat):
    separator = "=" * 80 + "\n"
    text = f"{separator}IDL: my_msgs/msg/Level\nmodule my_msgs {{ module msg {{ struct Level {{ double metres; }}; }}; }};\n"
    found = flat(text, struct.pack("<d", 2.5), type_name="my_msgs/msg/Level", written="ros2idl")
    assert found["metres"].to_pylist() == [2.5]
