"""How far a mission is: which tasks are done, skipped or left, how often trying it failed, and how long it rests then."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from sqlmodel import Session, col, select

from fleet.adapter import TaskKind
from missions.models import Attempt, AttemptStatus, Mission, MissionTask, Recall, RetryFrom, TaskResult

RETRIES_MAX = 20  # how far back a retry of a retry of a retry … is followed


@dataclass(frozen=True)
class Step:
    """One task as whoever goes on with the mission sees it; a recording belongs to the attempt, so none is ever left."""

    has_station: bool
    is_done: bool
    is_skipped: bool = False
    is_recording: bool = False

    @property
    def is_left(self) -> bool:
        """Whether it is still to be done."""
        return not (self.is_done or self.is_skipped or self.is_recording)


@dataclass(frozen=True)
class Progress:
    """The steps of a mission in order, how many of its attempts count as failures, and whether it did its last task itself.

    One that does all of another again finds its tasks done by that other one.
    """

    steps: tuple[Step, ...] = ()
    failures: int = 0
    has_done_last: bool = False

    @property
    def current(self) -> int | None:
        """Position of the first task left; None when nothing is left."""
        return next((position for position, step in enumerate(self.steps) if step.is_left), None)

    @property
    def is_rest_skipped(self) -> bool:
        """Whether nothing is left, because somebody skipped what was."""
        return self.current is None and any(step.is_skipped for step in self.steps)

    @property
    def is_all_done(self) -> bool:
        """Whether nothing is left, and nobody skipped anything; never where there are only recordings."""
        return self.current is None and self.has_done_last and not any(step.is_skipped for step in self.steps)

    @property
    def has_done_some(self) -> bool:
        """Whether a task was done."""
        return any(step.is_done for step in self.steps)


def counts_as_failure(attempt: Attempt) -> bool:
    """Whether the attempt counts against `attempts_max` (pure); one that was preempted or skipped never does."""
    if attempt.recall in {Recall.preempted, Recall.skip}:
        return False
    if attempt.status is AttemptStatus.canceled:
        return attempt.recall is Recall.timeout
    return attempt.status in {AttemptStatus.failed, AttemptStatus.rejected}


def pause_s(mission: Mission, tries: Sequence[Attempt]) -> float:
    """How long the mission rests after its newest attempt (pure): nothing, unless that one failed.

    Full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015), with four instead of two as its base.
    What is random is drawn from the attempt's key, so every dispatcher draws the same.
    """
    newest = max(tries, key=lambda attempt: attempt.number, default=None)
    if newest is None or not counts_as_failure(newest):
        return 0.0
    failures = sum(counts_as_failure(attempt) for attempt in tries)
    longest_s = min(mission.backoff_s * 4.0 ** (failures - 1), mission.backoff_max_s)
    return longest_s * int.from_bytes(sha256(newest.key.encode()).digest()[:6]) / 2**48


def first_task_left(steps: Sequence[Step], *, default: int) -> int:
    """Position of the task a further attempt begins with (pure).

    That is the first one left; if it names no station, the attempt begins with the last one before it that does (and is
    not skipped), because another robot stands elsewhere. `default` when nothing is left.
    """
    left = next((position for position, step in enumerate(steps) if step.is_left), None)
    if left is None:
        return default
    places = (at for at in range(left + 1) if steps[at].has_station and not steps[at].is_skipped)
    return max(places, default=left)


def progress_of(session: Session, mission: Mission) -> Progress:
    """How far the mission is now; the mission is locked by the caller where it acts on it."""
    tries = session.exec(select(Attempt).where(Attempt.mission_id == mission.id)).all()
    done = _done(session, mission, tries)
    query = select(MissionTask.position, MissionTask.station_id, MissionTask.skipped_at, MissionTask.kind)
    tasks = session.exec(query.where(MissionTask.mission_id == mission.id).order_by(col(MissionTask.position))).all()
    steps = tuple(
        Step(
            has_station=station_id is not None,
            is_done=position in done,
            is_skipped=skipped_at is not None,
            is_recording=kind is TaskKind.record_bag,
        )
        for position, station_id, skipped_at, kind in tasks
    )
    last = max((position for position, step in enumerate(steps) if not step.is_recording), default=None)
    own = (col(TaskResult.attempt_id).in_([attempt.id for attempt in tries]), TaskResult.position == last)
    did_last = select(TaskResult.position).where(*own, TaskResult.status == "succeeded")
    has_done_last = last in done and session.exec(did_last).first() is not None
    return Progress(steps, sum(counts_as_failure(attempt) for attempt in tries), has_done_last)


def _done(session: Session, mission: Mission, tries: Sequence[Attempt]) -> set[int]:
    succeeded = TaskResult.status == "succeeded"
    if mission.retry_from is RetryFrom.first_task:
        since = max((attempt.number for attempt in tries if counts_as_failure(attempt)), default=0)
        standing = {attempt.id for attempt in tries if attempt.number > since}
        mine = col(TaskResult.attempt_id).in_(standing)
        return set(session.exec(select(TaskResult.position).where(mine, succeeded)).all())
    theirs = col(TaskResult.mission_id).in_(_line(session, mission))
    return set(session.exec(select(TaskResult.position).where(theirs, succeeded)).all())


def _line(session: Session, mission: Mission) -> list[UUID]:
    """The mission, and those that it goes on with: what it retries, what that one retried …"""
    line, before = [mission.id], mission.retry_of
    while before is not None and len(line) < RETRIES_MAX:
        line.append(before)
        before = session.exec(select(Mission.retry_of).where(Mission.id == before)).first()
    return line
