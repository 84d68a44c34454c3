"""The fault world at full size: 10,000 crashes for each of three seed sets, and how soon planted mistakes are caught.

`python tests/load/crashes.py [crashes]` prints the figures.
"""

import asyncio
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fleet.logs import configure_logs
from missions.simulation.nights import survive
from missions.simulation.processes import POINTS

ROOT = Path(__file__).parents[2]
CRASHES = 10_000
SEED_SETS = (1, 2, 3)
BUGS = "tests/property/test_missions_planted_bugs.py"
Figure = tuple[str, str, str]


def figures(crashes: int = CRASHES) -> Iterator[Figure]:
    """What became of so many crashes for each seed set, with the CPU that they took."""
    configure_logs(level="error", form="text")
    for seed in SEED_SETS:
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            tally = asyncio.run(survive(seed, crashes, Path(folder)))
        cpu_s = time.process_time() - began
        count, points = tally.crashes.total(), f"{len(tally.crashes)} of {len(POINTS)} points"
        yield f"simulated crashes, seed set {seed}", f"{count:,} at {points} in {tally.nights} nights", f"{crashes:,}"
        missions = f"{tally.statuses.total():,} missions, {cpu_s:.0f} CPU-s, {cpu_s / count * 1e3:.0f} ms a crash"
        yield f"  missions and CPU, seed set {seed}", missions, ""
        for name in ("doubled", "overlapping", "unfinished"):
            yield f"  {name}, seed set {seed}", str(getattr(tally, name)), "0"
        yield f"  anything else wrong, seed set {seed}", str(tally.wrongs or "nothing"), "nothing"


def planted() -> Iterator[Figure]:
    """Seconds until the suite has caught each planted mistake, with the sound nights that it lives through before."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "--durations=0", "-vv", BUGS]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    for seconds, name in re.findall(r"([\d.]+)s call +\S+::test_(\w+)", ran.stdout):
        caught = "caught" if f"{name} PASSED" in ran.stdout else "not caught"
        yield f"planted: {name.replace('_', ' ')}", f"{caught} in {seconds} s", "< 60 s"


def main() -> None:
    """Print all figures."""
    crashes = int(sys.argv[1]) if len(sys.argv) > 1 else CRASHES
    for figure in (*planted(), *figures(crashes)):
        sys.stdout.write(" | ".join(figure) + "\n")
        sys.stdout.flush()  # a set takes minutes: what is known is told


if __name__ == "__main__":
    main()
