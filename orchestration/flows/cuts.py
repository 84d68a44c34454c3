"""What matters of a recording becomes a small dataset of its own."""

from typing import Annotated
from uuid import UUID

from prefect import flow
from prefect.artifacts import acreate_table_artifact
from pydantic import AwareDatetime, Field
from sqlmodel import Session

from fleet.organisations import organisation_named
from ingestion.catalogue import bag_called
from ingestion.cuts import AROUND_S, LONGEST_S, CutWanted, Span, span_of
from ingestion.models import Bag
from orchestration.flows import edge
from orchestration.flows.forms import Name
from orchestration.work.cuts import Cut, cut_out

CUT_TIMEOUT_S = 1800.0
Row = dict[str, object]
Seconds = Annotated[float, Field(ge=0, le=LONGEST_S, allow_inf_nan=False)]


@flow(name="cut-bag")
async def cut_bag(  # noqa: PLR0913  each one is a field of the form
    bag: Name,
    event: UUID | None = None,
    seconds_before: Seconds = AROUND_S,
    seconds_after: Seconds = AROUND_S,
    begin: AwareDatetime | None = None,
    end: AwareDatetime | None = None,
    organisation: Name = "demo",
) -> Row:
    """Cut a span out of a converted recording. Cutting the same again changes nothing.

    Args:
        bag: Its id, the beginning of its SHA-256, or its file name.
        event: Id of the event around which it is cut out; the recording's page tells those of a recording.
        seconds_before: How long before the event it begins.
        seconds_after: How long after the event it ends.
        begin: The first instant, instead of an event.
        end: The instant before which it ends.
        organisation: Whose recording.
    """
    wanted = CutWanted(event_id=event, begin=begin, end=end, seconds_before=seconds_before, seconds_after=seconds_after)
    found, span = await edge.looked_up(lambda session: _wanted(session, organisation, bag, wanted))
    cut = await edge.in_child(cut_out, found.id, span, event, timeout_s=CUT_TIMEOUT_S)
    rows: list[Row] = [{"topic": name, "type": type_, "rows": rows} for name, type_, rows in cut.topics]
    await acreate_table_artifact(rows, key="cut", description=_told(cut, found))
    return {"bag_id": cut.bag_id, "filename": cut.filename, "messages": cut.messages, "cut_of": str(found.id)}


def _wanted(session: Session, organisation: str, bag: str, wanted: CutWanted) -> tuple[Bag, Span]:
    found = bag_called(session, organisation_named(session, organisation).id, bag)
    return found, span_of(session, found, wanted)


def _told(cut: Cut, found: Bag) -> str:
    return f"{cut.messages} messages, cut out of {found.filename}. It is the bag {cut.bag_id}."
