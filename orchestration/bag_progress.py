"""How far the bags of a run are together, in bytes: what its children tell of each becomes one bar and one line of text."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

STAGES = ("fetched", "read")


@dataclass
class BagsReached:
    """File name and bytes of each bag, and how far it is. A bag that is fetched before it is read counts twice."""

    bags: Mapping[UUID, tuple[str, int]]
    is_fetched: bool
    _done: dict[UUID, int] = field(default_factory=dict)

    @property
    def of(self) -> int:
        """The bytes of all bags, each once."""
        return sum(size for _, size in self.bags.values())

    @property
    def whole(self) -> str:
        """How many bags, of how many bytes together."""
        return f"{len(self.bags)} bag{'' if len(self.bags) == 1 else 's'}, {self.of / 1e6:.1f} MB"

    @property
    def name(self) -> str:
        """What a run of these bags is called: the first by its file name."""
        names = [name for name, _ in self.bags.values()]
        return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more" if names else ""

    def note(self, bag_id: UUID, stage: str, done: int) -> tuple[int, int, str]:
        """Take in what a child tells of a bag; gives the bytes done, those of all, and a line on this bag.

        A stage that is neither of STAGES means that the bag is done with.
        """
        name, size = self.bags[bag_id]
        times = 1 + self.is_fetched
        if stage in STAGES:
            self._done[bag_id] = done + (size if self.is_fetched and stage == "read" else 0)
            how_far = f"{done / 1e6:.1f} of {size / 1e6:.1f} MB {stage}"
        else:
            self._done[bag_id] = size * times
            how_far = stage
        number = list(self.bags).index(bag_id) + 1
        return sum(self._done.values()), times * self.of, f"Bag {number} of {len(self.bags)}, {name}: {how_far}"
