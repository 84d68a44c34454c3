"""How each leaf of a table is laid out in Parquet: chosen by its values, from a sample of the first row group.

Values that repeat go into a dictionary. Else the bytes of floats are split into streams and of whole numbers and times
only the differences are kept; zstd then finds what is alike. The choice depends on the rows alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import log2

import pyarrow as pa

from ingestion.bags.arrays import distinct, flat
from ingestion.bags.parquet import writer

SAMPLE_VALUES = 4_096
SAMPLE_BYTES = 1 << 20
SAMPLE_PARTS = 8
WORTH_BYTES = 32 << 10  # a smaller leaf is small in any encoding
DICTIONARY, SPLIT, DELTA, LENGTHS, PLAIN = (
    "RLE_DICTIONARY",
    "BYTE_STREAM_SPLIT",
    "DELTA_BINARY_PACKED",
    "DELTA_LENGTH_BYTE_ARRAY",
    "PLAIN",
)
CLEARLY_REPEATED = 1 / 16  # of the sampled values are distinct, or fewer
CLEARLY_DISTINCT = 9 / 10
CODEC: Mapping[str, str | int] = {"compression": "zstd", "compression_level": 1}
Leaf = tuple[str, pa.Array]


@dataclass(frozen=True)
class Encodings:
    """The encoding of every leaf by its Parquet path; dictionaries apart, as writers want them."""

    dictionaries: list[str] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, chosen: Mapping[str, str]) -> "Encodings":
        """From leaf path to encoding."""
        others = {path: encoding for path, encoding in chosen.items() if encoding != DICTIONARY}
        return cls([path for path in chosen if path not in others], others)


@dataclass(frozen=True)
class _Unclear:
    """A leaf for which several encodings come into question; it has `scale` times as many values as the sample."""

    path: str
    sample: pa.Array
    scale: float
    candidates: list[str]


def encodings(table: pa.Table) -> Encodings:
    """The encodings that make the rows of this table small; a few thousand values of each leaf are looked at."""
    chosen: dict[str, str] = {}
    unclear: dict[int, list[_Unclear]] = {}
    for path, values in leaves(table):
        sample = _sample(values)
        candidates = _candidates(sample)
        chosen[path] = candidates[0]
        if len(candidates) > 1 and values.nbytes >= WORTH_BYTES:
            scale = len(values) / len(sample)
            unclear.setdefault(len(sample), []).append(_Unclear(path, sample, scale, candidates))
    for alike in unclear.values():
        chosen |= _smallest(alike)
    return Encodings.of(chosen)


def leaves(table: pa.Table) -> Iterator[Leaf]:
    """Every leaf column by its Parquet path, with its values."""
    for name, column in zip(table.column_names, table.columns, strict=True):
        path, values = name, column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        while pa.types.is_list(values.type):
            path, values = f"{path}.list.element", flat(values)
        yield path, values


def _sample(values: pa.Array) -> pa.Array:
    """Values of all parts: a robot that stands still at first does not decide for the rest."""
    size = max(1, values.nbytes // max(1, len(values)))
    each = max(1, min(SAMPLE_VALUES, SAMPLE_BYTES // size) // SAMPLE_PARTS)
    if len(values) <= each * SAMPLE_PARTS:
        return values
    step = len(values) // SAMPLE_PARTS
    return pa.concat_arrays([values.slice(part * step, each) for part in range(SAMPLE_PARTS)])


def _candidates(values: pa.Array) -> list[str]:
    """The encodings that may be best, the likeliest first; only one where there is no doubt."""
    kind = values.type
    if pa.types.is_boolean(kind):
        return [PLAIN]
    usual = _usual(kind)
    different = distinct(values) if len(values) else 0
    if usual != LENGTHS and (different <= 1 or different >= len(values) * CLEARLY_DISTINCT):
        # What never changed so far is small in any encoding, and must not get large when it changes later.
        return [usual]
    if different <= len(values) * CLEARLY_REPEATED:
        return [DICTIONARY]
    return [DICTIONARY, PLAIN, LENGTHS] if usual == LENGTHS else [DICTIONARY, usual, PLAIN]


def _usual(kind: pa.DataType) -> str:
    if pa.types.is_floating(kind):
        return SPLIT
    return DELTA if pa.types.is_integer(kind) or pa.types.is_timestamp(kind) else LENGTHS


def _smallest(leaves: list["_Unclear"]) -> dict[str, str]:
    """Which candidate of each leaf takes fewest bytes when its sample is written with it; all are of one length."""
    sizes: dict[str, dict[str, float]] = {leaf.path: {} for leaf in leaves}
    for turn in range(max(len(leaf.candidates) for leaf in leaves)):
        now = [leaf for leaf in leaves if turn < len(leaf.candidates)]
        for leaf, size in zip(now, _sizes(now, turn), strict=True):
            sizes[leaf.path][leaf.candidates[turn]] = size
    return {path: min(found, key=lambda encoding: found[encoding]) for path, found in sizes.items()}


def _sizes(leaves: list["_Unclear"], turn: int) -> Iterator[float]:
    """Bytes of every leaf written so, brought to all its values: a dictionary grows as it grew in the sample."""
    names = [str(number) for number in range(len(leaves))]
    found = Encodings.of({name: leaf.candidates[turn] for name, leaf in zip(names, leaves, strict=True)})
    table = pa.Table.from_arrays([leaf.sample for leaf in leaves], names=names)
    sink = pa.BufferOutputStream()
    options = {"use_dictionary": found.dictionaries, "column_encoding": found.others or None}
    sample = writer(sink, table.schema, write_statistics=False, **options, **CODEC)
    sample.write_table(table)
    sample.close()
    group = sample.metadata.row_group(0)
    for number, leaf in enumerate(leaves):
        column = group.column(number)
        dictionary = column.data_page_offset - column.dictionary_page_offset if column.has_dictionary_page else 0
        growth = _growth(leaf.sample, leaf.scale) if dictionary else 1.0
        yield (column.total_compressed_size - dictionary) * leaf.scale + dictionary * growth


def _growth(values: pa.Array, scale: float) -> float:
    """How much more distinct values `scale` times as many values have, judged by the halves of these."""
    half = distinct(values.slice(0, len(values) // 2))
    whole = distinct(values)
    return float((whole / half) ** log2(scale)) if half else scale
