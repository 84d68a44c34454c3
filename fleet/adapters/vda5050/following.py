"""What the states of a robot make of an order (pure).

Rules of this file: an order is accepted when a state shows its id; it is over when a state says so; a state that shows
another id after that means the robot has lost it. It never follows from silence.
"""

from datetime import datetime

from fleet.adapter import OrderStatus, TaskReport
from fleet.adapters.vda5050 import steps
from fleet.adapters.vda5050.runs import OVER, Run
from fleet.adapters.vda5050.steps import is_at_decision, is_taken, ours, released_there
from fleet.adapters.vda5050.wire import DONE, State, Trouble
from fleet.push import Inheritance

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
CANCELS_BELIEVED = 7  # more than are sent under one id


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


def about_to_be_sent(run: Run, state: State) -> Run:
    """The run with what the robot says before it is sent, by which what it says afterwards is judged."""
    stood_at = (state.last_node_id, state.last_sequence)
    return run.model_copy(update={"troubles_before": refusals_in(state), "stood_at": stood_at})


def taken_over(run: Run, state: State, said: Inheritance | None = None) -> Run:
    """The run of an order that another gateway sent and that the robot shows: released as far as it says.

    What the platform was told of it (`said`) stays so: tasks that are done, and reports are counted from there.
    """
    news: dict[str, object] = {"update_id": state.update_id or 0, "base_end": base_shown(run, state)}
    if said is not None:
        tasks = [
            task.model_copy(update={"status": "succeeded"}) if task.position in said.done else task
            for task in run.report.tasks
        ]
        known = {"tasks": tuple(tasks), "sequence": max(run.report.sequence, said.sequence)}
        news["report"] = run.report.model_copy(update=known)
    return run.model_copy(update=news)


def ended(run: Run, status: OrderStatus, at: datetime, reason: str) -> Run:
    """The run over by a decision of ours."""
    return _told(run, at, status=status, reason=reason, tasks=_closed(run.report.tasks, status, at, reason))


def shows_work_of(state: State | None, order_id: str) -> bool:
    """Whether the robot carries out this order now."""
    return state is not None and state.order_id == order_id and state.has_work


def refusals_in(state: State) -> tuple[str, ...]:
    """The errors of a state that can be about an order it did not take, by type and words."""
    return tuple(trouble.words for trouble in state.troubles if is_refusal(trouble))


def _shown(run: Run, state: State, at: datetime) -> Run:
    run = _seen(run, state)
    tasks = run.report.tasks
    if _is_told_of(run, state):
        tasks = tuple(steps.task(run, step, state, at) for step in run.steps)
    status, reason = _status(run, state, tasks)
    if status in OVER:
        tasks = _closed(tasks, status, at, reason)
    return _told(run, at, status=status, reason=reason, tasks=tasks)


def _seen(run: Run, state: State) -> Run:
    news: dict[str, object] = {
        "is_confirmed": True,
        "idles": -1 if state.has_work or run.idles < 0 else min(run.idles + 1, IDLES_BELIEVED),
        "has_shown_horizon": run.has_shown_horizon or bool(state.horizon),
    }
    if _is_released_otherwise(run, state):
        news |= {"update_id": state.update_id, "stitch": run.released_to, "base_end": base_shown(run, state)}
    changed = {name: value for name, value in news.items() if getattr(run, name) != value}
    return run.model_copy(update=changed) if changed else run


def _is_released_otherwise(run: Run, state: State) -> bool:
    """Whether another gateway has sent an update since, or another one under the same number, which the robot took first."""
    if state.update_id is None or state.update_id == run.update_id:
        return state.update_id is not None and any(sequence <= run.released_to for sequence in state.horizon)
    return state.update_id > run.update_id


def base_shown(run: Run, state: State) -> int | None:
    """Where the base ends that another gateway released; None: all of it, as far as the state tells."""
    if run.base_end is None and not state.horizon:
        return None
    free = [sequence for sequence in state.nodes or () if sequence not in state.horizon]
    return min(run.last_sequence, max([state.last_sequence or 0, *free]))


def _is_told_of(run: Run, state: State) -> bool:
    """Whether the state speaks of this order's route: not every robot changes the id and the route at once."""
    if run.idles < 0 or run.idles >= IDLES_BELIEVED or ours(run, state):
        return True
    return is_at_decision(run, state) and (state.last_node_id, state.last_sequence) != run.stood_at


