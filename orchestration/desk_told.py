"""Changes of our database in the words of Prefect's events: `yardmaster.mission.failed`, and what it has to do with."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import NAMESPACE_URL, UUID, uuid5

from prefect.events import Event, RelatedResource, Resource
from sqlmodel import Session, SQLModel, col, select

from fleet.changes import Change
from fleet.events import Alert
from fleet.organisations import Organisation, Site
from fleet.robots import Robot
from missions.models import Mission, Round
from missions.schedules.models import Schedule

TOLD = frozenset({"mission", "attempt", "robot", "schedule", "occurrence", "alert", "hold", "blackout"})
SPACE = uuid5(NAMESPACE_URL, "yardmaster:changes")
Row = TypeVar("Row", bound=SQLModel)


@dataclass(frozen=True)
class Known:
    """The rows that some changes speak of, by their ids."""

    organisations: Mapping[UUID, Organisation] = field(default_factory=dict)
    missions: Mapping[UUID, Mission] = field(default_factory=dict)
    rounds: Mapping[UUID, Round] = field(default_factory=dict)
    schedules: Mapping[UUID, Schedule] = field(default_factory=dict)
    alerts: Mapping[UUID, Alert] = field(default_factory=dict)
    robots: Mapping[UUID, Robot] = field(default_factory=dict)
    sites: Mapping[UUID, Site] = field(default_factory=dict)


def events_of(session: Session, changes: Sequence[Change]) -> list[Event]:
    """The events of these changes, in their order; what no automation needs (requests, bags …) is left out."""
    told = [change for change in changes if change.subject in TOLD]
    known = _known(session, told)
    return [event_of(change, known) for change in told]


def event_of(change: Change, known: Known) -> Event:
    """The event of one change (pure). Its id follows from the change: told twice, Prefect keeps it once."""
    identity = f"{change.organisation_id}/{change.id}/{change.subject}/{change.subject_id}/{change.kind}/{change.at}"
    related = _related(change, known)
    labels = {"prefect.resource.id": f"yardmaster.{change.subject}.{change.subject_id}"}
    return Event(
        id=uuid5(SPACE, identity),
        occurred=change.at,
        event=f"yardmaster.{change.subject}.{change.kind.replace(' ', '_')}",
        resource=Resource(labels | {"prefect.resource.name": _name(change, known)}),
        related=[one for one in related if one.id != labels["prefect.resource.id"]],
        payload={**change.fields, "kind": change.kind, "at": change.at.isoformat()},
    )


def _known(session: Session, changes: Sequence[Change]) -> Known:
    alerts = _by_id(session, Alert, _ids(changes, "alert"))
    missions = _by_id(session, Mission, _ids(changes, "mission", "mission_id"))
    schedules = _by_id(session, Schedule, _ids(changes, "schedule", "schedule"))
    robot_ids = _ids(changes, "robot", "robot_id") | {one.robot_id for one in missions.values() if one.robot_id}
    robots = _by_id(session, Robot, robot_ids | {one.robot_id for one in alerts.values() if one.robot_id})
    round_ids = _ids(changes, "round", "round") | {one.round_id for one in missions.values() if one.round_id}
    site_ids = _ids(changes, "site", "site_id") | {one.site_id for one in missions.values()}
    site_ids |= {one.site_id for one in robots.values()} | {one.site_id for one in schedules.values()}
    return Known(
        organisations=_by_id(session, Organisation, {change.organisation_id for change in changes}),
        missions=missions,
        rounds=_by_id(session, Round, round_ids),
        schedules=schedules,
        alerts=alerts,
        robots=robots,
        sites=_by_id(session, Site, site_ids),
    )


def _ids(changes: Sequence[Change], subject: str, named: str = "") -> set[UUID]:
    own = {_uuid(change.subject_id) for change in changes if change.subject == subject}
    return {one for one in own | {_uuid(change.fields.get(named)) for change in changes} if one is not None}


def _by_id(session: Session, table: type[Row], ids: Collection[UUID]) -> dict[UUID, Row]:
    if not ids:
        return {}
    rows = session.exec(select(table).where(col(table.id).in_(ids))).all()  # type: ignore[attr-defined]
    return {row.id: row for row in rows}  # type: ignore[attr-defined]


def _uuid(text: object) -> UUID | None:
    try:
        return UUID(str(text))
    except ValueError:
        return None


def _name(change: Change, known: Known) -> str:
    identity, fields = _uuid(change.subject_id), change.fields
    if change.subject == "attempt" and (mission := known.missions.get(_uuid(fields.get("mission_id")) or SPACE)):
        return f"{mission.name}, attempt {fields.get('number')}"
    if change.subject == "alert" and (alert := known.alerts.get(identity or SPACE)):
        return alert.message
    if change.subject == "occurrence":
        return f"{fields.get('name')}, {fields.get('due_at')}"
    rows = {"mission": known.missions, "robot": known.robots, "schedule": known.schedules}.get(change.subject, {})
    row = rows.get(identity) if identity else None
    return str(getattr(row, "name", None) or fields.get("name") or change.subject_id)


def _related(change: Change, known: Known) -> list[RelatedResource]:
    """Organisation, site, robot, mission, round, schedule and flow run that the change has to do with, if known."""
    identity, fields = _uuid(change.subject_id), change.fields
    mission = known.missions.get(
        (identity if change.subject == "mission" else _uuid(fields.get("mission_id"))) or SPACE
    )
    alert = known.alerts.get(identity or SPACE)
    schedule_id = identity if change.subject == "schedule" else _uuid(fields.get("schedule"))
    round_id = (mission.round_id if mission else None) or _uuid(fields.get("round"))
    robot = known.robots.get(_robot_id(change, mission, alert) or SPACE)
    schedule = known.schedules.get(schedule_id or SPACE)
    site_id = next((row.site_id for row in (mission, robot, schedule) if row is not None), _uuid(fields.get("site_id")))
    found = [
        ("organisation", known.organisations.get(change.organisation_id)),
        ("site", known.sites.get(site_id or SPACE)),
        ("robot", robot),
        ("mission", mission),
        ("round", known.rounds.get(round_id or SPACE)),
        ("schedule", schedule),
    ]
    related = [_resource(role, f"yardmaster.{role}.{row.id}", row.name) for role, row in found if row is not None]
    run_id = _flow_run_id(mission)
    return [*related, *([_resource("flow-run", f"prefect.flow-run.{run_id}", "")] if run_id else [])]


def _robot_id(change: Change, mission: Mission | None, alert: Alert | None) -> UUID | None:
    if change.subject == "robot":
        return _uuid(change.subject_id)
    told = _uuid(change.fields.get("robot_id"))
    return told or (alert.robot_id if alert else None) or (mission.robot_id if mission else None)


def _flow_run_id(mission: Mission | None) -> UUID | None:
    """The run that asked for the mission: its keys begin with the run's id."""
    if mission is None or not mission.requested_by.startswith("prefect:"):
        return None
    return _uuid(mission.key.partition("/")[0])


def _resource(role: str, identity: str, name: str) -> RelatedResource:
    labels = {"prefect.resource.id": identity, "prefect.resource.role": role}
    return RelatedResource(labels | ({"prefect.resource.name": name} if name else {}))
