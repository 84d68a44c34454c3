"""Every question to the catalogue finds what a plain loop over its rows finds, on SQLite and on PostgreSQL."""

import json
import random
import re
from dataclasses import dataclass
from datetime import timedelta

import pytest
from sqlmodel import Session

from fleet.database import new_id
from fleet.events import Alert, Event, Severity
from ingestion.catalogue import Sought, bags_of
from ingestion.models import Bag, BagStatus, BagTopic
from ingestion.recordings import Recording
from ingestion.statuses import TriggerKind

WORDS = ["Motor", "motor", "Übertemperatur", "überTEMPERATUR", "Ångström", "ångström", "ЖАР", "жар", "过热"]
WORDS += ["100%", "100x", "a_b", "axb", "back\\slash", 'say "hi"', "[x]", "x", "what?", "whatx", "*", "E42", "Straße"]
TOPICS = [
    "/camera/left",
    "/Camera/left",
    "/camera_left",
    "/camera-left",
    "/imu",
    "/IMU",
    "/a[b]",
    "/ab",
    "/ü/x",
    "/Ü/x",
]
TYPES = ["sensor_msgs/msg/Imu", "sensor_msgs/msg/imu", "a/msg/B"]
ASKED = ["/camera*", "/Camera*", "*left", "/camera_*", "/a[b]*", "/a?*", "*IMU", "/ü*", "*", "/imu", "*/msg/*", "*\\*"]
DAY = timedelta(days=1)


@dataclass
class Kept:
    """A bag with all that is said of it."""

    bag: Bag
    topics: list[BagTopic]
    events: list[Event]
    alerts: list[Alert]
    recordings: list[Recording]


def filled(session: Session, world, dice: random.Random, now) -> list[Kept]:
    return [_bag(session, world, dice, now + DAY * dice.randrange(5)) for _ in range(60)]


def _bag(session: Session, world, dice: random.Random, at) -> Kept:
    def said() -> str:
        return " ".join(dice.sample(WORDS, dice.randrange(3)))

    robot = dice.choice([*world.robots.values()])
    mine = {"organisation_id": world.organisation.id, "robot_id": robot.id}
    at += timedelta(minutes=dice.randrange(1200), microseconds=dice.randrange(10**6))
    ends, status = at + timedelta(seconds=50), dice.choice([BagStatus.complete, BagStatus.partial])
    span = {"started_at": at, "finished_at": ends, "uploaded_at": at, "robot_name": robot.name, "status": status}
    named = {"filename": f"{said()}.mcap", "error": dice.choice([None, said()]), "object_key": "none"}
    bag = Bag(sha256=new_id().hex * 2, size=1, **mine, **span, **named)
    session.add(bag)
    session.flush()
    kept = Kept(bag, [], [], [], [])
    for number in range(dice.randrange(3)):
        told = {"name": dice.choice(TOPICS), "type": dice.choice(TYPES), "errors": dice.choice(["", said()])}
        row = {"bag_id": bag.id, "number": number, "organisation_id": bag.organisation_id}
        kept.topics.append(BagTopic(**row, **told))
    for _ in range(dice.randrange(3)):
        when = dice.choice([at, ends, at - timedelta(microseconds=1), ends + timedelta(microseconds=1)])
        told = {"kind": dice.choice(["fault", "FAULT", "info"]), "fields": {"text": said(), "codes": [said(), 7]}}
        event = Event(key=new_id().hex, occurred_at=when, received_at=when, **mine, **told)
        event.severity = dice.choice(list(Severity))
        kept.events.append(event)
        kept.alerts += [Alert(rule=dice.choice(WORDS), message=said(), opened_at=when, **mine)][: dice.randrange(2)]
    if dice.random() < 0.3:
        row = {"trigger_id": new_id().hex, "asked_by": "x", "asked_at": at, "bag_id": bag.id, "why": said()}
        kept.recordings.append(Recording(kind=dice.choice(list(TriggerKind)), **mine, **row))
    session.add_all([*kept.topics, *kept.events, *kept.alerts, *kept.recordings])
    return kept


