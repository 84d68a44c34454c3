"""The model registry (the door to MLflow): runs, versions, and the alias `champion`.

MLflow is tracked straight to its store; no server is needed. A registered model belongs to one organisation, so that
nobody is scored by a model that learned from another tenant's robots.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import mlflow
import mlflow.xgboost
import xgboost
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, Schema

from fleet.errors import NotFound
from ml.evaluate import Decision, Evaluation, judge
from ml.features import FEATURES

CHAMPION = "champion"
MODEL = "drive-rul"

logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # tells of every table it makes


@dataclass(frozen=True)
class Trained:
    """What one training tells the registry."""

    booster: xgboost.Booster
    parameters: Mapping[str, object]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Version:
    """A version in the registry, with the run that made it."""

    name: str
    version: str
    run_id: str
    experiment_id: str
    tags: Mapping[str, str]


def model_name(organisation_id: UUID) -> str:
    """The registered model of an organisation."""
    return f"{MODEL}-{organisation_id}"


def client(tracking_uri: str) -> MlflowClient:
    """MLflow's client for this store."""
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_registry_uri(tracking_uri)
    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def record(tracking_uri: str, artifacts_dir: Path, name: str, trained: Trained) -> Version:
    """A finished run with parameters, metrics and the signed model, registered as the next version of `name`."""
    at = client(tracking_uri)
    experiment_id = _experiment(at, name, artifacts_dir)
    with mlflow.start_run(experiment_id=experiment_id, tags=dict(trained.tags)) as run:
        mlflow.log_params(dict(trained.parameters))
        mlflow.log_metrics(dict(trained.metrics))
        logged = mlflow.xgboost.log_model(
            trained.booster,
            name="model",
            signature=_signature(),
            # Given, so that MLflow does not load the model in a process of its own to find out.
            pip_requirements=[f"mlflow=={mlflow.__version__}", f"xgboost=={xgboost.__version__}"],
            registered_model_name=name,
        )
    version = str(logged.registered_model_version)
    for key, value in trained.tags.items():
        at.set_model_version_tag(name, version, key, value)
    return Version(name, version, run.info.run_id, experiment_id, trained.tags)


def _experiment(at: MlflowClient, name: str, artifacts_dir: Path) -> str:
    found = at.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    artifacts_dir.mkdir(parents=True, exist_ok=True)
    return str(at.create_experiment(name, artifact_location=artifacts_dir.resolve().as_uri()))


def _signature() -> ModelSignature:
    # Doubles: MLflow refuses float64 values for a model that was signed with float32.
    return ModelSignature(
        inputs=Schema([ColSpec("double", name) for name in FEATURES]), outputs=Schema([ColSpec("double")])
    )


def champion(tracking_uri: str, name: str) -> Version | None:
    """The version that scores now, or None while no model was good enough."""
    at = client(tracking_uri)
    try:
        found = at.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        # A store answers a name it does not know and an alias it does not know with different codes.
        if error.error_code in (ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), "INVALID_PARAMETER_VALUE"):
            return None
        raise
    run = at.get_run(found.run_id)
    return Version(name, str(found.version), found.run_id, run.info.experiment_id, dict(found.tags))


def load(tracking_uri: str, version: Version) -> xgboost.Booster:
    """The model of a version.

    Raises:
        NotFound: the store knows the version and its files are gone.
    """
    client(tracking_uri)
    try:
        return mlflow.xgboost.load_model(f"models:/{version.name}/{version.version}")
    except (MlflowException, OSError) as error:
        raise NotFound(
            f"The files of model {version.name} version {version.version} cannot be read ({error}). "
            "Restore the artifacts folder or train again.",
            version=version.version,
        ) from error


def promote(
    tracking_uri: str, version: Version, candidate: Evaluation, *, baseline: Evaluation, present: Evaluation | None
) -> Decision:
    """Make `version` the champion if it passes the gate; the decision and its reason stay on the version.

    `present` is the champion's evaluation on the same held-out lives. Promoting one version twice changes nothing.
    """
    decision = judge(candidate, baseline=baseline, champion=present)
    at = client(tracking_uri)
    at.set_model_version_tag(version.name, version.version, "decision", decision.reason)
    if decision.is_promoted:
        at.set_registered_model_alias(version.name, CHAMPION, version.version)
    return decision
