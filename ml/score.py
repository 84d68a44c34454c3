"""Scoring: how many operating hours each drive is expected to go on, written as health rows."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from uuid import UUID

import numpy as np
from sqlmodel import Session, select

from fleet import changes
from fleet.clock import database_now
from fleet.errors import Conflict, NotFound
from fleet.events import insert_new
from fleet.objectstore import ObjectStore
from fleet.robots import Robot
from ml import registry
from ml.datasets import all_lives, read_failures, read_measurements
from ml.features import feature_hash, matrix
from ml.labels import Life
from ml.model import predict
from ml.models import RobotHealth

Transaction = Callable[[], AbstractContextManager[Session]]


def score(
    *, transaction: Transaction, objects: ObjectStore, organisation_id: UUID, tracking_uri: str
) -> list[RobotHealth]:
    """A health row for every robot whose present drive has measurements, by the champion; in order of robot names.

    Idempotent by (robot, model version, time of the newest measurement): a second run gives the rows of the first.

    Raises:
        NotFound: no champion yet; train first.
        Conflict: the champion was trained on other features than this release makes.
    """
    version = _check(registry.champion(tracking_uri, registry.model_name(organisation_id)))
    with transaction() as session:
        failures = read_failures(session, organisation_id)
    known = all_lives(read_measurements(objects, organisation_id), failures)
    running = [life for life in known if life.failed_hours is None]
    expected = _expected_hours(tracking_uri, version, running)
    with transaction() as session:
        return _write(session, organisation_id, version, list(zip(running, expected, strict=True)))


def _check(version: registry.Version | None) -> registry.Version:
    if version is None:
        raise NotFound("There is no champion model yet; run the deployment train-rul (or `yardmaster train`) first.")
    if version.tags.get("feature_hash") != feature_hash():
        raise Conflict(
            f"Model {version.name} version {version.version} was trained on other features than this release makes "
            f"({version.tags.get('feature_hash')}, now {feature_hash()}); train again.",
            version=version.version,
        )
    return version


def _expected_hours(tracking_uri: str, version: registry.Version, running: Sequence[Life]) -> list[float]:
    if not running:
        return []
    newest = np.stack([matrix(life.windows)[-1] for life in running])
    hours: list[float] = predict(registry.load(tracking_uri, version), newest).tolist()
    return hours


def _write(
    session: Session,
    organisation_id: UUID,
    version: registry.Version,
    scored: Sequence[tuple[Life, float]],
) -> list[RobotHealth]:
    robots = {row.name: row for row in session.exec(select(Robot).where(Robot.organisation_id == organisation_id))}
    now = database_now(session)
    # A bag may name a robot that this organisation does not have; its measurements score nobody.
    rows = [_health(robots[life.robot], life, hours, version, now) for life, hours in scored if life.robot in robots]
    return [_stored(session, row) for row in rows]


def _health(robot: Robot, life: Life, hours: float, version: registry.Version, now: datetime) -> RobotHealth:
    width = float(version.tags["interval_90_hours"])
    return RobotHealth(
        organisation_id=robot.organisation_id,
        robot_id=robot.id,
        as_of=datetime.fromtimestamp(life.last_at_s, UTC),
        scored_at=now,
        rul_hours=hours,
        rul_lower_hours=max(hours - width, 0.0),
        rul_upper_hours=hours + width,
        model_name=version.name,
        model_version=version.version,
        feature_hash=feature_hash(),
    )


def _stored(session: Session, row: RobotHealth) -> RobotHealth:
    if insert_new(session, RobotHealth, row.model_dump(), on=["robot_id", "model_version", "as_of"]):
        changes.record(
            session,
            organisation_id=row.organisation_id,
            subject="robot",
            subject_id=row.robot_id,
            kind="scored",
            fields={"rul_hours": row.rul_hours, "model_version": row.model_version},
        )
    same = select(RobotHealth).where(
        RobotHealth.robot_id == row.robot_id,
        RobotHealth.model_version == row.model_version,
        RobotHealth.as_of == row.as_of,
    )
    return session.exec(same).one()
