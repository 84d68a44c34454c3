"""What an operator asks for becomes a draft: checked against its site and the robots there (pure), ready to be written.

A draft is plain values for the tables, so that many are written by one statement each (missions/create).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from uuid import UUID

from sqlmodel import Session, select

from fleet.adapter import TaskKind
from fleet.database import new_id
from fleet.errors import Invalid, NotFound, TooLarge
from fleet.organisations import Site, Station
from fleet.robots import Robot
from missions.models import Desired, MissionCreate, MissionStatus, TaskCreate
from missions.plan import Candidate, Wanted, reason_to_refuse

MISSION_MAX_BYTES = 1_000_000
TASK_LONGEST_S = 86_400.0  # as long as the longest timeout of a task
Values = dict[str, object]
# What a mission begins with, whoever asks for it; what is asked for and its instants come on top.
AT_FIRST: Values = {
    "round_id": None,
    "retry_of": None,
    "status": MissionStatus.created,
    "desired": Desired.run,
    "version": 0,
    "reason": "",
    "robot_id": None,
    "pinned_robot_id": None,
    "first_task": 0,
}


@dataclass(frozen=True)
class Ground:
    """What a mission is checked against; it holds no session and may be kept for a moment."""

    site: Site
    stations: Mapping[str, UUID]
    robots: tuple[Candidate, ...]
    sites: Mapping[UUID, str] = field(repr=False)

    @cached_property
    def by_name(self) -> Mapping[str, Candidate]:
        """The organisation's robots by name."""
        return {robot.name: robot for robot in self.robots}


@dataclass(frozen=True)
class Draft:
    """A mission that may be written, its tasks in order; the names of their stations beside them, for its view."""

    mission: Values
    tasks: tuple[Values, ...]
    stations: tuple[str | None, ...] = ()

    @property
    def id(self) -> UUID:
        """The id it will have."""
        own = self.mission["id"]
        assert isinstance(own, UUID)
        return own


def says_of_robots(wanted: MissionCreate) -> bool:
    """Whether the robots matter to what is wanted: it names one, or says what it must be able to do."""
    return bool(wanted.robot or wanted.required_capabilities)


def ground_at(session: Session, site: Site, *, with_robots: bool) -> Ground:
    """The ground at `site` as it is now: its stations and, where they matter, all robots of the organisation by name."""
    stations = session.exec(select(Station.name, Station.id).where(Station.site_id == site.id)).all()
    if not with_robots:
        return Ground(site, dict(stations), (), {})
    own = select(Robot.id, Robot.site_id, Robot.name, Robot.capabilities)
    query = own.where(Robot.organisation_id == site.organisation_id).order_by(Robot.name)
    robots = tuple(
        Candidate(
            id=robot_id,
            organisation_id=site.organisation_id,
            site_id=site_id,
            name=name,
            capabilities=frozenset(capabilities),
            is_held=False,
        )
        for robot_id, site_id, name, capabilities in session.exec(query).all()
    )
    sites = session.exec(select(Site.id, Site.name).where(Site.organisation_id == site.organisation_id)).all()
    return Ground(site, dict(stations), robots, dict(sites))


def content_sha256(site: Site, wanted: MissionCreate) -> str:
    """What tells apart two missions that were asked for with one key.

    Raises:
        TooLarge: it has more than MISSION_MAX_BYTES.
    """
    content = wanted.model_dump_json(exclude={"key"}).encode()
    if len(content) > MISSION_MAX_BYTES:
        raise TooLarge(
            f"The mission {wanted.name[:50]!r} has {len(content)} bytes, and at most {MISSION_MAX_BYTES} are kept; "
            "put what is large into a file and name that.",
            bytes=len(content),
        )
    return sha256(site.id.bytes + content).hexdigest()


