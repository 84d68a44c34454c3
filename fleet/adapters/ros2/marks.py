"""The state of an order, changed in one respect each (pure): parts of `runner`."""

from datetime import datetime, timedelta

from fleet.adapter import Order, OrderStatus, OrderTask, TaskReport
from fleet.adapters.ros2.outcomes import Came
from fleet.adapters.ros2.runs import Ending, OrderState, RestStep, Stage, Step


def opening(order: Order, steps: tuple[Step, ...]) -> OrderState:
    """The state of an order that has just been taken."""
    tasks = tuple(TaskReport(position=task.position, status="pending") for task in order.tasks)
    return OrderState(steps=steps, tasks=tasks)


def refused(order: Order, reason: str, now: datetime) -> OrderState:
    """The state of an order of which nothing was or will be sent."""
    state = opening(order, ())
    return numbered(state, over(state, OrderStatus.rejected, reason, now), now)


def cancelled_before(now: datetime) -> OrderState:
    """The state of an order that was cancelled before it came."""
    state = OrderState(steps=(), tasks=())
    return numbered(state, over(state, OrderStatus.canceled, "it was canceled before it came", now), now)


def running(state: OrderState, stage: Stage) -> OrderState:
    """Under way, with this out."""
    return state.model_copy(update={"stage": stage, "status": OrderStatus.running})


def held(state: OrderState) -> OrderState:
    """Paused: nothing is out, and the present step begins anew when it goes on."""
    pending = marked(state, "pending", None)
    return pending.model_copy(
        update={"stage": Stage.held, "status": OrderStatus.paused, "ending": Ending.none, "begun_at": None, "doubt": ""}
    )


def spent(state: OrderState, now: datetime) -> OrderState:
    """The time of the run that ends now is kept."""
    spent = state.spent_s + (since(state.begun_at, now) if state.begun_at else 0.0)
    return state.model_copy(update={"spent_s": spent, "begun_at": None})


def failed(state: OrderState, why: str, now: datetime, *, by_position: dict[int, str] | None = None) -> OrderState:
    """Over, since the present step failed."""
    told = marked(state, "failed", now, came=Came(message=why), by_position=by_position)
    return over(told, OrderStatus.failed, why, now)


def over(state: OrderState, status: OrderStatus, reason: str, now: datetime) -> OrderState:
    """Over; what was not done is skipped."""
    rest = tuple(
        task.model_copy(update={"status": "skipped", "finished_at": now if task.started_at else None})
        if task.status in {"pending", "running"}
        else task
        for task in state.tasks
    )
    update = {
        "status": status,
        "stage": Stage.over,
        "reason": reason,
        "tasks": rest,
        "doubt": "",
        "ending": Ending.none,
    }
    return state.model_copy(update=update)


def marked(
    state: OrderState,
    status: str,
    now: datetime | None,
    *,
    came: Came | None = None,
    by_position: dict[int, str] | None = None,
) -> OrderState:
    """The tasks of the present step with this status; `now` is when it began or ended."""
    positions = state.step.positions if state.at < len(state.steps) else ()
    tasks = []
    for task in state.tasks:
        if task.position not in positions:
            tasks.append(task)
            continue
        told = status if by_position is None else by_position.get(task.position, "succeeded")
        update: dict[str, object] = {"status": told}
        if told == "running":
            update["started_at"] = task.started_at or now
        elif told != "pending":
            update["finished_at"] = now
        if came is not None:
            update |= {"value": came.value, "unit": came.unit, "message": came.message}
        tasks.append(task.model_copy(update=update))
    return state.model_copy(update={"tasks": tuple(tasks)})


def numbered(before: OrderState, after: OrderState, now: datetime) -> OrderState:
    """With a later sequence when anything changed that is told; milliseconds, so that they rise over gateways, too."""
    told = (after.status, after.reason, after.tasks)
    if before.sequence and told == (before.status, before.reason, before.tasks):
        return after
    sequence = max(before.sequence + 1, int(now.timestamp() * 1000))
    at = max(now, before.changed_at) if before.changed_at else now
    return after.model_copy(update={"sequence": sequence, "changed_at": at})


def _task(order: Order, state: OrderState) -> tuple[OrderTask, ...]:
    return tuple(task for task in order.tasks if task.position in state.step.positions)


def limit_s(order: Order, state: OrderState) -> float:
    """How long the present step may take."""
    return sum(task.timeout_s for task in _task(order, state))


def left_s(order: Order, state: OrderState, now: datetime) -> float:
    """How long it may still take."""
    return max(limit_s(order, state) - state.spent_s - since(state.begun_at, now), 0.1)


def deadline(order: Order, state: OrderState) -> datetime:
    """When its time is up."""
    assert state.begun_at is not None
    return state.begun_at + timedelta(seconds=limit_s(order, state) - state.spent_s)


def rests_until(state: OrderState, step: RestStep) -> datetime:
    """When a rest is over."""
    assert state.begun_at is not None
    return state.begun_at + timedelta(seconds=step.seconds - state.spent_s)


def overdue(order: Order, state: OrderState) -> str:
    """That its time was up, in words."""
    return f"it was not done within its {limit_s(order, state):g} s"


def since(then: datetime | None, now: datetime) -> float:
    """Seconds between the two; 0 without a first."""
    return (now - then).total_seconds() if then is not None else 0.0
