"""Many nights: until so many processes have crashed."""

from pathlib import Path

from missions.simulation.night import live_through, trouble
from missions.simulation.tally import Tally

CRASHES_A_NIGHT = 150


async def survive(seed: int, crashes: int, folder: Path) -> Tally:
    """The tally of as many nights as it takes for `crashes` crashes; `seed` is that of the first, the others follow."""
    tally = Tally()
    while (left := crashes - tally.crashes.total()) > 0:
        night = seed * 1_000_003 + tally.nights
        tally += await live_through(night, trouble(night, min(left, CRASHES_A_NIGHT)), folder)
    return tally
