"""The decoder against rosbags: any definition, any messages, sound and damaged, in CDR and in the layout of ROS 1."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rosbags.interfaces import Nodetype

from ingestion.bags.bodies import Shelf, gather, join
from ingestion.bags.decode import decode
from ingestion.bags.definitions import DECODE_ERRORS, Decoder, decoder
from ingestion.bags.layout import program
from ingestion.bags.recording import Batch, Channel

SEPARATOR = f"\n{'=' * 80}\n"
NUMBERS = (
    *("bool", "byte", "char", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float32", "float64"),
)
ELEMENTS = (*NUMBERS, "string", "string<=5")
ENDINGS = ("", "", "", "[]", "[]", "[<=4]", "[1]", "[3]")
LAYOUTS = pytest.mark.parametrize(("encoding", "format"), [("cdr", "ros2msg"), ("ros1", "ros1msg")])
BRIEF = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def definitions(draw: st.DrawFn) -> str:
    """A message `my/msg/T0` of up to five types, each of which may hold those that come after it."""
    count = draw(st.integers(1, 5))
    texts = []
    for number in range(count):
        nested = [f"my/T{other}" for other in range(number + 1, count)]
        names = st.sampled_from([*ELEMENTS, *(nested * 4)])
        kinds = draw(st.lists(st.tuples(names, st.sampled_from(ENDINGS)), min_size=1, max_size=6))
        texts.append("\n".join(f"{name}{ending} f{n}" for n, (name, ending) in enumerate(kinds)))
    return "".join(text if not n else f"{SEPARATOR}MSG: my/T{n}\n{text}" for n, text in enumerate(texts)) + "\n"


@dataclass
class Author:
    """Writes random messages of a definition; `is_alike` gives all of them the same lengths, as most topics have."""

    known: Decoder
    random: np.random.Generator
    is_alike: bool

    def __post_init__(self) -> None:
        self.lengths: dict[tuple[Any, ...], int] = {}

    def content(self) -> bytes:
        types = self.known.types
        write = types.serialize_cdr if self.known.is_cdr else types.serialize_ros1
        return bytes(write(self.message(self.known.type, ()), self.known.type))

    def message(self, type_name: str, path: tuple[Any, ...]) -> Any:
        fields = self.known.fielddefs[type_name][1]
        return self.known.types.types[type_name](*(self.value(desc, (*path, name)) for name, desc in fields))

    def value(self, desc: Any, path: tuple[Any, ...]) -> Any:
        kind, detail = desc
        if kind == Nodetype.NAME:
            return self.message(detail, path)
        if kind == Nodetype.BASE:
            return self.text(path) if detail[0] == "string" else self.numbers(detail[0], 1)[0].item()
        count = detail[1] if kind == Nodetype.ARRAY else self.length(path)
        if detail[0][0] == Nodetype.BASE and detail[0][1][0] != "string":
            return self.numbers(detail[0][1][0], count)
        return [self.value(detail[0], (*path, n)) for n in range(count)]

    def text(self, path: tuple[Any, ...]) -> str:
        letters = self.random.choice(list("abcdefghijklmnopqrstuvwxyz_/ä漢\U0001f916"), size=self.length(path))
        return "".join(letters)

    def numbers(self, name: str, count: int) -> Any:
        if name == "bool":
            return self.random.integers(0, 2, count).astype(np.bool_)
        dtype = np.dtype({"byte": "int8", "char": "uint8"}.get(name, name))
        return np.frombuffer(self.random.bytes(count * dtype.itemsize), dtype)

    def length(self, path: tuple[Any, ...]) -> int:
        length = int(self.random.integers(0, 5))
        return self.lengths.setdefault(path, length) if self.is_alike else length


@pytest.fixture(scope="module")
def batch_of():
    """A batch of these messages as a reader gives it, with rubbish before, between and after them."""

    def batch(known: Decoder, contents: list[bytes], random: np.random.Generator) -> Batch:
        parts, starts = [random.bytes(int(random.integers(0, 9)))], []
        for content in contents:
            starts.append(sum(map(len, parts)))
            parts += [content, random.bytes(int(random.integers(0, 60)))]
        channel = Channel("/t", known.type, "cdr" if known.is_cdr else "ros1", "", "")
        times = np.arange(len(contents), dtype=np.uint64)
        lengths = np.array([len(content) for content in contents], np.int64)
        arena = np.frombuffer(b"".join(parts), np.uint8)
        return Batch(channel, times, None, arena, np.array(starts, np.int64), lengths, None, 0)

    return batch


def leaves(known: Decoder, type_name: str, prefix: str) -> list[str]:
    """The columns that the fields of a type become."""
    found = []
    for name, (kind, detail) in known.fielddefs[type_name][1]:
        nested = detail if kind == Nodetype.NAME else None
        if kind in {Nodetype.ARRAY, Nodetype.SEQUENCE} and detail[0][0] == Nodetype.NAME:
            nested = detail[0][1]
        found += leaves(known, nested, f"{prefix}{name}.") if nested else [prefix + name]
    return found


@pytest.fixture(scope="module")
def plain():
    """The oracle: one message that rosbags has read, as plain Python values by the names of its columns."""

    def message(known: Decoder, type_name: str, read: Any, prefix: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, desc in known.fielddefs[type_name][1]:
            if name != "structure_needs_at_least_one_member":
                found |= value(known, desc, getattr(read, name), f"{prefix}{name}")
        return found

    def value(known: Decoder, desc: Any, read: Any, path: str) -> dict[str, Any]:
        kind, detail = desc
        if kind == Nodetype.BASE:
            return {path: read}
        if kind == Nodetype.NAME:
            return message(known, detail, read, f"{path}.")
        if detail[0][0] == Nodetype.NAME:
            each = [message(known, detail[0][1], element, f"{path}.") for element in read]
            return {name: [one[name] for one in each] for name in leaves(known, detail[0][1], f"{path}.")}
        if detail[0][1][0] in {"uint8", "byte", "char"}:
            return {path: read.tobytes()}
        return {path: read if isinstance(read, list) else read.tolist()}

    return lambda known, read: message(known, known.type, read, "")


@pytest.fixture(scope="module")
def is_equal(plain):
    """The proof: what was decoded of these messages is what rosbags reads, each kept or bad as rosbags says."""

    def check(known: Decoder, contents: list[bytes], decoded: Any) -> None:
        expected, kept = [], []
        read = known.types.deserialize_cdr if known.is_cdr else known.types.deserialize_ros1
        for row, content in enumerate(contents):
            try:
                expected.append(plain(known, read(content, known.type)))
                kept.append(row)
            except DECODE_ERRORS:
                pass
        assert decoded.kept.tolist() == kept
        assert [row for row, _ in decoded.bad] == sorted(set(range(len(contents))) - set(kept))
        assert [(name, array.type) for name, array in decoded.columns.items()] == list(program(known).columns)
        for name, array in decoded.columns.items():
            array.validate(full=True)
            assert len(array) == len(kept)
            assert repr(array.to_pylist()) == repr([one[name] for one in expected]), name

    return check


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """The message cut, lengthened, with a flipped bit or a lying length; one in three as it was."""
    whole = bytearray(content)
    kind, at = random.integers(0, 9), int(random.integers(0, len(content) + 1))
    if kind == 0:
        return bytes(whole[:at])
    if kind == 1:
        return bytes(whole) + random.bytes(int(random.integers(1, 12)))
    if kind == 2 and at < len(whole):
        whole[at] ^= 1 << int(random.integers(0, 8))
    if kind in {3, 4}:
        at -= at % 4
        lie = int(random.choice([0, 1, 2, 3, 2**31 - 1, 2**31, 2**32 - 1, len(whole), int(random.integers(0, 300))]))
        whole[at : at + 4] = lie.to_bytes(4, "little")[: len(whole[at : at + 4])]
    if kind == 5:
        whole[at : at + 8] = random.bytes(len(whole[at : at + 8]))
    return bytes(whole)


@LAYOUTS
@BRIEF
@given(text=definitions(), seed=st.integers(0, 2**32 - 1), count=st.integers(1, 70), is_alike=st.booleans())
def test_any_messages_of_any_definition_are_read_as_rosbags_reads_them(
    batch_of, is_equal, encoding, format, text, seed, count, is_alike
):
    known = decoder(Channel("/t", "my/msg/T0", encoding, format, text))
    random = np.random.default_rng(seed)
    author = Author(known, random, is_alike)
    contents = [author.content() for _ in range(count)]
    bodies = gather(batch_of(known, contents, random))
    decoded = decode(program(known), bodies)
    assert not decoded.bad
    is_equal(known, contents, decoded)


@LAYOUTS
@BRIEF
@given(text=definitions(), seed=st.integers(0, 2**32 - 1), count=st.integers(1, 90), is_alike=st.booleans())
def test_of_damaged_messages_exactly_those_that_rosbags_reads_are_kept(
    batch_of, is_equal, encoding, format, text, seed, count, is_alike
):
    known = decoder(Channel("/t", "my/msg/T0", encoding, format, text))
    random = np.random.default_rng(seed)
    author = Author(known, random, is_alike)
    contents = [damaged(author.content(), random) for _ in range(count)]
    is_equal(known, contents, decode(program(known), gather(batch_of(known, contents, random))))


@BRIEF
@given(text=definitions(), seed=st.integers(0, 2**32 - 1), counts=st.lists(st.integers(1, 30), min_size=2, max_size=5))
def test_batches_that_were_joined_are_read_as_one(batch_of, is_equal, text, seed, counts):
    known = decoder(Channel("/t", "my/msg/T0", "cdr", "ros2msg", text))
    random = np.random.default_rng(seed)
    author = Author(known, random, is_alike=bool(seed % 2))
    parts = [[author.content() for _ in range(count)] for count in counts]
    batches = [batch_of(known, part, random) for part in parts]
    shelf = Shelf()
    for batch in batches:
        shelf.add(batch)
    bodies = shelf.bodies() if seed % 3 else join([gather(batch) for batch in batches])
    contents = [content for part in parts for content in part]
    assert [bodies.content(row) for row in range(len(contents))] == contents
    assert bodies.contents().to_pylist() == contents
    is_equal(known, contents, decode(program(known), bodies))


@BRIEF
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 40))
def test_rubbish_is_bad_or_read_as_rosbags_reads_it(batch_of, is_equal, seed, count):
    text = "string[] names\nmy/P[] points\nuint8[] data\n" + SEPARATOR + "MSG: my/P\nfloat64 x\nstring[<=3] tags\n"
    known = decoder(Channel("/t", "my/msg/T0", "cdr", "ros2msg", text))
    random = np.random.default_rng(seed)
    contents = [b"\0\1\0\0" + random.choice([0, 0, 0, 1, 2, 255], 64).astype(np.uint8).tobytes() for _ in range(count)]
    is_equal(known, contents, decode(program(known), gather(batch_of(known, contents, random))))