def holds(text: str, *places: str | None) -> bool:
    return any(text.lower() in place.lower() for place in places if place is not None)


def fits(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


def is_wanted(kept: Kept, sought: Sought, all_kept: list[Kept]) -> bool:
    bag = kept.bag
    mine = [one for one in all_kept if one.bag.robot_id == bag.robot_id]
    events = [event for one in mine for event in one.events if bag.started_at <= event.occurred_at <= bag.finished_at]
    alerts = [alert for one in mine for alert in one.alerts if bag.started_at <= alert.opened_at <= bag.finished_at]
    told = [(event.kind, json.dumps(event.fields, ensure_ascii=False)) for event in events if event.severity != "info"]

    def errs(text: str) -> bool:
        written = json.dumps(text, ensure_ascii=False)[1:-1]
        reported = any(holds(text, kind) or holds(written, fields) for kind, fields in told)
        return reported or any(topic.errors and holds(text, topic.errors) for topic in kept.topics)

    topics = [topic for topic in kept.topics if sought.topic is None or fits(sought.topic, topic.name)]
    topics = [topic for topic in topics if sought.type is None or fits(sought.type, topic.type)]
    began = [one for one in kept.recordings if sought.anomaly is not None and one.kind is TriggerKind.anomaly]
    any_alert = sought.anomaly == "*"
    checks = [
        sought.robot in (None, bag.robot_name),
        sought.status in (None, bag.status),
        sought.since is None or bag.finished_at.date() >= sought.since,
        sought.until is None or bag.started_at.date() <= sought.until,
        (sought.topic is None and sought.type is None) or bool(topics),
        sought.error is None or errs(sought.error),
        sought.trigger is None or any(one.kind is sought.trigger for one in kept.recordings),
        sought.anomaly is None
        or any(any_alert or holds(sought.anomaly, alert.rule, alert.message) for alert in alerts)
        or any(any_alert or holds(sought.anomaly, one.trigger_id, one.why) for one in began),
        sought.text is None
        or holds(sought.text, bag.filename, bag.error)
        or any(holds(sought.text, topic.name, topic.type) for topic in kept.topics)
        or errs(sought.text),
    ]
    return all(checks)


def question(dice: random.Random, first) -> dict[str, object]:
    word = dice.choice([*WORDS, "ü", "Ü", "%", "_", "\\", "жа", "过", '"', "FaUlT", "["])
    day = (first + DAY * dice.randrange(-1, 7)).date()
    one = [{"text": word}, {"error": word}, {"anomaly": word}, {"since": day}, {"until": day}]
    one += [{"topic": dice.choice(ASKED)}, {"type": dice.choice([*TYPES, *ASKED])}, {"robot": "amr-01"}]
    one += [{"status": BagStatus.partial}, {"trigger": dice.choice(list(TriggerKind))}]
    return {name: value for part in dice.sample(one, dice.choice([1, 1, 2])) for name, value in part.items()}


def compared(runtime, world, seed: int) -> int:
    dice, found = random.Random(seed), 0
    with runtime.transaction() as session:
        all_kept = filled(session, world, dice, runtime.clock.now())
        session.flush()
        for _ in range(120):
            sought = Sought(**question(dice, runtime.clock.now()))
            wanted = {kept.bag.id for kept in all_kept if is_wanted(kept, sought, all_kept)}
            assert {bag.id for bag in bags_of(session, world.organisation.id, sought)} == wanted, sought
            found += len(wanted)
    return found


def test_what_is_found_is_what_a_loop_over_all_rows_finds(runtime, world):
    assert compared(runtime, world, seed=0) > 500


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(4))
def test_what_postgresql_finds_is_what_a_loop_over_all_rows_finds(postgres_runtime, postgres_world, seed: int):
    assert compared(postgres_runtime, postgres_world, seed) > 500
