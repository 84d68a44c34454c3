"""A mission comes to be: what an operator asks for is checked against the site and written once per key."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from itertools import pairwise
from uuid import UUID

from sqlmodel import Session, col, select

from fleet.adapter import TaskKind
from fleet.clock import database_now
from fleet.errors import Conflict, Invalid, TooLarge, YardmasterError
from fleet.events import insert_new
from fleet.organisations import Site, Station, stations_of
from fleet.robots import Robot, robot_named
from missions.lifecycle import Cause, begin_mission, move_mission
from missions.models import Mission, MissionCreate, MissionStatus, MissionTask, Round, TaskCreate
from missions.plan import Candidate, Wanted, reason_to_refuse

MISSION_MAX_BYTES = 1_000_000
# What is compared when a key comes again, by the name under which it was asked for.
ASKED = {"site_id": "site", "pinned_robot_id": "robot"} | {
    name: name for name in MissionCreate.model_fields if name in Mission.model_fields and name != "key"
}
ASKED_OF_A_TASK = ("kind", "station_id", "parameters", "timeout_s")


def create(session: Session, *, site: Site, wanted: MissionCreate, who: str, round_id: UUID | None = None) -> Mission:
    """The mission of (organisation, `wanted.key`): a new one, SCHEDULED or AWAITING_APPROVAL, or the one already there.

    Raises:
        Invalid: a task names no or an unknown station, the robot works at another site, nobody can do it, or its times
            contradict each other or have passed; says which.
        NotFound: no robot of that name.
        Conflict: the key is that of a mission of which something else was asked; names what differs.
    """
    content = _content_sha256(site, wanted)
    same = (Mission.organisation_id == site.organisation_id, Mission.key == wanted.key)
    known = session.exec(select(Mission).where(*same)).first()
    if known is not None and known.content_sha256 in {"", content}:
        return known
    mission, tasks = _rows(session, site, wanted, who)
    mission.round_id, mission.content_sha256 = round_id, content
    if known is None:
        _check_possible(session, mission)
        known = insert(session, mission, tasks, Cause(who, f"requested by {who}"))
    if known.id != mission.id:
        _refuse_other_content(session, known, mission, tasks)
    return known


def check(session: Session, *, site: Site, wanted: MissionCreate) -> None:
    """Refuse what `create` would refuse of a new mission, and write nothing.

    Raises:
        Invalid, NotFound: as `create`.
    """
    mission, _ = _rows(session, site, wanted, "")
    _check_possible(session, mission)


def insert(session: Session, mission: Mission, tasks: Sequence[MissionTask], cause: Cause) -> Mission:
    """Write the mission with its tasks and set it going, unless one with its key is there: then that one."""
    if not insert_new(session, Mission, mission.model_dump(), on=["organisation_id", "key"]):
        same = (Mission.organisation_id == mission.organisation_id, Mission.key == mission.key)
        return session.exec(select(Mission).where(*same)).one()
    row = session.get_one(Mission, mission.id)
    session.add_all(tasks)
    begin_mission(session, row, cause)
    to = MissionStatus.awaiting_approval if row.approval_needed else MissionStatus.scheduled
    move_mission(session, row, to, cause)
    return row


def create_round(
    session: Session, *, site: Site, name: str, key: str, missions: list[MissionCreate], who: str
) -> Round:
    """The round of (organisation, key) with all its missions; asking again for the same adds nothing.

    Raises:
        Invalid: no missions, one key twice, or a mission is wrong (it is named): nothing of the round is kept by a
            caller that rolls back.
        NotFound: no robot of that name.
        Conflict: the key is that of a round, or a mission's key that of a mission, of which something else was asked.
    """
    keys = [wanted.key for wanted in missions]
    if not keys or len(set(keys)) < len(keys):
        raise Invalid(f"A round needs missions with keys of their own; round {key!r} has {keys}.", round=key)
    row = Round(
        organisation_id=site.organisation_id,
        site_id=site.id,
        name=name,
        key=key,
        requested_by=who,
        created_at=database_now(session),
    )
    is_new = insert_new(session, Round, row.model_dump(), on=["organisation_id", "key"])
    same = (Round.organisation_id == site.organisation_id, Round.key == key)
    found = session.exec(select(Round).where(*same)).one()
    if not is_new:
        _refuse_other_round(session, found, row, keys)
    for number, wanted in enumerate(missions, start=1):
        with _naming(f"mission {number} {wanted.name!r}"):
            mission = create(session, site=site, wanted=wanted, who=who, round_id=found.id)
            if mission.round_id != found.id:
                raise Conflict(f"The key {wanted.key!r} is that of a mission outside this round; use another.")
    return found


@contextmanager
def _naming(subject: str) -> Iterator[None]:
    try:
        yield
    except YardmasterError as error:
        raise type(error)(f"{subject}: {error.message}", **error.fields) from None


def _refuse_other_round(session: Session, known: Round, asked: Round, keys: Sequence[str]) -> None:
    own = (Mission.round_id == known.id, col(Mission.retry_of).is_(None))
    members = set(session.exec(select(Mission.key).where(*own)).all())
    differs = [name for name in ("name", "site_id") if getattr(known, name) != getattr(asked, name)]
    if members != set(keys):
        strange = ", ".join(repr(key) for key in sorted(members ^ set(keys))[:5])
        differs.append(f"missions ({strange} in only one of both)")
    if differs:
        raise Conflict(
            f"The key {known.key!r} is that of another round, {known.name!r} of {known.requested_by}: it differs in "
            f"{', '.join(differs)}. Use another key, or ask for the same.",
            round=str(known.id),
        )


def _refuse_other_content(session: Session, known: Mission, asked: Mission, asked_tasks: Sequence[MissionTask]) -> None:
    differs = [word for field, word in ASKED.items() if getattr(known, field) != getattr(asked, field)]
    query = select(MissionTask).where(MissionTask.mission_id == known.id).order_by(col(MissionTask.position))
    if [_of_task(task) for task in session.exec(query).all()] != [_of_task(task) for task in asked_tasks]:
        differs.append("tasks")
    if differs:
        raise Conflict(
            f"The key {known.key!r} is that of another mission, {known.name!r} of {known.requested_by}: it differs in "
            f"{', '.join(differs)}. Use another key, or ask for the same.",
            mission=str(known.id),
            differs=differs,
        )


def _of_task(task: MissionTask) -> list[object]:
    return [getattr(task, field) for field in ASKED_OF_A_TASK]


def _content_sha256(site: Site, wanted: MissionCreate) -> str:
    content = wanted.model_dump_json(exclude={"key"}).encode()
    if len(content) > MISSION_MAX_BYTES:
        raise TooLarge(
            f"The mission {wanted.name[:50]!r} has {len(content)} bytes, and at most {MISSION_MAX_BYTES} are kept; "
            "put what is large into a file and name that.",
            bytes=len(content),
        )
    return sha256(site.id.bytes + content).hexdigest()


def _rows(session: Session, site: Site, wanted: MissionCreate, who: str) -> tuple[Mission, list[MissionTask]]:
    _check_times(wanted)
    stations = stations_of(session, site.id)
    now = database_now(session)
    mission = Mission(
        **wanted.model_dump(exclude={"tasks", "robot"}),
        organisation_id=site.organisation_id,
        site_id=site.id,
        pinned_robot_id=_pinned(session, site, wanted.robot) if wanted.robot else None,
        requested_by=who,
        created_at=now,
        updated_at=now,
    )
    return mission, [_task(mission, position, task, stations) for position, task in enumerate(wanted.tasks)]


def _task(mission: Mission, position: int, wanted: TaskCreate, stations: dict[str, Station]) -> MissionTask:
    station = stations.get(wanted.station) if wanted.station else None
    if wanted.station and station is None:
        known = ", ".join(sorted(stations)) or "none"
        raise Invalid(
            f"Task {position} names the station {wanted.station!r}; known stations: {known}.", station=wanted.station
        )
    if wanted.kind is TaskKind.go_to and station is None:
        raise Invalid(f"Task {position} is a go_to and names no station; name one of the site's.", task=position)
    return MissionTask(
        mission_id=mission.id,
        position=position,
        organisation_id=mission.organisation_id,
        kind=wanted.kind,
        station_id=station.id if station else None,
        parameters={**wanted.parameters},
        timeout_s=wanted.timeout_s,
    )


def _pinned(session: Session, site: Site, name: str) -> UUID:
    robot = robot_named(session, site.organisation_id, name)
    if robot.site_id != site.id:
        there = session.get_one(Site, robot.site_id)
        raise Invalid(
            f"The robot {name!r} works at {there.name!r}, the mission is at {site.name!r}; name one that works there.",
            robot=name,
        )
    return robot.id


def _check_times(wanted: MissionCreate) -> None:
    named = {name: getattr(wanted, name) for name in ("earliest_start_at", "not_after_at", "deadline_at")}
    ordered = [(name, at) for name, at in named.items() if at is not None]
    for (before, first), (after, second) in pairwise(ordered):
        if second < first:
            raise Invalid(
                f"{after} {second.isoformat()} lies before {before} {first.isoformat()}; swap them.", key=wanted.key
            )


def _check_possible(session: Session, mission: Mission) -> None:
    now = database_now(session)
    for name, at in (("not_after_at", mission.not_after_at), ("deadline_at", mission.deadline_at)):
        if at is not None and at < now:
            raise Invalid(f"{name} {at.isoformat()} {_has_passed(now)}; give a later one, or none.", key=mission.key)
    if mission.required_capabilities:
        _check_able(session, mission)


def _has_passed(now: datetime) -> str:
    return f"has passed: it is {now:%Y-%m-%d %H:%M:%S} UTC, and the mission would expire at once"


def _check_able(session: Session, mission: Mission) -> None:
    own = select(Robot.id, Robot.site_id, Robot.name, Robot.capabilities)
    robots = [
        Candidate(
            id=robot_id,
            organisation_id=mission.organisation_id,
            site_id=site_id,
            name=name,
            capabilities=frozenset(capabilities),
            is_held=False,
        )
        for robot_id, site_id, name, capabilities in session.exec(
            own.where(Robot.organisation_id == mission.organisation_id).order_by(Robot.name)
        ).all()
    ]
    wanted = Wanted.model_validate(mission.model_dump(include=set(Wanted.model_fields)))
    reason = reason_to_refuse(wanted, robots)
    if reason:
        known = ", ".join(sorted(frozenset[str]().union(*(robot.capabilities for robot in robots)))) or "nothing"
        raise Invalid(
            f"{reason} What robots here can do: {known}. Ask for that, or give a robot what it lacks.",
            required_capabilities=mission.required_capabilities,
        )
