"""What converting a recording imports: its start is a quarter of the cost of a short one."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNNEEDED = ["structlog", "rich", "fsspec", "sqlmodel", "sqlalchemy", "pydantic", "yaml", "pandas", "typer", "asyncio"]
LOOK = """
import sys
from pathlib import Path
from ingestion.bags import convert
(Path(sys.argv[1]) / "none.bag").write_bytes(b"")
convert(Path(sys.argv[1]) / "none.bag", Path(sys.argv[1]) / "lake")
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_converting_imports_only_what_it_needs(tmp_path: Path):
    ran = subprocess.run(
        [sys.executable, "-c", LOOK, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(ran.stdout.split()) & set(UNNEEDED) == set()
    assert "pyarrow" in ran.stdout.split()
