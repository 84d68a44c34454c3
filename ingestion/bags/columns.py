"""Messages of one definition as flat Arrow columns with dotted names: `pose.position.x`, `status.values.key`.

A sequence of numbers is a list, bytes stay bytes, a sequence of messages is one list per field of that message.
Constants never become columns. Times stay as recorded (`sec`, `nanosec`); `header_stamp` adds the header's as an instant.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from rosbags.interfaces import Nodetype
from rosbags.typesys.base import normalize_fieldname

from ingestion.bags.arrays import array, texts
from ingestion.bags.definitions import FILLER, Decoder, Fields, Undecodable

RESERVED = ("log_time", "publish_time", "header_stamp")
BYTES = {"uint8", "byte", "char"}
BASE = {
    "bool": pa.bool_(),
    "byte": pa.int8(),
    "char": pa.uint8(),
    "int8": pa.int8(),
    "uint8": pa.uint8(),
    "int16": pa.int16(),
    "uint16": pa.uint16(),
    "int32": pa.int32(),
    "uint32": pa.uint32(),
    "int64": pa.int64(),
    "uint64": pa.uint64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
}
DTYPES = {"bool": "u1", "byte": "i1", "char": "u1"}


def fields(decoder: Decoder, messages: Sequence[object]) -> list[tuple[str, pa.Array]]:
    """The flat fields of messages that a decoder has read, in the order of the definition and by their names there.

    Raises:
        Undecodable: the definition has a field that has no column type.
    """
    return list(_message(decoder.fielddefs, decoder.type, messages))


def unique_names(names: list[str]) -> Iterator[str]:
    """Every name once, and none of ours: a second one gets an underscore."""
    taken = set(RESERVED)
    for name in names:
        own = name
        while own in taken:
            own += "_"
        taken.add(own)
        yield own


def _message(types: Fields, type_name: str, messages: Sequence[object]) -> Iterator[tuple[str, pa.Array]]:
    for name, description in types[type_name][1]:
        if name != FILLER:
            attribute = normalize_fieldname(name)
            values = [getattr(message, attribute) for message in messages]
            for rest, found in _field(types, description, values):
                yield name + rest, found


def _field(types: Fields, description: Any, values: list[Any]) -> Iterator[tuple[str, pa.Array]]:
    kind, detail = description
    if kind == Nodetype.BASE:
        is_bits = detail[0] == "float32"
        yield "", array(np.array(values, np.uint32), pa.float32()) if is_bits else _flat(detail[0], values)
    elif kind == Nodetype.NAME:
        for name, found in _message(types, detail, values):
            yield f".{name}", found
    else:
        yield from _sequence(types, detail[0], values)


def _sequence(types: Fields, element: Any, values: list[Any]) -> Iterator[tuple[str, pa.Array]]:
    kind, detail = element
    offsets = _offsets(values)
    if kind == Nodetype.NAME:
        for name, found in _message(types, detail, list(chain.from_iterable(values))):
            yield f".{name}", pa.ListArray.from_arrays(offsets, found)
    elif detail[0] in BYTES:
        content = b"".join(value.tobytes() for value in values)
        yield "", pa.Array.from_buffers(pa.binary(), len(values), [None, offsets.buffers()[1], pa.py_buffer(content)])
    else:
        flat = list(chain.from_iterable(values)) if detail[0] == "string" else _joined(values)
        yield "", pa.ListArray.from_arrays(offsets, _flat(detail[0], flat))


def _joined(values: list[Any]) -> Any:
    return np.concatenate(values) if values else np.empty(0)


def _flat(name: str, values: Any) -> pa.Array:
    """Numbers or texts as Arrow; without `pyarrow.array`, which imports pandas."""
    kind = arrow_type(name)
    if kind == pa.string():
        return texts(values)
    if kind == pa.bool_():
        bits = np.packbits(np.asarray(values, np.bool_), bitorder="little")
        return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(bits)])
    return array(np.asarray(values, DTYPES.get(name, name)), kind)


def _offsets(values: list[Any]) -> pa.Array:
    return array(np.cumsum([0, *map(len, values)], dtype=np.int32), pa.int32())


def arrow_type(name: str) -> pa.DataType:
    """The type of the column of a field of this type.

    Raises:
        Undecodable: there is none.
    """
    if name not in BASE:
        raise Undecodable(f"Fields of type {name!r} have no column type.")
    return BASE[name]
