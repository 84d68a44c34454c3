"""What a run's page tells of missions: pure pictures of what was read from the database, as Markdown."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from fleet.adapter import TaskKind
from missions.board import MissionView, ResultView, RoundView, TaskView, TransitionView
from missions.models import MISSION_TERMINAL, Desired, MissionStatus
from orchestration.markdown import cell, table_text

BOARD_LINK = "[Missions board](/artifacts/key/missions-board)"
SHOWN_MAX = 200
LIVE_ORDER = (
    MissionStatus.running,
    MissionStatus.paused,
    MissionStatus.assigned,
    MissionStatus.scheduled,
    MissionStatus.awaiting_approval,
    MissionStatus.created,
)
BESIDE = {TaskKind.record_bag}  # goes on beside the others, so it is not what the robot is at


@dataclass(frozen=True)
class Picture:
    """What a run's page shows at one moment: the name of its state, why, a bar, and a text."""

    state: str
    message: str
    text: str
    done: int
    of: int


def state_name(status: MissionStatus) -> str:
    """A status as Prefect's pages show it: `AWAITING_APPROVAL` is `Awaiting approval`."""
    return status.value.replace("_", " ").capitalize()


def of_mission(view: MissionView) -> Picture:
    """The page of a run that watches one mission."""
    done = sum(_is_done(view, task) for task in view.tasks)
    parts = [
        table_text([mission_row(view)]),
        "### Tasks",
        table_text([_task_row(view, task) for task in view.tasks]),
        "### History",
        table_text([_history_row(line) for line in view.transitions[-SHOWN_MAX:]] or [{"when": "nothing yet"}]),
        BOARD_LINK,
    ]
    message = "; ".join(part for part in (view.robot or "", current_task(view), view.reason) if part)
    return Picture(state_name(view.status), message, "\n\n".join(parts), done, len(view.tasks))


def question(view: MissionView) -> str:
    """What a person is asked before the mission may begin: what it is and who wants it, short enough for a form."""
    asked = f"Asked for by {cell(view.requested_by)} at {_at(view.created_at)}."
    tasks = table_text([{"task": task.position, "what": _task_words(task)} for task in view.tasks])
    return f"May **{cell(view.name)}** begin? {asked}\n\n{tasks}"


def of_round(view: RoundView) -> Picture:
    """The page of a run that watches a round."""
    ended = sum(mission.is_finished for mission in view.missions)
    live = next((status for status in LIVE_ORDER if view.counts.get(status)), None)
    rows = [mission_row(mission) for mission in view.missions[:SHOWN_MAX]]
    text = "\n\n".join([f"## {cell(view.name)}: {told(view)}", *([table_text(rows)] if rows else []), BOARD_LINK])
    return Picture(state_name(live) if live else ending_name(view), told(view), text, ended, len(view.missions))


def told(view: RoundView) -> str:
    """How many missions of the round are where: `3 succeeded, 1 failed`."""
    return ", ".join(f"{count} {state_name(status).lower()}" for status, count in view.counts.items() if count)


def ending_name(view: RoundView) -> str:
    """What the end of a round is called: as its missions, if all ended alike; else by whether some succeeded."""
    counts = Counter({status: count for status, count in view.counts.items() if count})
    if len(counts) == 1:
        return state_name(next(iter(counts)))
    return "Partly succeeded" if counts[MissionStatus.succeeded] else "Failed"


def mission_row(view: MissionView) -> dict[str, object]:
    """One mission as a line of a table."""
    return {
        "mission": view.name,
        "status": str(view.status),
        "wanted": "" if view.desired is Desired.run or view.is_finished else view.desired.value,
        "robot": view.robot or "",
        "now": current_task(view),
        "attempts": len(view.attempts),
        "reason": view.waiting_for or view.reason,
        "id": str(view.id),
    }


def current_task(view: MissionView) -> str:
    """What the mission is at, such as `task 1: reading at press-1`; empty when it has ended or has nothing left."""
    if view.status in MISSION_TERMINAL:
        return ""
    left = (task for task in view.tasks if task.kind not in BESIDE and not _is_done(view, task))
    task = next(left, None)
    return f"task {task.position}: {_task_words(task)}" if task else ""


def _task_words(task: TaskView) -> str:
    return f"{task.kind} at {task.station}" if task.station else str(task.kind)


def _is_done(view: MissionView, task: TaskView) -> bool:
    result = _result(view, task)
    return bool(task.skipped_by) or (result is not None and result.status in {"succeeded", "skipped"})


def _result(view: MissionView, task: TaskView) -> ResultView | None:
    """What is known of the task: its success in any attempt, else its newest result."""
    found = [result for result in view.results if result.position == task.position]
    return next((result for result in found if result.status == "succeeded"), found[-1] if found else None)


def _task_row(view: MissionView, task: TaskView) -> dict[str, object]:
    result = _result(view, task)
    reading = "" if result is None or result.value is None else f"{result.value:g} {result.unit or ''}".strip()
    return {
        "task": task.position,
        "what": _task_words(task),
        "state": f"skipped by {task.skipped_by}" if task.skipped_by else result.status if result else "pending",
        "reading": reading,
        "told": result.message if result else "",
        "ended": _at(result.finished_at) if result else "",
    }


def _history_row(line: TransitionView) -> dict[str, object]:
    return {
        "when": _at(line.at),
        "what": line.subject,
        "from": line.from_status or "",
        "to": line.to_status,
        "who": line.who,
        "why": line.why,
    }


def _at(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S} UTC" if instant else ""
