"""ROS types as Cyclone wants them: IDL classes made at run time; only their names and layouts are used, never their codecs."""

from typing import Any

from cyclonedds.idl import IdlStruct, make_idl_struct, types
from rosbags.interfaces import Nodetype

from fleet.adapters.ros2.definitions import Desc
from fleet.adapters.ros2.names import dds_type
from fleet.adapters.ros2.types import Types

idl: Any = types  # its generic types are known at run time only

PRIMITIVES: dict[str, Any] = {
    "bool": bool,
    "byte": idl.byte,
    "char": idl.uint8,
    "int8": idl.int8,
    "uint8": idl.uint8,
    "int16": idl.int16,
    "uint16": idl.uint16,
    "int32": idl.int32,
    "uint32": idl.uint32,
    "int64": idl.int64,
    "uint64": idl.uint64,
    "float32": idl.float32,
    "float64": idl.float64,
    "string": str,
}


# One class per definition and process: Cyclone never gives a class back, and compares two of them by asking Python.
_MADE: dict[tuple[str, bool], type[IdlStruct]] = {}


class IdlTypes:
    """The classes of one set of types."""

    def __init__(self, types: Types) -> None:
        """Classes are made when they are first asked for."""
        self._types = types

    def of(self, type: str, *, has_header: bool = False) -> type[IdlStruct]:
        """The class of a message; with a header, of a request or reply as rmw_cyclonedds frames it.

        The header's two numbers are fields of the type itself: a struct around one of the same DDS name is refused.

        Raises:
            Invalid: the type is not known.
        """
        key = (f"{type} {self._types.hash(type)}", has_header)
        if key not in _MADE:
            fields: dict[str, Any] = {"client_guid": idl.uint64, "sequence_number": idl.int64} if has_header else {}
            fields |= {name: self._field(desc) for name, desc in self._types.layout(type)}
            name = type.replace("/", "_") + "_framed" * has_header
            _MADE[key] = make_idl_struct(name, dds_type(type), fields, dataclassify=False)
        return _MADE[key]

    def _field(self, desc: Desc) -> Any:
        kind, rest = desc
        if kind == Nodetype.BASE:
            return idl.bounded_str[rest[1]] if rest[0] == "string" and rest[1] else PRIMITIVES[rest[0]]
        if kind == Nodetype.NAME:
            return self.of(rest)
        element, length = rest
        if kind == Nodetype.ARRAY:
            return idl.array[self._field(element), length]
        return idl.sequence[self._field(element), length] if length else idl.sequence[self._field(element)]
