"""The topic tables of one recording date, made again from the stored bags; for a new converter version, or from a doubt."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from itertools import groupby
from uuid import UUID

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    DagsterInstance,
    DataVersion,
    Failure,
    MaterializeResult,
    MetadataValue,
    OpExecutionContext,
    RetryPolicy,
    asset,
    asset_check,
    job,
    op,
)
from dagster._core.execution.backfill import PartitionBackfill
from sqlmodel import Session, and_, col, or_, select

from fleet.clock import SystemClock
from fleet.database import new_id
from fleet.organisations import Organisation
from fleet.runtime import Runtime, open_runtime
from ingestion.bags import CONVERTER
from ingestion.lake import Manifest, lake_of
from ingestion.models import Bag
from ingestion.quality import differences
from orchestration import heavy
from orchestration.assets.lineage import BAGS, CODE_VERSION, COUNTS, DATES, TOPIC_TABLES
from orchestration.assets.told import told
from orchestration.assets.topics import data_version
from orchestration.work.bags import NOT_CONVERTED, Converted, apart_if_need_be, convert_bags, named, note_left

BAG_TIMEOUT_S = 1800.0
DATES_SHOWN = 100


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
    retry_policy=RetryPolicy(max_retries=2, delay=10),
    description="One Parquet file per bag and topic. Materialising a date converts its stored bags with this version.",
)
def topic_tables(context: AssetExecutionContext) -> MaterializeResult:
    """Convert the bags of the partition's date; those that are current already are left as they are."""
    return materialise(open_runtime(), date.fromisoformat(context.partition_key))


def materialise(runtime: Runtime, on: date) -> MaterializeResult:
    """Convert the stored bags recorded on `on` (or uploaded then, and never converted) and check the outcome.

    As in the flow, each organisation's bags share a bounded child, and one that brings it down costs only itself.

    Raises:
        Failure: a bag could not be converted now; done again, it goes on with what is left.
    """
    with runtime.reading() as session:
        bags = bags_on(session, on)
        names = {row.id: row.name for row in session.exec(select(Organisation))}
    outcomes = list[Converted]()
    for organisation_id, mine in groupby(sorted(bags, key=_owner), key=_owner):
        child = partial(_in_child, runtime, names[organisation_id])
        outcomes += asyncio.run(apart_if_need_be(child, [bag.id for bag in mine]))
    outcomes = named(outcomes, {bag.id: bag.filename for bag in bags})
    with runtime.transaction() as session:
        note_left(session, outcomes)
    if left := [f"{outcome.filename}: {outcome.problem}" for outcome in outcomes if outcome.status == NOT_CONVERTED]:
        raise Failure(f"{len(left)} of {len(bags)} bags are not converted. {'; '.join(left)}")
    manifests = [
        (bag, manifest)
        for bag in bags
        if (manifest := lake_of(runtime.objects, bag.organisation_id).manifest(bag.sha256))
    ]
    return MaterializeResult(
        metadata=told([manifest for _, manifest in manifests]),
        check_results=[_checked(runtime, manifests)],
        data_version=DataVersion(data_version(manifests[-1][1])) if manifests else None,
    )


def _owner(bag: Bag) -> UUID:
    return bag.organisation_id


async def _in_child(runtime: Runtime, organisation: str, bag_ids: Sequence[UUID]) -> list[Converted]:
    memory, time_s = runtime.settings.heavy_memory_max_bytes, BAG_TIMEOUT_S * len(bag_ids)
    return await heavy.run(convert_bags, organisation, list(bag_ids), memory_max_bytes=memory, timeout_s=time_s)


def _checked(runtime: Runtime, manifests: Sequence[tuple[Bag, Manifest]]) -> AssetCheckResult:
    problems = [
        f"{manifest.filename}: {difference}"
        for bag, manifest in manifests
        for difference in differences(lake_of(runtime.objects, bag.organisation_id), manifest)
    ]
    return AssetCheckResult(passed=not problems, metadata={"differences": problems[:20], "bags": len(manifests)})


