"""What the catalogue knows of a converted bag: its topics with their quality, and what diagnostics and logs complained of."""

from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import delete
from sqlmodel import Session, col

from ingestion.lake import Lake, LakeFile, Manifest, Quality, TopicTable, instant
from ingestion.models import Bag, BagTopic

LEVEL, NAME, MESSAGE = "status.level", "status.name", "status.message"  # of diagnostic_msgs/DiagnosticArray
WORST_FINE = 0  # DiagnosticStatus.OK; 1 is a warning, 2 an error, 3 stale
# What a log counts as an error from: ERROR of rcl_interfaces/msg/Log, and of rosgraph_msgs/Log of ROS 1.
LOG_ERRORS = {"rcl_interfaces/msg/Log": 40, "rosgraph_msgs/msg/Log": 8}
LOG_COLUMNS = ["level", "name", "msg"]
CODE_WORDS = 8  # what comes behind them is mostly numbers, which would make every line another error
MOST_ERRORS = 200
LONGEST_ERROR = 200
READ_ROWS = 4_096


def errors_in(lake: Lake, manifest: Manifest) -> dict[int, str]:
    """What a dataset complains of, by the place of the topic in the manifest: each text once, a line each.

    That is what diagnostics warned of, and of the errors in logs the node and the first words. Only the columns that say
    it are read, some thousand rows at a time.
    """
    told = {number: "\n".join(_errors(lake, table)) for number, table in enumerate(manifest.topics)}
    return {number: text for number, text in told.items() if text}


def note_topics(session: Session, bag: Bag, manifest: Manifest, errors: Mapping[int, str]) -> None:
    """Write the topics of a bag into the catalogue in place of those it has there; the caller holds the bag's row."""
    session.exec(delete(BagTopic).where(col(BagTopic.bag_id) == bag.id))
    for number, table in enumerate(manifest.topics):
        session.add(_row(bag, number, table, errors.get(number, "")))


def _row(bag: Bag, number: int, table: TopicTable, errors: str) -> BagTopic:
    quality = table.quality or Quality()
    longest = quality.longest_gaps[0].length_ns / 1e9 if quality.longest_gaps else None
    return BagTopic(
        bag_id=bag.id,
        number=number,
        organisation_id=bag.organisation_id,
        name=storable(table.name),
        type=storable(table.type),
        definition=table.definition,
        rows=table.rows,
        rejected=table.rejected,
        started_at=None if table.first_ns is None else instant(table.first_ns),
        finished_at=None if table.last_ns is None else instant(table.last_ns),
        reason=None if table.reason is None else storable(table.reason),
        media=table.media,
        longest_gap_s=longest,
        errors=errors,
        bytes=quality.bytes,
        rate_hz=quality.rate_hz,
        gaps=quality.gaps,
        duplicates=quality.duplicates,
        log_time_regressions=quality.log_time_regressions,
        stamp_regressions=quality.stamp_regressions,
        unstamped=quality.unstamped,
        skew_median_s=quality.skew_median_s,
        skew_largest_s=quality.skew_largest_s,
    )


def storable(text: str) -> str:
    """A text from a recording as PostgreSQL takes it: without the character zero and halves of others."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _errors(lake: Lake, table: TopicTable) -> dict[str, None]:
    found: dict[str, None] = {}
    for file in table.files:
        for name, message in _said(lake, table.type, file):
            found[storable(" ".join(f"{name}: {message}".split()))[:LONGEST_ERROR]] = None
            if len(found) >= MOST_ERRORS:
                return found
    return found


def _said(lake: Lake, type_: str, file: LakeFile) -> Iterator[tuple[str, str]]:
    if "DiagnosticArray" in type_:
        return _complaints(lake, file)
    least = LOG_ERRORS.get(type_)
    return iter(()) if least is None else _logged(lake, file, least)


def _logged(lake: Lake, file: LakeFile, least: int) -> Iterator[tuple[str, str]]:
    """Node and first words of every line of at least this level."""
    with lake.objects.open(lake.key(file.path)) as source:
        parquet = pq.ParquetFile(source)
        if not _has_lines(parquet.schema_arrow):
            return
        for batch in parquet.iter_batches(READ_ROWS, columns=LOG_COLUMNS):
            errors = batch.filter(pc.greater_equal(batch.column("level"), least))
            names, lines = (errors.column(name).to_pylist() for name in ("name", "msg"))
            yield from (
                (name, " ".join(line.split(maxsplit=CODE_WORDS)[:CODE_WORDS]))
                for name, line in zip(names, lines, strict=True)
            )


def _has_lines(schema: pa.Schema) -> bool:
    if not set(LOG_COLUMNS) <= set(schema.names):
        return False
    level, *texts = (schema.field(name).type for name in LOG_COLUMNS)
    return pa.types.is_integer(level) and all(pa.types.is_string(kind) for kind in texts)


def _complaints(lake: Lake, file: LakeFile) -> Iterator[tuple[str, str]]:
    """Name and message of every status that is not fine."""
    with lake.objects.open(lake.key(file.path)) as source:
        parquet = pq.ParquetFile(source)
        if not _has_statuses(parquet.schema_arrow):
            return
        for batch in parquet.iter_batches(READ_ROWS, columns=[LEVEL, NAME, MESSAGE]):
            levels, names, messages = (batch.column(name).flatten().to_pylist() for name in (LEVEL, NAME, MESSAGE))
            told = zip(levels, names, messages, strict=False)
            yield from ((name, message) for level, name, message in told if level > WORST_FINE)


def _has_statuses(schema: pa.Schema) -> bool:
    """Whether it is what its type is called: a definition in a recording may say anything."""
    if not {LEVEL, NAME, MESSAGE} <= set(schema.names):
        return False
    level, *texts = (schema.field(name).type for name in (LEVEL, NAME, MESSAGE))
    is_number = pa.types.is_list(level) and pa.types.is_integer(level.value_type)
    return is_number and all(pa.types.is_list(kind) and pa.types.is_string(kind.value_type) for kind in texts)
