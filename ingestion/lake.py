"""The lake: partitioned Parquet of recorded topics, and the manifests that say which files count.

Layout below the root: `organisation=/robot=/date=/topic=/part-<bag>-<n>.parquet` and `manifests/<bag sha256>.json`. A
dataset is published by its manifest, written last; a file that no manifest names is not there for any reader.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pyarrow as pa

from fleet.objectstore import ObjectStore
from ingestion.statuses import BagStatus

LONGEST_FOLDER = 200


@dataclass(frozen=True, kw_only=True)
class Lost:
    """Bytes of a recording that could not be read; `bytes` is 0 where their number is not known."""

    offset: int
    bytes: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class LakeFile:
    """One published Parquet file; `path` is relative to the root of the lake."""

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A time without messages on a topic that else has them regularly; begins with the message before it."""

    begin_ns: int
    length_ns: int


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How regularly a topic was recorded. Intervals are those of log_time; skew is log_time less the header's stamp."""

    bytes: int = 0  # of the messages as they were recorded
    rate_hz: float | None = None  # one message in the median interval
    gaps: int = 0  # intervals more than five times the median
    longest_gaps: list[Gap] = field(default_factory=list)  # ten at most, the longest first
    duplicates: int = 0  # messages that equal the one before them, its time included
    log_time_regressions: int = 0  # messages earlier than one before them in the recording
    stamp_regressions: int = 0
    unstamped: int = 0  # messages whose header says no time
    skew_median_s: float | None = None
    skew_largest_s: float | None = None  # the one furthest from none, with its sign


