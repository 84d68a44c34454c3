"""Training: from the lake and the failure events to a registered model, and to the champion if it is good enough."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
import xgboost
from sqlmodel import Session

from fleet import changes
from fleet.objectstore import ObjectStore
from ml import registry
from ml.datasets import Examples, all_lives, data_hash, examples, read_failures, read_measurements
from ml.evaluate import Decision, Evaluation, conformal_width, coverage_of, evaluate
from ml.features import FEATURES, feature_hash
from ml.labels import RUL_CAP_HOURS, Life
from ml.model import PARAMETERS, ROUNDS, fit, predict
from ml.splits import Split, folds, split

Transaction = Callable[[], AbstractContextManager[Session]]


@dataclass(frozen=True)
class TrainingResult:
    """What one training came to; errors in operating hours on lives the model has not seen."""

    model_name: str
    model_version: str
    run_id: str
    experiment_id: str
    is_promoted: bool
    reason: str
    rmse_hours: float
    mae_hours: float
    baseline_rmse_hours: float
    champion_rmse_hours: float | None
    interval_hours: float
    interval_coverage: float
    lives_train: int
    lives_held_out: int
    windows: int
    data_hash: str
    feature_hash: str


@dataclass(frozen=True)
class Fitted:
    """A model with what is known about it before anybody else sees it."""

    booster: xgboost.Booster
    evaluation: Evaluation
    baseline: Evaluation
    interval_hours: float
    interval_coverage: float
    windows: int


def train(
    *,
    transaction: Transaction,
    objects: ObjectStore,
    organisation_id: UUID,
    tracking_uri: str,
    artifacts_dir: Path,
    seed: int = 7,
) -> TrainingResult:
    """Train, track, register and judge a model of the drives of one organisation.

    The same data and seed give the same model; training again makes a new version of it.

    Raises:
        Invalid: too few recorded failures; says how many are needed.
    """
    with transaction() as session:
        failures = read_failures(session, organisation_id)
    known = all_lives(read_measurements(objects, organisation_id), failures)
    parts = split([life for life in known if life.failed_hours is not None])
    fitted = fit_lives(parts, seed=seed)
    name = registry.model_name(organisation_id)
    present = _champion_evaluation(tracking_uri, name, parts)
    tags = _tags(organisation_id, data_hash(known), fitted)
    trained = registry.Trained(fitted.booster, _parameters(parts, seed), _metrics(fitted, present), tags)
    version = registry.record(tracking_uri, artifacts_dir, name, trained)
    decision = registry.promote(tracking_uri, version, fitted.evaluation, baseline=fitted.baseline, present=present)
    with transaction() as session:
        _tell(session, organisation_id, version, decision)
    return _result(version, decision, fitted, parts, present)


def _tell(session: Session, organisation_id: UUID, version: registry.Version, decision: Decision) -> None:
    changes.record(
        session,
        organisation_id=organisation_id,
        subject="model",
        subject_id=f"{version.name}/{version.version}",
        kind="promoted" if decision.is_promoted else "refused",
        fields={"reason": decision.reason},
    )


def _result(
    version: registry.Version, decision: Decision, fitted: Fitted, parts: Split, present: Evaluation | None
) -> TrainingResult:
    return TrainingResult(
        model_name=version.name,
        model_version=version.version,
        run_id=version.run_id,
        experiment_id=version.experiment_id,
        is_promoted=decision.is_promoted,
        reason=decision.reason,
        rmse_hours=fitted.evaluation.rmse_hours,
        mae_hours=fitted.evaluation.mae_hours,
        baseline_rmse_hours=fitted.baseline.rmse_hours,
        champion_rmse_hours=None if present is None else present.rmse_hours,
        interval_hours=fitted.interval_hours,
        interval_coverage=fitted.interval_coverage,
        lives_train=len(parts.train),
        lives_held_out=len(parts.held_out),
        windows=fitted.windows,
        data_hash=version.tags["data_hash"],
        feature_hash=version.tags["feature_hash"],
    )


def fit_lives(parts: Split, *, seed: int) -> Fitted:
    """A model of `parts.train`, its errors on `parts.held_out`, and the interval from lives it had not seen."""
    rows = examples(parts.train, cap_hours=RUL_CAP_HOURS, seed=seed)
    booster = fit(rows, seed=seed)
    held_out = examples(parts.held_out, cap_hours=RUL_CAP_HOURS)
    predicted = predict(booster, held_out.features)
    mean = np.full_like(held_out.rul_hours, rows.rul_hours.mean())
    width = _interval(parts.train, seed=seed)
    return Fitted(
        booster=booster,
        evaluation=evaluate(predicted, held_out.rul_hours),
        baseline=evaluate(mean, held_out.rul_hours),
        interval_hours=width,
        interval_coverage=coverage_of(predicted, held_out.rul_hours, width),
        windows=len(rows.rul_hours),
    )


def _interval(train: Sequence[Life], *, seed: int) -> float:
    # With few lives a calibration set of their own would cost too much: every life is predicted by a model without it.
    residuals = []
    for learn, unseen in folds(train):
        booster = fit(examples(learn, cap_hours=RUL_CAP_HOURS, seed=seed), seed=seed)
        for life in unseen:
            rows: Examples = examples([life], cap_hours=RUL_CAP_HOURS)
            residuals.append(predict(booster, rows.features) - rows.rul_hours)
    return conformal_width(residuals)


def _champion_evaluation(tracking_uri: str, name: str, parts: Split) -> Evaluation | None:
    present = registry.champion(tracking_uri, name)
    if present is None or present.tags.get("feature_hash") != feature_hash():
        return None
    rows = examples(parts.held_out, cap_hours=RUL_CAP_HOURS)
    return evaluate(predict(registry.load(tracking_uri, present), rows.features), rows.rul_hours)


def _parameters(parts: Split, seed: int) -> dict[str, object]:
    return {
        **PARAMETERS,
        "rounds": ROUNDS,
        "seed": seed,
        "rul_cap_hours": RUL_CAP_HOURS,
        "features": len(FEATURES),
        "lives_train": ", ".join(life.name for life in parts.train),
        "lives_held_out": ", ".join(life.name for life in parts.held_out),
    }


def _metrics(fitted: Fitted, present: Evaluation | None) -> Mapping[str, float]:
    metrics = {
        "rmse_hours": fitted.evaluation.rmse_hours,
        "mae_hours": fitted.evaluation.mae_hours,
        "baseline_rmse_hours": fitted.baseline.rmse_hours,
        "baseline_mae_hours": fitted.baseline.mae_hours,
        "interval_90_hours": fitted.interval_hours,
        "interval_90_coverage": fitted.interval_coverage,
    }
    return metrics if present is None else {**metrics, "champion_rmse_hours": present.rmse_hours}


def _tags(organisation_id: UUID, hash_of_data: str, fitted: Fitted) -> dict[str, str]:
    return {
        "organisation_id": str(organisation_id),
        "data_hash": hash_of_data,
        "feature_hash": feature_hash(),
        "interval_90_hours": repr(fitted.interval_hours),
    }
