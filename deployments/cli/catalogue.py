"""`yardmaster bags …`, as far as it asks the catalogue: which recordings there are, what is in them, a cut of one."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from deployments.cli.bags import rounded
from deployments.cli.parts import AsJson, Organisation, opened, show, show_json
from ingestion.statuses import BagStatus, TriggerKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlmodel import Session

    from ingestion.bags.cutting import Excerpt
    from ingestion.catalogue import Sought
    from ingestion.models import Bag, BagTopic
    from reports.meanwhile import Happened

Robot = Annotated[str | None, typer.Option("--robot", "-r", help="Of the robot of this name.")]
AtSite = Annotated[str | None, typer.Option("--site", "-s", help="Of the robots of the site of this name.")]
Since = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="With messages of this UTC date or later.")]
Until = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="With messages of this UTC date or earlier.")
]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")]
BagName = Annotated[str, typer.Argument(help="Its id, the beginning of its SHA-256, or its file name.")]
Row = dict[str, object]


def register(bags: typer.Typer) -> None:
    """Add these commands to `yardmaster bags`."""
    bags.command("list")(list_bags)
    bags.command("search")(search)
    bags.command("show")(show_bag)
    bags.command("cut")(cut)
    bags.command("catalogue")(catalogue)


def list_bags(  # noqa: PLR0913  each one is an option of the command line
    organisation: Organisation = "demo",
    robot: Robot = None,
    site: AtSite = None,
    mission: Annotated[UUID | None, typer.Option(help="Of the mission of this id.")] = None,
    since: Since = None,
    until: Until = None,
    topic: Annotated[str | None, typer.Option(help="With this topic; * stands for anything.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="With a topic of this type; * for anything.")] = None,
    status: Annotated[BagStatus | None, typer.Option(help="That got this far.")] = None,
    error: Annotated[str | None, typer.Option(help="With this text in a warning or error of it or its robot.")] = None,
    anomaly: Annotated[
        str | None, typer.Option(help="In which an alert of this text was opened, or that an anomaly began; * is any.")
    ] = None,
    trigger: Annotated[TriggerKind | None, typer.Option(help="That this kind of trigger or request began.")] = None,
    limit: Limit = 200,
    as_json: AsJson = False,
) -> None:
    """The recordings of an organisation that are all of what is asked for, and how far each is on its way to Parquet."""
    from ingestion.catalogue import Sought

    sought = Sought(
        robot=robot,
        site=site,
        mission_id=mission,
        since=_day(since),
        until=_day(until),
        topic=topic,
        type=type_,
        status=status,
        error=error,
        anomaly=anomaly,
        trigger=trigger,
    )
    _show_found(organisation, sought, limit, as_json=as_json)


def search(  # noqa: PLR0913  each one is an option of the command line
    text: Annotated[str, typer.Argument(help="A part of a file name, topic, type, warning or error.")],
    organisation: Organisation = "demo",
    robot: Robot = None,
    site: AtSite = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 200,
    as_json: AsJson = False,
) -> None:
    """The recordings in which a text is found: in their names, topics, types, or warnings and errors of them or their robots."""
    from ingestion.catalogue import Sought

    sought = Sought(robot=robot, site=site, since=_day(since), until=_day(until), text=text)
    _show_found(organisation, sought, limit, as_json=as_json)


def _show_found(organisation: str, sought: "Sought", limit: int, *, as_json: bool) -> None:
    from fleet.organisations import organisation_named
    from ingestion.catalogue import bags_of

    with opened().reading() as session:
        found = bags_of(session, organisation_named(session, organisation).id, sought, limit=limit)
    if as_json:
        show_json([bag.model_dump(mode="json") for bag in found])
        return
    heads = ("id", "file", "robot", "began", "status", "messages", "topics", "bytes", "remarks")
    show(f"{len(found)} bags", heads, [_line(bag) for bag in found])


def _line(bag: "Bag") -> tuple[object, ...]:
    began = f"{bag.started_at:%Y-%m-%d %H:%M:%S}" if bag.started_at else ""
    counts = (bag.messages, bag.topics, bag.size)
    return (bag.id, bag.filename, bag.robot_name, began, bag.status.value, *counts, bag.error)


def show_bag(bag: BagName, organisation: Organisation = "demo", as_json: AsJson = False) -> None:
    """One recording: its topics with their quality, what it warned of, what began it, and what happened to the robot."""
    from ingestion import recordings
    from ingestion.catalogue import topics_of
    from ingestion.cuts import cuts_of
    from reports.meanwhile import happened

    with opened().reading() as session:
        found = _called(session, organisation, bag)
        topics, events, cuts = topics_of(session, found), happened(session, found), cuts_of(session, found)
        began = recordings.views(session, recordings.of_bag(session, found))
    if as_json:
        content: Row = found.model_dump(mode="json")
        content["contents"] = [topic.model_dump(mode="json") | {"errors": _errors(topic)} for topic in topics]
        content["events"] = [one.event.model_dump(mode="json") | _linked(one) for one in events]
        content["recordings"] = [one.model_dump(mode="json") for one in began]
        content["cuts"] = [cut.model_dump(mode="json") for cut in cuts]
        show_json(content)
        return
    for name, value in zip(("bag", "file", "robot", "began", "status"), _line(found), strict=False):
        typer.echo(f"{name:8}{value}")
    typer.echo(f"{'mission':8}{found.mission_id or ''}")
    if found.cut_of_id is not None:
        typer.echo(
            f"{'cut of':8}{found.cut_of_id}{f', around the event {found.cut_event_id}' if found.cut_event_id else ''}"
        )
    show(f"{len(topics)} topics", TOPIC_HEADS, [_topic_line(topic) for topic in topics])
    errors = [(topic.name, error) for topic in topics for error in _errors(topic)]
    _show_some("Warned of", ("topic", "warning or error"), errors)
    _show_some(
        "Begun by",
        ("trigger", "kind", "why", "policy"),
        [(one.trigger, one.kind, one.why, one.policy) for one in began],
    )
    _show_some("Events", ("at", "event", "severity", "alert", "mission", "id"), [_event_line(one) for one in events])
    _show_some("Cuts", ("id", "file", "messages"), [(one.id, one.filename, one.messages) for one in cuts])


def _show_some(title: str, heads: "Sequence[str]", rows: "Sequence[Sequence[object]]") -> None:
    if rows:
        show(title, heads, rows)


def _linked(one: "Happened") -> Row:
    mission = one.mission
    told = {"mission_id": str(mission.mission_id), "mission": mission.name} if mission else {}
    return {"alert": one.alert.message if one.alert else None, **told}


def _event_line(one: "Happened") -> tuple[object, ...]:
    alert, mission = one.alert.message if one.alert else "", one.mission.name if one.mission else ""
    return (one.event.occurred_at, one.event.kind, one.event.severity, alert, mission, one.event.id)


TOPIC_HEADS = ("topic", "type", "rows", "rejected", "Hz", "gaps", "longest s", "twice", "back", "skew s", "remarks")


def _topic_line(topic: "BagTopic") -> tuple[object, ...]:
    backwards = topic.log_time_regressions + topic.stamp_regressions
    measures = (rounded(topic.rate_hz), topic.gaps, rounded(topic.longest_gap_s), topic.duplicates, backwards)
    return (
        *(topic.name, topic.type, topic.rows, topic.rejected),
        *measures,
        rounded(topic.skew_median_s),
        topic.reason or (f"{topic.media} files" if topic.media else ""),
    )


def _errors(topic: "BagTopic") -> list[str]:
    return topic.errors.splitlines()


def cut(  # noqa: PLR0913  each one is an option of the command line
    bag: BagName,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the Parquet files and the manifest; without it, a bag on the platform."),
    ] = None,
    begin: Annotated[str | None, typer.Option("--from", help="First instant, such as 2026-03-01T22:00:05Z.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="The instant before which it ends.")] = None,
    event: Annotated[UUID | None, typer.Option(help="Around the event of this id instead.")] = None,
    before_s: Annotated[float, typer.Option("--before", min=0.0, max=86_400, help="Seconds before the event.")] = 30.0,
    after_s: Annotated[float, typer.Option("--after", min=0.0, max=86_400, help="Seconds after the event.")] = 30.0,
    organisation: Organisation = "demo",
    as_json: AsJson = False,
) -> None:
    """Cut a span out of a converted recording, of every topic: a small dataset in a folder, or a bag of its own."""
    from fleet.errors import NotFound
    from ingestion.bags.cuts import make
    from ingestion.bags.cutting import cut as write
    from ingestion.bags.processing import lake_holding
    from ingestion.cuts import CutWanted, span_of

    if event is not None and (begin or end):
        raise typer.BadParameter("Give --from and --to, or --event, not both.")
    if event is None and not (begin and end):
        raise typer.BadParameter("Say what is to be cut out: --from and --to, or --event.")
    instants = {"begin": _instant(begin), "end": _instant(end)} if begin and end else {}
    wanted = CutWanted(event_id=event, seconds_before=before_s, seconds_after=after_s, **instants)
    runtime = opened()
    with runtime.reading() as session:
        found = _called(session, organisation, bag)
        span = span_of(session, found, wanted)
    if out is None:
        made = make(transaction=runtime.transaction, objects=runtime.objects, bag=found, span=span, event_id=event)
        show_bag(str(made.id), organisation, as_json)
        return
    lake = lake_holding(runtime.objects, found)
    manifest = lake.manifest(found.sha256)
    if manifest is None:
        raise NotFound(f"The dataset of {found.filename} is gone; convert it again.", bag=str(found.id))
    _show_excerpt(write(lake, manifest, span, out), out, as_json=as_json)


def _show_excerpt(made: "Excerpt", out: Path, *, as_json: bool) -> None:
    if as_json:
        show_json(made.content())
    else:
        rows = [(topic.name, topic.type, topic.rows) for topic in made.topics if topic.rows]
        show(f"{made.messages} messages in {out}", ("topic", "type", "rows"), rows)


def catalogue(
    organisation: Organisation = "demo",
    is_again: Annotated[
        bool, typer.Option("--again", help="Also those that are in it, for what it looks for now.")
    ] = False,
) -> None:
    """Catalogue the topics of recordings that were converted before there was a catalogue; those it has are left."""
    from fleet.errors import NotFound
    from fleet.organisations import organisation_named
    from ingestion.bags.processing import catalogue as note
    from ingestion.catalogue import uncatalogued

    runtime = opened()
    with runtime.reading() as session:
        bags = uncatalogued(session, organisation_named(session, organisation).id, are_all=is_again)
    topics = 0
    for bag in bags:
        try:
            topics += note(transaction=runtime.transaction, objects=runtime.objects, bag_id=bag.id)
        except NotFound as error:
            typer.echo(f"{bag.filename} ({bag.id}) is left out: {error.message}", err=True)
    typer.echo(f"{len(bags)} bags, {topics} topics")


def _called(session: "Session", organisation: str, name: str) -> "Bag":
    from fleet.organisations import organisation_named
    from ingestion.catalogue import bag_called

    return bag_called(session, organisation_named(session, organisation).id, name)


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no instant; write it like 2026-03-01T22:00:05Z.") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _day(at: datetime | None) -> date | None:
    return at.date() if at else None
