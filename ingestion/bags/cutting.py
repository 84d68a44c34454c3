"""A span of a converted bag as a small dataset of its own: the rows of every topic, their pictures and clouds, a manifest."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fleet.errors import NotFound
from fleet.objectstore import ObjectStore
from ingestion.bags.arrays import array
from ingestion.bags.blobs import blob_names
from ingestion.bags.conversion import remove_abandoned
from ingestion.bags.tables import TableFile
from ingestion.cuts import Span
from ingestion.lake import Lake, LakeFile, Manifest, TopicTable

NOT_OF_THE_BAG = {"sha256", "topics", "messages", "rejected", "rejects", "first_ns", "last_ns", "superseded"}


@dataclass(frozen=True, kw_only=True)
class Excerpt(Manifest):
    """The manifest of a cut: as that of its bag, `sha256` names the cut. What was lost or repaired is of the whole bag."""

    bag_sha256: str
    begin_ns: int  # the first time that belongs to it
    end_ns: int  # the first time that does not belong to it any more


@dataclass(frozen=True)
class _Cut:
    """What is cut out of which lake into which."""

    source: Lake
    target: Lake
    sha256: str
    begin_ns: int
    end_ns: int
    scratch: Path


def cut(lake: Lake, manifest: Manifest, span: Span, out: Path) -> Excerpt:
    """Write the rows of a span of a bag into the local folder `out`, laid out as the lake is; gives the new manifest.

    Rejected messages are left out. The same cut again writes the same files; the manifest is written last.

    Raises:
        Invalid: the span ends before it begins.
        NotFound: no message of the bag is in it; says what is.
        Unavailable: the disk cannot take it.
    """
    return cut_into(
        lake, manifest, span, Lake(ObjectStore(f"file://{out.resolve()}", signing_key=b""), "", lake.organisation)
    )


def cut_into(lake: Lake, manifest: Manifest, span: Span, target: Lake) -> Excerpt:
    """As `cut`, into any lake."""
    begin_ns, end_ns = span.nanoseconds
    sha256 = span.sha256_in(manifest.sha256)
    with tempfile.TemporaryDirectory(prefix="yardmaster-cut-") as scratch:
        remove_abandoned(Path(scratch))
        made = _Cut(lake, target, sha256, begin_ns, end_ns, Path(scratch))
        topics = [_topic(made, topic) for topic in manifest.topics]
    rows = sum(topic.rows for topic in topics)
    if not rows:
        raise NotFound(
            f"{manifest.filename} has no message from {span.begin} to {span.end}; "
            f"it was recorded from {manifest.started_at} to {manifest.finished_at}.",
            bag=manifest.sha256,
        )
    excerpt = Excerpt(
        **{told.name: getattr(manifest, told.name) for told in fields(Manifest) if told.name not in NOT_OF_THE_BAG},
        sha256=sha256,
        bag_sha256=manifest.sha256,
        begin_ns=begin_ns,
        end_ns=end_ns,
        messages=rows,
        first_ns=min(topic.first_ns for topic in topics if topic.first_ns is not None),
        last_ns=max(topic.last_ns for topic in topics if topic.last_ns is not None),
        topics=topics,
    )
    target.publish(excerpt)
    return excerpt


def _topic(made: _Cut, topic: TopicTable) -> TopicTable:
    kept = TopicTable(
        name=topic.name,
        type=topic.type,
        definition_sha256=topic.definition_sha256,
        definition=topic.definition,
        reason=topic.reason,
    )
    for file in topic.files:
        kept = _with_file(made, kept, file)
    return kept


def _with_file(made: _Cut, topic: TopicTable, file: LakeFile) -> TopicTable:
    written = TableFile(made.scratch / "part.parquet")
    path = _path(made, file)
    media: list[int] = []
    for table in _rows(made, file):
        media += _copy_media(made, file, path, table)
        written.add(_renamed(made, table))
    written.close()
    if not written.rows:
        return topic
    stored = made.target.objects.put_file(made.target.key(path), written.path)
    new = LakeFile(path=path, rows=written.rows, bytes=stored.size, sha256=stored.sha256)
    firsts, lasts = (topic.first_ns, written.first_ns), (topic.last_ns, written.last_ns)
    return replace(
        topic,
        rows=topic.rows + written.rows,
        first_ns=min(time for time in firsts if time is not None),
        last_ns=max(time for time in lasts if time is not None),
        media=topic.media + len(media),
        media_bytes=topic.media_bytes + sum(media),
        files=[*topic.files, new],
    )


def _rows(made: _Cut, file: LakeFile) -> Iterator[pa.Table]:
    """The rows of the span, a row group at a time; row groups that lie outside are not read."""
    with made.source.objects.open(made.source.key(file.path)) as source:
        parquet = pq.ParquetFile(source)
        place = parquet.schema_arrow.get_field_index("log_time")
        for number in range(parquet.num_row_groups):
            times = parquet.metadata.row_group(number).column(place).statistics
            if times is None or (times.min_raw < made.end_ns and times.max_raw >= made.begin_ns):
                yield from _within(made, parquet.read_row_group(number))


def _within(made: _Cut, table: pa.Table) -> Iterator[pa.Table]:
    whole = table["log_time"].combine_chunks()
    times = np.frombuffer(whole.buffers()[1], np.int64)[whole.offset : whole.offset + len(whole)]
    rows = np.flatnonzero((times >= made.begin_ns) & (times < made.end_ns))
    if len(rows):
        yield table.take(array(rows, pa.int64()))


def _copy_media(made: _Cut, file: LakeFile, path: str, table: pa.Table) -> list[int]:
    """Copy the files that these rows name to beside the new table; gives their sizes."""
    old = made.source.key(file.path.rpartition("/")[0])
    new = made.target.key(path.rpartition("/")[0])
    sizes = []
    for name in blob_names(table.column_names):
        for place in table[f"{name}.path"].to_pylist():
            content = made.source.objects.read(f"{old}/{place}")
            made.target.objects.put(f"{new}/{_moved(made, place)}", content)
            sizes.append(len(content))
    return sizes


def _renamed(made: _Cut, table: pa.Table) -> pa.Table:
    """The rows with the new places of their files; the footer tells the cut."""
    for name in blob_names(table.column_names):
        column = f"{name}.path"
        places = pc.replace_substring_regex(
            table[column], pattern=r"^media-[0-9a-f]+-", replacement=f"media-{made.sha256[:16]}-"
        )
        table = table.set_column(table.column_names.index(column), column, places)
    cut_from = {"yardmaster.cut_from": f"{made.begin_ns} {made.end_ns}"}
    return table.replace_schema_metadata({**(table.schema.metadata or {}), **cut_from})


def _moved(made: _Cut, place: str) -> str:
    """Where a file `media-<bag>-<n>/<name>` of the bag lies beside the new table."""
    folder, _, name = place.rpartition("/")
    return f"media-{made.sha256[:16]}-{folder.rpartition('-')[2]}/{name}"


def _path(made: _Cut, file: LakeFile) -> str:
    """The new table beside where the old one would lie, with the name of the cut in place of that of the bag."""
    folder, _, name = file.path.rpartition("/")
    return f"{folder}/part-{made.sha256[:16]}-{name.rpartition('-')[2]}"
