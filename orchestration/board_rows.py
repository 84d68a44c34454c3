"""What the boards tell beside the missions themselves: a query or two for each, whatever the number of missions."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlmodel import Session, col, select

from fleet.adapter import Activity, TaskKind
from fleet.organisations import Organisation, Station
from fleet.robots import Robot
from fleet.states import RobotState
from missions import holds
from missions.models import Attempt, AttemptStatus, Mission, MissionTask, TaskResult, Transition
from missions.schedules.models import Schedule, ScheduleStatus
from orchestration.mirrored import Wanted

Row = dict[str, object]
SHOWN_MAX = 50
DONE = ("succeeded", "skipped")
AT_WORK = (Activity.executing, Activity.paused)


def tasks_now(session: Session, mission_ids: Collection[UUID]) -> dict[UUID, str]:
    """What each of the missions is at, such as `task 1: reading at press-1`; nothing for one with nothing left."""
    done = select(TaskResult.position).where(
        TaskResult.mission_id == MissionTask.mission_id,
        TaskResult.position == MissionTask.position,
        col(TaskResult.status).in_(DONE),
    )
    left = (
        select(MissionTask, Station.name)
        .join(Station, col(Station.id) == MissionTask.station_id, isouter=True)
        .where(col(MissionTask.mission_id).in_(mission_ids), col(MissionTask.skipped_at).is_(None), ~done.exists())
        .where(MissionTask.kind != TaskKind.record_bag)  # goes on beside the others
        .order_by(col(MissionTask.mission_id), col(MissionTask.position).desc())
    )
    # The first one that is left comes last, so it is the one that stays.
    return {task.mission_id: _task_words(task, station) for task, station in session.exec(left).all()}


def _task_words(task: MissionTask, station: str | None) -> str:
    return f"task {task.position}: {task.kind}" + (f" at {station}" if station else "")


def to_decide(session: Session) -> list[Row]:
    """Orders of robots that went silent: what a person must decide, and on what evidence."""
    query = (
        select(Attempt, Mission, Robot.name, Organisation.name)
        .join(Mission, col(Mission.id) == Attempt.mission_id)
        .join(Robot, col(Robot.id) == Attempt.robot_id)
        .join(Organisation, col(Organisation.id) == Attempt.organisation_id)
        .where(Attempt.status == AttemptStatus.lost)
        .order_by(col(Attempt.id))
    )
    lost = session.exec(query.limit(SHOWN_MAX)).all()
    now_at = tasks_now(session, [mission.id for _, mission, _, _ in lost])
    since = _lost_since(session, [attempt.id for attempt, *_ in lost])
    return [
        {
            "Mission": mission.name,
            "Robot": robot,
            "Last heard": _at(attempt.heard_at) or "never since the order was sent",
            "Lost since": _at(since.get(attempt.id)),
            "It was at": now_at.get(mission.id, ""),
            "Why": attempt.reason,
            "Wanted": mission.desired.value,
            "Organisation": organisation,
            "Id": str(mission.id),
        }
        for attempt, mission, robot, organisation in lost
    ]


def _lost_since(session: Session, attempt_ids: Collection[UUID]) -> dict[UUID, datetime]:
    query = select(Transition.subject_id, Transition.at).where(
        col(Transition.subject_id).in_(attempt_ids), Transition.to_status == AttemptStatus.lost.value
    )
    return dict(session.exec(query.order_by(col(Transition.id))).all())


def held(session: Session) -> list[Row]:
    """What people hold back, and why."""
    organisations = dict(session.exec(select(Organisation.id, Organisation.name)).all())
    rows = holds.open_holds(session, list(organisations))[:SHOWN_MAX]
    return [
        {
            "Held": f"{view.scope} {view.robot or view.site or ''}".strip(),
            "Meanwhile": view.meanwhile.value,
            "Reason": view.reason,
            "By": view.who,
            "Since": _at(view.created_at),
            "Organisation": organisations[row.organisation_id],
        }
        for row, view in zip(rows, holds.views(session, rows), strict=True)
    ]


def foreign(session: Session) -> list[Row]:
    """Robots at work on orders that are none of ours: started at the robot itself or by another system."""
    ours = select(Attempt.id).where(
        Attempt.robot_id == RobotState.robot_id,
        (col(Attempt.key) == RobotState.order_key) | (col(Attempt.robot_reference) == RobotState.order_key),
    )
    query = (
        select(Robot.name, RobotState, Organisation.name)
        .join(RobotState, col(RobotState.robot_id) == Robot.id)
        .join(Organisation, col(Organisation.id) == Robot.organisation_id)
        .where(col(RobotState.activity).in_(AT_WORK), col(RobotState.order_key) != "", ~ours.exists())
        .order_by(Robot.name)
    )
    return [
        {"Robot": robot, "Order": state.order_key, "Activity": state.activity.value, "Organisation": organisation}
        for robot, state, organisation in session.exec(query.limit(SHOWN_MAX)).all()
    ]


def next_occurrences(wanted: Collection[Wanted]) -> list[Row]:
    """What all schedules do next."""
    return [_as_row(one) for one in list(wanted)[:SHOWN_MAX]]


def _as_row(one: Wanted) -> Row:
    shown = one.shown
    return {
        "Occurrence": one.run_name,
        "Due": _at(shown.due_at),
        "Site": one.site,
        "Organisation": shown.organisation,
    }


def paused_schedules(session: Session) -> list[Row]:
    """Schedules that start nothing until they are resumed."""
    query = (
        select(Schedule.name, Schedule.updated_at, Organisation.name)
        .join(Organisation, col(Organisation.id) == Schedule.organisation_id)
        .where(Schedule.status == ScheduleStatus.paused)
        .order_by(Schedule.name)
    )
    return [
        {"Schedule": name, "Paused since": _at(at), "Organisation": organisation}
        for name, at, organisation in session.exec(query.limit(SHOWN_MAX)).all()
    ]


def _at(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S} UTC" if instant else ""
