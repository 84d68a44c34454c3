"""Holds of people: a robot, a site or a whole fleet is given nothing new until the hold is released.

A hold is checked twice: the plan passes over held robots, and missions/dispatch looks again in the transaction that would
give one a mission. Missions under way end, pause or are cancelled, as the hold says; releasing it lets go on what it
paused, unless somebody said otherwise since or another hold pauses it, too.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Value
from sqlalchemy import Index, UniqueConstraint, bindparam
from sqlmodel import Field, Session, SQLModel, col, select

from fleet import changes, reading
from fleet.clock import database_now
from fleet.database import UTCDateTime, new_id, text_of
from fleet.errors import Conflict, Invalid, NotFound
from fleet.events import insert_new
from fleet.organisations import Site, site_named
from fleet.robots import Robot, robot_named
from missions import wishes
from missions.lifecycle import Cause
from missions.live import lock_mission
from missions.models import MISSION_TERMINAL, Attempt, Desired, Mission, Name, Text
from missions.plan import Candidate


class HoldScope(StrEnum):
    """How much is held."""

    robot = "robot"
    site = "site"
    fleet = "fleet"


class Meanwhile(StrEnum):
    """What becomes of missions that are under way on held robots."""

    finish = "finish"
    pause = "pause"
    cancel = "cancel"


class HoldWanted(BaseModel):
    """A hold as somebody asks for it; `key` makes asking twice harmless."""

    model_config = ConfigDict(extra="forbid")

    scope: HoldScope = Value(description="Hold one robot, all robots of a site, or all of the organisation.")
    robot: Name | None = Value(None, description="Name of the robot, when one is held.")
    site: Name | None = Value(None, description="Name of the site, when one is held.")
    meanwhile: Meanwhile = Value(Meanwhile.finish, description="What becomes of missions under way on held robots.")
    reason: Text = Value(min_length=1, max_length=500, description="Why, for those who wonder what a robot waits for.")
    key: Text = Value(min_length=1, max_length=200)


class Hold(SQLModel, table=True):
    """One hold; (organisation, key) exists once, so asking twice is harmless. `released_at` ends it."""

    __tablename__ = "holds"
    __table_args__ = (
        UniqueConstraint("organisation_id", "key"),
        Index("ix_holds_open", "organisation_id", "released_at"),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    organisation_id: UUID = Field(foreign_key="organisations.id", index=True)
    key: str
    scope: HoldScope = Field(sa_type=text_of(HoldScope))
    site_id: UUID | None = Field(default=None, foreign_key="sites.id", index=True)
    robot_id: UUID | None = Field(default=None, foreign_key="robots.id", index=True)
    meanwhile: Meanwhile = Field(default=Meanwhile.finish, sa_type=text_of(Meanwhile))
    reason: str
    who: str
    created_at: datetime = Field(sa_type=UTCDateTime)
    released_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    released_by: str = ""


OPEN = (
    select(Hold)
    .where(col(Hold.organisation_id).in_(bindparam("ids", expanding=True)), col(Hold.released_at).is_(None))
    .order_by(col(Hold.id))
)


class HoldView(BaseModel):
    """A hold with the names of what it holds."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    key: str
    scope: HoldScope
    robot: str | None
    site: str | None
    meanwhile: Meanwhile
    reason: str
    who: str
    created_at: datetime
    released_at: datetime | None
    released_by: str


def hold(session: Session, *, organisation_id: UUID, wanted: HoldWanted, who: str) -> Hold:
    """The hold of (organisation, `wanted.key`): a new one, or the one already there, also when that was released.

    Raises:
        Invalid: the scope and the names do not fit; says how.
        NotFound: no such robot or site.
        Conflict: the key is that of a hold on something else, or with another `meanwhile`.
    """
    row = _row(session, organisation_id, wanted, who)
    covered = _covered(session, row)
    if not insert_new(session, Hold, row.model_dump(), on=["organisation_id", "key"]):
        return _same(session, row)
    _tell(session, row, "put")
    if row.meanwhile is not Meanwhile.finish:
        for mission in _under_way(session, covered):
            cause = Cause(who, f"{_subject(row)} is held: {row.reason}", {"hold": str(row.id)})
            if row.meanwhile is Meanwhile.cancel:
                wishes.cancel(session, mission, cause)
            elif mission.desired is Desired.run:
                wishes.pause(session, mission, cause)
    return session.get_one(Hold, row.id)


