"""A mission comes to be: what an operator asks for is checked against the site and written once per key."""

from uuid import UUID

from sqlmodel import Session, select

from fleet.adapter import TaskKind
from fleet.clock import database_now
from fleet.errors import Invalid
from fleet.events import insert_new
from fleet.organisations import Site, Station, stations_of
from fleet.robots import robot_named
from missions.lifecycle import Cause, begin_mission, move_mission
from missions.models import Mission, MissionCreate, MissionStatus, MissionTask, Round, TaskCreate


def create(session: Session, *, site: Site, wanted: MissionCreate, who: str, round_id: UUID | None = None) -> Mission:
    """The mission of (organisation, `wanted.key`): a new one, SCHEDULED or AWAITING_APPROVAL, or the one already there.

    Raises:
        Invalid: a task names no or an unknown station, the robot works at another site, or the times contradict each
            other; says which.
        NotFound: no robot of that name.
    """
    _check_times(wanted)
    stations = stations_of(session, site.id)
    pinned = _pinned(session, site, wanted.robot) if wanted.robot else None
    now = database_now(session)
    mission = Mission(
        **wanted.model_dump(exclude={"tasks", "robot"}),
        organisation_id=site.organisation_id,
        site_id=site.id,
        round_id=round_id,
        pinned_robot_id=pinned,
        requested_by=who,
        created_at=now,
        updated_at=now,
    )
    tasks = [_task(mission, position, task, stations) for position, task in enumerate(wanted.tasks)]
    return insert(session, mission, tasks, Cause(who, f"requested by {who}"))


def insert(session: Session, mission: Mission, tasks: list[MissionTask], cause: Cause) -> Mission:
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
    """The round of (organisation, key) with all its missions; asking again with the same keys adds nothing.

    Raises:
        Invalid: no missions, one key twice, or a mission is wrong: then nothing of the round is written by the caller.
        NotFound: no robot of that name.
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
    insert_new(session, Round, row.model_dump(), on=["organisation_id", "key"])
    same = (Round.organisation_id == site.organisation_id, Round.key == key)
    found = session.exec(select(Round).where(*same)).one()
    for wanted in missions:
        create(session, site=site, wanted=wanted, who=who, round_id=found.id)
    return found


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
    earliest, latest = wanted.earliest_start_at, wanted.not_after_at
    if earliest and latest and latest < earliest:
        raise Invalid(
            f"not_after_at {latest.isoformat()} lies before earliest_start_at {earliest.isoformat()}; swap them.",
            key=wanted.key,
        )
