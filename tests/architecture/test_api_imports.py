"""The API process starts light: what learning, flows and rendering need is never imported by it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = [
    "prefect",
    "mlflow",
    "xgboost",
    "dagster",
    "pandas",
    "matplotlib",
    "reportlab",
    "pyarrow",
    "rosbags",
    "numpy",
    "apscheduler",
]
LOOK = """
import sys
from pathlib import Path
from fleet.settings import Settings
from fleet.runtime import open_runtime
import api.serve
runtime = open_runtime(Settings(var_dir=Path(sys.argv[1])))
runtime.objects
api.serve.create_app(runtime).openapi()
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_the_api_imports_nothing_heavy(tmp_path: Path):
    ran = subprocess.run(
        [sys.executable, "-c", LOOK, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(ran.stdout.split()) & set(HEAVY) == set()
    assert "fastapi" in ran.stdout.split()
