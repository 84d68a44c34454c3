"""How good a model of remaining useful life is, and whether it may replace the present one (pure)."""

import math
from collections.abc import Sequence
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


def conformal_width(residuals_by_life: Sequence[NDArray[np.float64]], *, coverage: float = 0.9) -> float:
    """Half the width of an interval that covers `coverage` of the windows of a new life.

    `residuals_by_life` are errors on lives that the model had not seen. Split-conformal (Lei et al. 2018, algorithm 2)
    with a life as the unit, because errors within one life are alike: each life gives the absolute error that covers
    `coverage` of its windows, and the ceil((n + 1) * coverage)-th smallest of these is taken. With fewer lives than that
    asks for (9 for 90 %) it is the largest, which promises only n / (n + 1).
    """
    widths = sorted(float(np.quantile(np.abs(one), coverage, method="higher")) for one in residuals_by_life)
    rank = min(math.ceil((len(widths) + 1) * coverage), len(widths))
    return widths[rank - 1]


def coverage_of(predicted: NDArray[np.float64], actual: NDArray[np.float64], width: float) -> float:
    """The share of `actual` within `predicted` ± `width`."""
    return float(np.mean(np.abs(predicted - actual) <= width))


def judge(candidate: Evaluation, *, baseline: Evaluation, champion: Evaluation | None) -> Decision:
    """The gate: better than always saying the mean, and not worse than the champion on the same held-out lives."""
    mine = candidate.rmse_hours
    if not mine < baseline.rmse_hours:  # so that NaN passes no gate
        return Decision(False, f"RMSE {mine:.2f} h is no better than the mean's {baseline.rmse_hours:.2f} h")
    if champion is not None and not mine <= champion.rmse_hours * WORSE_BY_AT_MOST:
        return Decision(
            False, f"RMSE {mine:.2f} h is worse than the champion's {champion.rmse_hours:.2f} h on the same lives"
        )
    against = "" if champion is None else f" and the champion's {champion.rmse_hours:.2f} h"
    return Decision(True, f"RMSE {mine:.2f} h against the mean's {baseline.rmse_hours:.2f} h{against}")
