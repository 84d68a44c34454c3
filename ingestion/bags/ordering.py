"""A Parquet file of row groups that are each sorted by log_time becomes sorted as a whole, in bounded memory.

Row groups are taken by their first row; what lies before the first row of all that are still to come is final. Where
more of them overlap than may be held, the held rows are put aside as narrower runs, so that every pass overlaps less.
"""

import heapq
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingestion.bags.arrays import array
from ingestion.bags.parquet import ParquetWriter

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

HELD_MAX_BYTES = 12 << 20
NUMBER = "yardmaster.number"  # of the row in the file as it was: rows of one instant keep their order
KEYS = [("log_time", "ascending"), (NUMBER, "ascending")]
OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")
Key = tuple[int, int]  # time and number of a row


@dataclass(order=True)
class Run:
    """Sorted rows that are read when their turn comes."""

    first: Key
    read: Callable[[], pa.Table] = field(compare=False)


@dataclass
class Sorting:
    """The runs that are still to come and the rows that are held, both by time."""

    folder: Path
    runs: list[Run]
    held: pa.Table | None = None
    files: int = 0

    def final(self) -> Iterator[pa.Table]:
        """The rows of all runs in order."""
        heapq.heapify(self.runs)
        while self.runs or self.held is not None:
            self.held = self._overlapping()
            ready = _before(self.held, self.runs[0].first) if self.runs else len(self.held)
            if ready:
                yield _copied(self.held.slice(0, ready))
                self.held = _copied(self.held.slice(ready)) if ready < len(self.held) else None
            if self.held is not None and self.held.nbytes > HELD_MAX_BYTES // 2:
                self._put_aside(self.held)
                self.held = None
            pa.default_memory_pool().release_unused()

    def _overlapping(self) -> pa.Table:
        """What is held and the runs that begin before its end, sorted together, as far as they may be held."""
        parts = [self.held if self.held is not None else heapq.heappop(self.runs).read()]
        self.held = None
        size, last = parts[0].nbytes, _key(parts[0], len(parts[0]) - 1)
        while self.runs and (self.runs[0].first < last or len(parts) == 1) and size < HELD_MAX_BYTES:
            parts.append(heapq.heappop(self.runs).read())
            size, last = size + parts[-1].nbytes, max(last, _key(parts[-1], len(parts[-1]) - 1))
        return parts[0] if len(parts) == 1 else pa.concat_tables(parts).sort_by(KEYS)

    def _put_aside(self, held: pa.Table) -> None:
        each = max(1, len(held) * HELD_MAX_BYTES // 8 // held.nbytes)
        for start in range(0, len(held), each):
            path = self.folder / f"{self.files}.arrow"
            part = held.slice(start, each)
            with pa.ipc.new_file(path, part.schema, options=OPTIONS) as writer:
                writer.write_table(part)
            heapq.heappush(self.runs, Run(_key(part, 0), _reader(path)))
            self.files += 1


def sort_file(
    path: Path, writer: Callable[[Path, pa.Schema], ParquetWriter], *, group_rows: int, group_bytes: int
) -> None:
    """Sort the file at `path` by log_time (stable) into row groups of these caps; `writer` opens the new file."""
    # What comes in order does not wait for what reads Parquet.
    from pyarrow.parquet import ParquetFile  # noqa: PLC0415  see above

    target = path.with_suffix(".sorted")
    with ParquetFile(path) as source, tempfile.TemporaryDirectory(dir=path.parent) as folder:
        sorting = Sorting(Path(folder), list(_groups(source)))
        with closing(writer(target, source.schema_arrow)) as out:
            for rows in regrouped(sorting.final(), group_rows=group_rows, group_bytes=group_bytes):
                out.write_table(rows.drop_columns([NUMBER]), row_group_size=len(rows))
    target.replace(path)


def regrouped(tables: Iterator[pa.Table], *, group_rows: int, group_bytes: int) -> Iterator[pa.Table]:
    """The same rows in tables that are as large as both caps let them be."""
    waiting: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        waiting.append(table)
        rows, size = rows + len(table), size + table.nbytes
        if rows >= group_rows or size >= group_bytes:
            yield from _parts(pa.concat_tables(waiting), max(-(-rows // group_rows), size // group_bytes))
            waiting, rows, size = [], 0, 0
    if waiting:
        yield _copied(pa.concat_tables(waiting))


def _parts(table: pa.Table, wanted: int) -> Iterator[pa.Table]:
    each = max(1, -(-len(table) // wanted))
    for start in range(0, len(table), each):
        yield _copied(table.slice(start, each))


def _groups(source: "ParquetFile") -> Iterator[Run]:
    start = 0
    for group in range(source.num_row_groups):
        first = source.read_row_group(group, columns=["log_time"])["log_time"][0].value
        yield Run((first, start), _group_reader(source, group, start))
        start += source.metadata.row_group(group).num_rows


def _group_reader(source: "ParquetFile", group: int, start: int) -> Callable[[], pa.Table]:
    def read() -> pa.Table:
        rows = source.read_row_group(group, use_threads=False)
        return rows.append_column(NUMBER, array(np.arange(start, start + len(rows)), pa.int64()))

    return read


def _reader(path: Path) -> Callable[[], pa.Table]:
    def read() -> pa.Table:
        with pa.ipc.open_file(path) as file:
            rows = file.read_all()
        path.unlink()
        return rows

    return read


def _copied(rows: pa.Table) -> pa.Table:
    """The rows alone: a slice keeps all the memory that it was cut from."""
    return pa.Table.from_arrays([column.combine_chunks() for column in rows.columns], schema=rows.schema)


def _key(rows: pa.Table, row: int) -> Key:
    return rows["log_time"][row].value, rows[NUMBER][row].as_py()


def _before(rows: pa.Table, key: Key) -> int:
    """How many of the sorted rows lie before that one."""
    times = _numbers(rows["log_time"])
    begin, end = (int(times.searchsorted(key[0], side)) for side in ("left", "right"))
    return begin + int(_numbers(rows[NUMBER])[begin:end].searchsorted(key[1]))


def _numbers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    whole = column.combine_chunks()
    return np.frombuffer(whole.buffers()[1], np.int64)[whole.offset : whole.offset + len(whole)]
