"""One order at a robot: what was sent, what its states say of it, as values (pure). The journal keeps a run as JSON.

Rules of this file: an order is accepted when a state shows its id; it is over when a state says so; a state that shows
another id after that means the robot has lost it. It never follows from silence.
"""

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Literal
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import Field

from fleet.adapter import Frozen, Order, OrderReport, OrderStatus, TaskReport
from fleet.adapters.vda5050.wire import DONE, ActionSaid, State, Trouble

NAMESPACE = uuid5(NAMESPACE_URL, "https://yardmaster/vda5050")
OVER = frozenset({OrderStatus.succeeded, OrderStatus.failed, OrderStatus.canceled, OrderStatus.rejected})
# What a robot answers to an order that it does not take (2.x in camel case, 3.0 in capitals), letters only.
REFUSALS = frozenset(
    {
        "validationerror",
        "ordererror",
        "orderupdateerror",
        "norouteerror",
        "maperror",
        "validationfailure",
        "unsupportedparameter",
        "invalidorderaction",
        "invalidorder",
        "outdatedorderupdate",
        "sameorderupdateid",
        "otherorderactive",
        "startnodeoutofrange",
        "noroutetotarget",
        "mobilerobotnotavailable",
        "unknownmapid",
        "orderupdatefollowingcancel",
    }
)
IDLES_BELIEVED = 3
Status = Literal["pending", "running", "succeeded", "failed", "skipped"]


class Step(Frozen):
    """Where a task is in the route: its node, and its action when it has one."""

    position: int
    sequence: int
    action_id: str = ""
    unit: str = ""


class Run(Frozen):
    """An order at a robot, sent or about to be."""

    order_id: str
    version: str = Field(description="of the protocol in which the route is written")
    route: dict[str, object]
    steps: tuple[Step, ...]
    last_node_id: str
    last_sequence: int
    is_end_unique: bool = Field(True, description="the route comes to its last node only once")
    idles: int = Field(
        0, description="states that showed the order without work before one showed it with work; -1: it did"
    )
    report: OrderReport
    sends: int = 0
    is_confirmed: bool = False
    is_withdrawn: bool = Field(False, description="said to be not found: if it shows up after all, it is cancelled")
    is_cancel_asked: bool = False
    cut_reason: str = Field("", description="why the rest is cancelled by us although nobody asked: it ends as failed")
    cancels: int = Field(0, description="cancelOrder actions that the robot answered with FAILED")
    is_pause_asked: bool | None = None
    pauses: int = 0
    troubles_before: tuple[str, ...] = Field((), description="order errors that stood before it was sent")

    @property
    def is_over(self) -> bool:
        """Whether nothing can become of it any more."""
        return self.report.status in OVER

    def instant_id(self, name: str, count: int) -> str:
        """The id of an instant action about this order; the same for the same count."""
        return str(uuid5(NAMESPACE, f"{self.order_id}/{name}/{count}"))


def unknown_to_cancel(order_id: str, version: str, report: OrderReport) -> Run:
    """An order that another gateway sent and that is to be cancelled: nothing is known of its route."""
    return Run(
        order_id=order_id,
        version=version,
        route={},
        steps=(),
        last_node_id="",
        last_sequence=-1,
        report=report,
        is_confirmed=True,
        is_cancel_asked=True,
    )


def shaped(name: str, *, length: int | None, is_numerical: bool) -> str:
    """An id that follows from a name, within the limits of the robot's factsheet."""
    found = uuid5(NAMESPACE, name)
    text = str(found.int) if is_numerical else str(found)
    if length is None or length <= 0 or len(text) <= length:
        return text
    return (text if is_numerical else UUID(text).hex)[:length]


def order_id(key: str) -> str:
    """The orderId of an attempt at a robot whose factsheet does not limit ids."""
    return shaped(key, length=None, is_numerical=False)


def first_report(order: Order, at: datetime, sequence: int) -> OrderReport:
    """What is said of an order before the robot has said anything; it is not told."""
    tasks = tuple(TaskReport(position=task.position, status="pending") for task in order.tasks)
    return OrderReport(
        key=order.key,
        serial_number=order.serial_number,
        status=OrderStatus.not_found,
        observed_at=at,
        sequence=sequence,
        fence=order.fence,
        tasks=tasks,
    )


def heard(run: Run, state: State, at: datetime) -> Run:
    """The run after this state; the same object when the state says nothing new of it."""
    if run.is_over:
        return run
    if state.order_id is not None and state.order_id == run.order_id:
        return _shown(run, state, at)
    if run.is_confirmed and state.order_id is not None:
        return _gone(run, state, at)
    if run.sends:
        return _maybe_refused(run, state, at)
    return run


