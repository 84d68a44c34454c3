"""Which lives a model learns from and which it is judged by: whole lives, never rows of one life on both sides."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from fleet.errors import Invalid
from ml.labels import Life

HELD_OUT_SHARE = 0.25
LIVES_MIN = 4


@dataclass(frozen=True)
class Split:
    """Ended lives apart by name."""

    train: tuple[Life, ...]
    held_out: tuple[Life, ...]


def split(ended: Sequence[Life]) -> Split:
    """At least a quarter of the lives is held out, by the hash of their names, so they tend to stay when more come.

    Raises:
        Invalid: fewer than `LIVES_MIN` ended lives; says what to do.
    """
    if len(ended) < LIVES_MIN:
        raise Invalid(
            f"Only {len(ended)} lives have ended in a recorded failure; training needs {LIVES_MIN}. "
            "Upload the bags of past lives and their component_failed events first.",
            lives=len(ended),
        )
    ordered = sorted(ended, key=_draw)
    drawn = sum(_draw(life) < HELD_OUT_SHARE for life in ordered)
    # One life alone judges badly: it may be the odd one.
    count = min(max(drawn, math.ceil(len(ordered) * HELD_OUT_SHARE)), len(ordered) // 2)
    return Split(train=tuple(ordered[count:]), held_out=tuple(ordered[:count]))


def _draw(life: Life) -> float:
    """A number in [0, 1) that belongs to the life for ever."""
    return int.from_bytes(hashlib.sha256(life.name.encode()).digest()[:8]) / 2**64


def folds(train: Sequence[Life], *, count: int = 4) -> list[tuple[tuple[Life, ...], tuple[Life, ...]]]:
    """Pairs (learn from, predict) in which every life is predicted once by a model that has not seen it."""
    count = min(count, len(train))
    return [
        (tuple(life for place, life in enumerate(train) if place % count != fold), tuple(train[fold::count]))
        for fold in range(count)
    ]
