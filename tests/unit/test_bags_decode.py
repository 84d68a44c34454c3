"""Decoding many messages at a time: bits kept as they are, odd bytes told, hostile ones cheap."""

import struct
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from ingestion.bags import decode as decode_module
from ingestion.bags.arrays import TIME
from ingestion.bags.bodies import Shelf, gather
from ingestion.bags.decode import UNBOUNDED, decode
from ingestion.bags.definitions import Undecodable, decoder
from ingestion.bags.layout import Program, program
from ingestion.bags.recording import Batch, Channel

LITTLE, BIG = b"\0\1\0\0", b"\0\0\0\0"
SEPARATOR = f"{'=' * 80}\n"
STAMPED = (
    f"std_msgs/Header header\nfloat32 value\n{SEPARATOR}MSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\n"
    f"string frame_id\n{SEPARATOR}MSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
)
DEEP = 40


@pytest.fixture
def decoded():
    """What messages of a definition become; CDR bodies are given with their encapsulation."""

    def read(definition: str, *contents: bytes, encoding: str = "cdr", type_name: str = "my/msg/T"):
        known = decoder(Channel("/t", type_name, encoding, f"ros{1 if encoding == 'ros1' else 2}msg", definition))
        lengths = np.array([len(content) for content in contents], np.int64)
        arena = np.frombuffer(b"".join(contents), np.uint8)
        times = np.zeros(len(contents), np.uint64)
        channel = Channel("/t", type_name, encoding, "", "")
        batch = Batch(channel, times, None, arena, np.cumsum(lengths) - lengths, lengths, None, 0)
        return decode(program(known), gather(batch))

    return read


@pytest.fixture
def compiled():
    """The program of a ROS 2 definition."""

    def compile(definition: str) -> Program:
        return program(decoder(Channel("/t", "my/msg/T", "cdr", "ros2msg", definition)))

    return compile


# ---- values


@pytest.mark.parametrize(
    ("name", "code", "bits"),
    [
        ("float32", "<I", [0x7FA00001, 0xFFC0BEEF, 0x80000000, 0x00000001, 0x7F800000]),
        ("float64", "<Q", [0x7FF4000000000001, 0xFFF800000000BEEF, 0x8000000000000000, 1, 0x7FF0000000000000]),
    ],
)
def test_not_a_number_keeps_its_payload_and_zero_its_sign(decoded, name, code, bits):
    found = decoded(f"{name} x\n", *(LITTLE + struct.pack(code, value) for value in bits)).columns["x"]
    assert found.buffers()[1].to_pybytes() == b"".join(struct.pack(code, value) for value in bits)


@pytest.mark.parametrize("rows", [1, 3, 200])
def test_any_byte_but_zero_is_true(decoded, rows):
    content = LITTLE + bytes([2, 0, 255, 3, 3, 0, 0, 0, 0, 1, 128])
    found = decoded("bool a\nbool b\nbool[2] c\nbool[] d\n", *[content] * rows)
    assert not found.bad
    assert [array[-1].as_py() for array in found.columns.values()] == [True, False, [True, True], [False, True, True]]


def test_the_stamp_of_a_header_is_an_instant_also_before_1970(decoded):
    contents = [LITTLE + struct.pack("<iII4sf", sec, 999_999_999, 4, b"map\0", 0.5) for sec in (-1, 0, 2**31 - 1)]
    stamps = decoded(STAMPED, *contents).columns["header_stamp"]
    assert stamps.type == TIME
    assert stamps.cast(pa.int64()).to_pylist() == [-1, 999_999_999, 2_147_483_647_999_999_999]


def test_what_is_aligned_in_cdr_lies_close_in_ros_1(decoded):
    definition = "uint8 a\nfloat64 b\nstring c\nint16[] d\n"
    content = struct.pack("<Bd", 7, 1.5) + struct.pack("<I2s", 2, b"hi") + struct.pack("<I2h", 2, -3, 4)
    found = decoded(definition, content, encoding="ros1")
    assert {name: array.to_pylist() for name, array in found.columns.items()} == {
        "a": [7],
        "b": [1.5],
        "c": ["hi"],
        "d": [[-3, 4]],
    }


