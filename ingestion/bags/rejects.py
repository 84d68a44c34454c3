"""The messages of a recording that could not be decoded, kept as they were recorded, each with the reason."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingestion.bags.arrays import TIME, array, texts
from ingestion.bags.definitions import definition_sha256
from ingestion.bags.parquet import ParquetWriter, writer
from ingestion.bags.recording import Channel

LAST_TIME_NS = 2**63 - 1
_hashed = lru_cache(maxsize=256)(definition_sha256)
WAITING_MAX_BYTES = 8 << 20
TABLE_COST_BYTES = 5_000  # what Arrow and Python add to messages that wait
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


@dataclass(frozen=True, eq=False)
class _Some:
    """Messages of one channel that wait: one table of all is made at the end, as there may be one message in each."""

    channel: Channel
    log_time: NDArray[np.uint64]
    raw: pa.Array
    reasons: Sequence[str]

    @property
    def words(self) -> tuple[str, str, str]:
        return self.channel.topic, self.channel.type, _hashed(self.channel)

    @property
    def nbytes(self) -> int:
        """What they take in a table."""
        texts = sum(map(len, self.words)) + 24
        return int(self.raw.nbytes) + len(self.log_time) * (texts + len(self.reasons[0])) + TABLE_COST_BYTES

    def repeated(self, word: int) -> Iterator[str]:
        return repeat(self.words[word], len(self.log_time))


class RejectsFile:
    """One Parquet file of all topics, in the order in which the messages were found to be bad."""

    def __init__(self, path: Path) -> None:
        """The file at `path` appears with the first messages that are written."""
        self.path = path
        self.rows = 0
        self._waiting: list[_Some] = []
        self._waiting_bytes = 0
        self._writer: ParquetWriter | None = None

    def add(self, channel: Channel, log_time: NDArray[np.uint64], raw: pa.Array, reasons: Sequence[str]) -> None:
        """Take messages of one channel with their bytes and reasons; a time that is no instant is left out."""
        self.rows += len(log_time)
        self._waiting.append(_Some(channel, log_time, raw, reasons))
        self._waiting_bytes += self._waiting[-1].nbytes
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
            self._writer = writer(self.path, SCHEMA, compression="zstd")
        self._writer.write_table(_table(self._waiting))
        self._waiting, self._waiting_bytes = [], 0


def _table(waiting: Sequence[_Some]) -> pa.Table:
    log_time = np.concatenate([some.log_time for some in waiting])
    columns = [array(log_time, TIME, log_time <= LAST_TIME_NS)]
    columns += [texts(list(chain.from_iterable(some.repeated(word) for some in waiting))) for word in range(3)]
    columns.append(texts([reason[:REASON_MAX] for some in waiting for reason in some.reasons]))
    columns.append(pa.concat_arrays([some.raw for some in waiting]))
    return pa.Table.from_arrays(columns, schema=SCHEMA)
