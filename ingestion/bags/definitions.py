"""What the messages of a channel look like: its definition parsed by rosbags, one decoder per definition.

Two topics of a bag may record different definitions under one type name, so decoders are keyed by the hash of the
definition, never by the name; each has a type store of its own.
"""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from fleet.errors import Invalid
from ingestion.bags.recording import Channel

IDL_SEPARATOR = "=" * 80 + "\n"
RECORDED = "recorded"
# The definitions come from the recording: whatever is wrong with one, only its topic suffers. rosbags lets these out.
PARSE_ERRORS = (
    TypesysError,
    AssertionError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
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


@dataclass(frozen=True)
class Decoder:
    """How to read messages of one definition; `origin` is `recorded`, or the distribution it is assumed from."""

    type: str
    sha256: str
    origin: str
    types: Typestore
    decode: Callable[[bytes], object]


def definition_sha256(channel: Channel) -> str:
    """The hash that names a definition: type, layout, format and text."""
    parts = (channel.type, channel.encoding, channel.definition_format, channel.definition)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@lru_cache(maxsize=256)
def decoder(channel: Channel, distribution: str = "humble") -> Decoder:
    """The decoder of a channel; without a recorded definition it is assumed from the ROS distribution.

    Raises:
        Undecodable: no definition, one that cannot be parsed, or a layout that is neither CDR nor ROS 1.
    """
    if channel.encoding not in {"cdr", "ros1"}:
        raise Undecodable(f"Messages are laid out as {channel.encoding!r}; known are cdr and ros1.")
    types, origin = (
        (_recorded(channel), RECORDED)
        if channel.definition.strip() or channel.encoding == "ros1"
        else _assumed(channel, distribution)
    )
    try:
        types.get_msgdef(channel.type)
    except PARSE_ERRORS as error:
        raise Undecodable(f"The definition of {channel.type!r} is not usable: {_told(error)}.") from error
    deserialise = types.deserialize_cdr if channel.encoding == "cdr" else types.deserialize_ros1
    return Decoder(
        channel.type, definition_sha256(channel), origin, types, lambda content: deserialise(content, channel.type)
    )


def _recorded(channel: Channel) -> Typestore:
    types = get_typestore(Stores.EMPTY)
    try:
        if channel.definition_format in {"ros1msg", "ros2msg"}:
            types.register(get_types_from_msg(channel.definition, channel.type))
        elif channel.definition_format in {"ros2idl", "omgidl"}:
            for text in _idl_parts(channel.definition):
                types.register(get_types_from_idl(text))
        else:
            raise Undecodable(f"Its definition is written in {channel.definition_format!r}, which is not known.")
    except PARSE_ERRORS as error:
        raise Undecodable(f"The definition of {channel.type!r} cannot be parsed: {_told(error)}.") from error
    return types


def _idl_parts(text: str) -> list[str]:
    if not text.startswith(f"{IDL_SEPARATOR}IDL: "):
        return [text]
    return [part.split("\n", 1)[1] for part in text.split(IDL_SEPARATOR)[1:]]


def _assumed(channel: Channel, distribution: str) -> tuple[Typestore, str]:
    known = {store.value: store for store in Stores}
    name = f"ros2_{distribution}" if f"ros2_{distribution}" in known else Stores.ROS2_HUMBLE.value
    types = get_typestore(known[name])
    if channel.type not in types.fielddefs:
        raise Undecodable(
            f"The recording has no definition of {channel.type!r} and {name} does not know it; "
            "record as MCAP, or with a ROS version that stores definitions."
        )
    return types, f"assumed from {name}"


def _told(error: BaseException) -> str:
    return f"{type(error).__name__} {error}".strip().rstrip(".")[:300]
