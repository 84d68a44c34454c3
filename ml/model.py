"""The regressor itself: gradient-boosted trees from features to remaining useful life (the door to XGBoost)."""

import numpy as np
import xgboost
from numpy.typing import NDArray

from ml.datasets import Examples
from ml.features import FEATURES

ROUNDS = 250
PARAMETERS: dict[str, str | float | int] = {
    "objective": "reg:squarederror",
    "tree_method": "hist",
    "nthread": 1,
    "max_depth": 4,
    "eta": 0.05,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "min_child_weight": 10,
}


def fit(rows: Examples, *, seed: int) -> xgboost.Booster:
    """Trees for these rows; the same rows and seed give the same trees."""
    matrix = xgboost.DMatrix(rows.features, label=rows.rul_hours, feature_names=list(FEATURES), nthread=1)
    return xgboost.train({**PARAMETERS, "seed": seed}, matrix, num_boost_round=ROUNDS)


def predict(booster: xgboost.Booster, features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Remaining useful life in operating hours, never negative; shape (n,)."""
    matrix = xgboost.DMatrix(features, feature_names=list(FEATURES), nthread=1)
    predicted: NDArray[np.float64] = np.maximum(booster.predict(matrix).astype(np.float64), 0.0)
    return predicted
