"""The floors and doors of the house hold, and a violation planted in a copy is seen and reported."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ["fleet", "missions", "ingestion", "ml", "reports", "api", "orchestration", "deployments"]
TOOLS = Path(sys.executable).parent


def _run(tool: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(TOOLS / tool), *arguments], cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("house")
    for room in ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_every_floor_and_door_of_the_house_holds():
    ran = _run("lint-imports", "--no-cache", folder=ROOT)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("fleet/planted.py", "import missions.models", "Floors"),
        ("missions/planted.py", "import ingestion.models", "Floors"),
        ("ml/planted.py", "import reports.models", "Floors"),
        ("api/planted.py", "import orchestration.planted_too", "Floors"),
        ("missions/planted.py", "import prefect", "prefect, dagster and apscheduler"),
        ("ml/planted.py", "import dagster", "prefect, dagster and apscheduler"),
        ("api/planted.py", "import apscheduler", "prefect, dagster and apscheduler"),
        ("orchestration/planted.py", "import fastapi", "fastapi only in api"),
        ("reports/planted.py", "import starlette", "starlette only in"),
        ("orchestration/planted.py", "import mlflow", "mlflow and xgboost"),
        ("reports/planted.py", "import xgboost", "mlflow and xgboost"),
        ("ml/planted.py", "import rosbags", "rosbags only"),
        ("ingestion/planted.py", "import s3fs", "s3fs, fsspec and boto3"),
        ("ml/planted.py", "import fsspec", "s3fs, fsspec and boto3"),
        ("ingestion/planted.py", "import httpx", "HTTP clients"),
        ("orchestration/planted.py", "import paho.mqtt.client", "MQTT clients"),
        ("missions/planted.py", "import psycopg", "psycopg only"),
        ("missions/planted.py", "import fleet.settings", "settings are read by fleet.runtime"),
    ],
)
def test_a_planted_import_is_reported_by_its_contract(copy: Path, file: str, line: str, contract: str):
    planted, neighbour = copy / file, copy / "orchestration/planted_too.py"
    planted.write_text(line + "\n")
    neighbour.write_text('"""A neighbour."""\n')
    try:
        ran = _run("lint-imports", "--no-cache", folder=copy)
    finally:
        planted.unlink()
        neighbour.unlink()
    assert ran.returncode == 1
    broken = [row for row in ran.stdout.splitlines() if " BROKEN" in row]
    assert any(contract in row for row in broken), ran.stdout


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("import os\n\nHOME = os.environ['HOME']\n", "Only fleet/settings reads the environment"),
        ("import os\n\nHOME = os.getenv('HOME')\n", "Only fleet/settings reads the environment"),
        ("import time\n\nNOW = time.time()\n", "Only fleet/clock reads the clock"),
        ("from datetime import UTC, datetime\n\nNOW = datetime.now(UTC)\n", "Only fleet/clock reads the clock"),
    ],
)
def test_the_environment_and_the_clock_have_one_door_each(copy: Path, line: str, words: str):
    planted = copy / "missions/planted.py"
    planted.write_text(line)
    try:
        ran = _run("ruff", "check", "--no-cache", "missions/planted.py", folder=copy)
    finally:
        planted.unlink()
    assert ran.returncode == 1
    assert words in ran.stdout