def _told(run: Run, at: datetime, *, status: OrderStatus, reason: str, tasks: tuple[TaskReport, ...]) -> Run:
    old = run.report
    if (status, reason, tasks) == (old.status, old.reason, old.tasks):
        return run
    sequence = max(old.sequence + 1, int(at.timestamp() * 1000))
    news = {"status": status, "reason": reason, "tasks": tasks, "observed_at": at, "sequence": sequence}
    return run.model_copy(update={"report": old.model_copy(update=news)})


def _status(run: Run, state: State, tasks: tuple[TaskReport, ...]) -> tuple[OrderStatus, str]:
    has_route = bool(state.nodes) or bool(state.edges) or state.nodes is None or state.edges is None
    is_busy = has_route or any(said.status not in DONE for said in ours(run, state).values())
    failed = next((task for task in tasks if task.status == "failed"), None)
    if run.is_cancel_asked and _cancel_is_done(run, state, is_busy=is_busy):
        done = bool(tasks) and all(task.status == "succeeded" for task in tasks)
        return (OrderStatus.succeeded, "") if done else (OrderStatus.canceled, "canceled on request")
    fatal = next((trouble for trouble in state.troubles if _is_end_of(run, trouble)), None)
    if not is_busy and not _is_cancelling(run, state):
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
    if not _is_told_of(run, state) or 0 <= run.idles < IDLES_BELIEVED:
        return OrderStatus.accepted, ""  # the id is shown before the route
    waits = _unlisted(run, state)
    if waits is not None and is_at_decision(run, state):
        # Nodes are passed, its actions are not listed yet, or never by this robot.
        return OrderStatus.running, f"the robot lists no state of the action of task {waits}"
    if run.cut_reason or fatal is not None:
        return OrderStatus.failed, run.cut_reason or (fatal.words if fatal else "")
    if _may_wait(run, state) and run.may_be_at(released_there(run, state), state.last_node_id):
        return OrderStatus.running, ""  # it does not list its horizon, and waits for more
    where = state.last_node_id or "an unnamed place"
    return OrderStatus.canceled, f"ended at the robot itself before its end, at {where}"


def _unlisted(run: Run, state: State) -> int | None:
    """The first task whose action is released and not listed."""
    there = released_there(run, state)
    tasks = {task.position: task.status for task in run.report.tasks}
    return next(
        (
            step.position
            for step in run.steps
            if step.action_id and step.sequence <= there and step.action_id not in state.actions
            if tasks.get(step.position) not in {"succeeded", "failed", "skipped"}
        ),
        None,
    )


def _is_cancelling(run: Run, state: State) -> bool:
    """Whether a cancelOrder of ours is under way: what fails now fails because of it, and no new order is taken yet."""
    said = state.actions.get(run.instant_id("cancelOrder", run.cancels))
    return run.is_cancel_asked or (bool(run.cut_reason) and said is not None and said.status not in DONE)


def _cancel_is_done(run: Run, state: State, *, is_busy: bool) -> bool:
    said = state.actions.get(run.instant_id("cancelOrder", run.cancels))
    if said is not None:
        return said.status == "FINISHED" or (said.status == "FAILED" and not is_busy and not state.is_driving)
    if not _is_told_of(run, state) or (_may_wait(run, state) and run.cancel_sends < CANCELS_BELIEVED):
        return False
    # Not every robot lists instant actions: nothing left to do and standing still says the same.
    return not is_busy and not state.is_driving


def _may_wait(run: Run, state: State) -> bool:
    """Whether a robot that shows nothing left may yet wait for more: not every one lists its horizon."""
    return not run.has_shown_horizon and not (run.is_whole and is_taken(run, state))


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
        return about == run.order_id and (is_refusal(trouble) or trouble.level in {"FATAL", "CRITICAL"})
    # Without a reference it may be about an earlier order: only a new one counts, or one that stands after a second send.
    return is_refusal(trouble) and (trouble.words not in run.troubles_before or run.sends >= 2)


def is_refusal(trouble: Trouble) -> bool:
    """Whether it is of a kind that tells that an order, or an update of it, is not taken."""
    return "".join(letter for letter in trouble.type.lower() if letter.isalpha()) in REFUSALS


def _is_end_of(run: Run, trouble: Trouble) -> bool:
    is_about = trouble.of("orderId") == run.order_id or any(
        step.action_id and step.action_id == trouble.of("actionId") for step in run.steps
    )
    return trouble.level in {"FATAL", "CRITICAL"} and is_about


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