@pytest.mark.parametrize("rows", [1, 9, 600])
def test_elements_are_aligned_one_after_the_other_however_the_first_lies(decoded, rows):
    definition = f"uint8 a\nmy/P[] ps\nmy/Q[2] qs\n{SEPARATOR}MSG: my/P\nuint8 id\nfloat64 x\n"
    definition += f"{SEPARATOR}MSG: my/Q\nfloat64 y\nuint8 id\n"
    # The first P begins at 8 with its x at 16, the second at 24 with its x at 32.
    content = struct.pack("<B3xIB7xdB7xd", 1, 2, 10, 1.0, 20, 2.0) + struct.pack("<dB7xdB", 3.0, 30, 4.0, 40)
    found = decoded(definition, *[LITTLE + content] * rows)
    assert not found.bad
    assert {name: array[rows - 1].as_py() for name, array in found.columns.items()} == {
        "a": 1,
        "ps.id": [10, 20],
        "ps.x": [1.0, 2.0],
        "qs.y": [3.0, 4.0],
        "qs.id": [30, 40],
    }


def test_a_message_without_fields_is_one_byte_in_cdr_and_none_in_ros_1(decoded):
    assert decoded("uint8 A=1\n", LITTLE + b"\0").kept.tolist() == [0]
    assert decoded("uint8 A=1\n", b"", b"", encoding="ros1").kept.tolist() == [0, 1]
    assert decoded("uint8 A=1\n", b"x", encoding="ros1").bad[0][1].startswith("SerdeError")


def test_no_messages_give_empty_columns_of_the_same_types(compiled, decoded):
    found = decoded(STAMPED, LITTLE + b"short")
    assert {name: array.type for name, array in found.columns.items()} == dict(compiled(STAMPED).columns)
    assert {len(array) for array in found.columns.values()} == {0}


# ---- what is not plain little-endian CDR


def test_big_endian_messages_are_read_beside_the_others(decoded):
    found = decoded("int32 x\n", LITTLE + struct.pack("<i", 1), BIG + struct.pack(">i", 2), LITTLE + b"\3\0\0\0")
    assert (found.kept.tolist(), found.columns["x"].to_pylist(), found.bad) == ([0, 1, 2], [1, 2, 3], [])


def test_a_topic_of_big_endian_messages_is_read_whole_and_in_order(decoded):
    contents = [BIG + struct.pack(">iI", n, 1000) + bytes([n % 251]) * 1000 for n in range(3000)]
    found = decoded("int32 n\nuint8[] blob\n", *contents, LITTLE)
    assert found.columns["n"].to_pylist() == list(range(3000))
    assert found.columns["blob"][2999].as_py() == bytes([2999 % 251]) * 1000
    assert found.bad[0][0] == 3000


def test_a_big_endian_not_a_number_keeps_its_payload_alone_and_in_arrays(decoded):
    nans = [0x7F800001, 0xFF812345, 0x7FC00000, 0x80000000]
    found = decoded("float32 x\nfloat32[4] y\n", *(BIG + struct.pack(">5I", nan, *nans) for nan in nans))
    assert found.columns["x"].view(pa.uint32()).to_pylist() == nans
    assert found.columns["y"].values.view(pa.uint32()).to_pylist() == nans * 4


@pytest.mark.parametrize("head", [b"\0\2\0\0", b"\0\3\0\0", b"\0\7\0\0", b"\0\x0b\0\0", b"\1\1\0\0", b"", b"\0\1"])
def test_another_encapsulation_is_bad_and_says_so(decoded, head):
    found = decoded("int32 x\n", LITTLE + struct.pack("<i", 1), head + (struct.pack("<i", 2) if len(head) > 2 else b""))
    assert found.kept.tolist() == [0]
    assert found.bad == [(1, "SerdeError: Invalid or unsupported CDR encapsulation.")]


