"""What the messages of a channel look like: its definition parsed by rosbags, one decoder per definition.

Two topics of a bag may record different definitions under one type name, so decoders are keyed by the hash of the
definition, never by the name; each has a type store of its own.
"""

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.base import normalize_fieldname
from rosbags.typesys.store import Typestore

from fleet.errors import Invalid
from ingestion.bags.dialects import idl_parts, msg_to_parse
from ingestion.bags.recording import Channel

DEEPEST = 64
LONGEST_TEXT = 1 << 20  # a parser takes seconds for it; the longest of ROS 2 Jazzy has 4 kB without its comments
LONGEST_ARRAY = 65_536  # of texts or messages: each element is a piece of a program, ours and that of rosbags
# What stands in a message without fields, as ROS 2 and rosbags put it there.
FILLER = "structure_needs_at_least_one_member"
Given = tuple[tuple[str, str], ...]  # the texts of definitions that people gave, by type
Fields = Mapping[str, Any]  # constants and fields of each type, as rosbags describes them
RECORDED = "recorded"
FLOAT32 = (Nodetype.BASE, ("float32", 0))
# The definitions come from the recording: whatever is wrong with one, only its topic suffers. rosbags lets these out.
PARSE_ERRORS = (
    TypesysError,
    AssertionError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    NameError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)
DECODE_ERRORS = (
    SerdeError,
    struct.error,
    AssertionError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)


class Undecodable(Invalid):
    """The messages of a channel cannot be decoded; the sentence says why."""


@dataclass(frozen=True, eq=False)
class Decoder:
    """How to read messages of one definition; `origin` is `recorded`, or what it is assumed from."""

    type: str
    sha256: str
    origin: str
    fielddefs: Fields
    is_cdr: bool

    @cached_property
    def types(self) -> Typestore:
        """The type store of rosbags, which makes classes and code: only when a message needs it."""
        types = get_typestore(Stores.EMPTY)
        types.register(self.fielddefs)
        return types

    @cached_property
    def _exact(self) -> Typestore:
        """The same with single float32 as their bits: in a float of Python a signalling NaN becomes a quiet one."""
        types = get_typestore(Stores.EMPTY)
        types.register(
            {name: (constants, list(map(_as_bits, fields))) for name, (constants, fields) in self.fielddefs.items()}
        )
        return types

    def decode(self, content: bytes) -> object:
        """One message as rosbags reads it, but for single float32, which are given as the uint32 of their bits.

        Raises:
            DECODE_ERRORS: it does not fit the definition; PARSE_ERRORS: rosbags cannot use the definition itself.
        """
        read = self._exact.deserialize_cdr if self.is_cdr else self._exact.deserialize_ros1
        return read(content, self.type)


def _as_bits(field: Any) -> Any:
    name, description = field
    return (name, (Nodetype.BASE, ("uint32", 0))) if description == FLOAT32 else field


def definition_sha256(channel: Channel) -> str:
    """The hash that names a definition: type, layout, format and text."""
    parts = (channel.type, channel.encoding, channel.definition_format, channel.definition)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def decoder(channel: Channel, distribution: str = "humble", given: Given = ()) -> Decoder:
    """The decoder of a channel; without a recorded definition it is assumed from those given, or the ROS distribution.

    Raises:
        Undecodable: no definition, one that cannot be parsed, or a layout that is neither CDR nor ROS 1.
    """
    if channel.encoding not in {"cdr", "ros1"}:
        raise Undecodable(f"Messages are laid out as {channel.encoding!r}; known are cdr and ros1.")
    return _decoder(replace(channel, topic=""), distribution, given[::-1])  # in a mapping the last one counts


@lru_cache(maxsize=256)
def _decoder(channel: Channel, distribution: str, given: Given) -> Decoder:
    fielddefs, origin = (
        (_recorded(channel), RECORDED)
        if channel.definition.strip() or channel.encoding == "ros1"
        else _assumed(channel, distribution, dict(given))
    )
    used: dict[str, Any] = {}
    _use(fielddefs, channel.type, (), used)
    return Decoder(channel.type, definition_sha256(channel), origin, used, channel.encoding == "cdr")


