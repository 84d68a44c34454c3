"""What the database says after a night, held against itself and against what the robots did."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from uuid import UUID

from sqlalchemy import func
from sqlmodel import Session, col, select

from fleet.adapter import OrderStatus
from fleet.changes import Change
from fleet.errors import Conflict
from fleet.events import Event
from fleet.robots import Robot
from missions.holds import Hold, covering
from missions.lifecycle import replay
from missions.models import (
    MISSION_TERMINAL,
    Attempt,
    Desired,
    Mission,
    MissionStatus,
    MissionTask,
    RetryFrom,
    Transition,
)
from missions.schedules.models import Occurrence, OccurrenceStatus
from missions.scripted import Execution, ScriptedRobots

ENDS_OF_CANCEL = frozenset({MissionStatus.canceled, MissionStatus.succeeded})


def disagreeing(session: Session, missions: Iterable[Mission], robots: ScriptedRobots) -> int:
    """Missions that are SUCCEEDED with a task that no robot did and nobody skipped, or done and not SUCCEEDED."""
    missions = sorted(missions, key=lambda mission: mission.id)
    done = _done(missions, robots.history)
    wanted: dict[UUID, set[int]] = {}
    for task in session.exec(select(MissionTask).where(col(MissionTask.skipped_at).is_(None))).all():
        wanted.setdefault(task.mission_id, set()).add(task.position)
    ended_well = {
        run.order.mission_id
        for run in robots.history
        if run.status is OrderStatus.succeeded and run.order.key not in robots.forgotten
    }
    count = 0
    for mission in missions:
        is_booked = mission.status is MissionStatus.succeeded
        is_missing = is_booked and not wanted.get(mission.id, set()) <= done.get(str(mission.id), set())
        count += is_missing or (str(mission.id) in ended_well and not is_booked)
    return count


def _done(missions: Sequence[Mission], history: Iterable[Execution]) -> dict[str, set[int]]:
    """The tasks that robots did of each mission; one that takes up another goes on where that had come to."""
    done: dict[str, set[int]] = {}
    for run in history:
        done.setdefault(run.order.mission_id, set()).update(run.positions_done)
    for mission in missions:
        if mission.retry_of is not None and mission.retry_from is RetryFrom.failed_task:
            before = {position for position in done.get(str(mission.retry_of), ()) if position < mission.first_task}
            done.setdefault(str(mission.id), set()).update(before)
    return done


def illegal(session: Session, missions: Iterable[Mission]) -> int:
    """Missions and attempts whose history does not replay to where they are, version by version."""
    rows: dict[UUID, tuple[str, int]] = {row.id: (row.status.value, row.version) for row in missions}
    rows |= {row.id: (row.status.value, row.version) for row in session.exec(select(Attempt)).all()}
    query = select(Transition).order_by(col(Transition.subject_id), col(Transition.version))
    histories = {
        key: list(lines) for key, lines in groupby(session.exec(query).all(), key=lambda line: line.subject_id)
    }
    return sum(_is_illegal(histories.get(key, []), *row) for key, row in rows.items())


def _is_illegal(history: Sequence[Transition], status: str, version: int) -> bool:
    try:
        return replay(history) != status or len(history) != version + 1
    except Conflict:
        return True


def disobeyed(session: Session, missions: Iterable[Mission], history: Sequence[Execution]) -> int:
    """Cancels that did not end their mission, tasks sent after they were skipped, missions given to held robots."""
    uncanceled = sum(
        mission.status in MISSION_TERMINAL
        and mission.desired is Desired.cancel
        and mission.status not in ENDS_OF_CANCEL
        for mission in missions
    )
    return uncanceled + _sent_though_skipped(session, history) + _given_though_held(session)


def _sent_though_skipped(session: Session, history: Sequence[Execution]) -> int:
    """Tasks in orders of attempts that were begun after the task was skipped, by the order of the histories' rows."""
    skipped: dict[UUID, dict[int, int]] = {}
    begun: dict[UUID, int] = {}
    for line in session.exec(select(Transition).order_by(col(Transition.id))).all():
        if line.subject == "attempt" and line.from_status is None:
            begun[line.subject_id] = line.id or 0
        elif "task" in line.evidence and line.from_status == line.to_status:
            skipped.setdefault(line.mission_id, {}).setdefault(int(str(line.evidence["task"])), line.id or 0)
    keys = {attempt.key: attempt.id for attempt in session.exec(select(Attempt)).all()}
    return sum(
        skipped[UUID(run.order.mission_id)].get(task.position, sent_at) < sent_at
        for run in history
        if UUID(run.order.mission_id) in skipped
        for task in run.order.tasks
        for sent_at in [begun[keys[run.order.key]]]
    )


def _given_though_held(session: Session) -> int:
    """Attempts begun on robots that were held then, by the order of the feed's rows."""
    robots = {str(robot.id): robot for robot in session.exec(select(Robot)).all()}
    holds = {str(row.id): row for row in session.exec(select(Hold)).all()}
    attempts = {str(attempt.id): attempt for attempt in session.exec(select(Attempt)).all()}
    count, put = 0, dict[str, Hold]()
    for change in session.exec(select(Change).order_by(col(Change.id))).all():
        if change.subject == "hold" and change.kind == "put":
            put[change.subject_id] = holds[change.subject_id]
        elif change.subject == "hold":
            put.pop(change.subject_id, None)
        elif change.subject == "attempt" and change.kind == "prepared":
            robot = robots[str(attempts[change.subject_id].robot_id)]
            count += covering(robot, list(put.values())) is not None
    return count


def misfired(session: Session) -> int:
    """Occurrences of the schedule of every minute that nobody decided, and started ones without exactly one mission."""
    rows = session.exec(select(Occurrence)).all()
    minutes = sorted({row.recurrence_id for row in rows})
    between = (minutes[-1] - minutes[0]).total_seconds() / 60 + 1 - len(minutes) if minutes else 0
    asked = select(Mission).where(col(Mission.round_id).is_not(None), col(Mission.retry_of).is_(None))
    made: Counter[object] = Counter(mission.round_id for mission in session.exec(asked).all())
    fired = [row for row in rows if row.status is OccurrenceStatus.fired]
    return int(between) + sum(made[row.round_id] != 1 for row in fired) + abs(len(fired) - made.total())


def happened(session: Session) -> Counter[str]:
    """How often what: the ways of attempts, what people did, and what robots did of their own."""
    attempts = session.exec(select(Attempt)).all()
    lines = session.exec(select(Transition)).all()
    told = Counter(f"attempt {attempt.status.value.lower()}" for attempt in attempts)
    told.update(f"recalled: {attempt.recall.value}" for attempt in attempts if attempt.recall)
    told["attempt lost"] = sum(line.to_status == "LOST" and line.from_status != "LOST" for line in lines)
    told["further attempt"] = sum(attempt.number > 1 for attempt in attempts)
    told["task skipped"] = sum("task" in line.evidence and line.from_status == line.to_status for line in lines)
    told.update(f"hold of a {row.scope.value}" for row in session.exec(select(Hold)).all())
    told.update(f"occurrence {row.status.value}" for row in session.exec(select(Occurrence)).all())
    told["order abandoned"] = sum(row.key.startswith("abandoned/") for row in session.exec(select(Hold)).all())
    told["order of the robot's own"] = len(session.exec(select(Event).where(Event.kind == "foreign_order")).all())
    return told


def gaps(session: Session) -> int:
    """How many positions are missing in the feed of changes."""
    newest, count = session.exec(select(func.max(Change.position), func.count(col(Change.position)))).one()
    return (newest or 0) - count
