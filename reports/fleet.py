"""The fleet report: from the rows of one site and period to typed content."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_
from sqlmodel import Session, col, select

from fleet.clock import database_now
from fleet.errors import Invalid, NotFound
from fleet.events import Event
from fleet.organisations import Organisation, Site
from fleet.robots import Robot
from fleet.states import RobotState
from missions.models import MISSION_TERMINAL, Attempt, AttemptStatus, Mission, MissionStatus, Round
from ml.models import RobotHealth
from reports.content import (
    CareLine,
    FailureLine,
    FleetReport,
    HappeningLine,
    MissionLine,
    RobotLine,
    WorkSpan,
)

HAPPENINGS_SHOWN = 40


@dataclass(frozen=True)
class Period:
    """From `begins_at` up to, and without, `ends_at`; `seen_to` is where knowledge ends when the period still runs."""

    begins_at: datetime
    ends_at: datetime
    seen_to: datetime

    @property
    def hours(self) -> float:
        """Hours of it that have passed."""
        return (self.seen_to - self.begins_at).total_seconds() / 3600

    def cut(self, attempt: Attempt) -> tuple[datetime, datetime] | None:
        """The part of the attempt's work within the period, or None."""
        if attempt.started_at is None:
            return None
        begins = max(attempt.started_at, self.begins_at)
        ends = min(attempt.finished_at or self.seen_to, self.seen_to)
        return (begins, ends) if begins < ends else None


def build(
    session: Session, *, organisation_id: UUID, site_id: UUID, period_from: datetime, period_to: datetime
) -> FleetReport:
    """What happened at a site from `period_from` up to `period_to` (aware instants).

    A mission counts where it ended; one that is still open counts if it was asked for before the period's end.

    Raises:
        Invalid: the period is empty, has not begun, or has no time zone.
        NotFound: the organisation has no such site.
    """
    site = _site(session, organisation_id, site_id)
    organisation = session.get_one(Organisation, organisation_id)
    now = database_now(session)
    period = _period(period_from, period_to, now)
    robots = session.exec(select(Robot).where(Robot.site_id == site_id).order_by(Robot.name)).all()
    names = {robot.id: robot.name for robot in robots}
    shown = _is_shown(site_id, period)
    missions = session.exec(select(Mission).where(shown).order_by(col(Mission.created_at), col(Mission.id))).all()
    attempts = _attempts(session, names, shown, period)
    happenings = _happenings(session, names, period)
    return FleetReport(
        organisation=organisation.name,
        site=site.name,
        timezone=site.timezone,
        period_from=period_from,
        period_to=period_to,
        generated_at=now,
        missions=tuple(_mission_lines(session, missions, attempts, names)),
        work=tuple(_work(attempts, names, period)),
        robots=tuple(_robot_lines(session, robots, attempts, happenings, period)),
        failures=tuple(_failures(missions, attempts, names, period)),
        happenings=tuple(_happening_line(event, names) for event in happenings[:HAPPENINGS_SHOWN]),
        happenings_total=len(happenings),
        care=tuple(_care(session, names)),
    )


def _site(session: Session, organisation_id: UUID, site_id: UUID) -> Site:
    site = session.get(Site, site_id)
    if site is None or site.organisation_id != organisation_id:
        raise NotFound(f"There is no site {site_id} in this organisation.", site=str(site_id))
    return site


def _period(begins_at: datetime, ends_at: datetime, now: datetime) -> Period:
    if begins_at.tzinfo is None or ends_at.tzinfo is None:
        raise Invalid("The period has no time zone; write instants like 2026-03-01T00:00:00+01:00.")
    if begins_at >= ends_at:
        raise Invalid(f"The period ends ({ends_at.isoformat()}) before it begins ({begins_at.isoformat()}).")
    if begins_at >= now:
        raise Invalid(f"The period begins in the future ({begins_at.isoformat()}); there is nothing to report yet.")
    return Period(begins_at, ends_at, min(ends_at, now))


