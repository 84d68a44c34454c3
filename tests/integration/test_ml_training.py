"""Learning end to end: genuine bags of the simulated site -> lake -> features -> MLflow -> champion -> health rows."""

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlmodel import select

from fleet.adapters.simulated.history import happenings, past_lives, recording
from fleet.adapters.simulated.recorder import write_bag
from fleet.adapters.simulated.site_map import robots
from fleet.changes import Change
from fleet.errors import Conflict, Invalid, NotFound
from fleet.events import record
from ingestion.bags.conversion import file_sha256
from ingestion.bags.processing import process
from ingestion.models import Bag
from ml import registry, score, train
from ml.datasets import all_lives, read_failures, read_measurements
from ml.evaluate import Evaluation
from ml.features import FEATURES
from ml.models import RobotHealth

# MLflow warns of its own type hints while it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")

SEED = 7


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The bags of two robots, each with three motors that failed and one that runs, and what was told of them."""

    def of(opened_at, folder=tmp_path_factory.mktemp("bags")):
        lives = [life for robot in robots(2) for life in past_lives(SEED, robot, lives=3, opened_at=opened_at)]
        return [
            (life, folder / f"{recording(SEED, life).name}.mcap")
            for life in lives
            if write_bag(folder, recording(SEED, life))
        ]

    return of


@pytest.fixture
def taken_in(runtime, clock, world, recorded):
    """Those bags in the lake, and the failures among the events."""
    for life, path in recorded(clock.now()):
        robot = world.robots[life.robot.name]
        sha256 = file_sha256(path)
        key = f"{world.organisation.id}/bags/{sha256}"
        stored = runtime.objects.put_file(key, path)
        bag = Bag(
            organisation_id=world.organisation.id, sha256=sha256, size=stored.size, filename=path.name, object_key=key,
            robot_id=robot.id, robot_name=robot.name, uploaded_at=clock.now(),
        )  # fmt: skip
        with runtime.transaction() as session:
            session.add(bag)
            for seen in happenings([life]):
                record(
                    session,
                    organisation_id=world.organisation.id,
                    robot_id=robot.id,
                    seen=seen,
                    received_at=clock.now(),
                )
        process(transaction=runtime.transaction, objects=runtime.objects, bag_id=bag.id)


@pytest.fixture
def store(runtime):
    """Where MLflow keeps what it is told."""
    var = runtime.settings.var_dir.resolve()
    return {"tracking_uri": f"sqlite:///{var}/mlflow.db", "artifacts_dir": var / "mlflow"}


@pytest.fixture
def parts(runtime, world):
    """What training and scoring are handed."""
    return {"transaction": runtime.transaction, "objects": runtime.objects, "organisation_id": world.organisation.id}


def test_a_drive_is_learned_tracked_promoted_and_scored(runtime, clock, world, taken_in, store, parts):
    result = train.train(**parts, **store)

    assert result.is_promoted, result.reason
    assert result.rmse_hours < 0.8 * result.baseline_rmse_hours
    assert (result.lives_train, result.lives_held_out) == (4, 2)

    run = registry.client(store["tracking_uri"]).get_run(result.run_id)
    assert run.data.metrics["rmse_hours"] == pytest.approx(result.rmse_hours)
    assert run.data.params["seed"] == "7"
    assert run.data.tags["data_hash"] == result.data_hash
    assert run.data.tags["feature_hash"] == result.feature_hash

    version = registry.champion(store["tracking_uri"], result.model_name)
    assert version is not None
    assert version.version == result.model_version
    import mlflow

    signature = mlflow.models.get_model_info(f"models:/{result.model_name}/{version.version}").signature
    assert signature.inputs.input_names() == list(FEATURES)

    rows = score.score(**parts, tracking_uri=store["tracking_uri"])
    assert [row.robot_id for row in rows] == [world.robots[name].id for name in ("amr-01", "amr-02")]
    for row, robot in zip(rows, robots(2), strict=True):
        present = past_lives(SEED, robot, lives=3, opened_at=clock.now())[-1]
        true_hours = min(present.life.length_h - present.hours, 48.0)
        assert row.rul_hours == pytest.approx(true_hours, abs=15)
        assert row.rul_lower_hours <= row.rul_hours <= row.rul_upper_hours
        assert abs(row.as_of - present.ended_at) < timedelta(minutes=2)

    again = score.score(**parts, tracking_uri=store["tracking_uri"])
    assert [row.id for row in again] == [row.id for row in rows]
    with pytest.raises(NotFound):  # a model belongs to its organisation
        score.score(**{**parts, "organisation_id": uuid4()}, tracking_uri=store["tracking_uri"])
    with runtime.reading() as session:
        assert len(session.exec(select(RobotHealth)).all()) == 2
        told = session.exec(select(Change.kind).where(Change.subject == "model")).all()
    assert told == ["promoted"]


def test_a_model_may_follow_itself_and_a_worse_one_may_not(taken_in, store, parts):
    first = train.train(**parts, **store)
    second = train.train(**parts, **store)
    assert (second.rmse_hours, second.data_hash) == (first.rmse_hours, first.data_hash)
    assert second.champion_rmse_hours == pytest.approx(first.rmse_hours)
    assert (first.model_version, second.model_version, second.is_promoted) == ("1", "2", True)

    uri, name = store["tracking_uri"], first.model_name
    older = registry.Version(name, "1", first.run_id, first.experiment_id, {})
    present, worse, mean = (Evaluation(rmse_hours=rmse, mae_hours=1.0, windows=1) for rmse in (4.0, 8.0, 12.0))
    decision = registry.promote(uri, older, worse, baseline=mean, present=present)
    assert not decision.is_promoted
    assert registry.champion(uri, name).version == "2"
    assert registry.client(uri).get_model_version(name, "1").tags["decision"] == decision.reason

    registry.client(uri).set_model_version_tag(name, "2", "feature_hash", "of another release")
    with pytest.raises(Conflict, match="other features"):
        score.score(**parts, tracking_uri=uri)


def test_measurements_of_the_lake_become_lives_with_their_failures(runtime, world, taken_in):
    measured = read_measurements(runtime.objects, world.organisation.id)
    with runtime.reading() as session:
        failures = read_failures(session, world.organisation.id)
    known = all_lives(measured, failures)
    assert [life.name for life in known] == [f"amr-0{robot}/{number}" for robot in (1, 2) for number in range(4)]
    assert [life.failed_hours is None for life in known] == [False, False, False, True] * 2
    for life in known[:3]:
        assert life.windows[0].operating_hours < 0.1
        assert life.failed_hours - life.windows[-1].operating_hours < 0.1


def test_without_failures_training_says_what_is_missing(store, parts):
    with pytest.raises(Invalid, match="Only 0 lives have ended in a recorded failure; training needs 4"):
        train.train(**parts, **store)


def test_without_a_champion_scoring_says_what_to_do(store, parts):
    with pytest.raises(NotFound, match="train-rul"):
        score.score(**parts, tracking_uri=store["tracking_uri"])
