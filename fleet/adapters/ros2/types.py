"""The ROS types that one account's robots speak: their fields, hashes, defaults, and the codec (CDR, both ways)."""

import struct
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_typestore
from rosbags.typesys.base import normalize_fieldname
from rosbags.typesys.store import Typestore

from fleet.adapters.ros2.definitions import Definition, Desc, Structs, as_coded, as_hashed, bundled, define
from fleet.errors import Invalid

STORES = {
    "humble": Stores.ROS2_HUMBLE,
    "iron": Stores.ROS2_IRON,
    "jazzy": Stores.ROS2_JAZZY,
    "kilted": Stores.ROS2_KILTED,
    "rolling": Stores.ROS2_LYRICAL,
}
DISTROS = tuple(STORES)
HEADER = struct.Struct("<8sq")  # what rmw_cyclonedds puts before the body of a request and a reply: client, number
LITTLE, BIG = b"\x00\x01", b"\x00\x00"
ROSBAGS_LACKS: dict[tuple[str, str], object] = {("geometry_msgs/msg/Quaternion", "w"): 1.0}  # it keeps no defaults
NUMBERS = {"bool": np.bool_, "byte": np.uint8, "char": np.uint8}
WRONG = (struct.error, TypeError, ValueError, OverflowError, AttributeError)


class Types:
    """All types of one distribution, and those that a user gave besides or instead."""

    def __init__(self, distro: str, definitions: Mapping[str, str] | None = None) -> None:
        """`definitions` are the texts of .msg, .srv and .action files by type.

        Raises:
            Invalid: no such distribution, or a definition that cannot be read.
        """
        if distro not in STORES:
            raise Invalid(f"There is no ROS distribution {distro!r} here; known: {', '.join(DISTROS)}.", distro=distro)
        self.distro = distro
        self._store, self._hasher = get_typestore(STORES[distro]), Typestore()
        self._defaults = dict(ROSBAGS_LACKS)
        self._decoders = _Decoders(self._store)
        self._fill(bundled(distro) | dict(definitions or {}))
        self._hashes: dict[str, str] = {}

    def _fill(self, texts: Mapping[str, str]) -> None:
        structs: Structs = dict(self._store.fielddefs)
        for type, text in texts.items():
            definition: Definition = define(type, text)
            structs |= definition.structs
            self._defaults |= definition.defaults
        self._hasher.fielddefs = as_hashed(structs)
        coded = as_coded(structs)
        changed = {type: struct for type, struct in coded.items() if self._store.fielddefs.get(type) != struct}
        for type in changed:
            self._store.fielddefs.pop(type, None)
            self._store.types.pop(type, None)
        try:
            self._store.register(changed)
        except TypesysError as error:
            raise Invalid(f"The definitions do not fit together: {error}") from None
        for type, (_, fields) in changed.items():
            for name, desc in fields:
                self._check_reference(type, name, desc)

    def _check_reference(self, type: str, name: str, desc: Desc) -> None:
        kind, rest = desc
        if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
            self._check_reference(type, name, rest[0])
        elif kind == Nodetype.NAME and rest not in self._store.fielddefs:
            raise Invalid(
                f"{name} of {type} is of type {rest}, which is not defined; give its definition too.", type=rest
            )

    def __contains__(self, type: str) -> bool:
        """Whether this message, request, reply, goal ... is known; an action or service is when its parts are."""
        return (
            type in self._store.fielddefs
            or f"{type}_Goal" in self._store.fielddefs
            or f"{type}_Request" in self._store.fielddefs
        )

    def hash(self, type: str) -> str:
        """The type's RIHS01 hash, as ROS peers announce it; "" when it is not known."""
        if type not in self._hashes:
            self._hashes[type] = self._hasher.hash_rihs01(type) if type in self._hasher.fielddefs else ""
        return self._hashes[type]

    def fields(self, type: str) -> Sequence[tuple[str, Desc]]:
        """The fields of a struct in order, as rosbags describes them.

        Raises:
            Invalid: no such type.
        """
        if type not in self._store.fielddefs:
            raise Invalid(
                f"The type {type} is not known for {self.distro}; give its definition in the account's options.",
                type=type,
            )
        fields: Sequence[tuple[str, Desc]] = self._store.fielddefs[type][1]
        return fields

    def layout(self, type: str) -> Sequence[tuple[str, Desc]]:
        """The same as peers describe them in DDS, where a byte is not a uint8."""
        self.fields(type)
        fields: Sequence[tuple[str, Desc]] = self._hasher.fielddefs[type][1]
        return fields

    def constants(self, type: str) -> dict[str, object]:
        """The constants of a message, or of an action's or service's parts together."""
        parts = [type, *(f"{type}{ending}" for ending in ("_Goal", "_Result", "_Request", "_Response"))]
        known = (self._store.fielddefs[part][0] for part in parts if part in self._store.fielddefs)
        return {name: value for constants in known for name, _, value in constants}

    def encode(self, type: str, values: Mapping[str, object], header: tuple[bytes, int] | None = None) -> bytes:
        """CDR of a message, padded to 4 bytes; `header` (client, number) goes before the body of a request or reply.

        Raises:
            Invalid: a value does not fit its field; names it.
        """
        message = self._build(type, values, type)
        try:
            body = bytes(self._store.serialize_cdr(message, type, little_endian=True))
        except WRONG as error:
            raise Invalid(f"These values do not fit {type}: {error}", type=type) from None
        if header is not None:
            body = body[:4] + HEADER.pack(*header) + body[4:]
        return body.ljust(len(body) + 3 & ~3, b"\0")

    def decode(self, type: str, sample: bytes, *, has_header: bool = False) -> dict[str, Any]:
        """The fields of a message; of a request or reply with its header, those of the body.

        Raises:
            Invalid: the bytes are not of this type.
        """
        self.fields(type)
        if sample[:2] not in (LITTLE, BIG):
            raise Invalid(f"{type} came in an encoding that is not plain CDR: {sample[:4].hex()}.", type=type)
        body = memoryview(sample)[4 + HEADER.size * has_header :]
        try:
            message, end = self._decoders.read(type, body, is_little=sample[:2] == LITTLE)
        except (SerdeError, *WRONG) as error:
            raise Invalid(f"{len(sample)} bytes are no {type}: {error}", type=type) from None
        if end > len(body) or end + 3 < len(body):
            raise Invalid(f"{len(sample)} bytes are no {type}: it ends at byte {end} of {len(body)}.", type=type)
        return message

    def default(self, type: str) -> dict[str, Any]:
        """A message with every field at its default."""
        return self.decode(type, self.encode(type, {}))

    def _build(self, type: str, values: Mapping[str, object], path: str) -> SimpleNamespace:
        fields = self.fields(type)
        unknown = values.keys() - {name for name, _ in fields}
        if unknown:
            raise Invalid(
                f"{path} has no field {', '.join(sorted(unknown))}; it has {', '.join(name for name, _ in fields)}.",
                type=type,
            )
        built = SimpleNamespace()
        for name, desc in fields:
            given = values[name] if name in values else self._defaults.get((type, name))
            setattr(built, _attribute(name), self._value(desc, given, f"{path}.{name}"))
        return built

    def _value(self, desc: Desc, given: object, path: str) -> object:
        kind, rest = desc
        if kind == Nodetype.BASE:
            return _scalar(rest[0], given, path)
        if kind == Nodetype.NAME:
            if given is not None and not isinstance(given, Mapping):
                raise Invalid(f"{path} is a {rest} and needs its fields, not {given!r}.")
            return self._build(rest, given or {}, path)
        element, length = rest
        return self._array(element, length if kind == Nodetype.ARRAY else None, given, path)

    def _array(self, element: Desc, length: int | None, given: object, path: str) -> object:
        if given is None:
            given = [None] * length if length else []
        if isinstance(given, (str, Mapping)) or not isinstance(given, (Sequence, np.ndarray)):
            raise Invalid(f"{path} is a list, not {given!r}.")
        if length is not None and len(given) != length:
            raise Invalid(f"{path} has {len(given)} elements; it needs {length}.")
        kind, rest = element
        if kind == Nodetype.BASE and rest[0] != "string":
            numbers = [0 if value is None else value for value in given] if isinstance(given, list) else given
            return _numbers(rest[0], numbers, path)
        return [self._value(element, value, f"{path}[{index}]") for index, value in enumerate(given)]


