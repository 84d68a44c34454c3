"""Rules: which happenings somebody must look at, and which end that need. One open alert per robot and rule."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import bindparam
from sqlalchemy import select as sqlalchemy_select
from sqlmodel import Session, col, select

from fleet import reading
from fleet.adapter import Observation
from fleet.alerts import close_alert, open_alert
from fleet.database import table_of
from fleet.events import Alert, Event
from fleet.robots import Robot

# Far enough above every robot's minimum that the alert does not flicker.
CHARGED_FRACTION = 0.5
BATTERY_LOW = "battery_low"


@dataclass(frozen=True)
class Rule:
    """One reason to look: opened by one kind of happening, ended by others; `part` names the field that tells which part."""

    name: str
    opened_by: str
    closed_by: frozenset[str]
    message: str
    part: str | None = None


RULES = (
    Rule(
        name="component_failed",
        opened_by="component_failed",
        closed_by=frozenset({"component_replaced", "component_repaired"}),
        message="{robot}: {part} failed; keep the robot out of service until it is replaced.",
        part="component",
    ),
    Rule(
        name=BATTERY_LOW,
        opened_by="battery_low",
        closed_by=frozenset({"battery_charged", "charging_started"}),
        message="{robot}: its battery is low; send it to a dock.",
    ),
)


_ALERTS = table_of(Alert).c
OPEN = sqlalchemy_select(_ALERTS.robot_id).where(
    _ALERTS.robot_id.in_(bindparam("ids", expanding=True)),
    _ALERTS.rule == BATTERY_LOW,
    _ALERTS.open_key.is_not(None),
)


@dataclass(frozen=True)
class Verdict:
    """What a happening means for one alert; `rule` includes the part, such as component_failed/drive_motor."""

    rule: str
    is_opening: bool
    message: str = ""


def evaluate(kind: str, fields: Mapping[str, object], *, robot: str) -> list[Verdict]:
    """Which alerts a happening of this kind opens or closes on `robot` (pure)."""
    verdicts = []
    for rule in RULES:
        if kind == rule.opened_by or kind in rule.closed_by:
            part = str(fields.get(rule.part) or "a part") if rule.part else ""
            name = f"{rule.name}/{part}" if part else rule.name
            verdicts.append(Verdict(name, kind == rule.opened_by, rule.message.format(robot=robot, part=part)))
    return verdicts


def follow(session: Session, robot: Robot, event: Event) -> None:
    """Open and close the alerts that `event` asks for. Idempotent; an event that is told late never undoes a newer one."""
    for verdict in evaluate(event.kind, event.fields, robot=robot.name):
        if verdict.is_opening:
            _open(session, robot, event, verdict)
        else:
            close_alert(session, robot, verdict.rule, at=event.occurred_at)


def with_low_battery(session: Session, robots: Iterable[Robot]) -> set[UUID]:
    """Those of the robots whose battery alert is open: for the others there is nothing to do in `follow_state`."""
    ids = [robot.id for robot in robots]
    return {robot_id for (robot_id,) in reading.read(session, OPEN, {"ids": ids})} if ids else set()


def follow_state(session: Session, robot: Robot, seen: Observation) -> None:
    """Close the battery alert of a robot that says it is charged again. Idempotent."""
    if seen.battery_fraction is None or seen.battery_fraction < CHARGED_FRACTION:
        return
    close_alert(session, robot, BATTERY_LOW, at=seen.observed_at)


def _open(session: Session, robot: Robot, event: Event, verdict: Verdict) -> None:
    if not _is_over(session, robot, event, verdict):
        open_alert(session, robot, verdict.rule, verdict.message, at=event.occurred_at, event_id=event.id)


def _is_over(session: Session, robot: Robot, event: Event, verdict: Verdict) -> bool:
    """Whether something that happened later has ended this already."""
    closing = {kind for rule in RULES if rule.opened_by == event.kind for kind in rule.closed_by}
    later = session.exec(
        select(Event).where(
            Event.robot_id == robot.id, col(Event.kind).in_(closing), Event.occurred_at >= event.occurred_at
        )
    ).all()
    rules = {found.rule for end in later for found in evaluate(end.kind, end.fields, robot=robot.name)}
    return verdict.rule in rules
