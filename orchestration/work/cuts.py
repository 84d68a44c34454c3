"""Cutting a span out of a recording in a heavy child."""

from dataclasses import dataclass
from uuid import UUID

from fleet.runtime import open_runtime
from ingestion.catalogue import topics_of
from ingestion.cuts import Span
from ingestion.models import Bag


@dataclass(frozen=True)
class Cut:
    """The bag that a cut became, and the topics in it: name, type, rows."""

    bag_id: str
    filename: str
    messages: int
    topics: list[tuple[str, str, int]]


def cut_out(bag_id: UUID, span: Span, event_id: UUID | None) -> Cut:
    """Make the span of a bag a bag of its own; the same again changes nothing."""
    # Imported by the child that needs it: Arrow, which the worker must not pay for.
    from ingestion.bags.cuts import make  # noqa: PLC0415  see above

    runtime = open_runtime()
    with runtime.reading() as session:
        bag = session.get_one(Bag, bag_id)
    given = {"transaction": runtime.transaction, "objects": runtime.objects}
    cut = make(**given, bag=bag, span=span, event_id=event_id)  # type: ignore[arg-type]
    with runtime.reading() as session:
        topics = [(topic.name, topic.type, topic.rows) for topic in topics_of(session, cut) if topic.rows]
    return Cut(str(cut.id), cut.filename, cut.messages, topics)
