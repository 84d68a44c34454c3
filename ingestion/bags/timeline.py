"""A recording at a glance, as lines of text: when each topic had messages, how the battery went, when something happened."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ingestion.lake import Lake, LakeFile, Manifest, TopicTable, instant

CELLS = 60
HERE, AWAY, HAPPENED = "█", "·", "!"
LEVELS = "▁▂▃▄▅▆▇█"
LONGEST_NAME = 40
TOPICS_SHOWN = 60
CHARGE = "percentage"  # of sensor_msgs/BatteryState: 0 to 1, by many drivers 0 to 100
READ_ROWS = 65_536


@dataclass(frozen=True)
class Scale:
    """The time of a recording, which CELLS equal cells divide."""

    first_ns: int
    last_ns: int

    @property
    def cell_ns(self) -> float:
        """How long a cell is."""
        return max(self.last_ns - self.first_ns, 1) / CELLS

    def cell(self, time_ns: int) -> int:
        """The cell of an instant within the recording."""
        return min(max(int((time_ns - self.first_ns) / self.cell_ns), 0), CELLS - 1)


def timeline(lake: Lake, manifest: Manifest, happened: Sequence[datetime]) -> str:
    """The lines of a bag, with a head that says its begin and end; empty when it has no messages.

    A dot is a time without messages: before the first, after the last, or at least half of the cell within one of the
    ten longest gaps. `happened` are marked in a line of their own.
    """
    if manifest.first_ns is None or manifest.last_ns is None:
        return ""
    scale = Scale(manifest.first_ns, manifest.last_ns)
    topics = [topic for topic in manifest.topics if topic.rows]
    lines = [(_named(topic.name), presence(topic, scale)) for topic in topics[:TOPICS_SHOWN]]
    lines += [(f"battery {_named(topic.name)}", line) for topic in topics if (line := _battery(lake, topic, scale))]
    lines += [("events", marks(happened, scale))] if happened else []
    width = max(len(name) for name, _ in lines)
    begin, end = (f"{instant(time):%Y-%m-%d %H:%M:%S}" for time in (scale.first_ns, scale.last_ns))
    told = [f"{'':{width}}  {begin}{end:>{CELLS - len(begin)}}", *(f"{name:{width}}  {line}" for name, line in lines)]
    more = len(topics) - TOPICS_SHOWN
    return "\n".join([*told, f"and {more} topics more"] if more > 0 else told)


def presence(topic: TopicTable, scale: Scale) -> str:
    """A mark for each cell in which the topic has messages, as far as its gaps tell."""
    if topic.first_ns is None or topic.last_ns is None:
        return AWAY * CELLS
    first, last = scale.cell(topic.first_ns), scale.cell(topic.last_ns)
    cells = [HERE if first <= cell <= last else AWAY for cell in range(CELLS)]
    for gap in topic.quality.longest_gaps if topic.quality else ():
        begin = (gap.begin_ns - scale.first_ns) / scale.cell_ns
        end = begin + gap.length_ns / scale.cell_ns
        for cell in range(max(int(begin), 0), min(int(end) + 1, CELLS)):
            if min(end, cell + 1) - max(begin, cell) >= 0.5:
                cells[cell] = AWAY
    return "".join(cells)


def marks(happened: Sequence[datetime], scale: Scale) -> str:
    """A mark for each cell in which something happened."""
    cells = {scale.cell(int(at.timestamp() * 1e9)) for at in happened}
    return "".join(HAPPENED if cell in cells else AWAY for cell in range(CELLS))


def _battery(lake: Lake, topic: TopicTable, scale: Scale) -> str:
    """The lowest charge in each cell as a column, empty for topics that are none of a battery."""
    if not topic.type.endswith("BatteryState"):
        return ""
    lowest = np.full(CELLS, np.nan)
    for file in topic.files:
        _lower(lake, file, scale, lowest)
    if np.isnan(lowest).all():
        return ""
    full = 100.0 if np.nanmax(lowest) > 1.5 else 1.0
    shares = np.clip(lowest / full, 0.0, 1.0)
    return "".join(AWAY if np.isnan(share) else LEVELS[round(share * (len(LEVELS) - 1))] for share in shares.tolist())


def _lower(lake: Lake, file: LakeFile, scale: Scale, lowest: NDArray[np.float64]) -> None:
    """Bring the lowest values down to those of this file, some thousand rows at a time."""
    with lake.objects.open(lake.key(file.path)) as source:
        parquet = pq.ParquetFile(source)
        place = parquet.schema_arrow.get_field_index(CHARGE)
        if place < 0 or not pa.types.is_floating(parquet.schema_arrow.field(place).type):
            return
        for batch in parquet.iter_batches(READ_ROWS, columns=["log_time", CHARGE]):
            times, charges = (_numbers(batch.column(name)) for name in ("log_time", CHARGE))
            cells = np.clip((times - scale.first_ns) / scale.cell_ns, 0, CELLS - 1).astype(np.int64)
            np.fmin.at(lowest, cells, charges)


def _numbers(column: pa.Array) -> NDArray[np.float64]:
    """The values of a column without nulls: to the microsecond for times."""
    kind = np.dtype(f"{'f' if pa.types.is_floating(column.type) else 'i'}{column.type.bit_width // 8}")
    return np.frombuffer(column.buffers()[1], kind)[column.offset :][: len(column)].astype(np.float64)


def _named(name: str) -> str:
    """A name on one line that cannot end the block it stands in."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in name).replace("`", "'")
    return shown if len(shown) <= LONGEST_NAME else f"{shown[: LONGEST_NAME - 1]}…"
