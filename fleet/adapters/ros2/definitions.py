"""The definitions that ship with the product, per ROS distribution, and reading those that a user gives.

Message types come from rosbags; the actions of Nav2 and a few services from `definitions.json` (their fields, as the
distributions have them; sources: the packages nav2_msgs, action_msgs, std_srvs, rcl_interfaces, lifecycle_msgs).
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import TypesysError, get_types_from_msg

from fleet.adapters.ros2.names import TYPE
from fleet.errors import Invalid

Desc = tuple[Any, Any]  # rosbags' description of a field's type
Fields = list[tuple[str, Desc]]
Constants = list[tuple[str, str, Any]]
Structs = dict[str, tuple[Constants, Fields]]
Defaults = dict[tuple[str, str], object]  # (type, field) -> the default that its definition gives

BUNDLED = Path(__file__).with_name("definitions.json")
CHAR: Desc = (Nodetype.BASE, ("char", 0))
BYTE: Desc = (Nodetype.BASE, ("byte", 0))
UINT8: Desc = (Nodetype.BASE, ("uint8", 0))
UUID: Desc = (Nodetype.NAME, "unique_identifier_msgs/msg/UUID")
TIME: Desc = (Nodetype.NAME, "builtin_interfaces/msg/Time")
FIELD_WITH_DEFAULT = re.compile(
    r"^\s*(?P<type>[\w/]+(?:<=\d+)?(?:\[[^\]]*\])?)\s+(?P<name>[a-z]\w*)\s+(?P<value>[^\s#=].*?)\s*(?:#.*)?$"
)
SECTIONS = {"msg": ("",), "srv": ("_Request", "_Response"), "action": ("_Goal", "_Result", "_Feedback")}


@dataclass(frozen=True)
class Definition:
    """What one definition file gives: one struct or several, and the defaults of their fields."""

    structs: Structs
    defaults: Defaults


@cache
def _bundled() -> Mapping[str, Sequence[Mapping[str, Any]]]:
    return dict(json.loads(BUNDLED.read_text()))


def bundled(distro: str) -> dict[str, str]:
    """The texts of one distribution by type."""
    return {
        type: variant["text"]
        for type, variants in _bundled().items()
        for variant in variants
        if distro in variant["distros"]
    }


def define(type: str, text: str) -> Definition:
    """The structs of a .msg, .srv or .action text, those that the wire of an action adds included.

    Raises:
        Invalid: the name or the text is none; says what is wrong.
    """
    matched = TYPE.fullmatch(type)
    if matched is None:
        raise Invalid(
            f"{type!r} is no ROS type; write package/msg/Name, package/srv/Name or package/action/Name.", type=type
        )
    endings = SECTIONS[matched[1]]
    sections = re.split(r"^---\s*$", text, flags=re.MULTILINE) if len(endings) > 1 else [text]
    if len(sections) != len(endings):
        raise Invalid(
            f"The definition of {type} has {len(sections)} parts separated by ---; it needs {len(endings)}.", type=type
        )
    structs: Structs = {}
    defaults: Defaults = {}
    for ending, section in zip(endings, sections, strict=True):
        structs[type + ending] = _struct(type, section)
        defaults |= {(type + ending, name): value for name, value in _defaults(section)}
    return Definition(structs | (_wrappers(type) if matched[1] == "action" else {}), defaults)


def _struct(type: str, section: str) -> tuple[Constants, Fields]:
    package, _, name = type.split("/")
    scratch = f"{package}/msg/{name}"  # relative names are of the package's messages; service names would be mangled
    try:
        constants, fields = get_types_from_msg(section.strip() + "\n", scratch)[scratch]
    except (TypesysError, ValueError) as error:
        raise Invalid(f"The definition of {type} cannot be read: {str(error).splitlines()[0]}", type=type) from None
    return [*constants], [*fields] or [("structure_needs_at_least_one_member", UINT8)]


def without(unwanted: Sequence[Desc], desc: Desc) -> Desc:
    """The same with uint8 in place of these."""
    kind, rest = desc
    if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        return kind, (without(unwanted, rest[0]), rest[1])
    return UINT8 if desc in unwanted else desc


def as_hashed(structs: Structs) -> Structs:
    """Structs as a type's hash sees them: `char` is in a .msg file a uint8."""
    return {
        type: (constants, [(name, without([CHAR], desc)) for name, desc in fields])
        for type, (constants, fields) in structs.items()
    }


def as_coded(structs: Structs) -> Structs:
    """Structs as they are on the wire: a `byte` is one without a sign, where rosbags sees one."""
    return {
        type: (constants, [(name, without([CHAR, BYTE], desc)) for name, desc in fields])
        for type, (constants, fields) in structs.items()
    }


def _defaults(section: str) -> Sequence[tuple[str, object]]:
    found = []
    for line in section.splitlines():
        matched = FIELD_WITH_DEFAULT.match(line)
        if matched is not None:
            found.append((matched["name"], _value(matched["type"], matched["value"])))
    return found


def _value(type: str, text: str) -> object:
    if type.endswith("]"):
        return [
            _value(type.partition("[")[0], element.strip())
            for element in text.strip("[]").split(",")
            if element.strip()
        ]
    if type.startswith("string"):
        return text.strip("\"'")
    if type == "bool":
        return text.lower() in ("true", "1")
    try:
        return float(text) if type.startswith("float") else int(text, 0)
    except ValueError:
        raise Invalid(f"{text!r} is no default for a field of type {type}.", type=type) from None


def _wrappers(type: str) -> Structs:
    """What rosidl puts around an action's goal, result and feedback."""

    def named(ending: str) -> Desc:
        return (Nodetype.NAME, type + ending)

    return {
        f"{type}_SendGoal_Request": ([], [("goal_id", UUID), ("goal", named("_Goal"))]),
        f"{type}_SendGoal_Response": ([], [("accepted", (Nodetype.BASE, ("bool", 0))), ("stamp", TIME)]),
        f"{type}_GetResult_Request": ([], [("goal_id", UUID)]),
        f"{type}_GetResult_Response": (
            [],
            [("status", (Nodetype.BASE, ("int8", 0))), ("result", named("_Result"))],
        ),
        f"{type}_FeedbackMessage": ([], [("goal_id", UUID), ("feedback", named("_Feedback"))]),
    }
