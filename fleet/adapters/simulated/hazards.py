"""What goes wrong on purpose: stations blocked for their first visitor, and orders that fail by chance."""

from dataclasses import dataclass, field
from random import Random

NEAR_M = 2.0
CHANCE_REASONS = ("localisation lost", "path blocked by a pallet", "emergency stop pressed")


@dataclass
class Hazards:
    """The site's hazards; `blocked` are the stations that still wait for their first visitor."""

    seed: int
    failure_rate: float = 0.0
    blocked: set[str] = field(default_factory=set)

    def blocks(self, station: str | None) -> bool:
        """Whether the way to `station` is blocked now; afterwards it is free."""
        if station not in self.blocked:
            return False
        self.blocked.discard(station)
        return True

    def fault(self, serial_number: str, order_number: int, tasks: int) -> tuple[int, str] | None:
        """At which task a robot's order of this number fails by chance, and why; None: it does not."""
        if self.failure_rate == 0:
            return None
        chance = Random(f"{self.seed}/{serial_number}/order/{order_number}")
        if chance.random() >= self.failure_rate:
            return None
        return chance.randrange(tasks), chance.choice(CHANCE_REASONS)
