"""Each recorded topic as an asset of its own: what its table of a bag holds, and whether that is as it should be."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckKey,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    AssetSpec,
    MetadataValue,
    TableColumn,
    TableSchema,
    multi_asset_check,
)
from sqlmodel import Session, col, func, select

from fleet.errors import NotFound
from fleet.organisations import Organisation
from fleet.runtime import Runtime, open_runtime
from ingestion.lake import Lake, LakeFile, Manifest, TopicTable, lake_of
from ingestion.models import BagTopic
from orchestration.assets.lineage import CODE_VERSION, DATES, TOPIC_TABLES
from orchestration.markdown import table_text

TOPICS_SHOWN = 300  # as assets; of a bag, too
WHOLE = "files_equal_manifest"
QUALITY = "recorded_regularly"
GAPS_MAX_PART = 0.01  # of the messages
REGRESSIONS_MAX_PART = 0.001
SAMPLE_ROWS = 5
SAMPLE_COLUMNS = 8
LONGEST_CELL = 40
BAGS_NAMED = 50
Metadata = dict[str, MetadataValue]
_ODD = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True)
class Finding:
    """What a check of one table found."""

    check: str
    passed: bool
    severity: AssetCheckSeverity
    told: Metadata


def key_of(topic: str) -> AssetKey:
    """The asset of a topic; signs that Dagster takes in no name of a check are spelled by their bytes: a space is `_x20`."""
    return AssetKey(["topics", *(_ODD.sub(_spelled, part) for part in topic.strip("/").split("/") if part)])


def _spelled(odd: re.Match[str]) -> str:
    return "".join(f"_x{byte:02X}" for byte in odd[0].encode(errors="replace"))


def topic_assets(session: Session) -> list[AssetSpec]:
    """An asset with its two checks' names for each recorded topic, those with the most messages first."""
    rows = func.sum(BagTopic.rows)
    query = select(BagTopic.name, func.max(BagTopic.type)).where(BagTopic.rows > 0).group_by(col(BagTopic.name))
    found = session.exec(query.order_by(rows.desc(), col(BagTopic.name)).limit(TOPICS_SHOWN)).all()
    types = {key_of(name): (name, type_) for name, type_ in found}
    return [
        AssetSpec(
            key,
            deps=[TOPIC_TABLES],
            partitions_def=DATES,
            group_name="topics",
            code_version=CODE_VERSION,
            kinds={"parquet"},
            description=f"The messages of {name} ({type_}), a Parquet file for each bag.",
        )
        for key, (name, type_) in types.items()
    ]


def check_specs(assets: Sequence[AssetSpec]) -> list[AssetCheckSpec]:
    """The checks of these topics, as they are told with every conversion.

    Where names differ by `.`, `-` and `_` alone, the first has them: to Dagster they are one.
    """
    by_name = {asset.key.to_python_identifier(): asset for asset in reversed(assets)}
    return [
        AssetCheckSpec(name, asset=asset.key, description=text)
        for asset in reversed(by_name.values())
        for name, text in (
            (WHOLE, "Every file has the rows, bytes and SHA-256 of its bag's manifest."),
            (QUALITY, "Nothing was rejected, and gaps and steps back in time are few."),
        )
    ]


def topic_checks(assets: Sequence[AssetSpec]) -> list[AssetChecksDefinition]:
    """The checks of these topics as they can be carried out from Dagster, over all bags; none where there are no topics."""
    if not assets:
        return []

    @multi_asset_check(specs=check_specs(assets), can_subset=True)  # type: ignore[untyped-decorator]  # dagster is not followed
    def look_at_topics(context: AssetCheckExecutionContext) -> Iterator[AssetCheckResult]:
        wanted = {key.asset_key for key in context.selected_asset_check_keys}
        found = found_now(open_runtime(), wanted)
        for key in sorted(context.selected_asset_check_keys, key=str):
            yield judged(key, [finding for finding in found[key.asset_key] if finding[1].check == key.name])

    return [look_at_topics]


Found = Mapping[AssetKey, Sequence[tuple[Manifest, Finding]]]


def found_now(runtime: Runtime, wanted: set[AssetKey]) -> Found:
    """What the checks say now of the wanted topics of every published bag of every organisation."""
    found: dict[AssetKey, list[tuple[Manifest, Finding]]] = {key: [] for key in wanted}
    with runtime.reading() as session:
        organisations = session.exec(select(Organisation.id)).all()
    for lake in (lake_of(runtime.objects, organisation_id) for organisation_id in organisations):
        for manifest in lake.manifests():
            for table in manifest.topics:
                if table.files and (key := key_of(table.name)) in wanted:
                    found[key] += [(manifest, finding) for finding in findings(lake, table)]
    return found


def judged(key: AssetCheckKey, found: Sequence[tuple[Manifest, Finding]]) -> AssetCheckResult:
    """One result for a check over all bags: it names those that do not pass, and is as severe as the worst."""
    failed = [(manifest, finding) for manifest, finding in found if not finding.passed]
    is_error = any(finding.severity is AssetCheckSeverity.ERROR for _, finding in failed)
    return AssetCheckResult(
        passed=not failed,
        asset_key=key.asset_key,
        check_name=key.name,
        severity=AssetCheckSeverity.ERROR if is_error else AssetCheckSeverity.WARN,
        metadata={
            "bags": MetadataValue.int(len(found)),
            "not passed": MetadataValue.json([manifest.filename for manifest, _ in failed][:BAGS_NAMED]),
        },
    )


