"""The snapshot that a plan rests on, read in a handful of queries however many missions wait."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Integer, Text, and_, bindparam, cast, exists, func, or_, type_coerce
from sqlalchemy.types import NullType
from sqlmodel import Session, col, select

from fleet import gateways, reading
from fleet.adapter import OrderTask
from fleet.clock import AHEAD_S, database_now
from fleet.database import UTCDateTime, as_utc
from fleet.organisations import Station
from fleet.robots import HolderKind, Robot, RobotLease
from fleet.states import RobotState
from missions import holds
from missions.foreign import foreign_orders
from missions.live import IDS, tries_now
from missions.models import Attempt, AttemptStatus, Desired, Mission, MissionStatus, MissionTask
from missions.orders import order_tasks, place_of, tasks_of
from missions.plan import URGENT, Candidate, Plan, Ranking, Snapshot, Wanted, Work, is_assignable
from missions.progress import counts_as_failure, pause_s
from missions.schedules.blackouts import blackout_until
from missions.schedules.models import Blackout
from missions.waiting import reason_to_wait

FREED_S = 60.0  # how long an urgent mission waits for a robot that is taken back for it, before it takes another
WAITING_MAX = 500  # the most urgent of each kind; the others come when these are served
FEW = 32
ROBOTS_KEPT = 10_000
SEEN_AS = (
    "id",
    "organisation_id",
    "site_id",
    "name",
    "capabilities",
    "battery_minimum_fraction",
    "activity",
    "battery_fraction",
    "x_m",
    "y_m",
    "heard_at",
)
# The driver's own values, as they come: making Python's of them is the work of `_as_candidate`, once a change.
_AS_IT_COMES = NullType()
SEEN: tuple[Any, ...] = (  # in the order of SEEN_AS; whether it is held follows
    cast(col(Robot.id), Text),
    cast(col(Robot.organisation_id), Text),
    cast(col(Robot.site_id), Text),
    Robot.name,
    cast(col(Robot.capabilities), Text),
    Robot.battery_minimum_fraction,
    type_coerce(col(RobotState.activity), _AS_IT_COMES),
    RobotState.battery_fraction,
    RobotState.x_m,
    RobotState.y_m,
    type_coerce(col(RobotState.received_at), _AS_IT_COMES),
)
NOW = bindparam("now", type_=UTCDateTime)
_URGENCY = (col(Mission.priority).desc(), col(Mission.id))
_KIND: tuple[Any, ...] = (Mission.site_id, Mission.pinned_robot_id, cast(col(Mission.required_capabilities), Text))
_MAY_BEGIN = or_(col(Mission.earliest_start_at).is_(None), col(Mission.earliest_start_at) <= NOW)
_WAITS = (Mission.status == MissionStatus.scheduled, Mission.desired == Desired.run, _MAY_BEGIN)
_MOST = bindparam("most", type_=Integer)
_MAY_BE_CLOSED = exists().where(
    col(Blackout.site_id) == Mission.site_id,
    col(Blackout.begins_at) <= NOW,
    or_(col(Blackout.ends_at) > NOW, col(Blackout.rule) != ""),
)
FIRST = (  # in the order in which missions.plan goes through them
    select(Mission, _MAY_BE_CLOSED)
    .where(*_WAITS)
    .order_by(col(Mission.priority).desc(), col(Mission.created_at), col(Mission.id))
    .limit(_MOST)
)
_RANKED = (
    select(Mission.id, func.row_number().over(partition_by=_KIND, order_by=_URGENCY).label("rank"))
    .where(*_WAITS)
    .subquery()
)
WAITING = (
    select(Mission).join(_RANKED, col(Mission.id) == _RANKED.c.id).order_by(_RANKED.c.rank, *_URGENCY).limit(_MOST)
)
_FIRST = (
    select(MissionTask.mission_id, func.min(MissionTask.position).label("position"))
    .join(Mission, col(Mission.id) == MissionTask.mission_id)
    .where(col(MissionTask.mission_id).in_(IDS), col(MissionTask.station_id).is_not(None))
    .where(col(MissionTask.position) >= Mission.first_task, col(MissionTask.skipped_at).is_(None))
    .group_by(col(MissionTask.mission_id))
    .subquery()
)
PLACES = (
    select(MissionTask.mission_id, Station.x_m, Station.y_m)
    .join(Station, col(Station.id) == MissionTask.station_id)
    .join(_FIRST, (_FIRST.c.mission_id == MissionTask.mission_id) & (_FIRST.c.position == MissionTask.position))
)
# The hold of an attempt ends with the attempt, never by the clock.
_IS_CURRENT = or_(col(RobotLease.holder_kind) == HolderKind.attempt, col(RobotLease.expires_at) >= NOW)
_COLUMNS: tuple[Any, ...] = (*SEEN, and_(col(RobotLease.robot_id).is_not(None), _IS_CURRENT))
ROBOTS = (
    select(*_COLUMNS)
    .join(RobotState, col(RobotState.robot_id) == Robot.id, isouter=True)
    .join(RobotLease, col(RobotLease.robot_id) == Robot.id, isouter=True)
    .where(col(Robot.organisation_id).in_(IDS))
    .order_by(Robot.name)
)
HELD = "It is paused until it is resumed."
UNAPPROVED = "Nobody has approved it."


@dataclass(frozen=True)
class Free:
    """Robots that were free a moment ago, by one who looks often; missions/dispatch sees whether each still is.

    A plan with these alone is right where it gives a robot to each mission: why one gets none they cannot tell.
    """

    organisation_ids: frozenset[UUID]
    robots: tuple[Candidate, ...]
    ranking: Ranking  # without those that a plan gave something since

    def suffices(self, missions: Sequence[Mission]) -> bool:
        """Whether these missions may be planned with them: nothing is taken back for any of them."""
        return all(
            mission.organisation_id in self.organisation_ids and mission.priority < URGENT for mission in missions
        )


def free_in(seen: Snapshot, made: Plan) -> Free:
    """The robots of a snapshot that are free and stay so with this plan, to be remembered for a moment."""
    given = {assignment.robot_id for assignment in made.assignments}
    left = [robot for robot in seen.robots if robot.id not in given]
    return _free({mission.organisation_id for mission in seen.missions}, left, seen.now)


def free_now(session: Session, organisation_ids: Collection[UUID]) -> Free:
    """The robots of these organisations that are free, to be remembered for a moment."""
    now = database_now(session)
    return _free(organisation_ids, _candidates(session, organisation_ids, now), now)


def _free(organisation_ids: Collection[UUID], robots: Sequence[Candidate], now: datetime) -> Free:
    free = [robot for robot in robots if is_assignable(robot, now)]
    return Free(frozenset(organisation_ids), tuple(free), Ranking(free))


def take(session: Session) -> Snapshot:
    """What waits and who could do it, as the database knows it now; of the robots nothing when nothing waits."""
    return _around(session, _waiting(session))


def take_first(session: Session, most: int, *, free: Free | None = None) -> Snapshot:
    """`take` of the `most` missions that a plan comes to first: where each gets a robot, they would among all as well.

    Where the robots in `free` suffice, those are in it and none is read.
    """
    now = database_now(session)
    rows = reading.read(session, FIRST, {"now": now, "most": most})
    missions, may_be_closed = reading.plain(Mission, rows), any(row[-1] for row in rows)
    if free is None or not missions or not free.suffices(missions):
        return _around(session, missions, may_be_closed=may_be_closed)
    wanted = tuple(_wanted(session, missions, now, may_be_closed=may_be_closed))
    return Snapshot(now=now, missions=wanted, robots=free.robots, is_remembered=True)


def waiting_for(session: Session, missions: Sequence[Mission]) -> dict[UUID, str]:
    """Why each of the missions that wait for a robot waits, for a person; the others are not in it.

    It is read from the robots as they are now and kept nowhere.
    """
    waiting = [mission for mission in missions if mission.status is MissionStatus.scheduled]
    if not waiting:
        return {}
    seen = _around(session, [mission for mission in waiting if mission.desired is Desired.run])
    told = {mission.id: HELD for mission in waiting if mission.desired is Desired.pause}
    foreign = foreign_orders(session, {mission.organisation_id for mission in waiting})
    robots = [
        robot.model_copy(update={"foreign_order": foreign[robot.id].order}) if robot.id in foreign else robot
        for robot in seen.robots
    ]
    reasons: dict[tuple[object, ...], str] = {}
    for mission in seen.missions:
        asked = _asked(mission)
        if asked not in reasons:
            reasons[asked] = reason_to_wait(mission, robots, seen.now)
        told[mission.id] = reasons[asked]
    return told


def _asked(mission: Wanted) -> tuple[object, ...]:
    """All that its reason to wait depends on; a robot may be freed for this very mission if it is urgent."""
    whom = (mission.organisation_id, mission.site_id, mission.required_capabilities, mission.pinned_robot_id)
    when = (mission.ready_at, mission.not_after_at, mission.closed_until, mission.closed_for)
    return (*whom, *when, mission.id if mission.priority >= URGENT else None)


def waited_for(session: Session, missions: Sequence[Mission]) -> dict[UUID, str]:
    """Why each of the missions that could have begun was given no robot until now, for a person."""
    told = {mission.id: HELD for mission in missions if mission.desired is Desired.pause}
    told |= {each.id: UNAPPROVED for each in missions if each.status is MissionStatus.awaiting_approval}
    seen = _around(session, [mission for mission in missions if mission.id not in told])
    in_time = [mission.model_copy(update={"not_after_at": None}) for mission in seen.missions]
    return told | {mission.id: reason_to_wait(mission, seen.robots, seen.now) for mission in in_time}


def _around(session: Session, missions: Sequence[Mission], *, may_be_closed: bool = True) -> Snapshot:
    now = database_now(session)
    if not missions:
        return Snapshot(now=now, missions=(), robots=())
    organisations = {mission.organisation_id for mission in missions}
    robots = _candidates(session, organisations, now)
    if any(mission.priority >= URGENT for mission in missions):
        robots = _with_work(session, robots, organisations, now)
    wanted = _wanted(session, missions, now, may_be_closed=may_be_closed)
    return Snapshot(now=now, missions=tuple(wanted), robots=tuple(robots))


def _waiting(session: Session) -> Sequence[Mission]:
    """The first of those that may begin by now, in turn of each kind.

    Of one kind are those that the same robots can do: many that wait for a robot that is away hide no others. So of
    every kind the first is among them, also of more than WAITING_MAX kinds.
    """
    now, most = database_now(session), WAITING_MAX
    while True:
        found = session.exec(WAITING, params={"now": now, "most": most}).all()
        if len(found) < most or len({_kind(mission) for mission in found}) < len(found):
            return found
        most *= 4


def _kind(mission: Mission) -> tuple[object, ...]:
    return (mission.site_id, mission.pinned_robot_id, *mission.required_capabilities)


def _wanted(session: Session, missions: Sequence[Mission], now: datetime, *, may_be_closed: bool) -> list[Wanted]:
    places, tasks = _places(session, missions)
    tries: dict[UUID, list[Attempt]] = {}
    for attempt in tries_now(session, missions):
        tries.setdefault(attempt.mission_id, []).append(attempt)
    closed = blackout_until(session, {mission.site_id for mission in missions}, now) if may_be_closed else {}
    until = now + timedelta(seconds=AHEAD_S)
    found = [
        _as_wanted(mission, places.get(mission.id), tries.get(mission.id, []), until, tasks.get(mission.id))
        for mission in missions
    ]
    return [_closed(mission, *closed[mission.site_id]) if mission.site_id in closed else mission for mission in found]


def _closed(mission: Wanted, until: datetime, name: str) -> Wanted:
    return mission.model_copy(update={"closed_until": until, "closed_for": name})


def _as_wanted(
    mission: Mission,
    place: tuple[float, float] | None,
    tries: Sequence[Attempt],
    until: datetime,
    tasks: tuple[OrderTask, ...] | None,
) -> Wanted:
    x_m, y_m = place if place else (None, None)
    return Wanted(
        id=mission.id,
        organisation_id=mission.organisation_id,
        site_id=mission.site_id,
        name=mission.name,
        version=mission.version,
        priority=mission.priority,
        created_at=mission.created_at,
        required_capabilities=frozenset(mission.required_capabilities),
        pinned_robot_id=mission.pinned_robot_id,
        ready_at=ready_at(mission, tries, until),
        not_after_at=None if any(attempt.started_at for attempt in tries) else mission.not_after_at,
        x_m=x_m,
        y_m=y_m,
        tried_robot_ids=frozenset(attempt.robot_id for attempt in tries if counts_as_failure(attempt)),
        tasks=tasks,
    )


def ready_at(mission: Mission, tries: Sequence[Attempt], until: datetime) -> datetime | None:
    """When the mission may begin (pure): its earliest start, or the end of the pause after a try that failed.

    An end after `until` was written before the clock was set back; nobody rests for it.
    """
    ended = [attempt.finished_at for attempt in tries if attempt.finished_at and attempt.finished_at <= until]
    rest_s = pause_s(mission, tries)
    if not ended or not rest_s:
        return mission.earliest_start_at
    rested = max(ended) + timedelta(seconds=rest_s)
    return max(rested, mission.earliest_start_at or rested)


def _places(
    session: Session, missions: Sequence[Mission]
) -> tuple[dict[UUID, tuple[float, float] | None], dict[UUID, tuple[OrderTask, ...]]]:
    """Where missions begin and, of a few, all that is to be done: those may be given at once, and need not read it then."""
    ids = [mission.id for mission in missions]
    if len(missions) > FEW:
        rows = session.connection().execute(PLACES, {"ids": ids})
        return {mission_id: (x_m, y_m) for mission_id, x_m, y_m in rows}, {}
    found = tasks_of(session, ids) if ids else {}
    places = {each.id: place_of(found[each.id], first_task=each.first_task) for each in missions}
    return places, {each.id: order_tasks(found[each.id], first_task=each.first_task) for each in missions}


def _candidates(session: Session, organisation_ids: Collection[UUID], now: datetime) -> list[Candidate]:
    asked = {"ids": list(organisation_ids), "now": now}
    seen = [_as_candidate(tuple(row)) for row in session.connection().execute(ROBOTS, asked).all()]
    held = holds.open_holds(session, organisation_ids)
    away = gateways.out_of_reach(session, organisation_ids, now)
    reached = [robot.model_copy(update={"held_by": away[robot.id]}) if robot.id in away else robot for robot in seen]
    return [_with_hold(robot, held) for robot in reached] if held else reached


def _with_hold(robot: Candidate, held: Sequence[holds.Hold]) -> Candidate:
    hold = holds.covering(robot, held)
    return robot.model_copy(update={"held_by": holds.words(hold)}) if hold else robot


@lru_cache(maxsize=ROBOTS_KEPT)
def _as_candidate(row: tuple[object, ...]) -> Candidate:
    # From one look to the next hardly any robot has changed, and building these anew is most of the cost of a look.
    *seen, is_held = row
    known = {name: value for name, value in zip(SEEN_AS, seen, strict=True) if value is not None}
    known["capabilities"] = frozenset(json.loads(str(known["capabilities"])))
    if "heard_at" in known:
        known["heard_at"] = as_utc(known["heard_at"])
    return Candidate.model_validate({**known, "is_held": bool(is_held)})


def _with_work(
    session: Session, robots: Sequence[Candidate], organisation_ids: set[UUID], now: datetime
) -> list[Candidate]:
    """The robots with what each works on, or was taken from just now, for those that urgent missions may take."""
    just_now = now - timedelta(seconds=FREED_S)
    is_freed = and_(col(Attempt.recalled_for).is_not(None), col(Attempt.finished_at) > just_now)
    query = (
        select(Attempt, Mission)
        .join(Mission, col(Mission.id) == Attempt.mission_id)
        .where(col(Attempt.organisation_id).in_(organisation_ids), or_(col(Attempt.finished_at).is_(None), is_freed))
    )
    work: dict[UUID, Work] = {}
    freed: dict[UUID, UUID | None] = {}
    for attempt, mission in session.exec(query).all():
        if attempt.finished_at is None:
            work[attempt.robot_id] = _as_work(attempt, mission, now)
        else:
            freed[attempt.robot_id] = attempt.recalled_for
    return [robot.model_copy(update={"work": work.get(robot.id), "freed_for": freed.get(robot.id)}) for robot in robots]


def _as_work(attempt: Attempt, mission: Mission, now: datetime) -> Work:
    is_late = attempt.recalled_at is not None and abs((now - attempt.recalled_at).total_seconds()) > FREED_S
    return Work(
        mission_id=mission.id,
        mission_name=mission.name,
        attempt_id=attempt.id,
        priority=mission.priority,
        is_preemptible=mission.preemptible,
        is_ending=attempt.recall is not None or mission.desired is Desired.cancel,
        recalled_for=attempt.recalled_for,
        is_stuck=attempt.status is AttemptStatus.lost or is_late,
    )
