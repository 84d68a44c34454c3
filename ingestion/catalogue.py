"""What was recorded: the bags of an organisation, newest first, by what is in them; their topics and events."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field
from sqlalchemy import ColumnElement, and_, literal_column, or_
from sqlalchemy.sql.elements import SQLCoreOperations
from sqlmodel import Session, col, select

from fleet.errors import Conflict, NotFound
from fleet.events import Alert, Event, Severity
from fleet.organisations import Site
from fleet.robots import Robot
from ingestion import wording
from ingestion.models import Bag, BagStatus, BagTopic
from ingestion.recordings import Recording
from ingestion.statuses import TriggerKind

SHORTEST_HASH = 8
EVENTS_SHOWN = 200
ANY_ANOMALY = "*"
LONGEST = 300
# What databases need for a pattern grows with the power of its stars; SQLite reads a pattern up to a NUL character.
FEW_STARS = r"^[^*\x00]*(\*[^*\x00]*){0,4}$"
NO_NUL = r"^[^\x00]*$"


@dataclass(frozen=True)
class Sought:
    """Which bags are wanted; what is None does not matter. Its limits are kept by who takes it from a stranger."""

    robot: Annotated[str | None, Field(description="Bags of the robot of this name.")] = None
    site: Annotated[str | None, Field(description="Bags of the robots of the site of this name.")] = None
    mission_id: Annotated[UUID | None, Field(description="Bags of this mission.")] = None
    since: Annotated[date | None, Field(description="Bags with messages of this UTC date or later.")] = None
    until: Annotated[date | None, Field(description="Bags with messages of this UTC date or earlier.")] = None
    topic: Annotated[
        str | None, Field(pattern=FEW_STARS, max_length=LONGEST, description="Bags with this topic; * is anything.")
    ] = None
    type: Annotated[
        str | None,
        Field(pattern=FEW_STARS, max_length=LONGEST, description="With a topic of this type; * is anything."),
    ] = None
    status: Annotated[BagStatus | None, Field(description="Bags that got this far.")] = None
    error: Annotated[
        str | None,
        Field(
            pattern=NO_NUL,
            max_length=LONGEST,
            description="With this text in a warning or error: of diagnostics, of a node's log, or told by its robot.",
        ),
    ] = None
    anomaly: Annotated[
        str | None,
        Field(
            pattern=NO_NUL,
            max_length=LONGEST,
            description="In which an alert was opened that says this, or that an anomaly of this name began; * is any.",
        ),
    ] = None
    trigger: Annotated[TriggerKind | None, Field(description="That this kind of trigger or request began.")] = None
    cut_of: Annotated[UUID | None, Field(description="Cuts of the bag of this id.")] = None
    text: Annotated[
        str | None,
        Field(
            pattern=NO_NUL,
            max_length=LONGEST,
            description="With this text in name, topics, types, warnings or errors.",
        ),
    ] = None

    def conditions(self, organisation_id: UUID) -> list[ColumnElement[bool]]:
        """What holds for the rows of these bags of an organisation."""
        mine = col(Bag.organisation_id) == organisation_id
        rows = [*self._of_the_row(organisation_id), *self._of_the_span(), *self._of_the_topics(organisation_id)]
        return [mine, *rows, *self._of_what_happened()]

    def _of_the_row(self, organisation_id: UUID) -> list[ColumnElement[bool]]:
        found = []
        if self.robot is not None:
            found.append(col(Bag.robot_name) == self.robot)
        if self.site is not None:
            at_site = select(Robot.id).join(Site, col(Site.id) == Robot.site_id).where(Site.name == self.site)
            found.append(col(Bag.robot_id).in_(at_site.where(Robot.organisation_id == organisation_id)))
        if self.mission_id is not None:
            found.append(col(Bag.mission_id) == self.mission_id)
        if self.status is not None:
            found.append(col(Bag.status) == self.status)
        if self.cut_of is not None:
            found.append(col(Bag.cut_of_id) == self.cut_of)
        return found

    def _of_the_span(self) -> list[ColumnElement[bool]]:
        found = []
        if self.since is not None:
            found.append(col(Bag.finished_at) >= _midnight(self.since))
        if self.until is not None and self.until < date.max:
            found.append(col(Bag.started_at) < _midnight(self.until + timedelta(days=1)))
        return found

    def _of_the_topics(self, organisation_id: UUID) -> list[ColumnElement[bool]]:
        """One topic is of the name and of the type, where both are asked for; any may have the error or the text."""
        same = [_like(col(BagTopic.name), self.topic)] if self.topic is not None else []
        same += [_like(col(BagTopic.type), self.type)] if self.type is not None else []
        found = [_has_topic(organisation_id, *same)] if same else []
        if self.error is not None:
            found.append(or_(_warned(organisation_id, self.error), _reported(self.error)))
        if self.text is not None:
            names = (wording.holds(col(column), self.text) for column in (BagTopic.name, BagTopic.type))
            of_topics = (_has_topic(organisation_id, or_(*names)), _warned(organisation_id, self.text))
            own = (wording.holds(col(Bag.filename), self.text), wording.holds(col(Bag.error), self.text))
            found.append(or_(*own, *of_topics, _reported(self.text)))
        return found

    def _of_what_happened(self) -> list[ColumnElement[bool]]:
        found = []
        if self.anomaly is not None:
            found.append(or_(_alerted(self.anomaly), _began(TriggerKind.anomaly, self.anomaly)))
        if self.trigger is not None:
            found.append(_began(self.trigger))
        return found


ANY = Sought()


def bags_of(session: Session, organisation_id: UUID, sought: Sought = ANY, *, limit: int = 200) -> list[Bag]:
    """The bags of an organisation that are wanted, last uploaded first."""
    query = select(Bag).where(*sought.conditions(organisation_id))
    return list(session.exec(query.order_by(col(Bag.uploaded_at).desc(), col(Bag.id).desc()).limit(limit)).all())


def bag_of(session: Session, organisation_id: UUID, bag_id: UUID) -> Bag:
    """One bag of an organisation.

    Raises:
        NotFound: there is none of this id, or it belongs to another organisation.
    """
    bag = session.get(Bag, bag_id)
    if bag is None or bag.organisation_id != organisation_id:
        raise NotFound(f"There is no bag {bag_id}.", bag=str(bag_id))
    return bag


def bag_by_content(session: Session, organisation_id: UUID, sha256: str) -> Bag:
    """The bag of this content in an organisation.

    Raises:
        NotFound: there is none, or only another organisation has it.
    """
    bag = session.exec(select(Bag).where(Bag.organisation_id == organisation_id, Bag.sha256 == sha256)).first()
    if bag is None:
        raise NotFound(f"There is no recording with SHA-256 {sha256}.", sha256=sha256)
    return bag


def bag_called(session: Session, organisation_id: UUID, name: str) -> Bag:
    """The bag of this id, of a SHA-256 that begins so (8 digits at least), or of this file name.

    Raises:
        NotFound: there is none in this organisation.
        Conflict: there are several; says how to tell them apart.
    """
    query = select(Bag).where(Bag.organisation_id == organisation_id, _is_called(name))
    found = session.exec(query.limit(2)).all()
    if not found:
        raise NotFound(f"There is no bag {name!r}; `yardmaster bags list` tells which there are.", bag=name)
    if len(found) > 1:
        raise Conflict(f"Several bags are called {name!r}; give the id, which `yardmaster bags list` tells.", bag=name)
    return found[0]


def topics_of(session: Session, bag: Bag) -> list[BagTopic]:
    """The topics of a converted bag by name; none when it was not converted or not catalogued yet."""
    query = select(BagTopic).where(BagTopic.bag_id == bag.id)
    return list(session.exec(query.order_by(col(BagTopic.name), col(BagTopic.number))).all())


def events_within(session: Session, bag: Bag) -> list[Event]:
    """What happened to the bag's robot while it was recorded, in the order of time; 200 at most."""
    if bag.robot_id is None or bag.started_at is None or bag.finished_at is None:
        return []
    at = col(Event.occurred_at)
    mine = (Event.organisation_id == bag.organisation_id, Event.robot_id == bag.robot_id)
    query = select(Event).where(*mine, at >= bag.started_at, at <= bag.finished_at)
    return list(session.exec(query.order_by(at, col(Event.id)).limit(EVENTS_SHOWN)).all())


