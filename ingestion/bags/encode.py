"""How each leaf of a table is laid out in Parquet: chosen by its values, from a sample of the first row group.

Values that repeat go into a dictionary. Else the bytes of floats are split into streams and of whole numbers and times
only the differences are kept; zstd then finds what is alike. The choice depends on the rows alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import log2

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SAMPLE_ROWS = 4_096
SAMPLE_BYTES = 2 << 20
SAMPLE_PARTS = 8
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


def encodings(table: pa.Table) -> Encodings:
    """The encodings that make the rows of this table small; a few thousand of them are looked at."""
    sample = _sample(table)
    scale = max(1.0, table.num_rows / max(1, sample.num_rows))
    chosen: dict[str, str] = {}
    unclear: dict[str, list[str]] = {}
    for path, values in leaves(sample):
        candidates = _candidates(values)
        chosen[path] = candidates[0]
        if len(candidates) > 1:
            unclear[path] = candidates
    return Encodings.of(chosen | _smallest(sample, unclear, scale))


def leaves(table: pa.Table) -> Iterator[Leaf]:
    """Every leaf column by its Parquet path, with its values."""
    for name, column in zip(table.column_names, table.columns, strict=True):
        path, values = name, column.combine_chunks()
        while pa.types.is_list(values.type):
            path, values = f"{path}.list.element", values.flatten()
        yield path, values


def _sample(table: pa.Table) -> pa.Table:
    """Rows of all parts of the table: a robot that stands still at first does not decide for the rest."""
    bytes_per_row = max(1, table.nbytes // max(1, table.num_rows))
    wanted = max(1, min(SAMPLE_ROWS, SAMPLE_BYTES // bytes_per_row))
    if table.num_rows <= wanted:
        return table
    each = max(1, wanted // SAMPLE_PARTS)
    step = table.num_rows // SAMPLE_PARTS
    return pa.concat_tables([table.slice(part * step, each) for part in range(SAMPLE_PARTS)])


def _candidates(values: pa.Array) -> list[str]:
    """The encodings that may be best, the likeliest first; only one where there is no doubt."""
    kind = values.type
    if pa.types.is_boolean(kind):
        return [PLAIN]
    usual = _usual(kind)
    distinct = pc.count_distinct(values).as_py() if len(values) else 0
    if distinct <= len(values) * CLEARLY_REPEATED and len(values):
        return [DICTIONARY]
    if usual == LENGTHS:
        return [DICTIONARY, PLAIN, LENGTHS] if len(values) else [DICTIONARY]
    return [usual] if distinct >= len(values) * CLEARLY_DISTINCT else [DICTIONARY, usual, PLAIN]


def _usual(kind: pa.DataType) -> str:
    if pa.types.is_floating(kind):
        return SPLIT
    return DELTA if pa.types.is_integer(kind) or pa.types.is_timestamp(kind) else LENGTHS


def _smallest(sample: pa.Table, unclear: Mapping[str, list[str]], scale: float) -> dict[str, str]:
    """Which candidate of each leaf takes fewest bytes when the sample is written with it."""
    names = [name for name in sample.column_names if any(_is_of(path, name) for path in unclear)]
    part = sample.select(names)
    best: dict[str, tuple[float, str]] = {}
    for turn in range(max(map(len, unclear.values()), default=0)):
        chosen = {path: candidates[turn] for path, candidates in unclear.items() if turn < len(candidates)}
        for path, size in _sizes(part, chosen, scale).items():
            if path in chosen and (path not in best or size < best[path][0]):
                best[path] = (size, chosen[path])
    return {path: encoding for path, (_, encoding) in best.items()}


def _is_of(path: str, name: str) -> bool:
    return path == name or (path.startswith(name) and path.removeprefix(name).startswith(".list.element"))


def _sizes(part: pa.Table, chosen: Mapping[str, str], scale: float) -> dict[str, float]:
    """Bytes of every leaf written so, brought to `scale` times the rows: a dictionary grows as it grew in the sample."""
    sink = pa.BufferOutputStream()
    found = Encodings.of(chosen)
    with pq.ParquetWriter(
        sink,
        part.schema,
        use_dictionary=found.dictionaries,
        column_encoding=found.others or None,
        write_statistics=False,
        **CODEC,
    ) as writer:
        writer.write_table(part)
    group = pq.read_metadata(pa.BufferReader(sink.getvalue())).row_group(0)
    growths = {path: _growth(values, scale) for path, values in leaves(part) if chosen.get(path) == DICTIONARY}
    sizes = {}
    for column in map(group.column, range(group.num_columns)):
        dictionary = column.data_page_offset - column.dictionary_page_offset if column.has_dictionary_page else 0
        rest = column.total_compressed_size - dictionary
        sizes[column.path_in_schema] = rest * scale + dictionary * growths.get(column.path_in_schema, 1.0)
    return sizes


def _growth(values: pa.Array, scale: float) -> float:
    """How much more distinct values `scale` times as many values have, judged by the halves of these."""
    half = pc.count_distinct(values.slice(0, len(values) // 2)).as_py()
    whole = pc.count_distinct(values).as_py()
    return float((whole / half) ** log2(scale)) if half else scale
