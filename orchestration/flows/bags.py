"""Recordings become Parquet."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from fleet.errors import Rejected, Unavailable
from orchestration.artifacts import Progress
from orchestration.bag_progress import BagsReached
from orchestration.flows import edge
from orchestration.flows.forms import Name
from orchestration.work.bags import (
    NOT_CONVERTED,
    Converted,
    apart_if_need_be,
    convert_bags,
    named,
    note_left,
    sizes_of,
    stored_bags,
)

BAG_TIMEOUT_S = 1800.0
BAGS_MAX = 500
PAGES_MAX = 20  # of one run: each is an artifact of its own
RETRIES = 2
RETRY_S = 20
NOTHING = {"refused", NOT_CONVERTED}
Row = dict[str, object]
BagIds = Annotated[list[UUID], Field(max_length=BAGS_MAX)]


@flow(name="process-bag")
async def process_bag(bag_ids: BagIds | None = None, organisation: Name = "demo") -> State[Any]:
    """Turn uploaded recordings into Parquet in the lake.

    Tried again (by Prefect, or by the next worker after a kill), it goes on with the bags that are not converted yet.

    Args:
        bag_ids: Ids of the recordings, as the upload answered them; empty: all that are not converted yet.
        organisation: Whose recordings.
    """
    wanted = bag_ids or await edge.looked_up(lambda session: stored_bags(session, organisation, limit=BAGS_MAX))
    if not wanted:
        return _ending([])
    outcomes = await _converted(organisation, wanted)
    await _show(outcomes)
    await edge.written(lambda session: note_left(session, outcomes))
    problems = [f"{outcome.filename}: {outcome.problem}" for outcome in outcomes if outcome.problem]
    if any(outcome.is_worth_a_try for outcome in outcomes) and edge.tries() <= RETRIES:
        await edge.may_be_tried_again(retries=RETRIES, after_s=RETRY_S)
        raise Unavailable(f"It is tried again for what is not converted. {'; '.join(problems)}")
    if all(outcome.status in NOTHING for outcome in outcomes):
        raise Rejected("; ".join(problems))
    if problems:
        get_run_logger().warning("%s", "; ".join(problems))
    return _ending(outcomes)


def _ending(outcomes: Sequence[Converted]) -> State[Any]:
    messages, problems = sum(outcome.messages for outcome in outcomes), sum(bool(one.problem) for one in outcomes)
    became = ", ".join(f"{count} {status}" for status, count in Counter(one.status for one in outcomes).items())
    told = f"Bags: {became}; {messages} messages." if outcomes else "No bag waits to be converted."
    return Completed(message=told, data={"bags": len(outcomes), "messages": messages, "problems": problems})


async def _converted(organisation: str, wanted: Sequence[UUID]) -> list[Converted]:
    """What became of each bag; meanwhile the run's bar shows how many bytes of all are done."""
    known = await edge.looked_up(lambda session: sizes_of(session, organisation, wanted))
    reached = BagsReached(known, is_fetched=not edge.runtime().objects.is_local)
    if reached.name:
        await edge.call_this_run(reached.name)
    progress = await Progress.open("bags-progress", reached.whole)

    async def told(bag_id: UUID, stage: str, done: int) -> None:
        await progress.show(*reached.note(bag_id, stage, done))

    if edge.runtime().settings.bags_runner == "dask":
        outcomes = await _on_dask(organisation, wanted, told)
    else:
        outcomes = await _in_children(organisation, wanted, told)
    if not any(outcome.is_worth_a_try for outcome in outcomes):
        await progress.show(1, 1, reached.whole)
    return named(outcomes, {bag_id: name for bag_id, (name, _) in known.items()})


async def _in_children(organisation: str, wanted: Sequence[UUID], told: edge.Told) -> list[Converted]:
    async def in_one_child(bags: Sequence[UUID]) -> list[Converted]:
        time_s = BAG_TIMEOUT_S * len(bags)
        return await edge.in_child(convert_bags, organisation, list(bags), timeout_s=time_s, told=told)

    return await apart_if_need_be(in_one_child, wanted)


async def _on_dask(organisation: str, wanted: Sequence[UUID], told: edge.Told) -> list[Converted]:
    # Imported where it is chosen: a second and 40 MB that other workers must not pay.
    from orchestration.fanning import Limits, fan_out  # noqa: PLC0415  see above

    settings = edge.runtime().settings
    memory = settings.heavy_memory_max_bytes
    limits = Limits(memory_max_bytes=memory, timeout_s=BAG_TIMEOUT_S, topic=f"bags-{edge.run_id()}")
    return await fan_out(settings.dask_scheduler, organisation, wanted, limits, told)


async def _show(outcomes: Sequence[Converted]) -> None:
    await acreate_table_artifact([_row(outcome) for outcome in outcomes], key="bags", description="What became of them")
    for outcome in [outcome for outcome in outcomes if outcome.page][:PAGES_MAX]:
        await acreate_markdown_artifact(outcome.page, key=f"bag-{outcome.bag_id}", description=outcome.filename)


def _row(outcome: Converted) -> Row:
    return {
        "bag": outcome.filename,
        "status": outcome.status,
        "messages": outcome.messages,
        "topics": outcome.topics,
        "problem": outcome.problem,
        "id": outcome.bag_id,
    }
