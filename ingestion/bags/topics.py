"""One topic's messages on their way into one Parquet file: kept until a row group is full, decoded at once, written."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingestion.bags import tables
from ingestion.bags.arrays import TIME, array
from ingestion.bags.decode import decode
from ingestion.bags.layout import Program
from ingestion.bags.quality import TopicQuality
from ingestion.bags.recording import Batch, Channel
from ingestion.bags.rejects import LAST_TIME_NS, RejectsFile
from ingestion.bags.waiting import MESSAGE_COST_BYTES, Messages, Waiting

if TYPE_CHECKING:
    from ingestion.bags.media import MediaFiles

MOST_PARTS = 32  # of a row group: what Arrow needs for each, besides its bytes, is many times those of a few rows
SMALLEST_ROW_GROUP_BYTES = 1 << 19  # fewer are put aside rather than written when memory is short


class TopicFile:
    """Takes the messages of one definition of one topic; without a program they are kept raw, in the column `raw`."""

    def __init__(
        self,
        path: Path,
        channel: Channel,
        program: Program | None,
        *,
        metadata: Mapping[str, str],
        rejects: RejectsFile,
        media: "MediaFiles | None" = None,
    ) -> None:
        """The file at `path` appears with the first row group; `metadata` goes to its footer."""
        self.file = tables.TableFile(path)
        self.media = media
        self.quality = TopicQuality()
        self.rejected = 0
        self._channel = channel
        self._program = program
        self._metadata = {f"yardmaster.{name}": value for name, value in metadata.items()}
        self._rejects = rejects
        self._waiting = Waiting(path.with_suffix(".waiting"))
        self._decoded: list[pa.Table] = []  # what is small once its blobs are files: several make a row group
        self._decoded_bytes = 0

    @property
    def held_bytes(self) -> int:
        """How much memory waits here."""
        return self._waiting.held_bytes + self._decoded_bytes

    def add(self, batch: Batch) -> None:
        """Take messages; a full row group is written at once."""
        if batch.doubt:
            self._reject(Messages.of(batch), [batch.doubt] * len(batch.log_time))
            return
        waiting, rows = self._waiting, len(batch.lengths)
        size = int(batch.lengths.sum()) + MESSAGE_COST_BYTES * rows
        if waiting.rows + rows < tables.ROW_GROUP_ROWS and waiting.bytes + size < tables.ROW_GROUP_BYTES:
            waiting.add(batch, size)
            return
        ends = np.cumsum(batch.lengths + MESSAGE_COST_BYTES)
        start = taken = 0
        while start < len(ends):
            full_at = taken + tables.ROW_GROUP_BYTES - self._waiting.bytes
            rows = tables.ROW_GROUP_ROWS - self._waiting.rows
            stop = min(int(ends.searchsorted(full_at)) + 1, start + rows, len(ends))
            size = int(ends[stop - 1]) - taken
            self._waiting.add(_part(batch, start, stop), size)
            if self._waiting.rows >= tables.ROW_GROUP_ROWS or self._waiting.bytes >= tables.ROW_GROUP_BYTES:
                self._decode()
                self._write(is_last=False)
            start, taken = stop, taken + size

    def release(self) -> None:
        """Free the memory that is held here."""
        if self._waiting.bytes < SMALLEST_ROW_GROUP_BYTES and not self._decoded:
            self._waiting.put_aside()
        else:
            self._decode()
            self._write(is_last=True)

    def close(self) -> None:
        """Write what waits and end the file."""
        self._decode()
        self._write(is_last=True)
        self.file.close()

    def _decode(self) -> None:
        if not self._waiting.rows:
            return
        messages, columns = self._columns(self._with_instants(self._waiting.take()))
        if not len(messages):
            return
        published = array(messages.publish_time, TIME, messages.publish_time <= LAST_TIME_NS)
        table = pa.table({"log_time": array(messages.log_time, TIME), "publish_time": published} | columns)
        self.quality.add(messages.log_time.view(np.int64), _stamps(columns.get("header_stamp")), messages.bodies)
        self._decoded.append(table if self.media is None else self.media.extract(table))
        self._decoded_bytes += self._decoded[-1].nbytes
        if len(self._decoded) >= MOST_PARTS:
            self._decoded = [pa.concat_tables(self._decoded).combine_chunks()]

    def _write(self, *, is_last: bool) -> None:
        rows = sum(table.num_rows for table in self._decoded)
        is_full = rows >= tables.ROW_GROUP_ROWS or self._decoded_bytes >= tables.ROW_GROUP_BYTES
        if self._decoded and (is_last or is_full or self.media is None):
            whole = pa.concat_tables(self._decoded) if len(self._decoded) > 1 else self._decoded[0]
            self._decoded, self._decoded_bytes = [], 0
            self.file.add(whole.replace_schema_metadata(self._metadata))

    def _with_instants(self, messages: Messages) -> Messages:
        """Those whose time is an instant; the others are rejected."""
        is_instant = messages.log_time <= LAST_TIME_NS
        if is_instant.all():
            return messages
        bad = messages.at(np.flatnonzero(~is_instant))
        self._reject(bad, [f"log_time {time} is no instant" for time in bad.log_time])
        return messages.at(np.flatnonzero(is_instant))

    def _columns(self, messages: Messages) -> tuple[Messages, dict[str, pa.Array]]:
        """Those that can be decoded, with their columns; the others are rejected."""
        if self._program is None:
            return messages, {"raw": messages.bodies.contents()}
        decoded = decode(self._program, messages.bodies)
        if not decoded.bad:
            return messages, decoded.columns
        bad = np.array([place for place, _ in decoded.bad])
        self._reject(messages.at(bad), [reason for _, reason in decoded.bad])
        return messages.at(decoded.kept), decoded.columns

    def _reject(self, messages: Messages, reasons: list[str]) -> None:
        self.rejected += len(reasons)
        self._rejects.add(self._channel, messages.log_time, messages.bodies.contents(), reasons)


def _part(batch: Batch, start: int, stop: int) -> Batch:
    if stop - start == len(batch.log_time):
        return batch
    some = slice(start, stop)
    return replace(
        batch,
        log_time=batch.log_time[some],
        publish_time=None if batch.publish_time is None else batch.publish_time[some],
        starts=batch.starts[some],
        lengths=batch.lengths[some],
    )


def _stamps(header_stamp: pa.Array | None) -> NDArray[np.int64] | None:
    if header_stamp is None:
        return None
    return np.frombuffer(header_stamp.buffers()[1], np.int64)[header_stamp.offset :][: len(header_stamp)]
