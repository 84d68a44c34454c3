"""How fast bags become Parquet, beside the path people write by hand and a compiled loader, in the same run.

`python tests/load/bags.py small|long|decode|media|db3|ros1|memory|many|cores|huge [--scale 0.1] [--keep FOLDER]` measures and
prints; `make bench PARTS=bags` runs all but `huge`, which needs 9 GB of disk. Every path runs in a process of its own on
one core, with its modules compiled before, as an installation has them; what counts is processor time. The naive path is
rosbags' deserialiser, dictionaries and pyarrow: work beside work, without the start of Python. The compiled one is
`rerun mcap convert` where rerun-sdk is installed (`RERUN` in the environment names its binary, else the environment has
it), beside `yardmaster bags convert`: the whole process of both; and beside what a bag costs in a process that has more of
them; each the best of three.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from math import isnan
from pathlib import Path

import recordings
from bag_paths import MANY
from long_recordings import repeated
from rosbags.rosbag2 import StoragePlugin

ROOT = Path(__file__).parents[2]
SMALL_S = 530.0  # 254,400 messages
BAGS_A_CORE = 3
MEDIA_S = 60.0
LONG_TIMES = 5  # the small one so many times in a row
HUGE_BYTES = 5_000_000_000
BEST_OF = 3
Figure = tuple[str, str, str]
RUN_PATH = (sys.executable, str(Path(__file__).with_name("bag_paths.py")))
OURS = {"ARROW_DEFAULT_MEMORY_POOL": "jemalloc"}  # as the command and the heavy child set it
COMMAND = (sys.executable, "-m", "deployments.cli", "bags", "convert")


@dataclass(frozen=True)
class Run:
    """What one path, or one whole process, cost: processor seconds, seconds, peak memory, bytes written."""

    cpu_s: float
    wall_s: float
    peak_mb: float
    size: int


def small(scale: float, keep: Path | None) -> Iterator[Figure]:
    """Many small messages in MCAP, zstd."""
    with _folder(keep) as folder:
        source = recordings.write_ros2(folder, SMALL_S * scale, media=False)
        yield from _beside(source, "small", wanted="15 or more, aim 20", size_wanted="0.75 or less")


def long(scale: float, keep: Path | None) -> Iterator[Figure]:
    """A drive of some hours, beside the compiled loader."""
    with _folder(keep) as folder:
        source = recordings.write_ros2(folder, SMALL_S * scale, media=False, times=LONG_TIMES)
        yield "long: recording", f"{source.stat().st_size / 1e6:.1f} MB {source.suffix}", ""
        yield from _beside_rerun(source, "long")


def many(scale: float, keep: Path | None) -> Iterator[Figure]:
    """Many bags in one process: what starts once counts once."""
    with _folder(keep) as folder:
        source = recordings.write_ros2(folder, SMALL_S * scale, media=False)
        one, all_of_them = _best(lambda: _whole(source)), _best(lambda: _measure("ours, many", source))
    yield "many: a bag in a process of its own", _told(one), ""
    yield f"many: {MANY} bags in one process, each", f"{all_of_them.cpu_s / MANY:.2f} CPU-s once it has started", ""


def decode(scale: float, keep: Path | None) -> Iterator[Figure]:
    """Many small messages from MCAP to Arrow, nothing written."""
    with _folder(keep) as folder:
        source = recordings.write_ros2(folder, SMALL_S * scale, media=False)
        naive, ours = _measure("naive to arrow", source), _measure("ours to arrow", source)
    yield "decode: naive to Arrow", _told(naive), ""
    yield "decode: ours to Arrow", _told(ours), ""
    yield "decode: ours beside naive", f"{naive.cpu_s / ours.cpu_s:.1f} times as fast", "20 or more"


def media(scale: float, keep: Path | None) -> Iterator[Figure]:
    """The small ones with scans, point clouds and pictures."""
    with _folder(keep) as folder:
        source = recordings.write_ros2(folder, MEDIA_S * scale, media=True)
        yield from _beside(source, "media", wanted="4 or more, aim 6")


def db3(scale: float, keep: Path | None) -> Iterator[Figure]:
    """Many small messages in SQLite."""
    with _folder(keep) as folder:
        source = recordings.write_ros2(folder, SMALL_S * scale, media=False, storage=StoragePlugin.SQLITE3)
        yield from _beside(source, "db3", wanted="8 or more")


def ros1(scale: float, keep: Path | None) -> Iterator[Figure]:
    """Many small messages in a ROS 1 bag."""
    with _folder(keep) as folder:
        yield from _beside(recordings.write_ros1(folder, SMALL_S * scale), "ros1", wanted="8 or more")


def memory(scale: float, keep: Path | None) -> Iterator[Figure]:
    """Peak memory at one and at ten times the length."""
    for name, seconds, with_media in (("small", SMALL_S * scale, False), ("media", MEDIA_S * scale, True)):
        peaks = []
        for times in (1, 10):
            with _folder(keep) as folder:
                source = recordings.write_ros2(folder, seconds, media=with_media, times=times)
                size = source.stat().st_size
                peaks.append(_measure("ours", source).peak_mb)
            yield f"{name}: peak memory, bag of {size / 1e6:.0f} MB", f"{peaks[-1]:.0f} MB", "350 MB or less"
        yield f"{name}: ten times the length", f"{peaks[1] / peaks[0]:.2f} times the memory", "1.1 or less"


def huge(scale: float, keep: Path | None) -> Iterator[Figure]:
    """Some gigabytes with pictures and clouds, within the limit that a heavy child has."""
    with _folder(keep) as folder:
        once = recordings.write_ros2(folder, MEDIA_S * min(scale, 1.0), media=True)
        source = repeated(once, once.with_name("huge.mcap"), size=int(HUGE_BYTES * scale))
        yield "huge: recording", f"{source.stat().st_size / 1e6:.0f} MB {source.suffix}", ""
        run = _measure("ours, limited", source)
    yield "huge: ours, 4 GB of address space", _told(run), "350 MB or less"


def cores(scale: float, keep: Path | None) -> Iterator[Figure]:
    """Bags side by side against one after the other, each in a process of its own."""
    with _folder(keep) as folder:
        source = recordings.write_ros2(folder, SMALL_S * scale, media=False)

        def some(core: int) -> None:
            for _ in range(BAGS_A_CORE):
                _measure("ours", source, core=core)

        some(0)  # modules are compiled and the recording lies in memory, before it counts
        began = time.perf_counter()
        for core in (0, 1):
            some(core)
        alone = time.perf_counter() - began
        began = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(some, (0, 1)))
        together = time.perf_counter() - began
    count = 2 * BAGS_A_CORE
    yield f"{count} bags on two cores", f"{alone / together:.2f} times as fast as one after the other", "near 2"


def _beside(source: Path, name: str, *, wanted: str, size_wanted: str = "") -> Iterator[Figure]:
    """One recording through every path."""
    yield f"{name}: recording", f"{source.stat().st_size / 1e6:.1f} MB {source.suffix}", ""
    naive, ours = _measure("naive", source), _measure("ours", source)
    yield f"{name}: naive", _told(naive), ""
    yield f"{name}: ours", _told(ours), ""
    yield f"{name}: ours beside naive", f"{naive.cpu_s / ours.cpu_s:.1f} times as fast", wanted
    yield f"{name}: size beside naive", f"{ours.size / naive.size:.2f}", size_wanted
    if name == "media":
        careful = _measure("naive with bytes", source)
        yield f"{name}: naive, uint8[] as bytes", _told(careful), ""
        yield f"{name}: ours beside that", f"{careful.cpu_s / ours.cpu_s:.1f} times as fast", ""
        yield f"{name}: size beside that", f"{ours.size / careful.size:.2f}", ""
    if source.suffix == ".mcap":
        yield from _beside_rerun(source, name)


def _beside_rerun(source: Path, name: str) -> Iterator[Figure]:
    """One recording through ours and the compiled loader."""
    binary = _rerun_binary()
    if binary is None:
        yield f"{name}: rerun mcap convert", "rerun-sdk is not installed", ""
        return
    found = [(_whole_rerun(binary, source), _whole(source), _measure("ours", source)) for _ in range(BEST_OF)]
    rerun, whole, started = (min(runs, key=lambda run: run.cpu_s) for runs in zip(*found, strict=True))
    yield f"{name}: rerun mcap convert, whole process", _told(rerun), ""
    yield f"{name}: yardmaster bags convert, whole process", _told(whole), ""
    yield f"{name}: that beside rerun", f"{rerun.cpu_s / whole.cpu_s:.2f} times as fast", "1 or more"
    yield f"{name}: ours once started", _told(started), ""
    yield f"{name}: that beside rerun", f"{rerun.cpu_s / started.cpu_s:.2f} times as fast", "1 or more"


def _best(measure: Callable[[], Run]) -> Run:
    """The run that was disturbed least."""
    return min((measure() for _ in range(BEST_OF)), key=lambda run: run.cpu_s)


def _told(run: Run) -> str:
    peak = "" if isnan(run.peak_mb) else f", {run.peak_mb:.0f} MB peak"
    return f"{run.cpu_s:.2f} CPU-s, {run.wall_s:.2f} s{peak}, {run.size / 1e6:.1f} MB written"


def _measure(path: str, source: Path, *, core: int = 0) -> Run:
    """The work of `path`, in a process of its own on one core that has started before."""
    with tempfile.TemporaryDirectory(dir=source.parents[0]) as out:
        environment = _installed(source) | (OURS if path.startswith("ours") else {})
        _, answer = _one_core([*RUN_PATH, path, str(source), f"{out}/lake"], core, environment)
        found = json.loads(answer)
        return Run(found["work_s"], found["wall_s"], found["peak_mb"], _size(Path(out)))


def _whole(source: Path) -> Run:
    """The whole process of the command that people run."""
    with tempfile.TemporaryDirectory(dir=source.parents[0]) as out:
        began = time.perf_counter()
        whole_s, _ = _one_core([*COMMAND, str(source), "--out", f"{out}/lake"], 0, _installed(source))
        return Run(whole_s, time.perf_counter() - began, float("nan"), _size(Path(out)))


def _installed(source: Path) -> dict[str, str]:
    """An environment in which modules are compiled once, beside the recording: the first of these runs does it."""
    modules = source.parents[1] / "modules"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(modules)
    if not modules.exists():
        for command in ([*RUN_PATH, "ours"], [*COMMAND, "--help"]):
            subprocess.run(command, env=environment, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return environment


def _whole_rerun(binary: Path, source: Path) -> Run:
    with tempfile.TemporaryDirectory(dir=source.parents[0]) as out:
        home = {"HOME": out, "PATH": os.environ["PATH"]}
        subprocess.run([binary, "analytics", "disable"], env=home, capture_output=True, check=True)
        target = Path(out) / "out.rrd"
        began = time.perf_counter()
        whole_s, _ = _one_core([str(binary), "mcap", "convert", str(source), "-o", str(target)], 0, home)
        wall_s = time.perf_counter() - began
        return Run(whole_s, wall_s, float("nan"), target.stat().st_size)


def _one_core(command: list[str], core: int, environment: dict[str, str] | None = None) -> tuple[float, str]:
    """Processor seconds of a whole process, and what it said."""
    pinned = [shutil.which("taskset") or "taskset", "-c", str(core), *command]
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(pinned, cwd=ROOT, env=environment, stdout=said, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        errors.seek(0)
        assert process.returncode == 0, errors.read().decode()[-2000:]
        return usage.ru_utime + usage.ru_stime, (said.read().decode().splitlines() or [""])[-1]


def _rerun_binary() -> Path | None:
    if named := os.environ.get("RERUN"):
        return Path(named)
    found = find_spec("rerun_cli")
    places = [Path(place) / "rerun" for place in (found.submodule_search_locations or [])] if found else []
    return next((place for place in places if place.exists()), None)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


class _folder:  # noqa: N801  a context manager that reads like a function
    """A folder that is removed at the end, or the one that is to be kept."""

    def __init__(self, keep: Path | None) -> None:
        self._keep = keep

    def __enter__(self) -> Path:
        if self._keep is not None:
            self._keep.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="yardmaster-bench-", dir=self._keep))
        return self._folder

    def __exit__(self, *error: object) -> None:
        if self._keep is None:
            shutil.rmtree(self._folder)


PARTS = {
    "small": small,
    "long": long,
    "decode": decode,
    "media": media,
    "db3": db3,
    "ros1": ros1,
    "memory": memory,
    "many": many,
    "cores": cores,
}
AT_REQUEST = {"huge": huge}


def figures() -> Iterator[Figure]:
    """Every part at full size but what is done only at request."""
    for part in PARTS.values():
        yield from part(1.0, None)


def main() -> None:
    """The part named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="?", choices=PARTS | AT_REQUEST)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--keep", type=Path, help="keep the recordings below this folder")
    asked = parser.parse_args()
    for name in [asked.part] if asked.part else PARTS:
        for what, measured, wanted in (PARTS | AT_REQUEST)[name](asked.scale, asked.keep):
            sys.stdout.write(f"{what:45} {measured}{f'   (wanted: {wanted})' if wanted else ''}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