def hold_abandoned(session: Session, attempt: Attempt, cause: Cause) -> None:
    """Hold the robot of an attempt that a person has given up, until a person has looked at it; once an attempt."""
    row = Hold(
        organisation_id=attempt.organisation_id,
        key=abandoned_key(attempt),
        scope=HoldScope.robot,
        robot_id=attempt.robot_id,
        reason=f"its order was given up without its word ({cause.why}); release it when it is safe to use",
        who=cause.who,
        created_at=database_now(session),
    )
    if insert_new(session, Hold, row.model_dump(), on=["organisation_id", "key"]):
        _tell(session, row, "put")


def abandoned_key(attempt: Attempt) -> str:
    """The key of the hold that giving up this attempt puts on its robot."""
    return f"abandoned/{attempt.key}"


def release(session: Session, *, organisation_id: UUID, hold_id: UUID, who: str) -> Hold:
    """The hold, released; what it paused goes on. Releasing twice is harmless.

    Raises:
        NotFound: no such hold in this organisation.
    """
    row: Hold | None = session.exec(
        select(Hold).where(Hold.id == hold_id).with_for_update().execution_options(populate_existing=True)
    ).first()
    if row is None or row.organisation_id != organisation_id:
        raise NotFound(f"There is no hold {hold_id}.", hold=str(hold_id))
    if row.released_at is not None:
        return row
    row.released_at, row.released_by = database_now(session), who
    session.add(row)
    session.flush()
    _tell(session, row, "released")
    if row.meanwhile is Meanwhile.pause:
        _resume_paused(session, row, who)
    return row


def release_all(
    session: Session, *, organisation_id: UUID, scope: HoldScope, subject_id: UUID | None = None, who: str
) -> list[Hold]:
    """Release every open hold of this scope: of the robot or site `subject_id`, or of the fleet."""
    rows = open_holds(session, [organisation_id])
    mine = [row for row in rows if row.scope is scope and subject_id in {row.robot_id, row.site_id}]
    return [release(session, organisation_id=organisation_id, hold_id=row.id, who=who) for row in mine]


def open_holds(session: Session, organisation_ids: Collection[UUID]) -> Sequence[Hold]:
    """The holds of these organisations that are not released: those on robots first, then sites, then fleets."""
    return in_order(session, reading.read(session, OPEN, {"ids": list(organisation_ids)}))


def in_order(session: Session, rows: Sequence[Sequence[object]]) -> Sequence[Hold]:
    """The holds that OPEN has found: those on robots first, then sites, then fleets."""
    rank = {HoldScope.robot: 0, HoldScope.site: 1, HoldScope.fleet: 2}
    return sorted(reading.load(session, Hold, rows), key=lambda row: rank[row.scope])


def covering(robot: Robot | Candidate, holds: Sequence[Hold]) -> Hold | None:
    """The first of the holds that holds this robot (pure)."""
    return next((row for row in holds if _covers(row, robot)), None)


def held_by(session: Session, robot: Robot) -> Hold | None:
    """What holds the robot now; asked under the robot's lock, no hold put meanwhile is missed."""
    return covering(robot, open_holds(session, [robot.organisation_id]))


def words(row: Hold) -> str:
    """Who holds a robot and why, for a sentence that says what it waits for."""
    return f"held by {row.who} ({row.reason})"


def views(session: Session, rows: Sequence[Hold]) -> list[HoldView]:
    """The holds with the names of what they hold."""
    robots = select(Robot.id, Robot.name).where(col(Robot.id).in_({row.robot_id for row in rows}))
    sites = select(Site.id, Site.name).where(col(Site.id).in_({row.site_id for row in rows}))
    names: dict[UUID | None, str] = {**dict(session.exec(robots).all()), **dict(session.exec(sites).all())}
    return [HoldView(**row.model_dump(), robot=names.get(row.robot_id), site=names.get(row.site_id)) for row in rows]