def test_up_to_three_bytes_of_padding_are_taken_and_four_are_not(decoded):
    bodies = [LITTLE + struct.pack("<i", 5) + bytes(more) for more in range(6)]
    found = decoded("int32 x\n", *bodies)
    assert found.kept.tolist() == [0, 1, 2, 3]
    assert [row for row, _ in found.bad] == [4, 5]


@pytest.mark.parametrize("rows", [1, 40])
def test_text_that_is_not_utf_8_makes_its_message_bad_and_no_other(decoded, rows):
    good, bad = LITTLE + struct.pack("<I4s", 4, b"\xc3\xa4a\0"), LITTLE + struct.pack("<I4s", 4, b"\xed\xa0\x80\0")
    found = decoded("string s\n", *[good] * rows, bad, good)
    assert found.columns["s"].to_pylist() == ["äa"] * (rows + 1)
    assert [row for row, _ in found.bad] == [rows]
    assert "utf-8" in found.bad[0][1]


def test_text_must_end_with_a_nul_in_cdr(decoded):
    found = decoded("string s\n", LITTLE + struct.pack("<I2s", 2, b"ab"), LITTLE + struct.pack("<I", 0))
    assert [reason.split(" at ")[0] for _, reason in found.bad] == [
        "SerdeError: Missing string terminator",
        "SerdeError: Invalid string length 0",
    ]


# ---- hostile bytes and definitions


@pytest.mark.parametrize("definition", ["uint8[] x\n", "float64[] x\n", "string[] x\n", "string x\n", "my/P[] x\n"])
@pytest.mark.parametrize("lie", [2**32 - 1, 2**31, 2**31 - 1, 100_000])
def test_a_length_that_lies_costs_neither_time_nor_memory(decoded, definition, lie):
    definition += f"{SEPARATOR}MSG: my/P\nstring name\nmy/R[] rs\n{SEPARATOR}MSG: my/R\nuint8 x\n"
    contents = [LITTLE + struct.pack("<I", lie) + bytes(60)] * 50
    decoded(definition, contents[0])  # rosbags compiles
    tracemalloc.start()
    began = time.process_time()
    found = decoded(definition, *contents)
    spent, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.bad) == 50
    assert spent < 1
    assert peak < 8 << 20


def test_a_list_of_nothing_that_claims_billions_of_elements_is_bad_at_once(decoded):
    definition = f"my/E[] nothing\n{SEPARATOR}MSG: my/E\n"
    found = decoded(definition, struct.pack("<I", 2**32 - 1), struct.pack("<I", 0), encoding="ros1")
    assert (found.kept.tolist(), found.bad) == ([1], [(0, UNBOUNDED)])


EMPTY = f"{SEPARATOR}MSG: my/E\nuint8 CONSTANT=1\n{SEPARATOR}MSG: my/F\nmy/E one\nmy/E[3] three\n"


@pytest.mark.parametrize("rows", [1, 9, 400])
@pytest.mark.parametrize("element", ["my/E", "my/F"])
def test_a_list_of_empty_messages_is_read_also_at_the_end_and_within_lists(decoded, rows, element):
    definition = f"my/G[] gs\n{element}[] last\n{SEPARATOR}MSG: my/G\n{element}[] nothing\nuint8 x\n{EMPTY}"
    content = struct.pack("<IIBIBI", 2, 3, 7, 0, 8, 65_536)
    found = decoded(definition, *[content] * rows, struct.pack("<II", 0, 1), encoding="ros1")
    assert (list(found.columns), found.bad) == (["gs.x"], [])
    assert found.columns["gs.x"].to_pylist() == [[7, 8]] * rows + [[]]


@pytest.mark.parametrize("lie", [65_537, 2**31, 2**32 - 1])
def test_lists_of_empty_messages_that_lie_cost_their_row_and_no_memory(decoded, lie):
    definition = f"my/G[] gs\n{SEPARATOR}MSG: my/G\nmy/E[] nothing\n{EMPTY}"
    contents = [struct.pack("<III", 2, 5, said) for said in (lie, 5)] * 50
    decoded(definition, contents[1], encoding="ros1")
    tracemalloc.start()
    found = decoded(definition, *contents, encoding="ros1")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.kept.tolist() == list(range(1, 100, 2))
    assert peak < 4 << 20


