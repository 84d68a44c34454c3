"""The figures of the README, measured: `make bench`. Says machine and date, asserts nothing.

`make bench PARTS="crashes kills"` measures only these. Each figure is measured on an idle machine; what else runs here
makes them worse.
"""

import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import bags
import crashes
import dispatch
import gateway
import kills
import psutil
import ros2
import schedules
import vda5050
import wire_kills
from rich.console import Console
from rich.table import Table

from deployments.local import Platform, Wanted, launched
from deployments.ports import HOST, any_free
from fleet.clock import SystemClock
from fleet.settings import child_environment
from fleet.transport import probe

ROOT = Path(__file__).parents[2]
SETTLES_S = 20.0
Figure = tuple[str, str, str]
HEAVY = {"prefect", "mlflow", "xgboost", "dagster"}


def main() -> None:
    """Measure and print the figures of the parts named on the command line, of all without any."""
    chosen = sys.argv[1:] or list(PARTS)
    unknown = sorted(set(chosen) - set(PARTS))
    if unknown:
        sys.exit(f"There is no part {', '.join(unknown)}; the parts are {', '.join(PARTS)}.")
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table(title=machine(), title_justify="left", header_style="bold")
    for head in ("figure", "measured", "wanted"):
        table.add_column(head)
    for name in chosen:
        with console.status(f"measuring {name} ..."):
            for figure in PARTS[name]():
                table.add_row(*figure)
    console.print(table)


def machine() -> str:
    """Date, processors, memory, system and Python."""
    memory_gb = psutil.virtual_memory().total / 1e9
    now = SystemClock().now().date().isoformat()
    return f"{now}, {psutil.cpu_count()} cores, {memory_gb:.0f} GB, {platform.system()}, Python {platform.python_version()}"


def command_line() -> Iterator[Figure]:
    """`yardmaster --help`, the median of seven runs."""
    took = []
    for _ in range(7):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "deployments.cli", "--help"], cwd=ROOT, capture_output=True, check=True)
        took.append(time.perf_counter() - began)
    yield "yardmaster --help", f"{statistics.median(took):.2f} s", "< 0.5 s"


def environment() -> Iterator[Figure]:
    """A fresh environment of the group base, installed as `make demo` does it."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(".venv", "var", ".git", "__pycache__", ".*_cache"))
        began = time.perf_counter()
        subprocess.run(["make", "environment"], cwd=clone, capture_output=True, check=True)
        took = time.perf_counter() - began
        size = _size(clone / ".venv")
    yield "fresh install (packages may be cached)", f"{took:.0f} s", "< 240 s"
    yield "size of the environment", f"{size / 1e9:.2f} GB", "< 1.6 GB"


def _size(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def api() -> Iterator[Figure]:
    """From the start of the API's process to its first answer, and which heavy packages it has loaded."""
    with tempfile.TemporaryDirectory() as folder, _served(Path(folder)) as took:
        yield "API start", f"{took:.1f} s", "< 3 s"
    script = f"import sys, api.serve; print(*sorted({HEAVY} & {{name.partition('.')[0] for name in sys.modules}}))"
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    yield "heavy packages that the API imports", ran.stdout.strip() or "none", "none"


@contextmanager
def _served(var: Path) -> Iterator[float]:
    values = child_environment({"YARDMASTER_VAR_DIR": str(var)})
    seed = [sys.executable, "-m", "deployments.cli", "db", "seed"]
    subprocess.run(seed, cwd=ROOT, env=values, capture_output=True, check=True)
    port = any_free()
    command = [sys.executable, "-m", "api.serve", "--host", HOST, "--port", str(port)]
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=values, stderr=subprocess.DEVNULL)
    try:
        while probe(f"http://{HOST}:{port}/healthz", timeout_s=0.5) != 200:
            time.sleep(0.02)
        yield time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(10)


def idle_platform() -> Iterator[Figure]:
    """Every process of `make up`, after it has come to rest."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with launched(Wanted(Path(folder) / "var"), say=lambda text: None) as running:
            took = time.perf_counter() - began
            time.sleep(SETTLES_S)
            memory = _memory(running)
    yield "make up until healthy", f"{took:.0f} s", ""
    for name, (rss, pss) in memory.items():
        yield f"  {name} idle", f"{rss / 1e6:.0f} MB RSS ({pss / 1e6:.0f} MB its own share)", ""
    total = [sum(column) / 1e6 for column in zip(*memory.values(), strict=True)]
    yield "make up idle, all processes", f"{total[0]:.0f} MB RSS ({total[1]:.0f} MB shared once)", "< 1200 MB"


def _memory(running: Platform) -> dict[str, tuple[int, int]]:
    """Bytes by process: resident, and proportional (shared pages counted once; 0 where the system does not tell)."""
    found: dict[str, tuple[int, int]] = {}
    for name, pid in {**running.supervisor.process_ids, "launcher": psutil.Process().pid}.items():
        family = [psutil.Process(pid), *(psutil.Process(pid).children(recursive=True) if name != "launcher" else [])]
        sizes = [process.memory_full_info() for process in family]
        found[name] = (sum(size.rss for size in sizes), sum(getattr(size, "pss", 0) for size in sizes))
    return found


def demo() -> Iterator[Figure]:
    """One night, as `make demo` runs it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "deployments.cli", "--var", folder, "demo"]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
        result = json.loads((Path(folder) / "demo" / "result.json").read_text())
    verdict = "" if ran.returncode == 0 else " (a check failed)"
    yield "make demo", f"{result['seconds']:.0f} s{verdict}", "< 300 s"
    for stage in result["stages"]:
        yield f"  {stage['what']}", f"{stage['seconds']:.1f} s: {stage['how_many']}", ""


PARTS: dict[str, Callable[[], Iterator[Figure]]] = {
    "cli": command_line,
    "environment": environment,
    "api": api,
    "idle": idle_platform,
    "demo": demo,
    "dispatch": dispatch.figures,
    "schedules": schedules.figures,
    "planted": crashes.planted,
    "crashes": crashes.figures,
    "kills": kills.figures,
    "ros2": ros2.figures,
    "vda5050": vda5050.figures,
    "gateway": gateway.figures,
    "wire": wire_kills.figures,
    "bags": bags.figures,
}


if __name__ == "__main__":
    main()
