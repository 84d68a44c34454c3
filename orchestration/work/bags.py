"""Converting recordings in a heavy child: one child for a batch of bags, one bag after the other."""

import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import UUID

import structlog
from sqlmodel import Session, col, select

from fleet.errors import NotFound, Rejected, Unavailable, YardmasterError
from fleet.organisations import organisation_named
from fleet.runtime import Runtime, dagster_home, open_runtime, working_folder
from ingestion.catalogue import topics_of
from ingestion.models import Bag, BagStatus
from orchestration import heavy

if TYPE_CHECKING:
    from ingestion.lake import Manifest

NOT_CONVERTED = "not converted"
# What a fault in a reader raises, which nobody foresaw; a wrong question (NotFound, Invalid) is one of the whole run.
FAULTS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, AssertionError, OSError)
DONE = "converted"

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Converted:
    """What became of one bag; `problem` says why nothing of it lies in the lake, `page` is what to show, as Markdown.

    `is_worth_a_try`: what stopped it (a store that is away, a kill) has nothing to do with the bag.
    """

    bag_id: str
    filename: str
    status: str
    messages: int = 0
    topics: int = 0
    problem: str = ""
    page: str = ""
    is_worth_a_try: bool = False


def convert_bags(organisation: str, bag_ids: Sequence[UUID]) -> list[Converted]:
    """Convert each bag into the lake of `organisation` and tell Dagster; one that cannot be converted stops no other.

    A bag that is already converted by this version of the converter is left as it is. How far each bag is, is told as
    (bag, stage, bytes).
    """
    # Imported by the child that needs it: Arrow, which the worker must not pay for.
    from ingestion.bags.allocation import prefer_jemalloc  # noqa: PLC0415  see above

    prefer_jemalloc()
    runtime = open_runtime()
    with runtime.reading() as session:
        mine = _of(session, organisation_named(session, organisation).id, bag_ids)
    return [_convert(runtime, bag_id) for bag_id in mine]


async def apart_if_need_be(
    convert: Callable[[Sequence[UUID]], Awaitable[list[Converted]]], bag_ids: Sequence[UUID]
) -> list[Converted]:
    """What `convert` makes of all bags at once; when that dies (memory, time, a kill, a fault of ours), what of each alone.

    So one bag that brings its child down costs only itself. Bags converted before are left as they are.
    """
    try:
        return await convert(bag_ids)
    except (Rejected, Unavailable) as error:
        if len(bag_ids) == 1:
            return [not_converted(bag_ids[0], error, is_worth_a_try=error.fields.get("exit_code") == -signal.SIGKILL)]
    except FAULTS as error:
        log.exception("a bag could not be converted: this is a fault of ours", bags=[str(bag_id) for bag_id in bag_ids])
        if len(bag_ids) == 1:
            told = Unavailable(f"A fault of ours stopped it: {type(error).__name__}: {error}. Please report it.")
            return [not_converted(bag_ids[0], told, is_worth_a_try=False)]
    return [(await apart_if_need_be(convert, [bag_id]))[0] for bag_id in bag_ids]


def not_converted(bag_id: UUID, error: YardmasterError, *, is_worth_a_try: bool) -> Converted:
    """The outcome of a bag that `error` stopped."""
    name = str(bag_id)
    return Converted(name, name, NOT_CONVERTED, problem=error.message, is_worth_a_try=is_worth_a_try)


def named(outcomes: Sequence[Converted], names: Mapping[UUID, str]) -> list[Converted]:
    """The outcomes with the file names of their bags, also where the child died before it could tell them."""
    return [replace(outcome, filename=names.get(UUID(outcome.bag_id), outcome.filename)) for outcome in outcomes]


def sizes_of(session: Session, organisation: str, bag_ids: Sequence[UUID]) -> dict[UUID, tuple[str, int]]:
    """File name and bytes of each of these bags, in their order; those that are not there are left out."""
    mine = organisation_named(session, organisation).id
    query = select(Bag).where(Bag.organisation_id == mine, col(Bag.id).in_(bag_ids))
    known = {bag.id: (bag.filename, bag.size) for bag in session.exec(query)}
    return {bag_id: known[bag_id] for bag_id in bag_ids if bag_id in known}