@pytest.mark.parametrize("rows", [1, 9])
def test_long_lists_of_texts_are_read_whole(decoded, rows):
    words = [f"w{number}" for number in range(3000)]
    body = struct.pack("<I", len(words))
    for word in words:
        body += bytes(-len(body) % 4) + struct.pack("<I", len(word) + 1) + word.encode() + b"\0"
    found = decoded("string[] words\n", *[LITTLE + body] * rows, LITTLE + struct.pack("<I", 0))
    assert found.columns["words"].to_pylist() == [words] * rows + [[]]


def test_a_message_that_would_take_many_times_its_bytes_is_bad_and_says_so(decoded, monkeypatch):
    monkeypatch.setattr(decode_module, "LARGEST_OBJECT_BYTES", 20_000)
    few, many = (LITTLE + struct.pack("<I", count) + struct.pack("<I4x", 1) * count for count in (2_000, 3_000))
    found = decoded("string[] words\n", many, few)
    assert found.columns["words"].to_pylist() == [[""] * 2_000]
    assert found.bad == [(0, "It has 24008 bytes and has to be read field by field; at most 20000 are taken so.")]


def test_many_bad_messages_do_not_make_the_good_ones_slow(decoded):
    random = np.random.default_rng(5)
    good = LITTLE + struct.pack("<I", 30) + b"".join(struct.pack("<I4s", 4, b"abc\0") for _ in range(30))
    contents = [bytearray(good) for _ in range(3000)]
    for content in contents[::3]:
        content[8 + 8 * int(random.integers(0, 30)) + 3] = 0xFF
    decoded("string[] words\n", good)
    began = time.process_time()
    found = decoded("string[] words\n", *map(bytes, contents))
    assert time.process_time() - began < 5
    assert (len(found.kept), len(found.bad)) == (2000, 1000)


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        (f"my/A a\n{SEPARATOR}MSG: my/A\nmy/B[] b\n{SEPARATOR}MSG: my/B\nmy/A a\n", "contains itself"),
        ("string[100000] many\n", "100000 elements"),
        ("wstring x\n", "my/msg/wstring"),
        ("#" * 2_000_000, "has 2000000 letters"),
        ("float64[1000000000000] x\n", "at least 8000000000000 bytes"),
        ("other/Missing x\n", "other/msg/Missing"),
        ("int32 a\nint32 b\nint8 a\n", "one name twice"),
        ("int32 a\nuint8 a=1\n", "cannot be parsed|one name twice"),
        (f"builtin_interfaces/Time t\n{SEPARATOR}MSG: builtin_interfaces/Time\nint64 ns\n", "two things of"),
        ("string structure_needs_at_least_one_member\n", "only byte of empty"),
        (
            "my/A1 a\nmy/A1 b\nmy/A1 c\n"
            + "".join(f"{SEPARATOR}MSG: my/A{n}\nmy/A{n + 1} a\nmy/A{n + 1} b\nmy/A{n + 1} c\n" for n in range(1, DEEP))
            + f"{SEPARATOR}MSG: my/A{DEEP}\nint8 x\n",
            "more than 10000 fields",
        ),
        (
            "my/A1 a\n"
            + "".join(f"{SEPARATOR}MSG: my/A{n}\nmy/A{n + 1} a\n" for n in range(1, 90))
            + f"{SEPARATOR}MSG: my/A90\nint8 x\n",
            "nested deeper",
        ),
    ],
)
def test_a_definition_that_cannot_be_laid_out_flat_says_why(compiled, definition, reason):
    with pytest.raises(Undecodable, match=reason):
        compiled(definition)