def shown_tables(manifest: Manifest) -> list[TopicTable]:
    """The topics of a bag that are told one by one, in their order: those with rows, the largest where there are many."""
    filled = [table for table in manifest.topics if table.files]
    largest = {id(table) for table in sorted(filled, key=lambda table: -table.rows)[:TOPICS_SHOWN]}
    return [table for table in filled if id(table) in largest]


def described(lake: Lake, table: TopicTable) -> Metadata:
    """Rows, bytes, columns, the first rows, and how DuckDB reads the table."""
    paths = [lake.objects.path(lake.key(file.path)) for file in table.files]
    told: Metadata = {
        "dagster/row_count": MetadataValue.int(table.rows),
        "bytes": MetadataValue.int(sum(file.bytes for file in table.files) + table.media_bytes),
        "type": MetadataValue.text(table.type),
        "rejected": MetadataValue.int(table.rejected),
        "path": MetadataValue.path(paths[0]),
        "duckdb": MetadataValue.md(f"```sql\nSELECT * FROM read_parquet({_quoted(paths)})\n```"),
    }
    try:
        with lake.objects.open(lake.key(table.files[0].path)) as source:
            file = pq.ParquetFile(source)
            told["dagster/column_schema"] = MetadataValue.table_schema(_schema(file.schema_arrow))
            told["sample"] = MetadataValue.md(_sample(file))
    except (NotFound, pa.ArrowException, OSError):  # the check of the files tells it
        pass
    return told


def _quoted(paths: Sequence[str]) -> str:
    quoted = ["'" + path.replace("'", "''") + "'" for path in paths]
    return quoted[0] if len(quoted) == 1 else f"[{', '.join(quoted)}]"


def _schema(schema: pa.Schema) -> TableSchema:
    return TableSchema([TableColumn(field.name, str(field.type)) for field in schema])


def _sample(file: pq.ParquetFile) -> str:
    columns = file.schema_arrow.names[:SAMPLE_COLUMNS]
    batch = next(file.iter_batches(batch_size=SAMPLE_ROWS, columns=columns), None)
    rows = batch.to_pylist() if batch is not None else []
    return table_text([{name: _cell(value) for name, value in row.items()} for row in rows]) if rows else ""


def _cell(value: object) -> str:
    text = re.sub(r"\s+", " ", str(value[:20] if isinstance(value, bytes | str | list) else value))
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}…"


def findings(lake: Lake, table: TopicTable) -> Iterator[Finding]:
    """What the two checks say of a table; its files are read once."""
    problems = [problem for file in table.files if (problem := _problem(lake, file))]
    yield Finding(WHOLE, not problems, AssetCheckSeverity.ERROR, {"problems": MetadataValue.json(problems)})
    yield _regularity(table)


def _problem(lake: Lake, file: LakeFile) -> str | None:
    try:
        with lake.objects.open(lake.key(file.path)) as source:
            if (digest := hashlib.file_digest(source, "sha256").hexdigest()) != file.sha256:  # type: ignore[arg-type]
                return f"{file.path} has the SHA-256 {digest}, the manifest says {file.sha256}"
            source.seek(0)
            rows = pq.read_metadata(source).num_rows
    except NotFound:
        return f"{file.path} is missing"
    except (pa.ArrowException, OSError) as error:
        return f"{file.path} is no Parquet file: {error}"
    return None if rows == file.rows else f"{file.path} holds {rows} rows, the manifest says {file.rows}"


def _regularity(table: TopicTable) -> Finding:
    quality = table.quality
    counted = {
        "rejected": table.rejected,
        "gaps": quality.gaps if quality else 0,
        "log_time_regressions": quality.log_time_regressions if quality else 0,
        "stamp_regressions": quality.stamp_regressions if quality else 0,
    }
    backwards = counted["log_time_regressions"] + counted["stamp_regressions"]
    is_regular = counted["gaps"] <= GAPS_MAX_PART * table.rows and backwards <= REGRESSIONS_MAX_PART * table.rows
    is_decoded = not table.rejected and table.reason is None
    told: Metadata = {name: MetadataValue.int(count) for name, count in counted.items()}
    told |= {"not decoded": MetadataValue.text(table.reason)} if table.reason else {}
    severity = AssetCheckSeverity.WARN if is_decoded else AssetCheckSeverity.ERROR
    return Finding(QUALITY, is_regular and is_decoded, severity, told)


def data_version(manifest: Manifest) -> str:
    """Names the content of a bag's tables: equal for the same recording and converter."""
    return f"{manifest.sha256[:16]}-{manifest.converter}"


def provenance(manifest: Manifest, upstream: AssetKey) -> Mapping[str, str]:
    """The tags by which Dagster knows which converter and which bag made a table, and so when it is out of date."""
    return {
        "dagster/data_version": data_version(manifest),
        "dagster/code_version": f"converter-{manifest.converter}",
        f"dagster/input_data_version/{upstream.to_user_string()}": data_version(manifest),
        f"dagster/input_event_pointer/{upstream.to_user_string()}": "NULL",
    }
