"""What people see of missions: views made in a handful of queries, always within one organisation."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session, col, select

from fleet.errors import NotFound
from fleet.organisations import Station
from fleet.robots import Robot
from missions import snapshot
from missions.models import (
    MISSION_TERMINAL,
    Attempt,
    AttemptStatus,
    Desired,
    Mission,
    MissionStatus,
    MissionTask,
    Recall,
    Round,
    TaskResult,
    Transition,
)


class View(BaseModel):
    """What was read at one moment."""

    model_config = ConfigDict(frozen=True)


class AttemptView(View):
    """One try of a mission."""

    number: int
    status: AttemptStatus
    robot: str
    reason: str
    recall: Recall | None = Field(None, description="Why it is, or was, taken back although its mission goes on.")
    recall_reason: str = ""
    started_at: datetime | None
    finished_at: datetime | None


class TaskView(View):
    """One task, as it was asked for."""

    position: int
    kind: str
    station: str | None
    skipped_at: datetime | None = Field(None, description="When a person left it out.")
    skipped_by: str = ""


class ResultView(View):
    """What became of one task in one attempt."""

    attempt: int
    position: int
    status: str
    value: float | None
    unit: str | None
    message: str
    finished_at: datetime | None


class TransitionView(View):
    """One line of the history: who, when, why."""

    subject: str
    from_status: str | None
    to_status: str
    version: int
    who: str
    why: str
    at: datetime


class MissionView(View):
    """A mission with its attempts, tasks, results and history; `robot` is that of its newest attempt."""

    id: UUID
    round_id: UUID | None
    retry_of: UUID | None
    name: str
    key: str
    status: MissionStatus
    desired: Desired
    version: int
    reason: str
    waiting_for: str = Field(
        "", description="Why it has no robot yet, as of the reading; empty when it waits for none."
    )
    priority: int
    robot: str | None
    required_capabilities: list[str]
    requested_by: str
    earliest_start_at: datetime | None
    not_after_at: datetime | None
    deadline_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempts: list[AttemptView]
    tasks: list[TaskView]
    results: list[ResultView]
    transitions: list[TransitionView]

    @property
    def is_finished(self) -> bool:
        """Whether it has ended, however."""
        return self.status in MISSION_TERMINAL


class RoundView(View):
    """A round with its missions, counted by status."""

    id: UUID
    name: str
    key: str
    requested_by: str
    created_at: datetime
    counts: dict[MissionStatus, int]
    is_finished: bool
    missions: list[MissionView]


def missions_of(
    session: Session,
    organisation_id: UUID,
    *,
    round_id: UUID | None = None,
    status: MissionStatus | None = None,
    limit: int = 200,
) -> list[MissionView]:
    """The organisation's missions, newest first, at most `limit`."""
    query = select(Mission).where(Mission.organisation_id == organisation_id)
    if round_id is not None:
        query = query.where(Mission.round_id == round_id)
    if status is not None:
        query = query.where(Mission.status == status)
    return _views(session, session.exec(query.order_by(col(Mission.id).desc()).limit(limit)).all())


def mission_view(session: Session, organisation_id: UUID, mission_id: UUID) -> MissionView:
    """One mission.

    Raises:
        NotFound: no such mission in this organisation.
    """
    query = select(Mission).where(Mission.organisation_id == organisation_id, Mission.id == mission_id)
    mission = session.exec(query).first()
    if mission is None:
        raise NotFound(f"There is no mission {mission_id}.", mission=str(mission_id))
    return _views(session, [mission])[0]


def missions_seen(session: Session, missions: Sequence[Mission]) -> list[MissionView]:
    """These missions, which the caller has read or written in this transaction, in their order."""
    return _views(session, missions)


