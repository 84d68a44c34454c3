"""NumPy arrays and blocks of bytes as Arrow arrays without a copy.

`pyarrow.array` and `pyarrow.scalar` import pandas, half a second of processor time at the start of every conversion;
`pyarrow.compute`, and the methods of arrays that use it, describe hundreds of functions first, as long as it takes to
convert ten thousand messages. What is called here is what they call.
"""

from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow._compute import call_function

TIME = pa.timestamp("ns", tz="UTC")
SORTED_BITS = {16, 32, 64}  # numbers that are sooner sorted than hashed
Rows = TypeVar("Rows", pa.Array, pa.Table)


def array(values: NDArray[np.generic], kind: pa.DataType, is_valid: NDArray[np.bool_] | None = None) -> pa.Array:
    """The values as an Arrow array of `kind`, which has their width; null where not `is_valid`."""
    whole = np.ascontiguousarray(values)
    validity = None if is_valid is None or is_valid.all() else pa.py_buffer(np.packbits(is_valid, bitorder="little"))
    return pa.Array.from_buffers(kind, len(whole), [validity, pa.py_buffer(whole)])


def taken(values: Rows, places: NDArray[np.int64]) -> Rows:
    """The values, or rows of a table, at these places."""
    found: Rows = call_function("take", [values, array(places, pa.int64())])
    return found


def distinct(values: pa.Array) -> int:
    """How many different values there are, by their bits; nulls are not counted."""
    kind = values.type
    if not len(values) or values.null_count or not pa.types.is_primitive(kind) or kind.bit_width not in SORTED_BITS:
        return int(call_function("count_distinct", [values]).as_py())
    numbers = np.frombuffer(values.buffers()[1], f"u{kind.bit_width // 8}")[values.offset :][: len(values)]
    ordered = np.sort(numbers)
    return 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))


def flat(lists: pa.Array) -> pa.Array:
    """The elements of all lists."""
    return call_function("list_flatten", [lists])


def texts(values: list[str]) -> pa.Array:
    """These texts."""
    encoded = [value.encode() for value in values]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.Array.from_buffers(
        pa.string(), len(values), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    )
