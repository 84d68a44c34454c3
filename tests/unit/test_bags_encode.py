"""Which encoding a leaf gets: by what its values look like, the same for the same rows, and smaller than one for all."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ingestion.bags import encode
from ingestion.bags.arrays import TIME, array, distinct, flat, texts
from ingestion.bags.encode import CODEC, DELTA, DICTIONARY, LENGTHS, PLAIN, SPLIT, Encodings, encodings

ROWS = 20_000


@pytest.fixture
def chance():
    """Numbers by chance, the same in every run."""
    return np.random.default_rng(11)


@pytest.fixture
def chosen():
    """The encoding that a column of these values gets, or its leaf."""

    def choose(values: pa.Array, leaf: str = "value") -> str:
        found = encodings(pa.table({"value": values}))
        return DICTIONARY if leaf in found.dictionaries else found.others[leaf]

    return choose


@pytest.fixture
def size():
    """The bytes of a table written with these encodings."""

    def write(table: pa.Table, found: Encodings | None) -> int:
        sink = pa.BufferOutputStream()
        options = {} if found is None else {"use_dictionary": found.dictionaries, "column_encoding": found.others}
        with pq.ParquetWriter(sink, table.schema, **CODEC, **options) as writer:
            writer.write_table(table)
        return sink.getvalue().size

    return write


def test_values_that_repeat_go_into_a_dictionary(chosen, chance):
    assert chosen(array(chance.integers(0, 5, ROWS).astype(np.float64), pa.float64())) == DICTIONARY
    assert chosen(array(np.arange(ROWS, dtype=np.int32) // 200, pa.int32())) == DICTIONARY
    assert chosen(texts(["map", "odom"] * 500)) == DICTIONARY


def test_smooth_floats_are_split_into_streams_of_bytes(chosen, chance):
    walk = np.cumsum(chance.normal(0, 0.01, ROWS))
    assert chosen(array(walk, pa.float64())) == SPLIT
    assert chosen(array(walk.astype(np.float32), pa.float32())) == SPLIT


def test_times_and_counters_are_kept_as_differences(chosen, chance):
    times = 1_772_402_400_000_000_000 + np.arange(ROWS) * 5_000_000 + chance.integers(0, 10**5, ROWS)
    assert chosen(array(times, TIME)) == DELTA
    assert chosen(array(np.arange(ROWS, dtype=np.uint32), pa.uint32())) == DELTA


def test_a_coarse_sensor_gets_a_dictionary_though_few_of_the_looked_at_values_repeat(chosen, chance):
    coarse = chance.integers(0, 4096, 65_536) * 0.1
    assert chosen(array(coarse, pa.float64())) == DICTIONARY


def test_a_robot_that_stands_still_at_first_does_not_decide_for_the_rest(chosen, chance):
    values = np.concatenate([np.zeros(ROWS // 4), np.cumsum(chance.normal(0, 0.01, 3 * ROWS // 4))])
    assert chosen(array(values, pa.float64())) == SPLIT


def test_what_never_changed_may_change_later(chosen):
    assert chosen(array(np.zeros(ROWS), pa.float64())) == SPLIT
    assert chosen(array(np.zeros(ROWS, np.int32), pa.int32())) == DELTA


def test_texts_that_never_repeat_are_no_dictionary(chosen):
    assert chosen(texts([f"message {n} of {n * 7919 % 1000}" for n in range(5_000)])) in {LENGTHS, PLAIN}


def test_truth_values_are_plain(chosen):
    assert chosen(pa.array([True, False] * 100)) == PLAIN


def test_the_leaf_of_a_list_is_looked_at(chosen, chance):
    numbers = array(np.cumsum(chance.normal(0, 0.01, ROWS)), pa.float64())
    lists = pa.ListArray.from_arrays(array(np.arange(0, ROWS + 1, 10, dtype=np.int32), pa.int32()), numbers)
    assert chosen(lists, "value.list.element") == SPLIT
    nested = pa.ListArray.from_arrays(array(np.arange(0, 2_001, 10, dtype=np.int32), pa.int32()), lists)
    assert chosen(nested, "value.list.element.list.element") == SPLIT


@pytest.mark.parametrize(
    "kind", [pa.float64(), pa.int32(), pa.string(), pa.binary(), pa.list_(pa.float32()), pa.bool_()]
)
def test_columns_without_a_value_have_an_encoding_that_can_be_written(size, kind):
    empty = pa.table({"value": pa.array([None] * 3, kind), "time": pa.array([1, 2, 3])})
    assert size(empty, encodings(empty)) > 0


def test_the_same_rows_give_the_same_choice(chance):
    table = pa.table({name: array(np.round(chance.normal(0, 1, ROWS), 2), pa.float64()) for name in "abc"})
    assert encodings(table) == encodings(table)


def test_the_choice_is_smaller_than_any_encoding_for_all(size, chance):
    times = 1_772_402_400_000_000_000 + np.arange(ROWS) * 5_000_000 + chance.integers(0, 10**5, ROWS)
    table = pa.table(
        {
            "log_time": array(times, TIME),
            "smooth": array(np.cumsum(chance.normal(0, 0.01, ROWS)), pa.float64()),
            "coarse": array(np.round(chance.normal(0, 1, ROWS), 2), pa.float64()),
            "frame": texts(["base_link"] * ROWS),
            "name": texts([f"node {n % 300}" for n in range(ROWS)]),
        }
    )
    ours = size(table, encodings(table))
    assert ours < 0.75 * size(table, None)
    assert ours < size(table, Encodings([], {"log_time": PLAIN}))


def test_large_values_are_looked_at_in_a_small_part(chance, monkeypatch):
    blobs = pa.array([chance.bytes(200_000) for _ in range(40)], pa.binary())
    seen = []

    class Writer:
        def __init__(self, sink, schema, **options):
            self.inner = encode_writer(sink, schema, **options)

        def write_table(self, table):
            seen.append(table.nbytes)
            self.inner.write_table(table)

        def __getattr__(self, name):
            return getattr(self.inner, name)

    encode_writer = encode.writer
    monkeypatch.setattr(encode, "writer", Writer)
    encodings(pa.table({"value": blobs}))
    assert max(seen) <= 2.5 * (1 << 20)


@pytest.mark.parametrize("kind", ["f8", "f4", "i8", "u4", "i2", "u1", "text", "bytes", "time", "nulls"])
def test_different_values_are_counted_as_arrow_counts_them(chance, kind):
    numbers = np.round(chance.normal(0, 20, 500))
    numbers[::50], numbers[1::50], numbers[2::50] = 0.0, -0.0, 7
    if kind[0] == "f":
        numbers[3::50], numbers[4::50] = np.nan, -np.nan
    known = {
        "text": lambda: pa.array([str(n) for n in numbers]),
        "bytes": lambda: pa.array([b"\xff" * int(abs(n)) for n in numbers]),
        "time": lambda: pa.array(numbers.astype("i8"), TIME),
        "nulls": lambda: pa.array(numbers, mask=numbers == 7),
    }
    values = known[kind]() if kind in known else pa.array(numbers.astype("i8" if kind[0] == "u" else kind).astype(kind))
    for some in (values, values[17:], values[100:101], values[:0]):
        assert distinct(some) == pc.count_distinct(some).as_py()


@pytest.mark.parametrize("some", [slice(0, None), slice(2, 5), slice(1, 2), slice(3, 3)])
@pytest.mark.parametrize("lists", [[[1], [], [2, 3], [4], [], [5]], [[1], None, [2, 3], [4], None, []]])
def test_elements_are_found_as_arrow_finds_them(some, lists):
    for values in (pa.array(lists), pa.array([[each] for each in lists])):
        assert flat(values[some]).equals(pc.list_flatten(values[some]))