def round_view(session: Session, organisation_id: UUID, round_id: UUID) -> RoundView:
    """One round with its missions in the order they were asked for.

    Raises:
        NotFound: no such round in this organisation.
    """
    found = session.exec(select(Round).where(Round.organisation_id == organisation_id, Round.id == round_id)).first()
    if found is None:
        raise NotFound(f"There is no round {round_id}.", round=str(round_id))
    missions = missions_of(session, organisation_id, round_id=round_id, limit=10_000)[::-1]
    return RoundView(
        **found.model_dump(include={"id", "name", "key", "requested_by", "created_at"}),
        counts=dict(Counter(mission.status for mission in missions)),
        is_finished=all(mission.is_finished for mission in missions),
        missions=missions,
    )


def _views(session: Session, missions: Sequence[Mission]) -> list[MissionView]:
    keys = [mission.id for mission in missions]
    attempts = _attempts(session, keys)
    robots = _robots(session, missions)
    tasks = _tasks(session, keys)
    results = _results(session, keys)
    history = _history(session, keys)
    waiting_for = snapshot.waiting_for(session, missions)
    return [
        MissionView(
            **mission.model_dump(),
            waiting_for=waiting_for.get(mission.id, ""),
            robot=robots.get(mission.robot_id) if mission.robot_id else None,
            started_at=min((a.started_at for a in attempts.get(mission.id, []) if a.started_at), default=None),
            finished_at=mission.updated_at if mission.status in MISSION_TERMINAL else None,
            attempts=attempts.get(mission.id, []),
            tasks=tasks.get(mission.id, []),
            results=results.get(mission.id, []),
            transitions=history.get(mission.id, []),
        )
        for mission in missions
    ]


def _robots(session: Session, missions: Sequence[Mission]) -> dict[UUID, str]:
    keys = {mission.robot_id for mission in missions if mission.robot_id}
    return dict(session.exec(select(Robot.id, Robot.name).where(col(Robot.id).in_(keys))).all())


def _attempts(session: Session, mission_ids: Sequence[UUID]) -> dict[UUID, list[AttemptView]]:
    query = select(Attempt, Robot.name).join(Robot, col(Robot.id) == Attempt.robot_id)
    found: dict[UUID, list[AttemptView]] = {}
    for row, robot in session.exec(
        query.where(col(Attempt.mission_id).in_(mission_ids)).order_by(col(Attempt.number))
    ).all():
        found.setdefault(row.mission_id, []).append(AttemptView(**row.model_dump(), robot=robot))
    return found


def _tasks(session: Session, mission_ids: Sequence[UUID]) -> dict[UUID, list[TaskView]]:
    query = select(MissionTask, Station.name).join(Station, col(Station.id) == MissionTask.station_id, isouter=True)
    found: dict[UUID, list[TaskView]] = {}
    for row, station in session.exec(
        query.where(col(MissionTask.mission_id).in_(mission_ids)).order_by(col(MissionTask.position))
    ).all():
        found.setdefault(row.mission_id, []).append(TaskView(**row.model_dump(), station=station))
    return found


def _results(session: Session, mission_ids: Sequence[UUID]) -> dict[UUID, list[ResultView]]:
    query = select(TaskResult, Attempt.number).join(Attempt, col(Attempt.id) == TaskResult.attempt_id)
    found: dict[UUID, list[ResultView]] = {}
    for row, number in session.exec(
        query.where(col(TaskResult.mission_id).in_(mission_ids)).order_by(col(Attempt.number), col(TaskResult.position))
    ).all():
        found.setdefault(row.mission_id, []).append(ResultView(**row.model_dump(), attempt=number))
    return found


def _history(session: Session, mission_ids: Sequence[UUID]) -> dict[UUID, list[TransitionView]]:
    query = select(Transition).where(col(Transition.mission_id).in_(mission_ids)).order_by(col(Transition.id))
    found: dict[UUID, list[TransitionView]] = {}
    for row in session.exec(query).all():
        found.setdefault(row.mission_id, []).append(TransitionView(**row.model_dump()))
    return found
