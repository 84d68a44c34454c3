"""The gateway starts light: no database, no flows, no server is ever imported by it, with any of its adapters."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = ["prefect", "sqlmodel", "sqlalchemy", "fastapi", "starlette", "httpx", "mlflow", "xgboost", "dagster", "pandas"]
LOOK = """
import sys
import orchestration.gateway.__main__
from fleet.adapters import PUSH, push_opener
for name in PUSH:
    push_opener(name)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_the_gateway_imports_neither_database_nor_flows_nor_server():
    ran = subprocess.run([sys.executable, "-c", LOOK], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(ran.stdout.split()) & set(HEAVY) == set()
    assert "websockets" in ran.stdout.split()
