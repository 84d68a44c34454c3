"""The topic tables of one recording date, made again from the stored bags; for a new converter version, or from a doubt."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

from dagster import AssetCheckResult, AssetCheckSpec, AssetExecutionContext, MaterializeResult, MetadataValue, asset
from sqlmodel import Session, and_, col, or_, select

from fleet.runtime import Runtime, open_runtime
from ingestion.bags.processing import process
from ingestion.lake import Manifest, lake_of
from ingestion.models import Bag
from ingestion.quality import differences
from orchestration.assets.lineage import BAGS, CODE_VERSION, COUNTS, DATES, TOPIC_TABLES


@asset(  # type: ignore[untyped-decorator]  # dagster is not followed (pyproject: mypy)
    key=TOPIC_TABLES,
    deps=[BAGS],
    partitions_def=DATES,
    code_version=CODE_VERSION,
    group_name="lake",
    kinds={"parquet"},
    check_specs=[
        AssetCheckSpec(COUNTS.name, asset=TOPIC_TABLES, description="Every file holds the rows its manifest says.")
    ],
    description="One Parquet file per bag and topic. Materialising a date converts its stored bags with this version.",
)
def topic_tables(context: AssetExecutionContext) -> MaterializeResult:
    """Convert the bags of the partition's date; those that are current already are left as they are."""
    return materialise(open_runtime(), date.fromisoformat(context.partition_key))


def materialise(runtime: Runtime, on: date) -> MaterializeResult:
    """Convert the stored bags recorded on `on` (or uploaded then, and never converted) and check the outcome."""
    with runtime.reading() as session:
        bags = bags_on(session, on)
    manifests = [process(transaction=runtime.transaction, objects=runtime.objects, bag_id=bag.id) for bag in bags]
    problems = [
        f"{manifest.filename}: {difference}"
        for bag, manifest in zip(bags, manifests, strict=True)
        for difference in differences(lake_of(runtime.objects, bag.organisation_id), manifest)
    ]
    check = AssetCheckResult(passed=not problems, metadata={"differences": problems[:20], "bags": len(manifests)})
    return MaterializeResult(metadata=told(manifests), check_results=[check])


def bags_on(session: Session, on: date) -> Sequence[Bag]:
    """The bags of a partition, oldest first."""
    start = datetime.combine(on, time(), UTC)
    uploaded = and_(Bag.uploaded_at >= start, Bag.uploaded_at < start + timedelta(days=1))
    query = select(Bag).where(
        or_(col(Bag.recorded_on) == on, and_(col(Bag.recorded_on).is_(None), Bag.converter == "", uploaded))
    )
    return session.exec(query.order_by(col(Bag.id))).all()


def told(manifests: Sequence[Manifest]) -> Mapping[str, MetadataValue]:
    """What Dagster shows of these datasets."""
    lines = [
        f"| {manifest.filename} | {manifest.robot} | {manifest.status} | {topic.name} | {topic.type} | {topic.rows} |"
        for manifest in manifests
        for topic in manifest.topics
    ]
    head = ["| bag | robot | status | topic | type | rows |", "|---|---|---|---|---|---|"]
    return {
        "dagster/row_count": MetadataValue.int(sum(topic.rows for one in manifests for topic in one.topics)),
        "messages": MetadataValue.int(sum(manifest.messages for manifest in manifests)),
        "rejected": MetadataValue.int(sum(manifest.rejected for manifest in manifests)),
        "bags": MetadataValue.int(len(manifests)),
        "topics": MetadataValue.md("\n".join(head + lines[:500])),
    }