def _use(fielddefs: Fields, type_name: str, above: tuple[str, ...], used: dict[str, Any]) -> None:
    """Note a type and those in it: each is there, none contains itself, none is endlessly large."""
    if type_name not in fielddefs:
        raise Undecodable(f"The definition is not usable: it names {type_name!r} and does not say what that is.")
    if type_name in above or len(above) > DEEPEST:
        raise Undecodable(f"The definition of {type_name!r} contains itself or is nested deeper than {DEEPEST}.")
    constants, fields = fielddefs[type_name]
    names = [name for name, *_ in (*fields, *constants)]
    if len(set(map(normalize_fieldname, names))) < len(names):
        raise Undecodable(f"The definition of {type_name!r} has one name twice.")
    for name, (kind, detail) in fields:
        element, count = detail if kind in {Nodetype.ARRAY, Nodetype.SEQUENCE} else ((kind, detail), 0)
        is_unrolled = element[0] == Nodetype.NAME or element[1][0] == "string"
        if kind == Nodetype.ARRAY and is_unrolled and count > LONGEST_ARRAY:
            raise Undecodable(f"The array {name!r} has {count} elements; at most {LONGEST_ARRAY} are taken.")
        if element[0] == Nodetype.NAME and element[1] not in used:
            _use(fielddefs, element[1], (*above, type_name), used)
    used[type_name] = (constants, fields or [(FILLER, (Nodetype.BASE, ("uint8", 0)))])


def _recorded(channel: Channel) -> Fields:
    if len(channel.definition) > LONGEST_TEXT:
        raise Undecodable(f"Its definition has {len(channel.definition)} letters; at most {LONGEST_TEXT} are read.")
    try:
        if channel.definition_format in {"ros1msg", "ros2msg"}:
            return _known([get_types_from_msg(msg_to_parse(channel.definition), channel.type)])
        if channel.definition_format in {"ros2idl", "omgidl"}:
            return _known(map(get_types_from_idl, idl_parts(channel.definition)))
    except PARSE_ERRORS as error:
        raise Undecodable(f"The definition of {channel.type!r} cannot be parsed: {_told(error)}.") from error
    raise Undecodable(f"Its definition is written in {channel.definition_format!r}, which is not known.")


def _known(parts: Iterable[Fields]) -> Fields:
    """The types of all parts, and those that need no definition: the time and duration of ROS 1."""
    known: dict[str, Any] = dict(get_typestore(Stores.EMPTY).fielddefs)
    for part in parts:
        for name, definition in part.items():
            if name in known and known[name][1] != definition[1]:
                raise TypesysError(f"it says two things of {name!r}")
            known.setdefault(name, definition)
    return known


def _assumed(channel: Channel, distribution: str, given: Mapping[str, str]) -> tuple[Fields, str]:
    known = {store.value: store for store in Stores}
    name = f"ros2_{distribution}" if f"ros2_{distribution}" in known else Stores.ROS2_HUMBLE.value
    fielddefs = dict(get_typestore(known[name]).fielddefs)
    if channel.type in given:
        fielddefs |= _parsed(channel.type, given)
        return fielddefs, f"assumed from the .msg files that were given, and {name}"
    if channel.type not in fielddefs and channel.definition_format == "ros2msg":
        return _recorded(channel), RECORDED  # no letter in it: a message without fields
    if channel.type not in fielddefs:
        raise Undecodable(
            f"The recording has no definition of {channel.type!r} and {name} does not know it; give its .msg files, "
            "record as MCAP, or with a ROS version that stores definitions."
        )
    return fielddefs, f"assumed from {name}"


def _parsed(type_name: str, given: Mapping[str, str]) -> dict[str, Any]:
    """The definition that was given of a type and of those in it, as far as they were given."""
    parsed: dict[str, Any] = {}
    waiting = [type_name]
    while waiting:
        name = waiting.pop()
        if name not in given or name in parsed:
            continue
        try:
            parsed |= get_types_from_msg(msg_to_parse(given[name]), name)
        except PARSE_ERRORS as error:
            raise Undecodable(f"The .msg file that was given for {name!r} cannot be parsed: {_told(error)}.") from error
        for _, (kind, detail) in parsed[name][1]:
            element = detail[0] if kind in {Nodetype.ARRAY, Nodetype.SEQUENCE} else (kind, detail)
            waiting += [element[1]] if element[0] == Nodetype.NAME else []
    return parsed


def _told(error: BaseException) -> str:
    return f"{type(error).__name__} {error}".strip().rstrip(".")[:300]
