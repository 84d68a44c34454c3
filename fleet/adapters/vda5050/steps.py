"""How far a robot is with the tasks of an order, by one of its states (pure)."""

import json
import math
from datetime import datetime
from typing import Literal

from fleet.adapter import TaskReport
from fleet.adapters.vda5050.runs import Run, Step
from fleet.adapters.vda5050.wire import DONE, ActionSaid, State

Status = Literal["pending", "running", "succeeded", "failed", "skipped"]


def task(run: Run, step: Step, state: State, at: datetime) -> TaskReport:
    """The report of the step's task after this state."""
    old = next(task for task in run.report.tasks if task.position == step.position)
    if old.status in {"succeeded", "failed", "skipped"}:
        return old
    status, message = _step(run, step, state, old.status)
    if status == old.status and message == old.message:
        return old
    news: dict[str, object] = {"status": status, "message": message[:500]}
    if status != "pending" and old.started_at is None:
        news["started_at"] = at
    if status in {"succeeded", "failed"}:
        news["finished_at"] = at
    if status == "succeeded" and step.action_id in state.actions:
        value, unit = reading(state.actions[step.action_id].result, step.unit)
        news |= {"value": value, "unit": unit}
    return old.model_copy(update=news)


def ours(run: Run, state: State) -> dict[str, ActionSaid]:
    """The order's own actions, as far as the state lists them."""
    return {step.action_id: state.actions[step.action_id] for step in run.steps if step.action_id in state.actions}


def released_there(run: Run, state: State) -> int:
    """The last released node as far as the robot knows: an update that it has not taken releases nothing."""
    return run.released_to if is_taken(run, state) else run.stitch


def is_taken(run: Run, state: State) -> bool:
    """Whether the robot has what was sent last: its state says the number of the update, or is beyond its beginning."""
    if run.update_id == 0 or (state.update_id is not None and state.update_id >= run.update_id):
        return True
    shown = [sequence for sequence in state.nodes or () if sequence not in state.horizon]
    return max([state.last_sequence or 0, *shown]) > run.stitch


def is_at_decision(run: Run, state: State) -> bool:
    """Whether it stands on the last node that is released there."""
    return run.is_at(released_there(run, state), state.last_node_id, state.last_sequence)


def _step(run: Run, step: Step, state: State, old: Status) -> tuple[Status, str]:
    if not step.action_id:
        return _driven(run, step, state), ""
    said = state.actions.get(step.action_id)
    if said is None:
        is_ending = run.is_cancel_asked or run.cut_reason or _blame(state, step.action_id)
        if old == "running" and not is_ending and _is_reached(run, step, state) and _is_through(run, state):
            return "succeeded", "the robot lists it no longer"
        return old, ""
    if said.status == "FINISHED":
        return "succeeded", said.result
    if said.status == "FAILED":
        return "failed", said.result or _why(state, step.action_id)
    if said.status in {"INITIALIZING", "RUNNING", "PAUSED", "RETRIABLE"}:
        return "running", said.result
    return old, ""


def _is_through(run: Run, state: State) -> bool:
    """Whether it stands at the decision point with nothing left to do that is released."""
    if state.nodes is None or state.edges is None or state.is_driving or not state.lists_actions:
        return False
    is_acting = any(said.status not in DONE for key, said in ours(run, state).items() if _is_released(run, key, state))
    return not set(state.nodes) - set(state.horizon) and not is_acting and is_at_decision(run, state)


def _is_released(run: Run, action_id: str, state: State) -> bool:
    there = released_there(run, state)
    return any(step.action_id == action_id and step.sequence <= there for step in run.steps)


def _driven(run: Run, step: Step, state: State) -> Status:
    reached = _is_reached(run, step, state)
    if reached:
        return "succeeded"
    before = [other for other in run.steps if other.position < step.position and other.sequence < step.sequence]
    is_next = all(_is_reached(run, other, state) for other in before)
    return "running" if is_next and state.is_driving else "pending"


def _is_reached(run: Run, step: Step, state: State) -> bool:
    """Whether the node is behind the robot: no longer among those to come, and not because the order was cut short."""
    if state.nodes is None or step.sequence in state.nodes or step.sequence > released_there(run, state):
        return False
    if state.last_sequence:
        return state.last_sequence >= step.sequence
    if not state.nodes or step.sequence == 0:
        return step.sequence == 0 or is_at_decision(run, state)
    # It does not keep lastNodeSequenceId, or stands at the beginning yet. Some list only the nodes of the newest update.
    return min(state.nodes) > step.sequence and not run.is_at(0, state.last_node_id, 0)


def _why(state: State, action_id: str) -> str:
    return _blame(state, action_id) or "the robot gave no reason"


def _blame(state: State, action_id: str) -> str:
    """What an error says of this action."""
    return next((trouble.words for trouble in state.troubles if trouble.of("actionId") == action_id), "")


def reading(result: str, unit: str) -> tuple[float | None, str | None]:
    """Value and unit in a result: "21.4", "21.4 degC" or {"value": 21.4, "unit": "degC"}; (None, None) when there is none."""
    text = result.strip()
    if text.startswith("{"):
        return _reading_object(text, unit)
    first, _, rest = text.partition(" ")
    number = _finite(first)
    return (None, None) if number is None else (number, (rest.strip() or unit) or None)


def _reading_object(text: str, unit: str) -> tuple[float | None, str | None]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None, None
    number = _finite(str(found.get("value", "")))
    return (None, None) if number is None else (number, str(found.get("unit") or unit) or None)


def _finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
