"""How good a model of remaining useful life is, and whether it may replace the present one (pure)."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WORSE_BY_AT_MOST = 1.02  # a champion is not kept for a difference smaller than its own noise


@dataclass(frozen=True)
class Evaluation:
    """Errors on lives the model has not seen, in operating hours."""

    rmse_hours: float
    mae_hours: float
    windows: int


@dataclass(frozen=True)
class Decision:
    """Whether a model becomes champion, and why, for a person."""

    is_promoted: bool
    reason: str


def evaluate(predicted: NDArray[np.float64], actual: NDArray[np.float64]) -> Evaluation:
    """Root mean square and mean absolute error of `predicted` against `actual`, both of shape (n_windows,)."""
    error = predicted - actual
    return Evaluation(
        rmse_hours=float(np.sqrt(np.mean(error**2))), mae_hours=float(np.mean(np.abs(error))), windows=len(error)
    )


def conformal_width(residuals: NDArray[np.float64], *, coverage: float = 0.9) -> float:
    """Half the width of an interval that covers a new value with probability `coverage`.

    The ceil((n + 1) * coverage)-th smallest absolute residual of values the model has not seen (Lei et al. 2018,
    "Distribution-free predictive inference for regression", algorithm 2); infinite when there are too few.
    """
    rank = math.ceil((len(residuals) + 1) * coverage)
    if rank > len(residuals):
        return math.inf
    return float(np.sort(np.abs(residuals))[rank - 1])


def coverage_of(predicted: NDArray[np.float64], actual: NDArray[np.float64], width: float) -> float:
    """The share of `actual` within `predicted` ± `width`."""
    return float(np.mean(np.abs(predicted - actual) <= width))


def judge(candidate: Evaluation, *, baseline: Evaluation, champion: Evaluation | None) -> Decision:
    """The gate: better than always saying the mean, and not worse than the champion on the same held-out lives."""
    mine = candidate.rmse_hours
    if mine >= baseline.rmse_hours:
        return Decision(False, f"RMSE {mine:.2f} h is no better than the mean's {baseline.rmse_hours:.2f} h")
    if champion is not None and mine > champion.rmse_hours * WORSE_BY_AT_MOST:
        return Decision(
            False, f"RMSE {mine:.2f} h is worse than the champion's {champion.rmse_hours:.2f} h on the same lives"
        )
    against = "" if champion is None else f" and the champion's {champion.rmse_hours:.2f} h"
    return Decision(True, f"RMSE {mine:.2f} h against the mean's {baseline.rmse_hours:.2f} h{against}")