def bags_on(session: Session, on: date) -> Sequence[Bag]:
    """The bags of a partition, oldest first: those recorded on that date, and those without one that came then."""
    start = datetime.combine(on, time(), UTC)
    uploaded = and_(Bag.uploaded_at >= start, Bag.uploaded_at < start + timedelta(days=1))
    query = select(Bag).where(or_(col(Bag.recorded_on) == on, and_(col(Bag.recorded_on).is_(None), uploaded)))
    return session.exec(query.where(col(Bag.cut_of_id).is_(None)).order_by(col(Bag.id))).all()


def outdated_dates(session: Session) -> dict[date, int]:
    """The dates with bags that an earlier converter made, and how many of them, in order."""
    old = and_(col(Bag.converter).not_in(["", CONVERTER]), col(Bag.cut_of_id).is_(None))
    dates = Counter(bag.recorded_on or bag.uploaded_at.date() for bag in session.exec(select(Bag).where(old)))
    return dict(sorted(dates.items()))


@asset_check(  # type: ignore[untyped-decorator]  # as above
    asset=TOPIC_TABLES,
    name="made_by_this_converter",
    description="No dataset is of an earlier converter. The job convert_again makes those anew.",
)
def made_by_this_converter() -> AssetCheckResult:
    """Whether there is nothing to convert again."""
    with open_runtime().reading() as session:
        old = outdated_dates(session)
    return AssetCheckResult(
        passed=not old,
        severity=AssetCheckSeverity.WARN,
        metadata={
            "converter": MetadataValue.text(CONVERTER),
            "bags": MetadataValue.int(sum(old.values())),
            "dates": MetadataValue.json([on.isoformat() for on in old][:DATES_SHOWN]),
        },
    )


@op  # type: ignore[untyped-decorator]  # as above
def ask_for_outdated_dates(context: OpExecutionContext) -> None:
    """Ask Dagster for a backfill of the dates that an earlier converter made."""
    with open_runtime().reading() as session:
        old = outdated_dates(session)
    context.log.info(f"{sum(old.values())} bags of {len(old)} dates are of an earlier converter than {CONVERTER}.")
    known = of_partitions(old)
    if left := [on.isoformat() for on in old if on not in known]:
        dates = ", ".join(left[:DATES_SHOWN])
        context.log.warning(f"By their clocks they were recorded on {dates}: convert these with process-bag, by id.")
    if known:
        backfill = backfill_of(context.instance, context.repository_def.asset_graph, known)
        context.log.info(f"The backfill {backfill} converts them again; see Runs, Backfills.")


def of_partitions(dates: Iterable[date]) -> list[date]:
    """Those of these dates that Dagster has a partition for: from 1970 to today, whatever clocks of robots say."""
    return [on for on in dates if DATES.has_partition_key(on.isoformat())]


def backfill_of(instance: DagsterInstance, graph: object, dates: Sequence[date]) -> str:
    """Ask for the topic tables of these dates; the daemon of `yardmaster dagster` carries it out. Gives its id."""
    name = new_id().hex[:12]
    backfill = PartitionBackfill.from_asset_partitions(
        backfill_id=name,
        asset_graph=graph,
        partition_names=[on.isoformat() for on in dates],
        asset_selection=[TOPIC_TABLES],
        backfill_timestamp=SystemClock().now().timestamp(),
        tags={"converter": CONVERTER},
        dynamic_partitions_store=instance,
        all_partitions=False,
        title=f"Convert again with converter {CONVERTER}",
        description=f"{len(dates)} dates",
        run_config=None,
    )
    instance.add_backfill(backfill)
    return name


@job(description="Convert again, date by date, what an earlier converter made.")  # type: ignore[untyped-decorator]  # as above
def convert_again() -> None:
    """One backfill for all outdated dates."""
    ask_for_outdated_dates()
