"""Where an order goes on that another gateway may have begun (pure): by what the robot lists and what the platform was told.

A task is begun only when it is certain that it never was: a server lists the goals that it has and, for a time, those that
ended, and forgets first what ended first. So while it lists a goal from before a task, that task's goal would be listed too.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from fleet.adapter import Order, OrderStatus
from fleet.adapters.ros2.link import GoalSeen, GoalStatus
from fleet.adapters.ros2.marks import marked, numbered, over
from fleet.adapters.ros2.outcomes import Came
from fleet.adapters.ros2.runs import CallStep, GoalStep, OrderState, Stage, Step, goal_id
from fleet.push import Inheritance

Listed = Mapping[UUID, tuple[str, GoalSeen]]  # goals, each with its action
RUNS_KNOWN = 20  # runs of a task whose ids are recognised as ours, of an order that another gateway sent
TASKS_KNOWN = 50
ELSEWHERE = "under another gateway"


@dataclass(frozen=True)
class Never:
    """The order certainly never came to the robot."""


@dataclass(frozen=True)
class Doubtful:
    """It is not certain whether a task was begun."""

    why: str


def goals_known(key: str) -> set[UUID]:
    """The ids that goals of this order may have."""
    return {goal_id(key, position, run) for position in range(TASKS_KNOWN) for run in range(RUNS_KNOWN)}


def inherited(
    order: Order, state: OrderState, said: Inheritance, listed: Listed, *, remembers_s: float, now: datetime
) -> OrderState | Never | Doubtful:
    """The state in which the order goes on; `state` is of one that has just been taken.

    `listed` is what the robot lists; `remembers_s` is how long it surely lists a goal that has ended. With the stage
    `going` the present step's goal is out and is asked about, with `ready` it is to be begun. Of tasks that the platform
    was told to be done nothing is told again.
    """
    last, run = max(_sent(order, state.steps, listed), default=(-1, 0))
    done = _done(state.steps, said.done)
    # The one to be begun next: at once, or after the goal that is listed; while that runs, nothing after it was begun.
    is_through = last >= done and listed[_goal(order, state.steps, last, run)][1].status is GoalStatus.succeeded
    following = done if last < done else last + 1 if is_through else len(state.steps)
    if following < len(state.steps):
        why = _why_not(order, state.steps[following], following, said, listed, remembers_s)
        if why:
            return Doubtful(why)
    if last < 0 and done == 0 and not said.is_begun and isinstance(state.steps[0], GoalStep):
        return Never()
    left = tuple(task for task in state.tasks if task.position not in said.done)
    begun = state.model_copy(update={"sequence": max(said.sequence, 0), "tasks": left})
    found = _at(begun, max(last, done), run if last >= done else 0, now)
    if last >= done:
        out = {
            "status": OrderStatus.running,
            "stage": Stage.going,
            "is_inherited": True,
            "begun_at": now,
            "sent_at": now,
        }
        found = marked(found.model_copy(update=out), "running", now)
    elif done == len(state.steps):
        found = over(found, OrderStatus.succeeded, "", now)
    return numbered(begun, found, now)


def _sent(order: Order, steps: Collection[Step], listed: Collection[UUID]) -> list[tuple[int, int]]:
    """The steps and runs of which a goal is listed."""
    return [
        (at, run)
        for at, step in enumerate(steps)
        for run in range(RUNS_KNOWN)
        if isinstance(step, GoalStep) and goal_id(order.key, step.positions[0], run) in listed
    ]


def _goal(order: Order, steps: Sequence[Step], at: int, run: int) -> UUID:
    return goal_id(order.key, steps[at].positions[0], run)


def _done(steps: Collection[Step], positions: Collection[int]) -> int:
    """How many steps, from the first one on, were told to be done."""
    undone = (at for at, step in enumerate(steps) if not set(step.positions) <= set(positions))
    return next(undone, len(steps))


def _why_not(order: Order, step: Step, at: int, said: Inheritance, listed: Listed, remembers_s: float) -> str:
    """Why it is not certain that this step, of which nothing is listed, was never begun; empty when it is."""
    task = f"task {step.positions[0]}"
    if isinstance(step, CallStep) and not step.is_repeatable:
        return f"whether the service of {task} was called under another gateway cannot be asked"
    if not isinstance(step, GoalStep):
        return ""  # it does nothing at the robot, or may be done twice
    if at == 0 and said.is_begun:
        return f"the robot took the goal of {task} from another gateway, and lists it no longer"
    older = _older(order, said)
    before = {action for goal, (action, seen) in listed.items() if seen.status.is_over and goal in older}
    if step.action in before:
        return ""
    is_new = at == 0 and not said.has_worked  # nothing is listed because nothing ever was
    if said.since_s < remembers_s and (before or is_new):
        return ""
    return f"the robot lists no goal of {task}, and may have forgotten that it did it under another gateway"


def _older(order: Order, said: Inheritance) -> set[UUID]:
    """The ids of goals that came before any that is not listed."""
    return {goal for key in (order.key, *said.earlier) for goal in goals_known(key)}


def _at(state: OrderState, at: int, run: int, now: datetime) -> OrderState:
    """What comes before this step was done, else nothing after it would have been sent."""
    for number in range(at):
        state = marked(state.model_copy(update={"at": number}), "succeeded", now, came=Came(message=ELSEWHERE))
    status = OrderStatus.running if at or run else state.status
    return state.model_copy(update={"at": at, "run": run, "status": status})
