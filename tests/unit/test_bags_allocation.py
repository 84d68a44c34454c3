"""Which allocator Arrow uses: that of whoever imports us, until a process of ours chooses."""

import platform
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

ROOT = Path(__file__).parents[2]
LOOK = """
import pyarrow as pa
usual = pa.default_memory_pool().backend_name
import ingestion.bags
from ingestion.bags.allocation import prefer_jemalloc
imported = pa.default_memory_pool().backend_name
prefer_jemalloc()
print(usual == imported, pa.default_memory_pool().backend_name)
"""


@pytest.mark.skipif("jemalloc" not in pa.supported_memory_backends(), reason="this Arrow was built without jemalloc")
def test_only_a_process_that_asks_for_it_changes_its_allocator():
    ran = subprocess.run([sys.executable, "-c", LOOK], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["True", "jemalloc"]


def test_where_arrow_has_no_jemalloc_its_usual_allocator_stays(monkeypatch):
    from ingestion.bags.allocation import prefer_jemalloc

    before = pa.default_memory_pool().backend_name
    monkeypatch.setattr(pa, "supported_memory_backends", lambda: ["system"])
    prefer_jemalloc()
    assert pa.default_memory_pool().backend_name == before


FAULTS = """
import resource
import numpy as np
from ingestion.bags.allocation import prefer_jemalloc
prefer_jemalloc()
begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for quarters in range(1, 16):  # of a megabyte: from four on NumPy asks for huge pages
    np.ones(quarters << 18, np.uint8)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begin) * resource.getpagesize() >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory in its own way")
def test_larger_and_larger_arrays_come_to_lie_where_smaller_ones_were():
    ran = subprocess.run([sys.executable, "-c", FAULTS], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 12  # megabytes that the system had to give; each by itself 30