def stored_bags(session: Session, organisation: str, *, limit: int) -> list[UUID]:
    """Bags that were uploaded and are not converted yet, oldest first."""
    mine = organisation_named(session, organisation).id
    query = select(Bag.id).where(Bag.organisation_id == mine, Bag.status == BagStatus.stored)
    return list(session.exec(query.order_by(col(Bag.id)).limit(limit)).all())


def note_left(session: Session, outcomes: Sequence[Converted]) -> None:
    """Write into the rows of bags that were never converted why they could not be; a conversion takes it away."""
    why = {UUID(outcome.bag_id): outcome.problem for outcome in outcomes if outcome.status == NOT_CONVERTED}
    left = select(Bag).where(col(Bag.id).in_(why), Bag.status == BagStatus.stored).order_by(col(Bag.id))
    for bag in session.exec(left.with_for_update()).all():
        bag.error = f"It could not be converted: {why[bag.id]}"
        session.add(bag)


def _of(session: Session, organisation_id: UUID, bag_ids: Sequence[UUID]) -> list[UUID]:
    """The bags, each once, in the order given; another organisation's bag is not told apart from none."""
    wanted = list(dict.fromkeys(bag_ids))
    query = select(Bag.id).where(Bag.organisation_id == organisation_id, col(Bag.id).in_(wanted))
    if missing := set(wanted) - set(session.exec(query).all()):
        raise NotFound(f"bag_ids: there is no bag {', '.join(sorted(map(str, missing)))}.")
    return wanted


def _convert(runtime: Runtime, bag_id: UUID) -> Converted:
    # Imported by the child that needs them: Arrow, the bag readers and Dagster, which the worker must not pay for.
    from ingestion.bags.processing import process  # noqa: PLC0415  see above
    from orchestration.assets.events import report_bag  # noqa: PLC0415  see above

    try:
        manifest = process(
            transaction=runtime.transaction,
            objects=runtime.objects,
            bag_id=bag_id,
            working=working_folder(runtime.settings),
            listener=lambda reached: heavy.tell((bag_id, reached.stage, reached.done)),
        )
    except YardmasterError as error:
        return not_converted(bag_id, error, is_worth_a_try=isinstance(error, Unavailable))
    heavy.tell((bag_id, DONE, 0))
    problem = manifest.reason or ""
    try:
        report_bag(dagster_home(runtime.settings), manifest, runtime.objects)
    except Unavailable as error:
        problem = f"{problem} It lies in the lake, but its catalogue was not told. {error.message}".lstrip()
    page = _page(runtime, bag_id, manifest)
    counts = (manifest.messages, len(manifest.topics))
    return Converted(str(bag_id), manifest.filename, manifest.status, *counts, problem, page)


def _page(runtime: Runtime, bag_id: UUID, manifest: "Manifest") -> str:
    # Imported by the child that needs them, as above.
    from ingestion.bags.timeline import timeline  # noqa: PLC0415  see above
    from ingestion.lake import lake_of  # noqa: PLC0415  see above
    from orchestration.bag_page import bag_page  # noqa: PLC0415  see above
    from reports.meanwhile import happened  # noqa: PLC0415  see above

    with runtime.reading() as session:
        bag = session.get_one(Bag, bag_id)
        topics, events = topics_of(session, bag), happened(session, bag)
    instants = [one.event.occurred_at for one in events]
    try:
        lines = timeline(lake_of(runtime.objects, bag.organisation_id), manifest, instants)
    except YardmasterError:  # the bag is converted; its page tells what is known without its files
        lines = ""
    root = lake_of(runtime.objects, bag.organisation_id).key("")
    return bag_page(manifest, topics, events, lines, root=f"{runtime.objects.path(root.rstrip('/'))}/")
