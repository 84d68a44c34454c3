"""All of a conversion allocates from one pool: another keeps, in pages of 2 MB, what the first has no use of."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

CONVERT = """
import sys
from deployments.cli.converting import converted, plainly_asked
code = converted(plainly_asked(["bags", "convert", "points.mcap", "--out", "lake", "--json"]))
import pyarrow as pa
others = [getattr(pa, f"{name}_memory_pool")() for name in pa.supported_memory_backends() if name != "jemalloc"]
sys.stderr.write(f"{code} {max(pool.max_memory() for pool in others)} {pa.default_memory_pool().max_memory()}")
"""


@pytest.mark.skipif(
    sys.platform != "linux" or "jemalloc" not in pa.supported_memory_backends(), reason="Arrow without jemalloc"
)
def test_reading_and_writing_take_their_memory_from_the_same_pool(mcap, point, tmp_path, monkeypatch):
    monkeypatch.delenv("ARROW_DEFAULT_MEMORY_POOL", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    channel = mcap.channel("/point", "geometry_msgs/msg/Point", "float64 x\nfloat64 y\nfloat64 z\n")
    for number in range(100):
        mcap.add(channel, 1_772_402_400_000_000_000 + number, point(float(number)))
    (tmp_path / "points.mcap").write_bytes(mcap.content(per_chunk=100))
    ran = subprocess.run([sys.executable, "-c", CONVERT], cwd=tmp_path, capture_output=True, text=True, check=True)
    code, others, ours = map(int, ran.stderr.split())
    assert (code, others) == (0, 0)
    assert ours > 0
