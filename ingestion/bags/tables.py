"""One topic's messages on their way into one Parquet file: bounded batches, sorted by log_time, bad ones set aside."""

from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingestion.bags.columns import TIME, columns
from ingestion.bags.definitions import DECODE_ERRORS, Decoder, definition_sha256
from ingestion.bags.recording import Message

ROW_GROUP_ROWS = 65_536
ROW_GROUP_BYTES = 8 << 20
DECODED_AT_ONCE = 2_048
MESSAGE_COST_BYTES = 200  # what Python adds to a message that waits
LAST_TIME_NS = 2**63 - 1
REJECTS = pa.schema(
    {
        "log_time": TIME,
        "topic": pa.string(),
        "type": pa.string(),
        "definition_sha256": pa.string(),
        "reason": pa.string(),
        "raw": pa.binary(),
    }
)
Reject = Callable[[Message, str], None]


class TopicFile:
    """Writes the messages of one definition of one topic; without a decoder they are kept raw, in the column `raw`."""

    def __init__(self, path: Path, decoder: Decoder | None, metadata: Mapping[str, str], reject: Reject) -> None:
        """The file at `path` appears with the first batch; `metadata` goes to its footer, bad messages to `reject`."""
        self.path = path
        self.rows = 0
        self.rejected = 0
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.waiting_bytes = 0
        self._reject = reject
        self._decoder = decoder
        self._metadata = {f"yardmaster.{name}": value for name, value in metadata.items()}
        self._waiting: list[Message] = []
        self._writer: pq.ParquetWriter | None = None
        self._is_sorted = True

    def add(self, message: Message) -> None:
        """Take one message; a full batch is written at once."""
        self._waiting.append(message)
        self.waiting_bytes += len(message.content) + MESSAGE_COST_BYTES
        if len(self._waiting) >= ROW_GROUP_ROWS or self.waiting_bytes >= ROW_GROUP_BYTES:
            self.write_waiting()

    def write_waiting(self) -> None:
        """Write what waits as one row group; messages that cannot be decoded are handed on."""
        messages = sorted(self._waiting, key=lambda message: message.log_time)
        self._waiting, self.waiting_bytes = [], 0
        rest = iter(messages)
        tables = [self._table(part) for part in iter(lambda: list(islice(rest, DECODED_AT_ONCE)), [])]
        whole = pa.concat_tables(table for table in tables if table.num_rows) if any(map(len, tables)) else None
        if whole is not None:
            self._note_times(whole["log_time"])
            self._write(whole)

    def close(self) -> None:
        """Write what waits and end the file; one whose batches overlap in time is sorted as a whole."""
        self.write_waiting()
        if self._writer is not None:
            self._writer.close()
            if not self._is_sorted:
                sort_file(self.path)

    def _table(self, messages: list[Message]) -> pa.Table:
        kept, decoded = [], []
        for message in messages:
            try:
                decoded.append(self._decoded(message))
                kept.append(message)
            except DECODE_ERRORS as error:
                self.rejected += 1
                self._reject(message, f"{type(error).__name__}: {error}"[:300])
        times = {
            "log_time": pa.array([message.log_time for message in kept], pa.int64()).cast(TIME),
            "publish_time": pa.array([_published(message) for message in kept], pa.int64()).cast(TIME),
        }
        rest = {"raw": pa.array(decoded, pa.binary())} if self._decoder is None else columns(self._decoder, decoded)
        return pa.table(times | rest).replace_schema_metadata(self._metadata)

    def _decoded(self, message: Message) -> object:
        if message.doubt:
            raise ValueError(message.doubt)
        if not 0 <= message.log_time <= LAST_TIME_NS:
            raise ValueError(f"log_time {message.log_time} is no instant")
        return message.content if self._decoder is None else self._decoder.decode(message.content)

    def _note_times(self, log_time: pa.ChunkedArray) -> None:
        first, last = (time.value for time in pc.min_max(log_time).values())
        self._is_sorted = self._is_sorted and (self.last_ns is None or self.last_ns <= first)
        self.first_ns = first if self.first_ns is None else min(self.first_ns, first)
        self.last_ns = last if self.last_ns is None else max(self.last_ns, last)

    def _write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = parquet_writer(self.path, table.schema)
        self._writer.write_table(table, row_group_size=table.num_rows)
        self.rows += table.num_rows


def _published(message: Message) -> int | None:
    time = message.publish_time
    return time if time is not None and time <= LAST_TIME_NS else None


def parquet_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer with the settings that every file of the lake has: zstd, page index, sorted by log_time."""
    sorting = [pq.SortingColumn(schema.get_field_index("log_time"))]
    return pq.ParquetWriter(
        path, schema, compression="zstd", compression_level=1, write_page_index=True, sorting_columns=sorting
    )


def sort_file(path: Path) -> None:
    """Sort a Parquet file by log_time (stable), one row group in memory at a time besides the times."""
    target = path.with_suffix(".sorted")
    with pq.ParquetFile(path) as source:
        times = source.read(columns=["log_time"])["log_time"].cast(pa.int64())
        order = pc.sort_indices(
            pa.table({"t": times, "n": range(len(times))}), sort_keys=[(k, "ascending") for k in "tn"]
        )
        size = max(source.metadata.row_group(n).num_rows for n in range(source.num_row_groups))
        with parquet_writer(target, source.schema_arrow) as writer:
            for start in range(0, len(order), size):
                writer.write_table(_rows(source, order.slice(start, size)), row_group_size=size)
    target.replace(path)


def _rows(source: pq.ParquetFile, wanted: pa.Array) -> pa.Table:
    """The rows of these numbers, in this order; only row groups that hold some of them are read."""
    parts, numbers, start = [], [], 0
    for group in range(source.num_row_groups):
        end = start + source.metadata.row_group(group).num_rows
        here = pc.filter(wanted, _within(wanted, start, end))
        if len(here):
            parts.append(source.read_row_group(group).take(pc.subtract(here, start)))
            numbers.append(here)
        start = end
    found = pa.concat_arrays(numbers)
    return pa.concat_tables(parts).take(pc.index_in(wanted, value_set=found))


def _within(numbers: pa.Array, start: int, end: int) -> pa.Array:
    return pc.and_(pc.greater_equal(numbers, start), pc.less(numbers, end))


class RejectsFile:
    """Keeps the messages that could not be decoded as they were recorded, each with the reason."""

    def __init__(self, path: Path) -> None:
        """The file at `path` appears with the first batch."""
        self.path = path
        self.rows = 0
        self._waiting: list[dict[str, object]] = []
        self._waiting_bytes = 0
        self._writer: pq.ParquetWriter | None = None

    def add(self, message: Message, reason: str) -> None:
        """Take one message; a full batch is written at once."""
        self._waiting.append(
            {
                "log_time": message.log_time if 0 <= message.log_time <= LAST_TIME_NS else None,
                "topic": message.channel.topic,
                "type": message.channel.type,
                "definition_sha256": definition_sha256(message.channel),
                "reason": reason,
                "raw": message.content,
            }
        )
        self.rows += 1
        self._waiting_bytes += len(message.content) + MESSAGE_COST_BYTES
        if self._waiting_bytes >= ROW_GROUP_BYTES:
            self._write_waiting()

    def close(self) -> None:
        """Write what waits and end the file."""
        if self._waiting:
            self._write_waiting()
        if self._writer is not None:
            self._writer.close()

    def _write_waiting(self) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, REJECTS, compression="zstd")
        self._writer.write_table(pa.Table.from_pylist(self._waiting, schema=REJECTS))
        self._waiting, self._waiting_bytes = [], 0
