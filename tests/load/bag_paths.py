"""The paths from a recording to Parquet or Arrow that `bags.py` measures, each run in a process of its own.

`python tests/load/bag_paths.py PATH [SOURCE OUT]` does one and prints what it cost, as JSON; without a source it only starts.
"""

import argparse
import json
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

ROOT = Path(__file__).parents[2]
MANY = 8  # bags in one process
NAIVE_ROWS = 10_000
NAIVE_BYTES = 64 << 20
ARROW_ROWS = 65_536  # as a row group of ours
ARROW_BYTES = 8 << 20
HEAVY_BYTES = 4_000_000_000  # address space of a heavy child, unless it is set otherwise


def run_path(path: str, source: Path | None, out: Path | None) -> None:
    """Do the work and say what it cost."""
    run = PATHS[path]()
    if source is None or out is None:
        return
    began, wall = time.process_time(), time.perf_counter()
    run(source, out)
    cost = {"work_s": time.process_time() - began, "wall_s": time.perf_counter() - wall, "peak_mb": _peak_mb()}
    sys.stdout.write(json.dumps(cost) + "\n")


def _peak_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1e3 * 1.024
    return float("nan")


def _ours() -> Callable[[Path, Path], object]:
    sys.path.insert(0, str(ROOT))
    from ingestion.bags import convert
    from ingestion.bags.allocation import prefer_jemalloc

    prefer_jemalloc()  # as the command and the heavy child do
    return convert


def _ours_limited() -> Callable[[Path, Path], object]:
    resource.setrlimit(resource.RLIMIT_AS, (HEAVY_BYTES, HEAVY_BYTES))
    return _ours()


def _ours_many() -> Callable[[Path, Path], object]:
    convert = _ours()

    def run(source: Path, out: Path) -> None:
        for number in range(MANY):
            convert(source, out / str(number))

    return run


def _ours_to_arrow() -> Callable[[Path, Path], object]:
    sys.path.insert(0, str(ROOT))
    from ingestion.bags import mcap
    from ingestion.bags.bodies import Shelf
    from ingestion.bags.decode import decode
    from ingestion.bags.definitions import decoder
    from ingestion.bags.layout import program
    from ingestion.bags.recording import Findings

    def run(source: Path, _: Path) -> None:
        shelves: dict[Any, Shelf] = defaultdict(Shelf)
        for batch in mcap.batches(source, Findings()):
            shelf = shelves[batch.channel]
            shelf.add(batch)
            if shelf.rows >= ARROW_ROWS or shelf.size >= ARROW_BYTES:
                decode(program(decoder(batch.channel)), shelf.bodies())
                shelf.clear()
        for channel, shelf in shelves.items():
            if shelf.rows:
                decode(program(decoder(channel)), shelf.bodies())

    return run


def _naive_to_arrow() -> Callable[[Path, Path], object]:
    return lambda source, out: naive(source, out, is_written=False)


def _naive() -> Callable[[Path, Path], object]:
    return naive


def _naive_with_bytes() -> Callable[[Path, Path], object]:
    return lambda source, out: naive(source, out, has_bytes=True)


def naive(source: Path, out: Path, *, is_written: bool = True, has_bytes: bool = False) -> None:
    """What people write: every message deserialised into an object, a dictionary, a list, a table, a file per topic.

    With `has_bytes` they know that `uint8[]` had better be bytes than a list of numbers.
    """
    out.mkdir(parents=True)
    waiting: dict[str, list[dict[str, Any]]] = defaultdict(list)
    sizes: dict[str, int] = defaultdict(int)
    writers: dict[str, pq.ParquetWriter] = {}
    place = source if source.suffix == ".bag" else source.parent

    def flush(topic: str) -> None:
        table = pa.Table.from_pylist(waiting[topic])
        if is_written and topic not in writers:
            name = topic.strip("/").replace("/", "_")
            writers[topic] = pq.ParquetWriter(out / f"{name}.parquet", table.schema, compression="zstd")
        if is_written:
            writers[topic].write_table(table.cast(writers[topic].schema))
        waiting[topic], sizes[topic] = [], 0

    with AnyReader([place], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
        for connection, ns, raw in reader.messages():
            message = reader.deserialize(raw, connection.msgtype)
            waiting[connection.topic].append({"log_time": ns, **_dictionary(message, has_bytes=has_bytes)})
            sizes[connection.topic] += len(raw)
            if len(waiting[connection.topic]) >= NAIVE_ROWS or sizes[connection.topic] >= NAIVE_BYTES:
                flush(connection.topic)
    for topic in list(waiting):
        if waiting[topic]:
            flush(topic)
    for writer in writers.values():
        writer.close()


def _dictionary(message: Any, *, has_bytes: bool) -> dict[str, Any]:
    values = {field.name: getattr(message, field.name) for field in fields(message) if field.init}
    return {name: _plain(value, has_bytes=has_bytes) for name, value in values.items()}


def _plain(value: Any, *, has_bytes: bool) -> Any:
    if is_dataclass(value):
        return _dictionary(value, has_bytes=has_bytes)
    if isinstance(value, list):
        return [_plain(element, has_bytes=has_bytes) for element in value]
    if has_bytes and isinstance(value, np.ndarray) and value.dtype == np.uint8:
        return value.tobytes()
    return value


PATHS: dict[str, Callable[[], Callable[[Path, Path], object]]] = {
    "naive": _naive,
    "naive with bytes": _naive_with_bytes,
    "ours": _ours,
    "ours, limited": _ours_limited,
    "ours, many": _ours_many,
    "naive to arrow": _naive_to_arrow,
    "ours to arrow": _ours_to_arrow,
}


def main() -> None:
    """The path named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", choices=PATHS)
    parser.add_argument("source", nargs="?", type=Path)
    parser.add_argument("out", nargs="?", type=Path)
    asked = parser.parse_args()
    run_path(asked.path, asked.source, asked.out)


if __name__ == "__main__":
    main()
