"""NumPy arrays and blocks of bytes as Arrow arrays without a copy.

`pyarrow.array` and `pyarrow.scalar` import pandas, half a second of processor time at the start of every conversion.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

TIME = pa.timestamp("ns", tz="UTC")


def array(values: NDArray[np.generic], kind: pa.DataType, is_valid: NDArray[np.bool_] | None = None) -> pa.Array:
    """The values as an Arrow array of `kind`, which has their width; null where not `is_valid`."""
    whole = np.ascontiguousarray(values)
    validity = None if is_valid is None or is_valid.all() else pa.py_buffer(np.packbits(is_valid, bitorder="little"))
    return pa.Array.from_buffers(kind, len(whole), [validity, pa.py_buffer(whole)])


def binary(arena: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> pa.Array:
    """The stretches of the arena at ascending `starts`, which do not overlap, as bytes."""
    bounds = np.stack([starts, starts + lengths], axis=1).ravel()
    kind = pa.binary() if arena.size < 2**31 else pa.large_binary()
    # Every second element is the gap between two stretches; one more bound makes their number even, none included.
    offsets = np.append(bounds, bounds[-1:] if len(bounds) else [0]).astype(
        np.int32 if kind == pa.binary() else np.int64
    )
    whole = pa.Array.from_buffers(kind, len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(arena)])
    return whole.take(array(np.arange(0, len(whole), 2), pa.int64())).cast(pa.binary())


def texts(values: list[str]) -> pa.Array:
    """These texts."""
    encoded = [value.encode() for value in values]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.Array.from_buffers(
        pa.string(), len(values), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    )
