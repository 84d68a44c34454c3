"""NumPy arrays and blocks of bytes as Arrow arrays without a copy.

`pyarrow.array` and `pyarrow.scalar` import pandas, half a second of processor time at the start of every conversion;
`pyarrow.compute`, and the methods of arrays that use it, describe hundreds of functions first, as long as it takes to
convert ten thousand messages. What is called here is what they call, and only where NumPy does not do: to load it takes
a hundredth of the time in which a short recording is converted.
"""

from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

TIME = pa.timestamp("ns", tz="UTC")
SORTED_BITS = {8, 16, 32, 64}  # numbers that are sooner sorted than hashed
Rows = TypeVar("Rows", pa.Array, pa.Table)


def array(values: NDArray[np.generic], kind: pa.DataType, is_valid: NDArray[np.bool_] | None = None) -> pa.Array:
    """The values as an Arrow array of `kind`, which has their width; null where not `is_valid`."""
    whole = np.ascontiguousarray(values)
    validity = None if is_valid is None or is_valid.all() else pa.py_buffer(np.packbits(is_valid, bitorder="little"))
    return pa.Array.from_buffers(kind, len(whole), [validity, pa.py_buffer(whole)])


def taken(values: Rows, places: NDArray[np.int64]) -> Rows:
    """The values, or rows of a table, at these places."""
    found: Rows = _computed("take", values, array(places, pa.int64()))
    return found


def distinct(values: pa.Array) -> int:
    """How many different values there are, by their bits; nulls are not counted."""
    kind = values.type
    if not len(values) or values.null_count:
        return int(_computed("count_distinct", values).as_py())
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        ends = np.frombuffer(values.buffers()[1], np.int32)[values.offset :][: len(values) + 1].tolist()
        content = memoryview(values.buffers()[2] or b"")[ends[0] : ends[-1]].tobytes()
        return len({content[begin - ends[0] : end - ends[0]] for begin, end in pairwise(ends)})
    if not pa.types.is_primitive(kind) or kind.bit_width not in SORTED_BITS:
        return int(_computed("count_distinct", values).as_py())
    numbers = np.frombuffer(values.buffers()[1], f"u{kind.bit_width // 8}")[values.offset :][: len(values)]
    ordered = np.sort(numbers)
    return 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))


def flat(lists: pa.Array) -> pa.Array:
    """The elements of all lists."""
    if lists.null_count or not pa.types.is_list(lists.type):
        return _computed("list_flatten", lists)
    if not len(lists):
        return lists.values.slice(0, 0)
    offsets = np.frombuffer(lists.buffers()[1], np.int32)[lists.offset :][: len(lists) + 1]
    return lists.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))


def _computed(function: str, *arguments: object) -> Any:
    from pyarrow._compute import call_function  # noqa: PLC0415  see above

    return call_function(function, list(arguments))


def texts(values: list[str]) -> pa.Array:
    """These texts."""
    encoded = [value.encode() for value in values]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.Array.from_buffers(
        pa.string(), len(values), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    )