def _row(session: Session, organisation_id: UUID, wanted: HoldWanted, who: str) -> Hold:
    given = {name for name in ("robot", "site") if getattr(wanted, name)}
    needed = {HoldScope.robot: {"robot"}, HoldScope.site: {"site"}, HoldScope.fleet: set[str]()}[wanted.scope]
    if given != needed:
        named = " and ".join(sorted(given)) or "neither robot nor site"
        must = f"names a {next(iter(needed))} and nothing else" if needed else "names neither robot nor site"
        raise Invalid(f"A hold on a {wanted.scope} {must}; this one names {named}.", scope=wanted.scope.value)
    return Hold(
        organisation_id=organisation_id,
        key=wanted.key,
        scope=wanted.scope,
        robot_id=robot_named(session, organisation_id, wanted.robot).id if wanted.robot else None,
        site_id=site_named(session, organisation_id, wanted.site).id if wanted.site else None,
        meanwhile=wanted.meanwhile,
        reason=wanted.reason,
        who=who,
        created_at=database_now(session),
    )


def _same(session: Session, asked: Hold) -> Hold:
    same = (Hold.organisation_id == asked.organisation_id, Hold.key == asked.key)
    known = session.exec(select(Hold).where(*same)).one()
    fields = ("scope", "robot_id", "site_id", "meanwhile")
    differs = [name.removesuffix("_id") for name in fields if getattr(known, name) != getattr(asked, name)]
    if differs:
        raise Conflict(
            f"The key {known.key!r} is that of another hold of {known.who}: it differs in {', '.join(differs)}. Use another "
            "key.",
            hold=str(known.id),
        )
    return known


def _covers(row: Hold, robot: Robot | Candidate) -> bool:
    if row.organisation_id != robot.organisation_id:
        return False
    return row.scope is HoldScope.fleet or row.robot_id == robot.id or (row.site_id == robot.site_id)


def _covered(session: Session, row: Hold) -> set[UUID]:
    """The robots that the hold is about, locked: whoever is giving one a mission now is waited for, or sees the hold.

    Not against readers of the key, as every row that names the robot is one.
    """
    query = select(Robot).where(Robot.organisation_id == row.organisation_id).order_by(col(Robot.id))
    if row.scope is HoldScope.robot:
        query = query.where(Robot.id == row.robot_id)
    elif row.scope is HoldScope.site:
        query = query.where(Robot.site_id == row.site_id)
    return {robot.id for robot in session.exec(query.with_for_update(key_share=True)).all()}


def _under_way(session: Session, robot_ids: Collection[UUID]) -> list[Mission]:
    live = select(Attempt.mission_id).where(col(Attempt.robot_id).in_(robot_ids), col(Attempt.finished_at).is_(None))
    missions = [lock_mission(session, mission_id) for mission_id in sorted(session.exec(live).all())]
    return [mission for mission in missions if mission.status not in MISSION_TERMINAL]


def _resume_paused(session: Session, row: Hold, who: str) -> None:
    others = [other for other in open_holds(session, [row.organisation_id]) if other.meanwhile is Meanwhile.pause]
    query = (
        select(Mission.id, Robot)
        .join(Robot, col(Robot.id) == Mission.robot_id)
        .where(Mission.organisation_id == row.organisation_id, Mission.desired == Desired.pause)
        .where(col(Mission.status).not_in(MISSION_TERMINAL))
        .order_by(col(Mission.id))
    )
    for mission_id, robot in session.exec(query).all():
        mission = lock_mission(session, mission_id)
        is_ours = _covers(row, robot) and covering(robot, others) is None
        is_paused = mission.status not in MISSION_TERMINAL and mission.desired is Desired.pause  # still, under its lock
        if is_ours and is_paused and wishes.is_wish_of_hold(session, mission):
            cause = Cause(who, f"{_subject(row)} is released: {row.reason}", {"hold": str(row.id)})
            wishes.resume(session, mission, cause)


def _subject(row: Hold) -> str:
    return {HoldScope.robot: "its robot", HoldScope.site: "its site", HoldScope.fleet: "the fleet"}[row.scope]


def _tell(session: Session, row: Hold, kind: str) -> None:
    changes.record(
        session,
        organisation_id=row.organisation_id,
        subject="hold",
        subject_id=row.id,
        kind=kind,
        fields={"scope": row.scope.value, "reason": row.reason, "who": row.released_by or row.who},
    )
