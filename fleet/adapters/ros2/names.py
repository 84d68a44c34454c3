"""How ROS 2 names look in DDS, and what a DDS participant tells about itself (pure, both ways)."""

import re
from collections.abc import Mapping

VENDORS = {
    b"\x01\x01": "RTI Connext",
    b"\x01\x03": "OpenDDS",
    b"\x01\x0f": "eProsima Fast DDS",
    b"\x01\x10": "Eclipse Cyclone DDS",
    b"\x01\x12": "RustDDS",
    b"\x01\x15": "Dust DDS",
    b"\x01\x16": "GurumDDS",
}
CYCLONE = VENDORS[b"\x01\x10"]
TOPIC, REQUEST, REPLY = "rt", "rq", "rr"
ENDINGS = {TOPIC: "", REQUEST: "Request", REPLY: "Reply"}
ACTION = "/_action/"
NAME = re.compile(r"(/[A-Za-z_][A-Za-z0-9_]*)+")
TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_]*/(msg|srv|action)/[A-Za-z][A-Za-z0-9_]*")


def dds_topic(part: str, name: str) -> str:
    """The DDS topic of a ROS name; `part` says whether it is a topic or one half of a service.

    >>> dds_topic(REQUEST, "/robot_01/reset")
    'rq/robot_01/resetRequest'
    """
    return f"{part}{name}{ENDINGS[part]}"


def ros_name(topic: str) -> tuple[str, str] | None:
    """The part and the ROS name of a DDS topic; None when it is not of ROS.

    >>> ros_name("rr/robot_01/resetReply")
    ('rr', '/robot_01/reset')
    """
    part, slash, rest = topic.partition("/")
    ending = ENDINGS.get(part)
    if ending is None or not slash or not rest.endswith(ending):
        return None
    return part, "/" + (rest.removesuffix(ending) if ending else rest)


def dds_type(type: str) -> str:
    """The DDS name of a ROS type.

    >>> dds_type("nav2_msgs/action/NavigateToPose_SendGoal_Request")
    'nav2_msgs::action::dds_::NavigateToPose_SendGoal_Request_'
    """
    package, kind, name = type.split("/")
    return f"{package}::{kind}::dds_::{name}_"


def ros_type(type_name: str) -> str:
    """The ROS type of a DDS type name; the name itself when it is not of ROS.

    >>> ros_type("sensor_msgs::msg::dds_::BatteryState_")
    'sensor_msgs/msg/BatteryState'
    """
    parts = type_name.split("::")
    if len(parts) != 4 or parts[2] != "dds_" or not parts[3].endswith("_"):
        return type_name
    return f"{parts[0]}/{parts[1]}/{parts[3][:-1]}"


def namespace_of(name: str) -> str:
    """The first part of an absolute name, or "/" when it has no other."""
    first, _, rest = name.lstrip("/").partition("/")
    return f"/{first}" if rest else "/"


def is_name(name: str) -> bool:
    """Whether this is an absolute ROS name."""
    return NAME.fullmatch(name) is not None


def vendor(guid: bytes) -> str:
    """Who made the DDS that this GUID is of."""
    return VENDORS.get(guid[:2], f"unknown DDS vendor {guid[:2].hex()}")


def user_data(text: bytes) -> dict[str, str]:
    """What an endpoint announces about itself beside DDS: typehash, clientid, serviceid."""
    pairs = (pair.partition("=") for pair in text.decode(errors="replace").split(";"))
    return {key.strip(): value for key, separator, value in pairs if separator}


def to_user_data(values: Mapping[str, str]) -> bytes:
    """The same as bytes, in the order given."""
    return "".join(f"{key}={value};" for key, value in values.items()).encode()


def endpoint_id(guid: bytes, number: int) -> str:
    """An id of a service's or client's pair of endpoints as rmw_cyclonedds writes it: 16 bytes, unpadded, a blank first."""
    values = guid[:12] + number.to_bytes(4, "big")
    return " " + ".".join(f"{value:x}" for value in values)
