"""Simulated processes: they may end at any of the named points, and their strands go on in any order."""

from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from random import Random
from types import coroutine
from uuid import UUID

from sqlmodel import Session

from fleet.clock import SteppableClock

# What is written in one transaction; a process may end before it begins, when all is written and nothing is committed,
# and after the commit, before anybody acted on it.
WRITES = (
    "fire",
    "expire",
    "time out",
    "carry out",
    "begin",
    "settle",
    "ask",
    "hear",
    "report",
    "observe",
    "watch",
    "publish",
    "request",
    "command",
    "hold",
    "release",
)
# What happens without the database: between reading and deciding, and on both sides of the network.
STEPS = (
    "planned",
    "listed",
    "before submit",
    "after submit",
    "before query",
    "after query",
    "before tell",
    "after tell",
)
POINTS = tuple(f"{when} {what}" for what in WRITES for when in ("before", "in", "after")) + STEPS
Open = Callable[[], AbstractContextManager[Session]]


class Crashed(Exception):
    """The process ended here."""


@dataclass(frozen=True)
class Ground:
    """The database of a night and the clock of the machine that it and all processes run on."""

    transaction: Open
    reading: Open
    clock: SteppableClock


@dataclass
class Deaths:
    """The crash plan: how many processes are to end at each point; each that passes one ends there by chance."""

    chance: Random
    plan: Counter[str]
    likelihood: float = 0.3
    crashes: Counter[str] = field(default_factory=Counter)

    @property
    def left(self) -> int:
        """How many are still to end."""
        return self.plan.total()

    def strike(self, point: str) -> None:
        """Perhaps end the process at this point.

        Raises:
            Crashed: it ends.
        """
        if self.plan[point] > 0 and self.chance.random() < self.likelihood:
            self.plan[point] -= 1
            self.crashes[point] += 1
            raise Crashed(point)


def crash_plan(chance: Random, crashes: int, points: Sequence[str] = POINTS) -> Counter[str]:
    """So many crashes spread over the points by chance."""
    return Counter(chance.choices(points, k=crashes))


class Process:
    """A process; whoever works in it passes its points by name."""

    def __init__(self, ground: Ground, deaths: Deaths) -> None:
        """`ground` is shared by all processes, `deaths` too."""
        self._ground, self._deaths = ground, deaths

    def at(self, point: str) -> None:
        """Pass the point, or end there.

        Raises:
            Crashed: it ends.
        """
        self._deaths.strike(point)

    @contextmanager
    def transaction(self, what: str) -> Iterator[Session]:
        """A transaction with its three points.

        Raises:
            Crashed: the process ends; before the commit nothing of it is written.
        """
        self.at(f"before {what}")
        with self._ground.transaction() as session:
            yield session
            self.at(f"in {what}")
        self.at(f"after {what}")


@coroutine
def rest(seconds: float = 0.0) -> Generator[float, None, None]:
    """Let others go on; this strand goes on after `seconds`, or, with 0, whenever its turn comes."""
    yield seconds


@dataclass
class Strand:
    """Work of a process that goes on beside its other work, driven step by step."""

    work: Coroutine[object, None, None]
    wakes_at_s: float = 0.0
    is_over: bool = False

    def step(self, now_s: float) -> None:
        """Go on to the next rest, or to the end."""
        try:
            pause_s = self.work.send(None)
        except StopIteration:
            self.is_over = True
        else:
            assert isinstance(pause_s, float)
            self.wakes_at_s = now_s + pause_s

    def end(self) -> None:
        """The process is gone: nothing of the work goes on."""
        self.work.close()
        self.is_over = True


def ids(seed: int) -> Callable[[], UUID]:
    """Ids that rise, and are the same for the same seed."""
    numbers, chance = count(1), Random(seed)
    return lambda: UUID(int=next(numbers) << 80 | 0x7 << 76 | 0x2 << 62 | chance.getrandbits(62))
