"""How far the conversion of a recording is, in bytes of the recording; told a hundred times at most for each stage."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Stage = Literal["fetched", "read"]
SMALLEST_STEP = 0.01


@dataclass(frozen=True)
class Reached:
    """So many bytes `of` the recording are fetched from the store, or read and decoded."""

    stage: Stage
    done: int
    of: int


Listener = Callable[[Reached], None]


class Teller:
    """Tells a listener of one stage; between two steps of a hundredth it is silent, so it may be told very often."""

    def __init__(self, listener: Listener | None, stage: Stage, of: int) -> None:
        """Without a listener nothing is told; `of` are the bytes of the whole recording."""
        self._listener, self._stage, self._of = listener, stage, of
        self._next = 0.0

    def reached(self, part: float) -> None:
        """Note that this part (0 to 1) of the recording is done."""
        if self._listener is None or part < self._next:
            return
        self._next = min(part + SMALLEST_STEP, 1.0) if part < 1.0 else 2.0
        self._listener(Reached(self._stage, round(min(part, 1.0) * self._of), self._of))
