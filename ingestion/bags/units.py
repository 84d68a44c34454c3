"""The unit of a column, where the standard or the recorded definition states one.

What a definition's own comment says about a field comes first; then what the definitions of ROS and REP 103 (SI units)
say. A unit holds for all fields within: that of `angular_velocity` for its x, y and z. Nothing is guessed.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from rosbags.interfaces import Nodetype

from ingestion.bags.definitions import Decoder
from ingestion.bags.dialects import msg_text

POSE, INERTIA = {"position": "m"}, dict.fromkeys(("ixx", "ixy", "ixz", "iyy", "iyz", "izz"), "kg*m^2")
RANGES = {"range_min": "m", "range_max": "m"}
ANGLES = dict.fromkeys(("angle_min", "angle_max", "angle_increment"), "rad")
SCAN = RANGES | ANGLES | {"time_increment": "s", "scan_time": "s"}
STANDARD: Mapping[str, Mapping[str, str]] = {
    "builtin_interfaces/msg/Time": {"sec": "s", "nanosec": "ns"},
    "builtin_interfaces/msg/Duration": {"sec": "s", "nanosec": "ns"},
    "geographic_msgs/msg/GeoPoint": {"latitude": "deg", "longitude": "deg", "altitude": "m"},
    "geometry_msgs/msg/Accel": {"linear": "m/s^2", "angular": "rad/s^2"},
    "geometry_msgs/msg/Inertia": {"m": "kg", "com": "m"} | INERTIA,
    "geometry_msgs/msg/PointStamped": {"point": "m"},
    "geometry_msgs/msg/Polygon": {"points": "m"},
    "geometry_msgs/msg/Pose": POSE,
    "geometry_msgs/msg/Pose2D": {"x": "m", "y": "m", "theta": "rad"},
    "geometry_msgs/msg/Transform": {"translation": "m"},
    "geometry_msgs/msg/Twist": {"linear": "m/s", "angular": "rad/s"},
    "geometry_msgs/msg/Wrench": {"force": "N", "torque": "N*m"},
    "nav_msgs/msg/GridCells": {"cell_width": "m", "cell_height": "m", "cells": "m"},
    "nav_msgs/msg/MapMetaData": {"resolution": "m/cell"},
    "sensor_msgs/msg/BatteryState": {
        "voltage": "V",
        "temperature": "degC",
        "current": "A",
        "charge": "Ah",
        "capacity": "Ah",
        "design_capacity": "Ah",
        "cell_voltage": "V",
        "cell_temperature": "degC",
    },
    "sensor_msgs/msg/FluidPressure": {"fluid_pressure": "Pa"},
    "sensor_msgs/msg/Illuminance": {"illuminance": "lx"},
    "sensor_msgs/msg/Imu": {"angular_velocity": "rad/s", "linear_acceleration": "m/s^2"},
    "sensor_msgs/msg/LaserScan": SCAN | {"ranges": "m"},
    "sensor_msgs/msg/MagneticField": {"magnetic_field": "T"},
    "sensor_msgs/msg/MultiEchoLaserScan": SCAN | {"ranges": "m"},
    "sensor_msgs/msg/NavSatFix": {"latitude": "deg", "longitude": "deg", "altitude": "m"},
    "sensor_msgs/msg/PointCloud": {"points": "m"},
    "sensor_msgs/msg/Range": RANGES | {"field_of_view": "rad", "range": "m"},
    "sensor_msgs/msg/Temperature": {"temperature": "degC"},
    "stereo_msgs/msg/DisparityImage": {"t": "m"},
}
SYMBOLS = {
    "%": ("%", "percent"),
    "A": ("A", "amp", "amps", "ampere", "amperes"),
    "Ah": ("Ah",),
    "Hz": ("Hz", "hertz"),
    "N": ("N", "newton", "newtons"),
    "N*m": ("N*m", "Nm", "N.m", "N-m", "newton meters"),
    "Pa": ("Pa", "pascal", "pascals"),
    "T": ("T", "tesla"),
    "V": ("V", "volt", "volts"),
    "W": ("W", "watt", "watts"),
    "Wh": ("Wh",),
    "cm": ("cm", "centimeters"),
    "deg": ("deg", "degree", "degrees", "°"),
    "deg/s": ("deg/s", "degrees/s", "degrees per second"),
    "degC": ("degC", "°C", "C", "celsius", "degrees celsius"),
    "kg": ("kg", "kilogram", "kilograms"),
    "km/h": ("km/h",),
    "lx": ("lx", "lux"),
    "m": ("m", "meter", "meters", "metre", "metres"),
    "m/s": ("m/s", "meters per second", "metres per second"),
    "m/s^2": ("m/s^2", "m/s2", "m/s²", "m/s/s"),
    "mA": ("mA",),
    "mV": ("mV",),
    "mm": ("mm", "millimeters", "millimetres"),
    "ms": ("ms", "milliseconds"),
    "ns": ("ns", "nanoseconds"),
    "rad": ("rad", "radian", "radians"),
    "rad/s": ("rad/s", "rad/sec", "radians per second"),
    "rad/s^2": ("rad/s^2", "rad/s2", "rad/s²"),
    "rpm": ("rpm", "RPM"),
    "s": ("s", "sec", "second", "seconds"),
    "us": ("us", "microseconds"),
}
WORDS = {word: symbol for symbol, words in SYMBOLS.items() for word in words}
SEPARATOR = re.compile(r"^={80}\s*$", re.MULTILINE)
NAMED = re.compile(r"MSG:\s*(\S+)\s*\n")
FIELD = re.compile(r"\s*([\w/]+(?:<=\d+)?(?:\[[<=\d]*\])?)\s+(\w+)\s*(?:#(.*))?$")
BRACKETED = re.compile(r"\[([^\[\]]{1,24})\]|(?<!\S)\(([^()]{1,24})\)")
# Of single letters only those in brackets are units; longer words also behind "in".
SPOKEN = sorted((word for word in WORDS if len(word) > 1), key=len, reverse=True)
BEHIND_IN = re.compile(rf"\bin ((?i:{'|'.join(map(re.escape, SPOKEN))}))(?![\w/^²*])")
LONGEST_DEFINITION = 1 << 20


def units(decoder: Decoder, definition: str, columns: Iterable[str]) -> dict[str, str]:
    """The units of those columns of a definition that have one: `{"angular_velocity.x": "rad/s"}`."""
    commented = _commented(definition, decoder.type)
    found = {name: _unit(decoder, commented, name) for name in columns}
    return {name: unit for name, unit in found.items() if unit}


def _unit(decoder: Decoder, commented: Mapping[tuple[str, str], str], column: str) -> str | None:
    type_name: str | None = decoder.type
    unit = None
    for name in column.split("."):
        if type_name is None or type_name not in decoder.fielddefs:
            return None
        fields = dict(decoder.fielddefs[type_name][1])
        if name not in fields:
            return None
        unit = commented.get((type_name, name)) or STANDARD.get(type_name, {}).get(name) or unit
        type_name = _message(fields[name])
    return unit


def _message(description: Any) -> str | None:
    """The type of the message that a field holds, or a list of them; None for all else."""
    kind, detail = description
    if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        kind, detail = detail[0]
    return str(detail) if kind == Nodetype.NAME else None


@lru_cache(maxsize=256)
def _commented(definition: str, type_name: str) -> Mapping[tuple[str, str], str]:
    """Units that the comments of a definition (.msg, with those it needs behind it) state, by type and field."""
    found = {}
    for number, part in enumerate(SEPARATOR.split(msg_text(definition[:LONGEST_DEFINITION]))):
        named = NAMED.search(part) if number else None
        name = _full(named.group(1)) if named else type_name
        found.update({(name, field): unit for field, unit in _of_fields(part)})
    return found


def _full(name: str) -> str:
    package, _, rest = name.rpartition("/")
    return name if "/msg" in package or not package else f"{package}/msg/{rest}"


def _of_fields(part: str) -> Iterable[tuple[str, str]]:
    """Field and unit: from the comment behind the field, else from the lines of comment right above it."""
    above: list[str] = []
    for line in part.splitlines():
        field = FIELD.match(line)
        if line.lstrip().startswith("#"):
            above.append(line.lstrip(" \t#"))
        elif field is None:
            above = []
        else:
            unit = _stated(field.group(3) or " ".join(above))
            above = []
            if unit and "/" not in field.group(1):
                yield field.group(2), unit


def _stated(comment: str) -> str | None:
    """The unit that a comment states, None when it states none or several."""
    bracketed = {WORDS.get((one or other).strip()) for one, other in BRACKETED.findall(comment)} - {None}
    spoken = {WORDS.get(word) or WORDS.get(word.lower()) for word in BEHIND_IN.findall(comment)} - {None}
    found = bracketed or spoken
    return found.pop() if len(found) == 1 else None
