"""Point clouds as binary PCD files (version 0.7 of the Point Cloud Library), each point as it was recorded.

Bytes of a point that belong to no field become fields named `_`; bytes behind a row's last point are left out. What was
recorded with the high byte first is turned. They are not packed: the LZF that PCD allows takes a ninth off the noise of
a lidar, and costs half as much again as all the rest.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# sensor_msgs/PointField: number of the datatype: PCD's letter, bytes
DATATYPES = {
    1: ("I", 1),
    2: ("U", 1),
    3: ("I", 2),
    4: ("U", 2),
    5: ("I", 4),
    6: ("U", 4),
    7: ("F", 4),
    8: ("F", 8),
}
SAYABLE = re.compile(r"[!-~]{1,64}")
MOST_FIELDS = 1000


class Unwritable(ValueError):
    """The bytes cannot be written in the wanted form; the sentence says why."""


@dataclass(frozen=True)
class Field:
    """One field of a point, as sensor_msgs/PointField describes it."""

    name: str
    offset: int
    datatype: int
    count: int


@dataclass(frozen=True)
class Cloud:
    """How the bytes of a cloud are laid out."""

    width: int
    height: int
    point_step: int
    row_step: int
    is_bigendian: bool
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class _Layout:
    head: str  # the lines of the header that say what a point holds
    swaps: tuple[tuple[int, int, int], ...]  # offset, bytes of a number, how many of them


def pcd(cloud: Cloud, content: memoryview) -> list[bytes | memoryview]:
    """The file in pieces; the points are not copied where they lie as PCD has them.

    Raises:
        Unwritable: fields overlap or leave the point, or the bytes are more or fewer than the points need.
    """
    layout = _layout(cloud.fields, cloud.point_step)
    wanted = cloud.width * cloud.point_step
    if wanted > cloud.row_step and cloud.height:
        raise Unwritable(f"a row of {cloud.width} points of {cloud.point_step} bytes exceeds row_step {cloud.row_step}")
    if cloud.row_step * cloud.height != len(content):
        raise Unwritable(f"{cloud.height} rows of {cloud.row_step} bytes are announced, {len(content)} bytes recorded")
    size = f"WIDTH {cloud.width}\nHEIGHT {cloud.height}\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {cloud.width * cloud.height}\n"
    head = f"# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\n{layout.head}{size}DATA binary\n".encode()
    points: bytes | memoryview = content
    if wanted != cloud.row_step and len(content):
        rows = np.frombuffer(content, np.uint8).reshape(cloud.height, cloud.row_step)
        points = np.ascontiguousarray(rows[:, :wanted]).data.cast("B") if wanted else b""
    if cloud.is_bigendian and layout.swaps and len(points):
        points = _turned(points, cloud.point_step, layout)
    return [head, points]


@lru_cache(maxsize=64)
def _layout(fields: tuple[Field, ...], point_step: int) -> _Layout:
    if not fields:
        raise Unwritable("it has no fields")
    if len(fields) > MOST_FIELDS:
        raise Unwritable(f"it has {len(fields)} fields")
    columns: list[tuple[str, int, str, int]] = []
    swaps, end = [], 0
    for field in sorted(fields, key=lambda field: field.offset):
        letter, size = _checked(field)
        count = max(1, field.count)  # 0 is written by those who mean 1
        columns += _padding(field.offset - end)
        columns.append((field.name, size, letter, count))
        if field.offset < end:
            raise Unwritable(f"the field {field.name!r} at byte {field.offset} overlaps the one before")
        end = field.offset + size * count
        swaps += [(field.offset, size, count)] if size > 1 else []
    if end > point_step:
        raise Unwritable(f"its fields need {end} bytes, a point has {point_step}")
    columns += _padding(point_step - end)
    names, sizes, letters, counts = (" ".join(map(str, values)) for values in zip(*columns, strict=True))
    return _Layout(f"FIELDS {names}\nSIZE {sizes}\nTYPE {letters}\nCOUNT {counts}\n", tuple(swaps))


def _checked(field: Field) -> tuple[str, int]:
    if field.datatype not in DATATYPES:
        raise Unwritable(f"the field {field.name!r} is of datatype {field.datatype}, which is not known")
    if not SAYABLE.fullmatch(field.name):
        raise Unwritable(f"the field name {field.name[:64]!r} cannot stand in a PCD header")
    return DATATYPES[field.datatype]


def _padding(size: int) -> list[tuple[str, int, str, int]]:
    return [("_", 1, "U", size)] if size > 0 else []


def _turned(points: bytes | memoryview, point_step: int, layout: _Layout) -> memoryview:
    whole = np.frombuffer(points, np.uint8).reshape(-1, point_step).copy()
    for offset, size, count in layout.swaps:
        numbers = whole[:, offset : offset + size * count].reshape(len(whole), count, size)
        whole[:, offset : offset + size * count] = numbers[:, :, ::-1].reshape(len(whole), -1)
    return whole.data.cast("B")
