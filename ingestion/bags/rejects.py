"""The messages of a recording that could not be decoded, kept as they were recorded, each with the reason."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ingestion.bags.arrays import TIME, array, texts
from ingestion.bags.definitions import definition_sha256
from ingestion.bags.recording import Channel

LAST_TIME_NS = 2**63 - 1
WAITING_MAX_BYTES = 8 << 20
TABLE_COST_BYTES = 5_000  # what Arrow and Python add to a table that waits
REASON_MAX = 300
SCHEMA = pa.schema(
    {
        "log_time": TIME,
        "topic": pa.string(),
        "type": pa.string(),
        "definition_sha256": pa.string(),
        "reason": pa.string(),
        "raw": pa.binary(),
    }
)


class RejectsFile:
    """One Parquet file of all topics, in the order in which the messages were found to be bad."""

    def __init__(self, path: Path) -> None:
        """The file at `path` appears with the first messages that are written."""
        self.path = path
        self.rows = 0
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = 0
        self._writer: pq.ParquetWriter | None = None

    def add(self, channel: Channel, log_time: NDArray[np.uint64], raw: pa.Array, reasons: Sequence[str]) -> None:
        """Take messages of one channel with their bytes and reasons; a time that is no instant is left out."""
        count = len(log_time)
        words = (channel.topic, channel.type, definition_sha256(channel))
        columns = [array(log_time, TIME, log_time <= LAST_TIME_NS), *(texts([word] * count) for word in words)]
        columns += [texts([reason[:REASON_MAX] for reason in reasons]), raw]
        table = pa.Table.from_arrays(columns, schema=SCHEMA)
        self.rows += count
        self._waiting.append(table)
        self._waiting_bytes += table.nbytes + TABLE_COST_BYTES
        if self._waiting_bytes >= WAITING_MAX_BYTES:
            self._write_waiting()

    def close(self) -> None:
        """Write what waits and end the file."""
        if self._waiting:
            self._write_waiting()
        if self._writer is not None:
            self._writer.close()

    def _write_waiting(self) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, SCHEMA, compression="zstd")
        self._writer.write_table(pa.concat_tables(self._waiting))
        self._waiting, self._waiting_bytes = [], 0
