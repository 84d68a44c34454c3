"""The worker stays light: what only a heavy child needs is not loaded beside the flows."""

import subprocess
import sys

import pytest

HEAVY = ["mlflow", "xgboost", "dagster", "pandas", "matplotlib", "reportlab", "rosbags", "sklearn", "pyarrow"]
LOAD = """
import sys
{imports}
print(",".join(name for name in {heavy!r} if name in sys.modules))
"""


@pytest.mark.parametrize(
    ("imports", "also_without"),
    [
        ("import orchestration.pool_loop, orchestration.flows.missions, orchestration.flows.intake", []),
        ("import orchestration.flows.bags, orchestration.flows.learning", []),
        ("import orchestration.work.bags, orchestration.work.learning, orchestration.work.reporting", ["prefect"]),
        ("import orchestration.heavy, orchestration.worker, orchestration.deploy", ["prefect"]),
    ],
    ids=["worker", "flows", "work in children", "entries"],
)
def test_a_process_loads_only_what_it_works_with(imports: str, also_without: list[str]):
    program = LOAD.format(imports=imports, heavy=[*HEAVY, *also_without])
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""