def _is_shown(site_id: UUID, period: Period) -> ColumnElement[bool]:
    """Which missions the report tells of."""
    is_open = col(Mission.status).not_in(MISSION_TERMINAL)
    # The last change of a mission that has ended is its end.
    ended_here = (col(Mission.updated_at) >= period.begins_at) & (col(Mission.updated_at) < period.ends_at)
    return and_(col(Mission.site_id) == site_id, col(Mission.created_at) < period.ends_at, or_(is_open, ended_here))


def _attempts(
    session: Session, names: dict[UUID, str], shown: ColumnElement[bool], period: Period
) -> Sequence[Attempt]:
    """The attempts of the missions shown, and all others that worked in the period."""
    worked_here = (col(Attempt.started_at) < period.ends_at) & or_(
        col(Attempt.finished_at).is_(None), col(Attempt.finished_at) >= period.begins_at
    )
    # As a subquery: a year has more missions than a statement may have parameters.
    of_missions = col(Attempt.mission_id).in_(select(Mission.id).where(shown))
    query = (
        select(Attempt)
        .where(col(Attempt.robot_id).in_(names), or_(worked_here, of_missions))
        .order_by(col(Attempt.created_at), col(Attempt.id))
    )
    return session.exec(query).all()


def _mission_lines(
    session: Session, missions: Sequence[Mission], attempts: Sequence[Attempt], names: dict[UUID, str]
) -> list[MissionLine]:
    rounds = {mission.round_id for mission in missions if mission.round_id}
    titles = {row.id: row.name for row in session.exec(select(Round).where(col(Round.id).in_(rounds)))}
    tries: dict[UUID, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        tries[attempt.mission_id].append(attempt)
    return [_mission_line(mission, tries[mission.id], names, titles) for mission in missions]


def _mission_line(
    mission: Mission, tries: Sequence[Attempt], names: dict[UUID, str], rounds: dict[UUID, str]
) -> MissionLine:
    starts = [attempt.started_at for attempt in tries if attempt.started_at is not None]
    started_at = min(starts, default=None)
    return MissionLine(
        id=mission.id,
        name=mission.name,
        status=mission.status,
        robot=names.get(mission.robot_id) if mission.robot_id else None,
        round=rounds.get(mission.round_id) if mission.round_id else None,
        requested_by=mission.requested_by,
        created_at=mission.created_at,
        not_after_at=mission.not_after_at,
        started_at=started_at,
        finished_at=mission.updated_at if mission.status in MISSION_TERMINAL else None,
        attempts=len(tries),
        is_on_time=_is_on_time(mission, started_at),
        reason=mission.reason,
    )


def _is_on_time(mission: Mission, started_at: datetime | None) -> bool | None:
    """Whether it started before its deadline; a mission that was called off or never possible is not judged."""
    if mission.not_after_at is None:
        return None
    if started_at is not None:
        return started_at <= mission.not_after_at
    return False if mission.status in (MissionStatus.expired, MissionStatus.failed) else None


def _work(attempts: Sequence[Attempt], names: dict[UUID, str], period: Period) -> list[WorkSpan]:
    spans = ((attempt, period.cut(attempt)) for attempt in attempts)
    return [
        WorkSpan(robot=names[attempt.robot_id], status=attempt.status.value, begins_at=span[0], ends_at=span[1])
        for attempt, span in spans
        if span is not None
    ]


def _robot_lines(
    session: Session,
    robots: Sequence[Robot],
    attempts: Sequence[Attempt],
    happenings: Sequence[Event],
    period: Period,
) -> list[RobotLine]:
    ids = [robot.id for robot in robots]
    states = {row.robot_id: row for row in session.exec(select(RobotState).where(col(RobotState.robot_id).in_(ids)))}
    low = Counter(event.robot_id for event in happenings if event.kind == "battery_low")
    mine: dict[UUID, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        mine[attempt.robot_id].append(attempt)
    return [_robot_line(robot, states.get(robot.id), mine[robot.id], low[robot.id], period=period) for robot in robots]


def _robot_line(
    robot: Robot, state: RobotState | None, attempts: Sequence[Attempt], low: int, *, period: Period
) -> RobotLine:
    spans = [span for span in map(period.cut, attempts) if span is not None]
    hours = sum((ends - begins).total_seconds() for begins, ends in spans) / 3600
    here = Counter(attempt.status for attempt in attempts if _ended_in(attempt, period))
    return RobotLine(
        name=robot.name,
        model=robot.model,
        executing_hours=hours,
        utilisation_fraction=min(hours / period.hours, 1.0),
        succeeded=here[AttemptStatus.succeeded],
        failed_attempts=here[AttemptStatus.failed] + here[AttemptStatus.rejected],
        activity=state.activity.value if state else None,
        battery_fraction=state.battery_fraction if state else None,
        observed_at=state.observed_at if state else None,
        battery_low_events=low,
    )


def _ended_in(attempt: Attempt, period: Period) -> bool:
    return attempt.finished_at is not None and period.begins_at <= attempt.finished_at < period.ends_at


def _failures(
    missions: Sequence[Mission], attempts: Sequence[Attempt], names: dict[UUID, str], period: Period
) -> list[FailureLine]:
    """What failed and why, the most frequent first: attempts on a robot, and missions that no robot could do."""
    robots: dict[tuple[str, str], set[str]] = defaultdict(set)
    counts: Counter[tuple[str, str]] = Counter()
    for attempt in attempts:
        if attempt.status in (AttemptStatus.failed, AttemptStatus.rejected) and _ended_in(attempt, period):
            cause = (f"attempt {attempt.status.value.lower()}", attempt.reason)
            counts[cause] += 1
            robots[cause].add(names[attempt.robot_id])
    for mission in missions:
        if mission.status in (MissionStatus.refused, MissionStatus.expired):
            counts[f"mission {mission.status.value.lower()}", mission.reason] += 1
    return [
        FailureLine(what=what, reason=reason, count=count, robots=tuple(sorted(robots[what, reason])))
        for (what, reason), count in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    ]


def _happenings(session: Session, names: dict[UUID, str], period: Period) -> Sequence[Event]:
    """The events of the site's robots in the period, newest first."""
    query = (
        select(Event)
        .where(col(Event.robot_id).in_(names))
        .where(col(Event.occurred_at) >= period.begins_at, col(Event.occurred_at) < period.ends_at)
        .order_by(col(Event.occurred_at).desc(), col(Event.id))
    )
    return session.exec(query).all()


def _happening_line(event: Event, names: dict[UUID, str]) -> HappeningLine:
    return HappeningLine(
        occurred_at=event.occurred_at,
        robot=names.get(event.robot_id) if event.robot_id else None,
        kind=event.kind,
        severity=event.severity.value,
    )


def _care(session: Session, names: dict[UUID, str]) -> list[CareLine]:
    """The newest score of each robot, the most urgent first."""
    place = func.row_number().over(
        partition_by=col(RobotHealth.robot_id),
        order_by=(col(RobotHealth.as_of).desc(), col(RobotHealth.scored_at).desc(), col(RobotHealth.id).desc()),
    )
    ranked = select(RobotHealth.id, place.label("place")).where(col(RobotHealth.robot_id).in_(names)).subquery()
    query = select(RobotHealth).where(col(RobotHealth.id).in_(select(ranked.c.id).where(ranked.c.place == 1)))
    rows = sorted(session.exec(query).all(), key=lambda row: (row.rul_hours, names[row.robot_id]))
    return [
        CareLine(
            robot=names[row.robot_id],
            rul_hours=row.rul_hours,
            rul_lower_hours=row.rul_lower_hours,
            rul_upper_hours=row.rul_upper_hours,
            as_of=row.as_of,
            model=f"{row.model_name.removesuffix(f'-{row.organisation_id}')} v{row.model_version}",
        )
        for row in rows
    ]
