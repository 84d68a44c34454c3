"""Which of Arrow's allocators a process that converts recordings uses."""

import numpy as np
import pyarrow as pa

KEPT_BYTES = 8 << 20


def prefer_jemalloc() -> None:
    """Let Arrow allocate by jemalloc in this whole process, where it was built with it.

    Converting then takes up to three percent less processor time, and no more memory. For processes of ours alone: who
    calls `convert` in a process of their own keeps the allocator they have. What writes Parquet does not look at this: it
    takes what `ARROW_DEFAULT_MEMORY_POOL` said when Arrow was imported, so processes of ours set both.
    """
    if "jemalloc" in pa.supported_memory_backends():
        pa.set_memory_pool(pa.jemalloc_memory_pool())
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let NumPy's arrays come back to memory that was used before: to have a page from the system again takes longer.

    The C library of Linux gives each array beyond a size back at once, and the end of its heap as well; that size rises
    to that of the largest array that was freed.
    """
    np.empty(KEPT_BYTES, np.uint8)
