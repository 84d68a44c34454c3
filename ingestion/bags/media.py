"""Pictures and point clouds of a topic as files of their own; the table keeps where each lies, its size and its hash.

They do not compress, so Parquet would only cost time; and as files anyone can open them. What is a picture or a cloud is
told by the fields of a definition, not by its name.
"""

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ingestion.bags.arrays import array
from ingestion.bags.pcd import Cloud, Field, Unwritable, pcd
from ingestion.bags.pictures import Image, Written, compressed, raw

AUDIO = re.compile(r"audio", re.IGNORECASE)
INDEX = {
    "path": pa.string(),  # relative to the folder of the table
    "size": pa.int64(),
    "sha256": pa.string(),
    "note": pa.string(),
}
Row = Mapping[str, Any]
Entry = tuple[str, int, str, str | None]  # as INDEX
Named = Sequence[tuple[str, pa.DataType]]


@dataclass(frozen=True)
class Shape:
    """The fields that make a message, or a part of one, a picture or a cloud, besides its `data`."""

    integers: tuple[str, ...]
    texts: tuple[str, ...]
    lists: tuple[str, ...]
    write: Callable[[Row, memoryview], Written]

    @property
    def fields(self) -> tuple[str, ...]:
        """All of them."""
        return self.integers + self.texts + self.lists


@dataclass(frozen=True)
class Part:
    """Where in a message a picture or cloud lies: the fields of `shape` behind `prefix`."""

    prefix: str
    shape: Shape


@dataclass(frozen=True)
class Kind:
    """The pictures and clouds that every message of a topic has, one or more."""

    parts: tuple[Part, ...]

    def columns(self, columns: Named) -> list[tuple[str, pa.DataType]]:
        """The columns of a table whose blobs are files."""
        blobs = {f"{part.prefix}data" for part in self.parts}
        return [
            found
            for name, kind in columns
            for found in (
                [(f"{name}.{rest}", type_) for rest, type_ in INDEX.items()] if name in blobs else [(name, kind)]
            )
        ]


def kind_of(type_name: str, columns: Named) -> Kind | None:
    """Which blobs of a definition with these columns are pictures or clouds, None when none is."""
    if AUDIO.search(type_name):
        return None
    types = dict(columns)
    prefixes = [
        name.removesuffix("data") for name, kind in columns if name.split(".")[-1] == "data" and _is_bytes(kind)
    ]
    parts = tuple(Part(prefix, shape) for prefix in prefixes for shape in SHAPES if _fits(types, prefix, shape))
    return Kind(parts) if parts else None


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _fits(types: Mapping[str, pa.DataType], prefix: str, shape: Shape) -> bool:
    def all_are(names: Sequence[str], is_so: Callable[[pa.DataType], bool]) -> bool:
        found = [types.get(f"{prefix}{name}") for name in names]
        return all(kind is not None and is_so(kind) for kind in found)

    return (
        all_are(shape.integers, lambda kind: pa.types.is_integer(kind) or pa.types.is_boolean(kind))
        and all_are(shape.texts, pa.types.is_string)
        and all_are(shape.lists, pa.types.is_list)
    )


class MediaFiles:
    """Writes the pictures and clouds of one topic; the same rows in the same order give the same files."""

    def __init__(self, kind: Kind, folder: Path, prefix: str) -> None:
        """Into the local `folder`, made with the first file; the table's paths begin with `prefix`."""
        self.files = 0
        self.bytes = 0
        self._kind = kind
        self._folder = folder
        self._prefix = prefix
        self._rows = 0

    def extract(self, table: pa.Table) -> pa.Table:
        """The table with an index in place of its blobs; call it with every row of the topic in recording order."""
        if table.num_rows:
            self._folder.mkdir(parents=True, exist_ok=True)
        for number, part in enumerate(self._kind.parts):
            table = self._part(table, part, f"-{number}" if number else "")
        self._rows += table.num_rows
        return table

    def _part(self, table: pa.Table, part: Part, suffix: str) -> pa.Table:
        name = f"{part.prefix}data"
        small = table.select([f"{part.prefix}{field}" for field in part.shape.fields]).to_pylist()
        found = [
            self._write(part, row, memoryview(blob.as_buffer()), f"{self._rows + number:09}{suffix}")
            for number, (row, blob) in enumerate(zip(small, table[name], strict=True))
        ]
        place = table.column_names.index(name)
        table = table.remove_column(place)
        for offset, values in enumerate(_index(found)):
            table = table.add_column(place + offset, f"{name}.{list(INDEX)[offset]}", values)
        return table

    def _write(self, part: Part, row: Row, content: memoryview, name: str) -> Entry:
        fields = {field: row[f"{part.prefix}{field}"] for field in part.shape.fields}
        try:
            written = part.shape.write(fields, content)
        except Unwritable as error:
            written = Written("bin", [content], f"kept as recorded: {error}")
        name = f"{name}.{written.ending}"
        digest, size = hashlib.sha256(), 0
        for piece in written.pieces:
            digest.update(piece)
            size += len(piece)
        _write_file(f"{self._folder}/{name}", written.pieces)
        self.files += 1
        self.bytes += size
        return f"{self._prefix}/{name}", size, digest.hexdigest(), written.note


def _index(entries: Sequence[Entry]) -> list[pa.Array]:
    paths, sizes, hashes, notes = zip(*entries, strict=True) if entries else ((), (), (), ())
    return [_texts(paths), array(np.array(sizes, np.int64), pa.int64()), _texts(hashes), _texts(notes)]


def _texts(values: Sequence[str | None]) -> pa.Array:
    content = [(value or "").encode() for value in values]
    offsets = np.cumsum([0, *map(len, content)], dtype=np.int32)
    known = np.packbits(np.array([value is not None for value in values], np.bool_), bitorder="little")
    buffers = [pa.py_buffer(known), pa.py_buffer(offsets), pa.py_buffer(b"".join(content))]
    return pa.Array.from_buffers(pa.string(), len(content), buffers)


def _write_file(path: str, pieces: Sequence[bytes | memoryview]) -> None:
    """Without a buffer of Python between; a system may take fewer bytes at once than it is given."""
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
    try:
        for piece in pieces:
            rest = memoryview(piece)
            while len(rest):
                rest = rest[os.write(out, rest) :]
    finally:
        os.close(out)


def _write_compressed(fields: Row, content: memoryview) -> Written:
    return compressed(fields["format"], content)


def _write_image(fields: Row, content: memoryview) -> Written:
    image = Image(fields["width"], fields["height"], fields["encoding"], bool(fields["is_bigendian"]), fields["step"])
    return raw(image, content)


def _write_cloud(fields: Row, content: memoryview) -> Written:
    columns = (fields[f"fields.{name}"] for name in ("name", "offset", "datatype", "count"))
    cloud = Cloud(
        width=fields["width"],
        height=fields["height"],
        point_step=fields["point_step"],
        row_step=fields["row_step"],
        is_bigendian=bool(fields["is_bigendian"]),
        fields=tuple(Field(*values) for values in zip(*columns, strict=True)),
    )
    return Written("pcd", pcd(cloud, content))


SHAPES = (
    Shape((), ("format",), (), _write_compressed),
    Shape(("height", "width", "is_bigendian", "step"), ("encoding",), (), _write_image),
    Shape(
        ("height", "width", "is_bigendian", "point_step", "row_step"),
        (),
        ("fields.name", "fields.offset", "fields.datatype", "fields.count"),
        _write_cloud,
    ),
)