class _Decoders:
    """rosbags' generated decoders, made to give dicts; it takes the place of their type store."""

    max_sequence_length = 2**32 - 1

    def __init__(self, store: Typestore) -> None:
        self._store = store
        self._known: dict[str, Any] = {}

    def get_msgdef(self, type: str) -> Any:
        """What rosbags' decoders ask of a type store."""
        found = self._known.get(type)
        if found is None:
            given = self._store.get_msgdef(type)
            names = tuple(name for name, _ in self._store.fielddefs[type][1])
            found = self._known[type] = SimpleNamespace(
                cls=_dict_of(names),
                deserialize_cdr_le=given.deserialize_cdr_le,
                deserialize_cdr_be=given.deserialize_cdr_be,
            )
        return found

    def read(self, type: str, body: memoryview, *, is_little: bool) -> tuple[dict[str, Any], int]:
        """The fields, and where the body ends."""
        found = self.get_msgdef(type)
        decoder = found.deserialize_cdr_le if is_little else found.deserialize_cdr_be
        message, end = decoder(body, 0, found.cls, self)
        return message, end


def _dict_of(names: tuple[str, ...]) -> Callable[..., dict[str, Any]]:
    def build(*values: Any) -> dict[str, Any]:
        return dict(zip(names, values, strict=True))

    return build


def _scalar(base: str, given: object, path: str) -> object:
    if base == "string":
        if given is not None and not isinstance(given, str):
            raise Invalid(f"{path} is a text, not {given!r}.")
        return given or ""
    if given is None:
        return False if base == "bool" else 0.0 if base.startswith("float") else 0
    if isinstance(given, (str, Mapping)) or (isinstance(given, float) and not base.startswith("float")):
        raise Invalid(f"{path} is a {base}, not {given!r}.")
    return bool(given) if base == "bool" else given


def _numbers(base: str, given: Any, path: str) -> np.ndarray[Any, Any]:
    try:
        numbers = np.asarray(given, dtype=NUMBERS.get(base) or np.dtype(base))
    except WRONG as error:
        raise Invalid(f"{path} is a list of {base}: {error}") from None
    if numbers.ndim != 1:
        raise Invalid(f"{path} is a flat list of {base}; this one has {numbers.ndim} dimensions.")
    return numbers


def _attribute(name: str) -> str:
    """The attribute in which rosbags' encoders look for a field (a Python keyword gets an underscore)."""
    return str(normalize_fieldname(name))


def known_types(distro: str, definitions: Mapping[str, str] | None = None) -> Types:
    """The types of a distribution and these definitions, made once in a process: their codecs are costly to make.

    Raises:
        Invalid: as `Types`.
    """
    return _known_types(distro, tuple(sorted((definitions or {}).items())))


@cache
def _known_types(distro: str, definitions: tuple[tuple[str, str], ...]) -> Types:
    return Types(distro, dict(definitions))


def fitting_distros(type: str, hash: str) -> list[str]:
    """The distributions whose definition of this type has this hash."""
    return [distro for distro in DISTROS if known_types(distro).hash(type) == hash]
