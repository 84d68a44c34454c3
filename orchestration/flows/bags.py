"""Recordings become Parquet."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from pydantic import Field

from fleet.errors import Rejected
from orchestration.artifacts import Progress
from orchestration.flows import edge
from orchestration.flows.forms import Name
from orchestration.work.bags import Converted, apart_if_need_be, convert_bags, stored_bags

BAG_TIMEOUT_S = 1800.0
BAGS_MAX = 500
PAGES_MAX = 20  # of one run: each is an artifact of its own
NOTHING = {"refused", "not converted"}
Row = dict[str, object]
BagIds = Annotated[list[UUID], Field(max_length=BAGS_MAX)]


@flow(name="process-bag")
async def process_bag(bag_ids: BagIds | None = None, organisation: Name = "demo") -> Row:
    """Turn uploaded recordings into Parquet in the lake.

    Args:
        bag_ids: Ids of the recordings, as the upload answered them; empty: all that are not converted yet.
        organisation: Whose recordings.
    """
    progress = await Progress.open("bags-progress", "Recordings converted")
    wanted = bag_ids or await edge.looked_up(lambda session: stored_bags(session, organisation, limit=BAGS_MAX))
    if not wanted:
        return {"bags": 0, "messages": 0, "problems": 0}

    async def in_one_child(bags: Sequence[UUID]) -> list[Converted]:
        time_s = BAG_TIMEOUT_S * len(bags)
        return await edge.in_child(convert_bags, organisation, list(bags), timeout_s=time_s, progress=progress)

    outcomes = await apart_if_need_be(in_one_child, wanted)
    await progress.show(1, 1)
    await acreate_table_artifact([_row(outcome) for outcome in outcomes], key="bags", description="What became of them")
    for outcome in [outcome for outcome in outcomes if outcome.page][:PAGES_MAX]:
        await acreate_markdown_artifact(outcome.page, key=f"bag-{outcome.bag_id}", description=outcome.filename)
    if problems := [f"{outcome.filename}: {outcome.problem}" for outcome in outcomes if outcome.problem]:
        get_run_logger().warning("%s", "; ".join(problems))
    if all(outcome.status in NOTHING for outcome in outcomes):
        raise Rejected("; ".join(problems))
    return {"bags": len(outcomes), "messages": sum(outcome.messages for outcome in outcomes), "problems": len(problems)}


def _row(outcome: Converted) -> Row:
    return {
        "bag": outcome.filename,
        "status": outcome.status,
        "messages": outcome.messages,
        "topics": outcome.topics,
        "problem": outcome.problem,
        "id": outcome.bag_id,
    }
