"""The proof: every field of every message in a dataset, compared with what rosbags' own reader and deserialiser give.

Where its reader cannot read a recording, our reader finds the messages and its deserialiser says what is in them. What
lies in files beside a table is read back to the bytes that were recorded. Messages that could not be decoded are
compared byte by byte with the rejects.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from rosbags.interfaces import Nodetype
from rosbags.typesys.base import normalize_fieldname
from rosbags.typesys.store import Typestore

from fleet.errors import Invalid
from fleet.objectstore import ObjectStore
from ingestion.bags.blobs import blob_names, with_blobs, without_padding
from ingestion.bags.columns import RESERVED
from ingestion.bags.conversion import LOCAL, file_sha256, recording_sha256
from ingestion.bags.definitions import DECODE_ERRORS, FILLER, PARSE_ERRORS, Given
from ingestion.bags.dialects import ENDLESS
from ingestion.bags.directories import definitions_given
from ingestion.bags.sources import require_recording
from ingestion.bags.witnesses import Refused, Seen, Witness, own_witness, rosbags_witness
from ingestion.lake import Lake, LakeFile, Manifest, TopicTable

MOST_TOLD = 20
LONGEST_TOLD = 500
Row = dict[str, Any]
At = tuple[int, list[Row]]

log = structlog.get_logger(__name__)


def verify(source: Path, folder: Path, *, definitions: Path | None = None) -> list[str]:
    """How the dataset of `source` in `folder` differs from the recording as rosbags reads it; empty when it does not.

    Where its reader cannot read it, that is logged, and the messages are those that our reader finds. At most MOST_TOLD
    differences per topic are told. Topics kept raw are compared byte by byte.

    Raises:
        Invalid: the folder holds no dataset of this recording; or that is neither a file nor a folder.
    """
    require_recording(source)
    manifest = _manifest(source, folder)
    given = definitions_given(definitions) if definitions is not None else ()
    told = [f"{file.path} is gone" for file in manifest.files if not (folder / file.path).is_file()]
    if told:
        return told
    told += [f"{file.path} is not the file that was published" for file in manifest.files if _is_changed(file, folder)]
    try:
        told += _compared(source, manifest, folder, given)
    except pa.ArrowException as error:
        told.append(f"a file of the dataset cannot be read: {error}"[:LONGEST_TOLD])
    return told


def _compared(source: Path, manifest: Manifest, folder: Path, given: Given) -> list[str]:
    try:
        if any(ENDLESS in (table.reason or "") for table in manifest.topics):
            raise Refused("its parser would not come to an end with the definition of a topic")
        with rosbags_witness(source, given) as witness:
            if unseen := {table.name for table in manifest.topics if table.rows} - witness.topics:
                raise Refused(f"it does not see the topic {min(unseen)!r}, which its summary does not describe")
            told = list(_differences(witness, manifest, folder))
            if told:
                _expect_all(witness, manifest)
            return told
    except Refused as error:
        log.warning(
            "rosbags cannot read the recording",
            recording=source.name,
            reason=str(error)[:LONGEST_TOLD],
            compared="the messages that our reader finds, their fields as rosbags' deserialiser gives them",
        )
    with own_witness(source, given) as witness:
        return list(_differences(witness, manifest, folder))


def _expect_all(witness: Witness, manifest: Manifest) -> None:
    """Go on only when a witness has seen as many messages of every topic as the dataset has, or more.

    Raises:
        Refused: it has not; then it says nothing of the others. rosbags passes over chunks without a message index.
    """
    for name in sorted({table.name for table in manifest.topics}):
        rows = sum(table.rows + table.rejected for table in manifest.topics if table.name == name)
        if witness.seen[name] < rows:
            raise Refused(f"it sees {witness.seen[name]} messages of {name!r}, and the dataset has {rows}")


def _is_changed(file: LakeFile, folder: Path) -> bool:
    return file_sha256(folder / file.path) != file.sha256


def _manifest(source: Path, folder: Path) -> Manifest:
    manifest = Lake(ObjectStore(f"file://{folder.resolve()}", signing_key=b""), "", LOCAL).manifest(
        recording_sha256(source)
    )
    if manifest is None:
        raise Invalid(f"{folder} holds no dataset of {source.name}; convert it first.", source=str(source))
    return manifest


def _differences(witness: Witness, manifest: Manifest, folder: Path) -> Iterator[str]:
    names = sorted({table.name for table in manifest.topics} | witness.topics)
    for name in names:
        topic = _Topic(name, [table for table in manifest.topics if table.name == name], folder)
        rejects = Counter(_rejects(manifest, name, folder))
        recorded = _by_time(_recorded(witness, topic, rejects))
        told = (_difference(name, ours, theirs) for ours, theirs in zip_longest(_by_time(topic.rows()), recorded))
        yield from [difference for difference in told if difference][:MOST_TOLD]
        if missing := rejects.total():
            yield f"{name}: {missing} messages among the rejects are not in the recording"


@dataclass(frozen=True)
class _Topic:
    """What a dataset holds of one topic."""

    name: str
    tables: list[TopicTable]
    folder: Path

    @property
    def raw_types(self) -> set[str]:
        return {table.type for table in self.tables if table.reason is not None}

    @property
    def blobs(self) -> list[str]:
        """The fields whose bytes lie in files."""
        paths = [self.folder / file.path for table in self.tables if table.media for file in table.files]
        return sorted({name for path in paths for name in blob_names(pq.read_schema(path).names)})

    def rows(self) -> Iterator[tuple[int, Row]]:
        """The rows of all tables by time."""
        paths = [self.folder / file.path for table in self.tables for file in table.files]
        yield from merge(*(_rows(path, self.blobs) for path in paths), key=lambda row: row[0])


def _rejects(manifest: Manifest, topic: str, folder: Path) -> Iterator[str]:
    if manifest.rejects is not None:
        with pq.ParquetFile(folder / manifest.rejects.path) as file:
            for batch in file.iter_batches(batch_size=1024, columns=["topic", "raw"]):
                yield from (_digest(row["raw"]) for row in batch.to_pylist() if row["topic"] == topic)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _difference(topic: str, ours: At | None, theirs: At | None) -> str | None:
    if ours is None or theirs is None or ours[0] != theirs[0]:
        return f"{topic}: at {ours and ours[0]} in the dataset, at {theirs and theirs[0]} in the recording"
    # Messages of one instant have no order of their own between connections.
    mine, yours = sorted(map(repr, ours[1])), sorted(map(repr, theirs[1]))
    if mine == yours:
        return None
    return f"{topic}: at {ours[0]} the dataset has {mine[0][:300]} and the recording {yours[0][:300]}"


def _by_time(rows: Iterator[tuple[int, Row]]) -> Iterator[At]:
    for time, group in groupby(rows, key=lambda row: row[0]):
        yield time, [dict(sorted(values.items())) for _, values in group]


def _recorded(witness: Witness, topic: _Topic, rejects: Counter[str]) -> Iterator[tuple[int, Row]]:
    """The messages as they were recorded, but for those that are among the rejects, which are taken off."""
    blobs, raw_types = topic.blobs, topic.raw_types
    for seen in witness.messages(topic.name):
        if rejects and rejects[_digest(seen.content)]:
            rejects[_digest(seen.content)] -= 1
        elif seen.type in raw_types:
            yield seen.time, {"raw": seen.content}
        else:
            yield seen.time, without_padding(_decoded(seen), blobs)


def _decoded(seen: Seen) -> Row:
    try:
        types = seen.types()
        read = types.deserialize_cdr if seen.is_cdr else types.deserialize_ros1
        message = read(seen.content, seen.type)
    except (Invalid, *PARSE_ERRORS, *DECODE_ERRORS) as error:
        return {"rosbags cannot read it": str(error)}
    return _named(_fields(types, seen.type, message, ""))


def _named(fields: Iterable[tuple[str, Any]]) -> Row:
    """The fields by name; one whose name is taken gets an underscore."""
    found: Row = {}
    for name, value in fields:
        own = name
        while own in RESERVED or own in found:
            own += "_"
        found[own] = value
    return found


def _fields(types: Typestore, type_name: str, message: object, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, description in types.fielddefs[type_name][1]:
        if name != FILLER:
            yield from _values(types, description, getattr(message, normalize_fieldname(name)), prefix + name)


def _values(types: Typestore, description: Any, value: Any, path: str) -> Iterator[tuple[str, Any]]:
    kind, detail = description
    if kind == Nodetype.BASE:
        yield path, value
    elif kind == Nodetype.NAME:
        yield from _fields(types, detail, value, f"{path}.")
    elif detail[0][0] == Nodetype.NAME:
        yield from _lists(types, detail[0][1], value, path)
    elif isinstance(value, np.ndarray):
        yield path, value.tobytes() if detail[0][1][0] in {"uint8", "byte", "char"} else value.tolist()
    else:
        yield path, list(value)


def _lists(types: Typestore, type_name: str, messages: list[Any], path: str) -> Iterator[tuple[str, Any]]:
    each = [dict(_fields(types, type_name, message, f"{path}.")) for message in messages]
    for name in _leaves(types, type_name, f"{path}."):
        yield name, [values[name] for values in each]


def _leaves(types: Typestore, type_name: str, prefix: str) -> Iterator[str]:
    for name, (kind, detail) in types.fielddefs[type_name][1]:
        if name == FILLER:
            continue
        nested = detail if kind == Nodetype.NAME else detail[0][1] if detail[0][0] == Nodetype.NAME else None
        if nested is None:
            yield prefix + name
        else:
            yield from _leaves(types, nested, f"{prefix}{name}.")


def _rows(path: Path, blobs: list[str]) -> Iterator[tuple[int, Row]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1024):
            times = batch["log_time"].cast(pa.int64()).to_pylist()
            fields = batch.drop_columns([name for name in RESERVED if name in batch.schema.names])
            rows = (with_blobs(row, blobs, path.parent) for row in fields.to_pylist())
            yield from zip(times, rows, strict=True)
