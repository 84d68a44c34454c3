"""What operational runs tell Dagster, without a Dagster run: this bag was converted, this model and report were made."""

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from alembic.util import CommandError
from dagster import (
    AssetCheckEvaluation,
    AssetCheckSeverity,
    AssetKey,
    AssetMaterialization,
    DagsterError,
    DagsterInstance,
    MetadataValue,
)
from sqlalchemy.exc import SQLAlchemyError

from fleet.errors import Unavailable
from fleet.objectstore import ObjectStore
from ingestion.lake import Lake, Manifest
from ingestion.quality import differences
from orchestration.assets.home import prepare
from orchestration.assets.lineage import BAGS, COUNTS, MODEL, REPORT, TOPIC_TABLES
from orchestration.assets.told import told
from orchestration.assets.topics import (
    WHOLE,
    Finding,
    data_version,
    described,
    findings,
    key_of,
    provenance,
    shown_tables,
)

MOST_CHECKS = 10_000
DATA_VERSION = "dagster/data_version"


@contextmanager
def instance(dagster_home: Path) -> Iterator[DagsterInstance]:
    """Dagster's catalogue in this folder; the folder and its settings (telemetry off) are made where missing.

    Raises:
        Unavailable: the catalogue cannot be opened, read or written now; what was to be told can be told again.
    """
    prepare(dagster_home)
    try:
        with _opened(dagster_home) as opened:
            yield opened
    except (DagsterError, SQLAlchemyError, CommandError, OSError) as error:
        raise Unavailable(
            f"Dagster's catalogue in {dagster_home} does not answer ({type(error).__name__}: {error}). Nothing else "
            "is lost by that; run the same again to tell it."
        ) from error


def _opened(dagster_home: Path) -> DagsterInstance:
    # Dagster makes its tables when it is first opened, and two processes at once leave them with two versions, for ever
    # unusable; so one opens after the other.
    with (dagster_home / "opening.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return DagsterInstance.from_config(str(dagster_home))


def report_bag(dagster_home: Path, manifest: Manifest, objects: ObjectStore) -> bool:
    """Show a converted bag and each of its topics as materialised, and whether they are as they should be; gives that.

    Told twice it is shown twice, with the same data version. A bag without messages has no date and so no partition.
    """
    lake = Lake(objects, f"{manifest.organisation}/lake/", manifest.organisation)
    problems = differences(lake, manifest)
    partition = manifest.recorded_on.isoformat() if manifest.recorded_on else None
    named = {
        "bag": MetadataValue.text(manifest.sha256),
        "file": MetadataValue.text(manifest.filename),
        "robot": MetadataValue.text(manifest.robot),
        "organisation": MetadataValue.text(manifest.organisation),
        "status": MetadataValue.text(manifest.status.value),
    }
    with instance(dagster_home) as catalogue:
        _materialised(catalogue, BAGS, named, partition, {DATA_VERSION: data_version(manifest)})
        tags = provenance(manifest, BAGS)
        _materialised(catalogue, TOPIC_TABLES, {**named, **told([manifest])}, partition, tags)
        named["date"] = MetadataValue.text(partition or "none")
        differ = {"differences": MetadataValue.json(problems[:20])}
        _checked(catalogue, TOPIC_TABLES, Finding(COUNTS.name, not problems, AssetCheckSeverity.ERROR, differ), named)
        for table in shown_tables(manifest):
            key, tags = key_of(table.name), provenance(manifest, TOPIC_TABLES)
            _materialised(catalogue, key, {**named, **described(lake, table)}, partition, tags)
            for finding in findings(lake, table):
                problems += [f"{table.name}: {finding.check}"] if finding.check == WHOLE and not finding.passed else []
                _checked(catalogue, key, finding, named)
    return not problems


def _checked(catalogue: DagsterInstance, key: AssetKey, finding: Finding, named: Mapping[str, MetadataValue]) -> None:
    # No partition: Dagster takes only one runless evaluation of a check in each, and a date has many bags.
    evaluation = AssetCheckEvaluation(
        asset_key=key,
        check_name=finding.check,
        passed=finding.passed,
        severity=finding.severity,
        metadata={**named, **finding.told},
    )
    catalogue.report_runless_asset_event(evaluation)


def report_model(dagster_home: Path, *, version: str, metrics: Mapping[str, float]) -> None:
    """Show a trained model version with its metrics."""
    shown = {name: MetadataValue.float(float(value)) for name, value in metrics.items()}
    with instance(dagster_home) as catalogue:
        _materialised(
            catalogue, MODEL, {"version": MetadataValue.text(version), **shown}, None, {DATA_VERSION: version}
        )


def report_publication(dagster_home: Path, *, report: str, url: str) -> None:
    """Show a published report with the address of its download."""
    with instance(dagster_home) as catalogue:
        _materialised(catalogue, REPORT, {"download": MetadataValue.url(url)}, None, {DATA_VERSION: report})


def _materialised(
    catalogue: DagsterInstance,
    key: AssetKey,
    metadata: Mapping[str, MetadataValue],
    partition: str | None,
    tags: Mapping[str, str],
) -> None:
    event = AssetMaterialization(key, metadata=metadata, partition=partition, tags=dict(tags))
    catalogue.report_runless_asset_event(event)


def reported_bags(dagster_home: Path) -> dict[str, bool]:
    """The bags that Dagster knows, by content hash, and whether the newest check of each passed."""
    with instance(dagster_home) as catalogue:
        history = catalogue.event_log_storage.get_asset_check_execution_history(COUNTS, limit=MOST_CHECKS)
    found: dict[str, bool] = {}
    for record in history:  # newest first
        event = record.event and record.event.dagster_event
        evaluation = event and event.asset_check_evaluation_data
        if evaluation and "bag" in evaluation.metadata:
            found.setdefault(str(evaluation.metadata["bag"].value), evaluation.passed)
    return found
