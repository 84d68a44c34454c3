"""Lives of a drive and their labels: remaining useful life (RUL) in operating hours."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ml.features import WINDOW_HOURS, Window

RUL_CAP_HOURS = 48.0
GRACE_S = 60.0  # what is recorded while the robot stops still belongs to the life that ended


@dataclass(frozen=True)
class Measurements:
    """What one robot's drive showed, ascending in time; all arrays have the shape (n_samples,)."""

    robot: str
    at_s: NDArray[np.float64]
    values: NDArray[np.float64]  # (n_samples, 4): operating hours, then the channels of ml.features


@dataclass(frozen=True)
class Failure:
    """The end of one life: the drive failed at `operating_hours` (None when the robot did not say)."""

    robot: str
    occurred_at: datetime
    operating_hours: float | None


@dataclass(frozen=True)
class Life:
    """One drive from its fitting (number 0, 1, …) to its failure; `failed_hours` is None while it still runs."""

    robot: str
    number: int
    windows: tuple[Window, ...]
    last_at_s: float
    failed_hours: float | None

    @property
    def name(self) -> str:
        """The same in every training."""
        return f"{self.robot}/{self.number}"


def lives(measured: Measurements, failures: Sequence[Failure]) -> list[Life]:
    """The lives of one robot in order, the present one last; a life of which nothing was recorded is left out.

    `failures` are those of this robot, in any order; a measurement up to `GRACE_S` after a failure belongs before it.
    """
    ends = sorted(failures, key=_told)
    bounds = [0, *(_end_of_life(measured, end) for end in ends), len(measured.at_s)]
    found = []
    for number, (first, last) in enumerate(pairwise(bounds)):
        if first < last:
            end = ends[number] if number < len(ends) else None
            found.append(_life(measured, slice(first, last), number, end))
    return found


def _told(failure: Failure) -> tuple[datetime, bool, float]:
    """In time; of two at the same instant the one that says its hours first, so that the order of telling is nothing."""
    return failure.occurred_at, failure.operating_hours is None, failure.operating_hours or 0.0


def _end_of_life(measured: Measurements, end: Failure) -> int:
    """The first sample of the next drive: after the grace, or where the operating hours begin anew within it."""
    failed_s = end.occurred_at.timestamp()
    first, last = (int(place) for place in np.searchsorted(measured.at_s, [failed_s, failed_s + GRACE_S], side="right"))
    before = max(first - 1, 0)
    anew = np.flatnonzero(np.diff(measured.values[before:last, 0]) < 0)
    return before + int(anew[0]) + 1 if len(anew) else last


def _life(measured: Measurements, part: slice, number: int, end: Failure | None) -> Life:
    values = measured.values[part]
    failed_hours = None
    if end is not None:
        failed_hours = float(values[-1, 0]) if end.operating_hours is None else end.operating_hours
    return Life(measured.robot, number, windows(values), float(measured.at_s[part][-1]), failed_hours)


def windows(values: NDArray[np.float64]) -> tuple[Window, ...]:
    """Means per window of operating time; `values` has the shape (n, 4), hours first. Idle time makes no window."""
    if not len(values):
        return ()
    slots = np.floor(values[:, 0] / WINDOW_HOURS + 1e-9).astype(np.int64)
    order = np.argsort(slots, kind="stable")
    _, starts, counts = np.unique(slots[order], return_index=True, return_counts=True)
    means = np.add.reduceat(values[order], starts, axis=0) / counts[:, None]
    return tuple(Window(*row) for row in means.tolist())


def rul_hours(life: Life, *, cap_hours: float) -> NDArray[np.float64]:
    """The label of each window of an ended life: operating hours to its failure, from 0 to `cap_hours`.

    Wear that does not show yet cannot be told apart, so far from the end the label is the cap.
    """
    assert life.failed_hours is not None, "a running life has no label"
    hours = np.array([window.operating_hours for window in life.windows])
    return np.clip(life.failed_hours - hours, 0.0, cap_hours)