def ended(run: Run, status: OrderStatus, at: datetime, reason: str) -> Run:
    """The run over by a decision of ours."""
    return _told(run, at, status=status, reason=reason, tasks=_closed(run.report.tasks, status, at, reason))


def shows_work_of(state: State | None, order_id: str) -> bool:
    """Whether the robot carries out this order now."""
    return state is not None and state.order_id == order_id and state.has_work


def refusals_in(state: State) -> tuple[str, ...]:
    """The errors of a state that can be about an order it did not take, by type and words."""
    return tuple(trouble.words for trouble in state.troubles if _is_refusal(trouble))


def _shown(run: Run, state: State, at: datetime) -> Run:
    run = _seen(run, state)
    tasks = tuple(_task(run, step, state, at) for step in run.steps)
    status, reason = _status(run, state, tasks)
    if status in OVER:
        tasks = _closed(tasks, status, at, reason)
    return _told(run, at, status=status, reason=reason, tasks=tasks)


def _seen(run: Run, state: State) -> Run:
    idles = -1 if state.has_work or run.idles < 0 else run.idles + 1
    if run.is_confirmed and idles == run.idles:
        return run
    return run.model_copy(update={"is_confirmed": True, "idles": idles})


def _told(run: Run, at: datetime, *, status: OrderStatus, reason: str, tasks: tuple[TaskReport, ...]) -> Run:
    old = run.report
    if (status, reason, tasks) == (old.status, old.reason, old.tasks):
        return run
    sequence = max(old.sequence + 1, int(at.timestamp() * 1000))
    news = {"status": status, "reason": reason, "tasks": tasks, "observed_at": at, "sequence": sequence}
    return run.model_copy(update={"report": old.model_copy(update=news)})


def _status(run: Run, state: State, tasks: tuple[TaskReport, ...]) -> tuple[OrderStatus, str]:
    has_route = bool(state.nodes) or bool(state.edges) or state.nodes is None or state.edges is None
    ours = _ours(run, state.actions)
    is_busy = has_route or any(said.status not in DONE for said in ours.values())
    failed = next((task for task in tasks if task.status == "failed"), None)
    if run.is_cancel_asked and _cancel_is_done(run, state, is_busy=is_busy):
        done = bool(tasks) and all(task.status == "succeeded" for task in tasks)
        return (OrderStatus.succeeded, "") if done else (OrderStatus.canceled, "canceled on request")
    fatal = next((trouble for trouble in state.troubles if _is_end_of(run, trouble)), None)
    if not is_busy:
        return _finished(run, state, tasks, failed, fatal)
    if state.is_paused:
        return OrderStatus.paused, ""
    if failed is not None:
        return OrderStatus.running, f"task {failed.position} failed: {failed.message}; the rest is being cancelled"
    if fatal is not None:
        return OrderStatus.running, fatal.words
    is_begun = state.is_driving or any(task.status != "pending" for task in tasks)
    was_begun = run.report.status in {OrderStatus.running, OrderStatus.paused}
    return (OrderStatus.running if is_begun or was_begun else OrderStatus.accepted), ""


def _finished(
    run: Run, state: State, tasks: tuple[TaskReport, ...], failed: TaskReport | None, fatal: Trouble | None
) -> tuple[OrderStatus, str]:
    if failed is not None:
        return OrderStatus.failed, f"task {failed.position} failed: {failed.message}"
    if tasks and all(task.status == "succeeded" for task in tasks):
        return OrderStatus.succeeded, ""
    is_waiting = any(step.action_id and step.action_id not in state.actions for step in run.steps)
    if is_waiting and _is_at_end(run, state):
        return OrderStatus.running, ""  # nodes are passed, its actions are not listed yet
    if run.cut_reason or fatal is not None:
        return OrderStatus.failed, run.cut_reason or (fatal.words if fatal else "")
    if 0 <= run.idles < IDLES_BELIEVED:
        return OrderStatus.accepted, ""  # the id is shown before the route: not every robot changes both at once
    where = state.last_node_id or "an unnamed place"
    return OrderStatus.canceled, f"ended at the robot itself before its end, at {where}"


def _cancel_is_done(run: Run, state: State, *, is_busy: bool) -> bool:
    said = state.actions.get(run.instant_id("cancelOrder", run.cancels))
    if said is not None and said.status == "FINISHED":
        return True
    # Not every robot lists instant actions: nothing left to do and standing still says the same.
    return not is_busy and not state.is_driving and (said is None or said.status in DONE)


def cancel_failed(run: Run, state: State) -> bool:
    """Whether the robot answered our cancelOrder with FAILED although it still has work."""
    said = state.actions.get(run.instant_id("cancelOrder", run.cancels))
    is_asked = run.is_cancel_asked or bool(run.cut_reason)
    return is_asked and said is not None and said.status == "FAILED" and state.has_work


