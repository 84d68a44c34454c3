"""`python -m missions.simulation --seed 1 --crashes 1000 [--json]`: nights of every fault until enough processes crashed.

Prints what came of them; exits with 1 when anything happened that must never be. The same seed gives the same nights.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from fleet.logs import configure_logs
from missions.simulation.nights import survive
from missions.simulation.tally import Tally


def main() -> int:
    """Live through the nights that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m missions.simulation", description="Nights of every fault.")
    parser.add_argument("--seed", type=int, default=1, help="of the first night; the others follow from it")
    parser.add_argument("--crashes", type=int, default=1000, help="processes that end at a named point, in all")
    parser.add_argument("--json", action="store_true", help="print the tally as JSON")
    given = parser.parse_args()
    configure_logs(level="error", form="text")
    with tempfile.TemporaryDirectory() as folder:
        tally = asyncio.run(survive(given.seed, given.crashes, Path(folder)))
    sys.stdout.write(json.dumps(tally.told) + "\n" if given.json else _text(tally))
    return 0 if tally.is_sound else 1


def _text(tally: Tally) -> str:
    lines = [
        f"{tally.nights} nights, {tally.crashes.total()} crashes at {len(tally.crashes)} points",
        "missions: " + ", ".join(f"{count} {status}" for status, count in sorted(tally.statuses.items())),
        "wrong: " + (", ".join(f"{count} {name}" for name, count in tally.wrongs.items()) or "nothing"),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