def alerts_about(session: Session, events: Sequence[Event]) -> dict[UUID, Alert]:
    """The alerts that these events opened, by the id of the event."""
    query = select(Alert).where(col(Alert.event_id).in_([event.id for event in events]))
    return {alert.event_id: alert for alert in session.exec(query).all() if alert.event_id}


def uncatalogued(session: Session, organisation_id: UUID, *, are_all: bool = False) -> list[Bag]:
    """Converted bags whose topics are not in the catalogue yet, oldest first; `are_all`: whether they are or not."""
    has_some = select(BagTopic.bag_id).where(BagTopic.bag_id == Bag.id).exists()
    query = select(Bag).where(Bag.organisation_id == organisation_id, Bag.topics > 0)
    return list(session.exec((query if are_all else query.where(~has_some)).order_by(col(Bag.id))).all())


def _is_called(name: str) -> ColumnElement[bool]:
    meant = [col(Bag.filename) == name]
    if len(name) >= SHORTEST_HASH and set(name.lower()) <= set("0123456789abcdef"):
        meant.append(col(Bag.sha256).startswith(name.lower()))
    with suppress(ValueError):  # half of a hash is as long as an id
        meant.append(col(Bag.id) == UUID(name))
    return or_(*meant)


def _has_topic(organisation_id: UUID, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    # Nothing in it names the bag, so a database finds these topics once, not once for each bag.
    query = select(BagTopic.bag_id).where(BagTopic.organisation_id == organisation_id, *conditions)
    return col(Bag.id).in_(query)


def _warned(organisation_id: UUID, text: str) -> ColumnElement[bool]:
    # Written out, not as a parameter, so that SQLite sees that the index of those with errors is enough.
    has_errors = col(BagTopic.errors) != literal_column("''")
    return _has_topic(organisation_id, has_errors, wording.holds(col(BagTopic.errors), text))


def _meanwhile(at: SQLCoreOperations[Any]) -> ColumnElement[bool]:
    return and_(at >= col(Bag.started_at), at <= col(Bag.finished_at))


def _reported(text: str) -> ColumnElement[bool]:
    """The bag's robot told of a warning or error with this text while it recorded."""
    told = or_(wording.holds(col(Event.kind), text), wording.told_in(col(Event.fields), text))
    mine = (Event.robot_id == Bag.robot_id, Event.organisation_id == Bag.organisation_id)
    return (
        select(Event.id)
        .where(*mine, _meanwhile(col(Event.occurred_at)), Event.severity != Severity.info, told)
        .exists()
    )


def _alerted(text: str) -> ColumnElement[bool]:
    mine = (Alert.robot_id == Bag.robot_id, Alert.organisation_id == Bag.organisation_id)
    query = select(Alert.id).where(*mine, _meanwhile(col(Alert.opened_at)))
    says = or_(wording.holds(col(Alert.rule), text), wording.holds(col(Alert.message), text))
    return (query if text == ANY_ANOMALY else query.where(says)).exists()


def _began(kind: TriggerKind, text: str = ANY_ANOMALY) -> ColumnElement[bool]:
    """A trigger or request of this kind began it."""
    query = select(Recording.bag_id).where(Recording.kind == kind, col(Recording.bag_id).is_not(None))
    named = or_(wording.holds(col(Recording.trigger_id), text), wording.holds(col(Recording.why), text))
    return col(Bag.id).in_(query if text == ANY_ANOMALY else query.where(named))


def _like(column: SQLCoreOperations[Any], pattern: str) -> ColumnElement[bool]:
    return wording.fits(column, pattern) if "*" in pattern else column == pattern


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