def wants_end(run: Run, state: State | None) -> str:
    """Why the rest of the order is to be cancelled by us, or "" when it is not."""
    if run.is_over or run.is_cancel_asked or run.cut_reason or not shows_work_of(state, run.order_id) or state is None:
        return ""
    failed = next((task for task in run.report.tasks if task.status == "failed"), None)
    if failed is not None:
        return f"task {failed.position} failed"
    fatal = next((trouble for trouble in state.troubles if _is_end_of(run, trouble)), None)
    return fatal.words if fatal else ""


def _ours(run: Run, actions: Mapping[str, ActionSaid]) -> dict[str, ActionSaid]:
    return {step.action_id: actions[step.action_id] for step in run.steps if step.action_id in actions}


def _is_at_end(run: Run, state: State) -> bool:
    """Whether it stands on the last node; robots that do not keep lastNodeSequenceId say 0."""
    if state.last_node_id and state.last_node_id != run.last_node_id:
        return False
    if state.last_sequence or not state.last_node_id or not run.is_end_unique:
        return state.last_sequence == run.last_sequence
    return True


def _task(run: Run, step: Step, state: State, at: datetime) -> TaskReport:
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


def _step(run: Run, step: Step, state: State, old: Status) -> tuple[Status, str]:
    if not step.action_id:
        return _driven(run, step, state), ""
    said = state.actions.get(step.action_id)
    if said is None:
        is_idle = state.nodes == () and state.edges == () and not state.is_driving
        if old == "running" and is_idle and _is_at_end(run, state):
            return "succeeded", "the robot lists it no longer"
        return old, ""
    if said.status == "FINISHED":
        return "succeeded", said.result
    if said.status == "FAILED":
        return "failed", said.result or _why(state, step.action_id)
    if said.status in {"INITIALIZING", "RUNNING", "PAUSED", "RETRIABLE"}:
        return "running", said.result
    return old, ""


def _driven(run: Run, step: Step, state: State) -> Status:
    reached = _is_reached(run, step, state)
    if reached:
        return "succeeded"
    before = [other for other in run.steps if other.position < step.position and other.sequence < step.sequence]
    is_next = all(_is_reached(run, other, state) for other in before)
    return "running" if is_next and state.is_driving else "pending"


def _is_reached(run: Run, step: Step, state: State) -> bool:
    """Whether the node is behind the robot: no longer among those to come, and not because the order was cut short."""
    if state.nodes is None or step.sequence in state.nodes:
        return False
    if state.last_sequence is not None and state.last_sequence >= step.sequence:
        return True
    return min(state.nodes) > step.sequence if state.nodes else _is_at_end(run, state)


def _why(state: State, action_id: str) -> str:
    about = next((trouble for trouble in state.troubles if trouble.of("actionId") == action_id), None)
    return about.words if about else "the robot gave no reason"


def _gone(run: Run, state: State, at: datetime) -> Run:
    if run.is_cancel_asked:
        return ended(run, OrderStatus.canceled, at, "canceled on request; the robot no longer has it")
    shown = f"order {state.order_id!r}" if state.order_id else "no order"
    reason = f"lost by the robot: its state shows {shown}; it may have been restarted, and nothing is sent again"
    return ended(run, OrderStatus.failed, at, reason)


def _maybe_refused(run: Run, state: State, at: datetime) -> Run:
    words = next((trouble.words for trouble in state.troubles if _refuses(run, trouble)), None)
    return run if words is None else ended(run, OrderStatus.rejected, at, words)


def _refuses(run: Run, trouble: Trouble) -> bool:
    about = trouble.of("orderId")
    if about is not None:
        return about == run.order_id and (_is_refusal(trouble) or trouble.level in {"FATAL", "CRITICAL"})
    # Without a reference it may be about an earlier order: only a new one counts, or one that stands after a second send.
    return _is_refusal(trouble) and (trouble.words not in run.troubles_before or run.sends >= 2)


def _is_refusal(trouble: Trouble) -> bool:
    return "".join(letter for letter in trouble.type.lower() if letter.isalpha()) in REFUSALS


def _is_end_of(run: Run, trouble: Trouble) -> bool:
    return trouble.level in {"FATAL", "CRITICAL"} and trouble.of("orderId") == run.order_id


def _closed(tasks: tuple[TaskReport, ...], status: OrderStatus, at: datetime, reason: str) -> tuple[TaskReport, ...]:
    closed = []
    for task in tasks:
        if task.status == "pending":
            task = task.model_copy(update={"status": "skipped"})
        elif task.status == "running":
            said = "failed" if status is OrderStatus.failed else "skipped"
            task = task.model_copy(update={"status": said, "finished_at": at, "message": task.message or reason})
        closed.append(task)
    return tuple(closed)


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