def test_wide_text_of_an_idl_definition_is_not_decoded():
    text = f"{SEPARATOR}IDL: my/msg/T\nmodule my {{ module msg {{ struct T {{ wstring s; }}; }}; }};\n"
    with pytest.raises(Undecodable, match="Fields of type 'wstring'"):
        program(decoder(Channel("/t", "my/msg/T", "cdr", "ros2idl", text)))


def test_an_array_larger_than_any_message_makes_its_messages_bad(decoded):
    found = decoded("float64[1000000000] x\n", LITTLE + bytes(64))
    assert len(found.bad) == 1


# ---- names


def test_names_are_unique_and_none_is_ours(compiled):
    definition = "float64 log_time\nfloat64 log_time_\nfloat64 header_stamp\nint8 publish_time\n"
    names = [name for name, _ in compiled(definition).columns]
    assert names == ["log_time_", "log_time__", "header_stamp_", "publish_time_"]


def test_what_rosbags_reads_beside_bears_the_same_names(decoded):
    definition = "float64 log_time\nfloat64 log_time_\n"
    contents = [LITTLE + struct.pack("<dd", 1, 2), BIG + struct.pack(">dd", 3, 4)]
    found = decoded(definition, *contents)
    assert {name: array.to_pylist() for name, array in found.columns.items()} == {
        "log_time_": [1.0, 3.0],
        "log_time__": [2.0, 4.0],
    }


# ---- bodies


@pytest.fixture
def batch():
    """A batch of these messages, one behind the other in an arena."""

    def make(*contents: bytes, arena: bytes | None = None) -> Batch:
        lengths = np.array([len(content) for content in contents], np.int64)
        whole = np.frombuffer(arena or b"".join(contents), np.uint8)
        channel = Channel("/t", "my/msg/T", "cdr", "", "")
        return Batch(
            channel, np.zeros(len(lengths), np.uint64), None, whole, np.cumsum(lengths) - lengths, lengths, None, 0
        )

    return make


@pytest.mark.parametrize("sizes", [[1], [0, 0], [5] * 40, [9000, 1, 9000], list(range(30)), [12, 13, 14, 15] * 20])
def test_gathered_bodies_are_those_of_the_batch_wherever_they_lie(batch, sizes):
    contents = [bytes([n % 251]) * size for n, size in enumerate(sizes)]
    bodies = gather(batch(*contents, arena=b"".join(contents) + b"!"))
    assert bodies.contents().to_pylist() == contents
    assert [bodies.content(row) for row in range(len(contents))] == contents
    assert bodies.of(np.array([len(sizes) - 1, 0])).contents().to_pylist() == [contents[-1], contents[0]]
    assert set((bodies.starts % 8).tolist()) == {4}


def test_bodies_that_overlap_are_copied_each_for_itself(batch):
    overlapping = batch(b"abcdefgh" * 4)
    starts, lengths = np.array([30, 0, 3, 3, 31]), np.array([2, 32, 9, 0, 1])
    bodies = gather(replace(overlapping, starts=starts, lengths=lengths))
    whole = b"abcdefgh" * 4
    assert bodies.contents().to_pylist() == [whole[a : a + n] for a, n in zip(starts, lengths, strict=True)]


def test_a_shelf_keeps_what_it_was_given_and_forgets_it_when_cleared(batch):
    shelf, given = Shelf(), []
    for size in (10, 3000, 700_000, 3_000_000):
        given.append(bytes([size % 251]) * size)
        shelf.add(batch(given[-1]))
    handed_out = shelf.bodies()
    assert (shelf.rows, handed_out.contents().to_pylist()) == (4, given)
    shelf.clear()
    shelf.add(batch(b"new"))
    assert (shelf.rows, shelf.bodies().contents().to_pylist()) == (1, [b"new"])
    assert handed_out.contents().to_pylist() == given


def test_what_was_gathered_outlives_its_arena(batch):
    arena = np.frombuffer(b"0123456789", np.uint8).copy()
    bodies = gather(replace(batch(b"01234", b"56789"), arena=arena))
    arena[:] = 0
    assert bodies.contents().to_pylist() == [b"01234", b"56789"]
