"""One Parquet file of the lake: row groups as they come, each sorted by log_time, at the end sorted as a whole."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingestion.bags.arrays import taken
from ingestion.bags.encode import CODEC, Encodings, encodings
from ingestion.bags.ordering import sort_file
from ingestion.bags.parquet import ParquetWriter, SortingColumn, writer

ROW_GROUP_ROWS = 65_536
ROW_GROUP_BYTES = 4 << 20
GROUPS_BETWEEN_RELEASES = 8


class TableFile:
    """Writes tables with a column `log_time` as row groups; encodings are those that suit the first."""

    def __init__(self, path: Path) -> None:
        """The file at `path` appears with the first rows."""
        self.path = path
        self.rows = 0
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self._encodings = Encodings()
        self._writer: ParquetWriter | None = None
        self._groups = 0
        self._is_sorted = True

    def add(self, table: pa.Table) -> None:
        """Write these rows, one or more in order of recording, as one row group."""
        table, times = _sorted(table)
        first, last = int(times[0]), int(times[-1])
        self._is_sorted = self._is_sorted and (self.last_ns is None or self.last_ns <= first)
        self.first_ns = first if self.first_ns is None else min(self.first_ns, first)
        self.last_ns = last if self.last_ns is None else max(self.last_ns, last)
        if self._writer is None:
            self._encodings = encodings(table)
            self._writer = self._open(self.path, table.schema)
        self._writer.write_table(table, row_group_size=table.num_rows)
        self.rows += table.num_rows
        # Arrow keeps what it once needed; of many topics each would add its share. A busy one soon needs it again.
        if self._groups % GROUPS_BETWEEN_RELEASES == 0:
            pa.default_memory_pool().release_unused()
        self._groups += 1

    def close(self) -> None:
        """End the file; one whose row groups overlap in time is sorted as a whole."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            if not self._is_sorted:
                sort_file(self.path, self._open, group_rows=ROW_GROUP_ROWS, group_bytes=ROW_GROUP_BYTES)

    def _open(self, path: Path, schema: pa.Schema) -> ParquetWriter:
        return writer(
            path,
            schema,
            use_dictionary=self._encodings.dictionaries,
            column_encoding=self._encodings.others or None,
            write_statistics=_flat(schema),
            write_page_index=True,
            sorting_columns=[SortingColumn(schema.get_field_index("log_time"))],
            **CODEC,
        )


def _flat(schema: pa.Schema) -> list[str]:
    """The columns that rows can be found by: the least and the greatest element of all lists tell nothing."""
    return [field.name for field in schema if not pa.types.is_list(field.type)]


def _sorted(table: pa.Table) -> tuple[pa.Table, NDArray[np.int64]]:
    whole = table["log_time"].combine_chunks()
    times = np.frombuffer(whole.buffers()[1], np.int64)[whole.offset : whole.offset + len(whole)]
    if (times[1:] >= times[:-1]).all():
        return table, times
    order = np.argsort(times, kind="stable")
    return taken(table, order), times[order]
