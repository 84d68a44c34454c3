"""The registry on a real MLflow store: what is there, what is not, and files that are gone."""

import shutil

import numpy as np
import pytest
from sqlmodel import select

from fleet.changes import Change
from fleet.errors import NotFound
from ml import registry, score
from ml.datasets import Examples
from ml.features import FEATURES, Window, feature_hash
from ml.labels import Life
from ml.model import fit, predict
from ml.models import RobotHealth

# MLflow warns of its own type hints while it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")


@pytest.fixture
def rows():
    """Two hundred rows whose label is ten times the first feature."""
    features = np.random.default_rng(1).random((200, len(FEATURES)))
    return Examples(features, features[:, 0] * 10)


@pytest.fixture
def stored(tmp_path, rows):
    """A small model in a store of its own: (tracking uri, version, booster)."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    booster = fit(rows, seed=1)
    tags = {"feature_hash": feature_hash(), "interval_90_hours": "4.0"}
    trained = registry.Trained(booster, {"rounds": 250}, {"rmse_hours": 1.0}, tags)
    return uri, registry.record(uri, tmp_path / "artifacts", "drive-rul-x", trained), booster


@pytest.mark.usefixtures("runtime")
def test_a_stored_model_predicts_as_it_did_and_losing_its_files_is_told(stored, rows, tmp_path):
    uri, version, booster = stored
    assert (version.version, version.tags["interval_90_hours"]) == ("1", "4.0")
    np.testing.assert_array_equal(predict(registry.load(uri, version), rows.features), predict(booster, rows.features))
    # Registered is not promoted: nobody is scored by it yet.
    assert registry.champion(uri, version.name) is None
    assert registry.champion(uri, "drive-rul-nobody") is None
    shutil.rmtree(tmp_path / "artifacts")
    with pytest.raises(NotFound, match="train again"):
        registry.load(uri, version)


def test_a_health_row_is_written_once_for_robots_we_have_and_never_below_zero(runtime, world, clock):
    version = registry.Version("drive-rul-x", "3", "run", "0", {"interval_90_hours": "6.5"})
    window = (Window(1.0, 4.0, 30.0, 0.5),)
    scored = [
        (Life("amr-01", 0, window, clock.now().timestamp(), None), 4.0),
        (Life("amr-77", 0, window, clock.now().timestamp(), None), 4.0),
    ]
    for _ in range(2):
        with runtime.transaction() as session:
            (row,) = score._write(session, world.organisation.id, version, scored)
    assert (row.rul_lower_hours, row.rul_hours, row.rul_upper_hours) == (0.0, 4.0, 10.5)
    assert row.as_of == clock.now()
    with runtime.reading() as session:
        assert [found.id for found in session.exec(select(RobotHealth))] == [row.id]
        assert session.exec(select(Change.kind).where(Change.subject == "robot")).all() == ["scored"]


def test_the_same_rows_and_seed_give_the_same_trees(rows):
    first, second, other = fit(rows, seed=1), fit(rows, seed=1), fit(rows, seed=2)
    assert first.save_raw() == second.save_raw()
    assert first.save_raw() != other.save_raw()


def test_a_prediction_is_never_negative(rows):
    down = fit(Examples(rows.features, -rows.rul_hours), seed=1)
    assert predict(down, rows.features).min() == 0.0


def test_what_was_never_measured_is_no_obstacle(rows):
    holes = rows.features.copy()
    holes[:, 6] = np.nan
    assert np.isfinite(predict(fit(rows, seed=1), holes)).all()
