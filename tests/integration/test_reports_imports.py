"""What the API may import stays light."""

import subprocess
import sys

import pytest

HEAVY = {"matplotlib", "reportlab", "mlflow", "xgboost", "pandas", "prefect", "dagster", "scipy", "sklearn"}


@pytest.mark.parametrize("room", ["ml", "ml.models", "ml.features", "reports", "reports.models", "reports.catalogue"])
def test_a_light_room_loads_no_heavy_library(room):
    code = f"import sys, {room}; print(' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & set(loaded)