def draft(ground: Ground, wanted: MissionCreate, who: str, *, round_id: UUID | None = None) -> Draft:
    """The draft of what is wanted; whether it comes too late, or nobody can do it, is not asked (`check_possible`).

    Raises:
        Invalid: a task names no or an unknown station, the robot works at another site, or its times contradict each
            other; says which.
        NotFound: no robot of that name.
        TooLarge: it has more than MISSION_MAX_BYTES.
    """
    _check_times(wanted)
    site = ground.site
    mission = AT_FIRST | {
        **{name: getattr(wanted, name) for name in _ASKED},
        "id": new_id(),
        "organisation_id": site.organisation_id,
        "site_id": site.id,
        "round_id": round_id,
        "pinned_robot_id": _pinned(ground, wanted.robot) if wanted.robot else None,
        "content_sha256": content_sha256(site, wanted),
        "requested_by": who,
    }
    tasks = tuple(_task(ground, mission, position, task) for position, task in enumerate(wanted.tasks))
    return Draft(mission, tasks, tuple(task.station for task in wanted.tasks))


_ASKED = tuple(name for name in MissionCreate.model_fields if name not in {"tasks", "robot"})


def _task(ground: Ground, mission: Values, position: int, wanted: TaskCreate) -> Values:
    station_id = ground.stations.get(wanted.station) if wanted.station else None
    if wanted.station and station_id is None:
        known = ", ".join(sorted(ground.stations)) or "none"
        raise Invalid(
            f"Task {position} names the station {wanted.station!r}; known stations: {known}.", station=wanted.station
        )
    if wanted.kind is TaskKind.go_to and station_id is None:
        raise Invalid(f"Task {position} is a go_to and names no station; name one of the site's.", task=position)
    _check_duration(position, wanted)
    return {
        "mission_id": mission["id"],
        "position": position,
        "organisation_id": mission["organisation_id"],
        "kind": wanted.kind,
        "station_id": station_id,
        "parameters": {**wanted.parameters},
        "timeout_s": wanted.timeout_s,
        "skipped_at": None,
        "skipped_by": "",
    }


def _check_duration(position: int, wanted: TaskCreate) -> None:
    given = wanted.parameters.get("duration_s", 0.0)
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if not is_number or not 0 <= float(given) <= TASK_LONGEST_S:
        raise Invalid(
            f"Task {position} ({wanted.kind}) has the duration_s {given!r:.80}; give a number of seconds from 0 to "
            f"{TASK_LONGEST_S:.0f}.",
            task=position,
        )


def _pinned(ground: Ground, name: str) -> UUID:
    robot = ground.by_name.get(name)
    if robot is None:
        raise NotFound(f"There is no robot {name!r}; known robots: {', '.join(ground.by_name) or 'none'}.", robot=name)
    if robot.site_id != ground.site.id:
        raise Invalid(
            f"The robot {name!r} works at {ground.sites[robot.site_id]!r}, the mission is at {ground.site.name!r}; "
            "name one that works there.",
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


def check_possible(drafted: Draft, ground: Ground, now: datetime) -> None:
    """Refuse a draft whose time has passed by `now`, or that no robot of the organisation could ever do.

    Raises:
        Invalid: so it is; says which.
    """
    for name, at in _ends(drafted):
        if at < now:
            key = drafted.mission["key"]
            raise Invalid(f"{name} {at.isoformat()} {_has_passed(now)}; give a later one, or none.", key=key)
    if drafted.mission["required_capabilities"]:
        _check_able(drafted, ground, now)


def is_in_time(drafted: Draft, now: datetime) -> bool:
    """Whether the draft's time has not passed by `now`."""
    return all(at >= now for _, at in _ends(drafted))


def _ends(drafted: Draft) -> list[tuple[str, datetime]]:
    named = [(name, drafted.mission[name]) for name in ("not_after_at", "deadline_at")]
    return [(name, at) for name, at in named if isinstance(at, datetime)]


def _has_passed(now: datetime) -> str:
    return f"has passed: it is {now:%Y-%m-%d %H:%M:%S} UTC, and the mission would expire at once"


def _check_able(drafted: Draft, ground: Ground, now: datetime) -> None:
    known_of_it = {name: drafted.mission[name] for name in Wanted.model_fields if name in drafted.mission}
    reason = reason_to_refuse(Wanted.model_validate({**known_of_it, "created_at": now}), ground.robots)
    if reason:
        known = ", ".join(sorted(frozenset[str]().union(*(robot.capabilities for robot in ground.robots)))) or "nothing"
        raise Invalid(
            f"{reason} What robots here can do: {known}. Ask for that, or give a robot what it lacks.",
            required_capabilities=drafted.mission["required_capabilities"],
        )
