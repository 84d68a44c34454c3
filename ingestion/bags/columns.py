"""Messages of one definition as flat Arrow columns with dotted names: `pose.position.x`, `status.values.key`.

A sequence of numbers is a list, bytes stay bytes, a sequence of messages is one list per field of that message.
Constants never become columns. Times stay as recorded (`sec`, `nanosec`); `header_stamp` adds the header's as an instant.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from typing import Any

import numpy as np
import pyarrow as pa
from rosbags.interfaces import Nodetype
from rosbags.typesys.base import normalize_fieldname
from rosbags.typesys.store import Typestore

from ingestion.bags.arrays import TIME
from ingestion.bags.definitions import Decoder, Undecodable

RESERVED = ("log_time", "publish_time", "header_stamp")
FILLER = "structure_needs_at_least_one_member"
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
Columns = dict[str, pa.Array]


def columns(decoder: Decoder, messages: Sequence[object]) -> Columns:
    """The columns of these messages, in the order of the definition; no messages give empty columns of the same types.

    Raises:
        Undecodable: the definition has a field that has no column type.
    """
    found = fields(decoder, messages)
    stamp = _stamp(decoder.types, decoder.type, messages)
    reserved = {} if stamp is None else {"header_stamp": stamp}
    return reserved | dict(zip(unique_names([name for name, _ in found]), (array for _, array in found), strict=True))


def fields(decoder: Decoder, messages: Sequence[object]) -> list[tuple[str, pa.Array]]:
    """The flat fields of these messages in the order of the definition, under the names that they have there.

    Raises:
        Undecodable: the definition has a field that has no column type.
    """
    return list(_message(decoder.types, decoder.type, messages))


def unique_names(names: list[str]) -> Iterator[str]:
    """Every name once, and none of ours: a second one gets an underscore."""
    taken = set(RESERVED)
    for name in names:
        own = name
        while own in taken:
            own += "_"
        taken.add(own)
        yield own


def _stamp(types: Typestore, type_name: str, messages: Sequence[Any]) -> pa.Array | None:
    fields = dict(types.fielddefs[type_name][1])
    if fields.get("header") != (Nodetype.NAME, "std_msgs/msg/Header"):
        return None
    stamps = [message.header.stamp for message in messages]
    return pa.array([stamp.sec * 10**9 + stamp.nanosec for stamp in stamps], pa.int64()).cast(TIME)


def _message(types: Typestore, type_name: str, messages: Sequence[object]) -> Iterator[tuple[str, pa.Array]]:
    for name, description in types.fielddefs[type_name][1]:
        if name != FILLER:
            attribute = normalize_fieldname(name)
            values = [getattr(message, attribute) for message in messages]
            for rest, array in _field(types, description, values):
                yield name + rest, array


def _field(types: Typestore, description: Any, values: list[Any]) -> Iterator[tuple[str, pa.Array]]:
    kind, detail = description
    if kind == Nodetype.BASE:
        yield "", pa.array(values, _base(detail[0]))
    elif kind == Nodetype.NAME:
        for name, array in _message(types, detail, values):
            yield f".{name}", array
    else:
        yield from _sequence(types, detail[0], values)


def _sequence(types: Typestore, element: Any, values: list[Any]) -> Iterator[tuple[str, pa.Array]]:
    kind, detail = element
    if kind == Nodetype.NAME:
        offsets = _offsets(values)
        for name, array in _message(types, detail, list(chain.from_iterable(values))):
            yield f".{name}", pa.ListArray.from_arrays(offsets, array)
    elif detail[0] in BYTES:
        yield "", pa.array([value.tobytes() for value in values], pa.binary())
    elif detail[0] == "string":
        yield "", pa.array(values, pa.list_(pa.string()))
    else:
        flat = np.concatenate(values) if values else np.empty(0)
        yield "", pa.ListArray.from_arrays(_offsets(values), pa.array(flat, _base(detail[0])))


def _offsets(values: list[Any]) -> pa.Array:
    return pa.array(accumulate((len(value) for value in values), initial=0), pa.int32())


def _base(name: str) -> pa.DataType:
    if name not in BASE:
        raise Undecodable(f"Fields of type {name!r} have no column type.")
    return BASE[name]
