"""The bytes of pictures and clouds as they were recorded, read back from the files that were made of them.

Apart from what the rows of a picture or cloud are padded with, which no file keeps, nothing may be missing.
"""

import hashlib
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingestion.bags.pcd import DATATYPES
from ingestion.bags.pictures import DEPTH_HEADER, ENCODINGS

INDEX = ("path", "size", "sha256", "note")
DEPTH_NOTE = re.compile(r"without the header of compressedDepth: format (\S+), depthQuantA (\S+), depthQuantB (\S+)")
END_OF_HEAD = b"\nDATA binary\n"
UP = 2  # PNG's filter: the byte above is subtracted
Row = dict[str, Any]


class Unlike(ValueError):
    """A file is not what its row says; the sentence says how."""


def blob_names(columns: Iterable[str]) -> list[str]:
    """The fields of a table whose bytes lie in files."""
    known = set(columns)
    found = (name.removesuffix(".path") for name in known if name.endswith(".path"))
    return sorted(name for name in found if all(f"{name}.{part}" in known for part in INDEX))


def with_blobs(row: Row, names: Iterable[str], folder: Path) -> Row:
    """The row with the recorded bytes in place of the index of their files, which lie below `folder`.

    Where a file is not what the row says there is a sentence on it instead.
    """
    for name in names:
        path, size, sha256, note = (row.pop(f"{name}.{part}") for part in INDEX)
        try:
            content = _content(folder / path, size, sha256)
            row[name] = _recorded(_beside(row, name), Path(path).suffix, note or "", content)
        except (OSError, ValueError, LookupError, struct.error, zlib.error) as error:
            row[name] = f"{path}: {error}"
    return row


def without_padding(row: Row, names: Iterable[str]) -> Row:
    """The row as recorded without the bytes behind the last pixel or point of each row of a picture or cloud."""
    for name in names:
        row[name] = _trimmed(_beside(row, name), row[name])
    return row


def _beside(row: Row, name: str) -> Row:
    prefix = name.removesuffix("data")
    return {field.removeprefix(prefix): value for field, value in row.items() if field.startswith(prefix)}


def _content(path: Path, size: int, sha256: str) -> bytes:
    content = path.read_bytes()
    if len(content) != size or hashlib.sha256(content).hexdigest() != sha256:
        raise Unlike(f"the file of {len(content)} bytes is not the one of {size} bytes that the table names")
    return content


def _recorded(fields: Mapping[str, Any], ending: str, note: str, content: bytes) -> bytes:
    if ending == ".pcd":
        return _points(fields, content[content.index(END_OF_HEAD) + len(END_OF_HEAD) :])
    if ending == ".png" and "encoding" in fields:
        return _pixels(fields, content)
    if told := DEPTH_NOTE.match(note):
        return DEPTH_HEADER.pack(int(told[1]), float(told[2]), float(told[3])) + content
    return _trimmed(fields, content)


def _trimmed(fields: Mapping[str, Any], content: bytes) -> bytes:
    height = fields.get("height", 0)
    if "point_step" in fields:
        step, row = fields["row_step"], fields["width"] * fields["point_step"]
    elif fields.get("encoding") in ENCODINGS:
        encoding = ENCODINGS[fields["encoding"]]
        step, row = fields["step"], fields["width"] * encoding.channels * encoding.bytes
    else:
        return content
    if row >= step or height * step != len(content):
        return content
    return np.frombuffer(content, np.uint8).reshape(height, step)[:, :row].tobytes()


def _pixels(fields: Mapping[str, Any], content: bytes) -> bytes:
    encoding = ENCODINGS[fields["encoding"]]
    rows = _unfiltered(content, fields["width"] * encoding.channels * encoding.bytes)
    kind = np.dtype(np.uint8) if encoding.bytes == 1 else np.dtype(">u2")
    pixels = rows.view(kind).reshape(len(rows), fields["width"], encoding.channels)
    if encoding.order is not None:
        pixels = pixels[:, :, encoding.order]  # each of these orders is its own inverse
    return pixels.astype(kind.newbyteorder(">" if fields["is_bigendian"] else "<")).tobytes()


def _unfiltered(content: bytes, row_bytes: int) -> NDArray[np.uint8]:
    packed = b"".join(piece for kind, piece in _chunks(content) if kind == b"IDAT")
    rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(-1, row_bytes + 1)
    if not (rows[:, 0] == UP).all():
        raise Unlike("the PNG is not one that was made of this picture")
    return np.cumsum(rows[:, 1:], axis=0, dtype=np.uint8)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        yield kind, content[at + 8 : at + 8 + size]
        at += size + 12


def _points(fields: Mapping[str, Any], content: bytes) -> bytes:
    if not fields["is_bigendian"] or not content:
        return content
    points = np.frombuffer(content, np.uint8).reshape(-1, fields["point_step"]).copy()
    layout = (fields[f"fields.{name}"] for name in ("offset", "datatype", "count"))
    for offset, datatype, count in zip(*layout, strict=True):
        size = DATATYPES[datatype][1]
        for start in range(offset, offset + size * max(1, count), size):
            points[:, start : start + size] = points[:, start : start + size][:, ::-1]
    return points.tobytes()