@dataclass(frozen=True, kw_only=True)
class TopicTable:
    """What became of one topic. With `reason` it could not be decoded: its rows hold the raw messages."""

    name: str
    type: str
    definition_sha256: str = ""
    definition: str = ""  # where it comes from: recorded, or assumed from a distribution
    rows: int = 0
    rejected: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    reason: str | None = None
    files: list[LakeFile] = field(default_factory=list)
    media: int = 0  # files of pictures or clouds beside the table, which names each by its hash
    media_bytes: int = 0
    quality: Quality | None = None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The dataset of one bag: complete, repaired (damaged, nothing lost), partial (something lost) or refused."""

    converter: str
    sha256: str
    size: int
    filename: str
    format: str
    organisation: str
    robot: str
    status: BagStatus
    reason: str | None = None
    messages: int = 0
    rejected: int = 0
    recorded_on: date | None = None
    first_ns: int | None = None
    last_ns: int | None = None
    topics: list[TopicTable] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    rejects: LakeFile | None = None
    given_sha256: str = ""  # of the definitions that people gave for it, if they did
    superseded: list[str] = field(default_factory=list)  # tables of an earlier dataset of this bag, being removed

    @property
    def started_at(self) -> datetime | None:
        """The instant of the first message, to the microsecond."""
        return None if self.first_ns is None else instant(self.first_ns)

    @property
    def finished_at(self) -> datetime | None:
        """The instant of the last message, to the microsecond."""
        return None if self.last_ns is None else instant(self.last_ns)

    @property
    def files(self) -> list[LakeFile]:
        """Every file of the dataset, the rejects last."""
        return [file for topic in self.topics for file in topic.files] + ([self.rejects] if self.rejects else [])

    def content(self) -> dict[str, Any]:
        """All of it as JSON can say it."""
        on = None if self.recorded_on is None else self.recorded_on.isoformat()
        return asdict(self) | {"status": self.status.value, "recorded_on": on}


def instant(time_ns: int) -> datetime:
    """Nanoseconds since 1970 as an aware instant; what lies outside the years 1 to 9999 is brought to their ends."""
    seconds = min(max(time_ns // 1000, 0), 253_402_300_799_999_999) / 1_000_000
    return datetime.fromtimestamp(seconds, UTC)


@dataclass(frozen=True)
class Lake:
    """A lake in an object store: where its files lie."""

    objects: ObjectStore
    root: str
    organisation: str

    def key(self, path: str) -> str:
        """The object key of a path in the lake."""
        return f"{self.root}{path}"

    def manifest_path(self, sha256: str) -> str:
        """Where the manifest of the bag with this hash lies."""
        return f"manifests/{sha256}.json"

    def rejects_path(self, sha256: str) -> str:
        """Where the messages of this bag lie that could not be decoded."""
        return f"manifests/{sha256}-rejects.parquet"

    def folder(self, *, robot: str, on: date, topic: str) -> str:
        """The partition of one topic."""
        parts = {"organisation": self.organisation, "robot": robot, "date": on.isoformat(), "topic": topic}
        return "/".join(f"{name}={_folder_name(value)}" for name, value in parts.items())

    def manifest(self, sha256: str) -> Manifest | None:
        """The published manifest of a bag, None when it has none."""
        key = self.key(self.manifest_path(sha256))
        return _manifest(self.objects.manifest(key)) if self.objects.exists(key) else None

    def manifests(self) -> Iterator[Manifest]:
        """Every published manifest, by bag hash."""
        for key in self.objects.list(self.key("manifests")):
            if key.endswith(".json"):
                yield _manifest(self.objects.manifest(key))

    def publish(self, manifest: Manifest) -> str:
        """Write the manifest; its files are there already. Gives its key."""
        key = self.key(self.manifest_path(manifest.sha256))
        self.objects.publish(key, manifest.content())
        return key


def _manifest(content: dict[str, Any]) -> Manifest:
    # What checks them takes a tenth of the time in which a short recording is converted, and that reads none.
    from ingestion.manifests import checked  # noqa: PLC0415  see above

    return checked(content)


def media_beside(table: LakeFile) -> str:
    """The folder of the media files that the rows of this table name, relative to the root of the lake."""
    folder, _, name = table.path.rpartition("/")
    return f"{folder}/{name.removesuffix('.parquet').replace('part-', 'media-', 1)}"


def _folder_name(value: str) -> str:
    quoted = quote(value, safe="")
    if len(quoted) <= LONGEST_FOLDER:
        return quoted
    return f"{quoted[:LONGEST_FOLDER]}~{hashlib.sha256(value.encode()).hexdigest()[:16]}"


def lake_of(objects: ObjectStore, organisation_id: UUID) -> Lake:
    """The lake of an organisation."""
    return Lake(objects, f"{organisation_id}/lake/", str(organisation_id))


def read_topic(
    objects: ObjectStore,
    organisation_id: UUID,
    topic: str,
    *,
    columns: list[str] | None = None,
    robots: list[str] | None = None,
) -> pa.Table:
    """The rows of a topic over all published bags, by bag, with a column `robot`; topics kept raw are left out.

    A column that a file does not have is null there, and so is one of another kind than most rows have. Nothing published
    gives a table of no rows with these columns.
    """
    tables = []
    for manifest in lake_of(objects, organisation_id).manifests():
        if robots is None or manifest.robot in robots:
            tables += [
                _read(objects, f"{organisation_id}/lake/{file.path}", columns, manifest.robot)
                for table in manifest.topics
                if table.name == topic and table.reason is None
                for file in table.files
            ]
    if tables:
        whole = pa.concat_tables(_alike(tables), promote_options="permissive").combine_chunks()
        return whole if columns is None else whole.select([*columns, "robot"])
    return pa.table({name: pa.nulls(0) for name in [*(columns or ["log_time"]), "robot"]})


def _alike(tables: list[pa.Table]) -> list[pa.Table]:
    """The tables without the columns whose types do not go together with those of larger ones."""
    alike, known = list(tables), pa.schema([])
    for place in sorted(range(len(tables)), key=lambda place: -tables[place].num_rows):
        unlike = [field.name for field in tables[place].schema if not _goes_with(known, field)]
        alike[place] = tables[place].drop_columns(unlike)
        known = pa.unify_schemas([known, alike[place].schema], promote_options="permissive")
    return alike


def _goes_with(known: pa.Schema, field: pa.Field) -> bool:
    try:
        pa.unify_schemas([known, pa.schema([field])], promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return False
    return True


def _read(objects: ObjectStore, key: str, columns: list[str] | None, robot: str) -> pa.Table:
    # Who writes tables does not wait for what reads them.
    import pyarrow.parquet as pq  # noqa: PLC0415  see above

    with objects.open(key) as source:
        file = pq.ParquetFile(source)
        known = set(file.schema_arrow.names)
        table = file.read(columns=None if columns is None else [name for name in columns if name in known])
    for name in columns or []:
        if name not in known:
            table = table.append_column(name, pa.nulls(table.num_rows))
    table = table.select(columns) if columns is not None else table
    return table.append_column("robot", pa.array([robot] * table.num_rows, pa.string())).replace_schema_metadata(None)
