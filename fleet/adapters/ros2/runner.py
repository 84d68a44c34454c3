"""How an order over ROS 2 goes on: (state, what was heard) -> (state, what is to be done), pure.

Whoever calls `turn` keeps the new state on disk before doing any of the effects; then a crash at any instant loses only
effects, and `Woken` brings back those that are harmless twice. A goal is sent again only under its own id, and only when the same
server, asked soon enough, does not know it (docs/decisions/0016).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from fleet.adapter import Order, OrderStatus
from fleet.adapters.ros2.link import Declined, Ended, GoalSeen, GoalStatus, NoAnswer, Refusal, Taken, UnknownGoal
from fleet.adapters.ros2.marks import (
    deadline,
    failed,
    held,
    left_s,
    marked,
    numbered,
    over,
    overdue,
    rests_until,
    running,
    since,
    spent,
)
from fleet.adapters.ros2.outcomes import Came, came_of, why_aborted
from fleet.adapters.ros2.runs import (
    Answered,
    Ask,
    Begun,
    Call,
    Called,
    CallStep,
    Cancel,
    Effect,
    Ending,
    GivenUp,
    GoalStep,
    Listed,
    News,
    OrderState,
    RestStep,
    Resulted,
    Sampled,
    SampleStep,
    Send,
    Stage,
    Surroundings,
    Take,
    Ticked,
    Wish,
    Wished,
    Woken,
    present_goal,
)

SENDS_MAX = 3
CANCEL_AGAIN_S = 2.0
OUT = frozenset({Stage.sent, Stage.going})  # a goal is, or may be, at the robot


@dataclass(frozen=True)
class Turn:
    """The state that is to be kept, and what is to be done once it is."""

    state: OrderState
    effects: tuple[Effect, ...] = ()


def turn(order: Order, state: OrderState, news: News, around: Surroundings) -> Turn:
    """What the order is after `news`; the same news twice, or news of an earlier step or run, change nothing."""
    if state.is_over:
        return Turn(state)
    found = _react(order, state, news, around)
    return Turn(numbered(state, found.state, around.now), found.effects)


def wakes_at(order: Order, state: OrderState) -> datetime | None:
    """When the order wants to hear `Ticked`, if nothing else is heard before; None when time changes nothing."""
    times = []
    if state.stage in OUT | {Stage.called, Stage.sampling, Stage.resting} and state.begun_at is not None:
        if not _wants_cancel(state):
            times.append(deadline(order, state))
        if isinstance(state.step, RestStep):
            times.append(rests_until(state, state.step))
    if _wants_cancel(state) and state.cancelled_at is not None:
        times.append(state.cancelled_at + timedelta(seconds=CANCEL_AGAIN_S))
    return min(times, default=None)


def _react(order: Order, state: OrderState, news: News, around: Surroundings) -> Turn:
    match news:
        case Begun():
            return _begin(order, state, around) if state.stage is Stage.ready else Turn(state)
        case Woken():
            return _wake(order, state, around)
        case Wished(wish=wish):
            return _wish(order, state, wish, around)
        case GivenUp(by=by):
            why = f"given up: the robot was given to {by} while it was not known how this order stands"
            return Turn(failed(state, why, around.now))
        case Answered() | Resulted() | Listed():
            return _hear(order, state, news, around) if state.stage in OUT else Turn(state)
        case Called(at=at):
            return _called(order, state, news, around) if (state.stage, state.at) == (Stage.called, at) else Turn(state)
        case Sampled(at=at) if (state.stage, state.at) == (Stage.sampling, at):
            return _sampled(order, state, news, around)
        case Ticked():
            return _tick(order, state, around)
    return Turn(state)


# Beginning a step


def _begin(order: Order, state: OrderState, around: Surroundings) -> Turn:
    """Begin the present step in its present run, or end when there is none left, or hold or end when that is wished."""
    now = around.now
    if state.at >= len(state.steps):
        return Turn(over(state, OrderStatus.succeeded, "", now))
    if state.wish is Wish.cancel:
        return Turn(over(state, OrderStatus.canceled, state.reason or "canceled", now))
    if state.wish is Wish.pause:
        return Turn(held(state))
    fresh = {"begun_at": now, "ending": Ending.none, "cancelled_at": None, "sent_at": None, "sends": 0, "doubt": ""}
    fresh |= {"known_as": "", "is_declined": False, "is_inherited": False, "before": None, "server": "", "reason": ""}
    begun = marked(state.model_copy(update=fresh), "running", now)
    begun = begun.model_copy(update={"status": OrderStatus.running if state.at or state.run else state.status})
    step = state.step
    if isinstance(step, GoalStep):
        return _send(order, begun, around)
    if isinstance(step, CallStep):
        return Turn(running(begun, Stage.called), (Call(state.at, step, left_s(order, begun, now)),))
    if isinstance(step, SampleStep):
        return Turn(running(begun, Stage.sampling), (Take(state.at, step, left_s(order, begun, now)),))
    return _tick(order, running(begun, Stage.resting), around)


def _send(order: Order, state: OrderState, around: Surroundings) -> Turn:
    step = _goal_step(state)
    out = state.model_copy(
        update={
            "stage": Stage.sent,
            "sends": state.sends + 1,
            "sent_at": state.sent_at or around.now,
            "server": around.servers.get(step.action, ""),
            "before": around.listed.get(step.action, ()) if around.listed is not None else None,
        }
    )
    return Turn(out, (Send(present_goal(order, state), step),))


def _wake(order: Order, state: OrderState, around: Surroundings) -> Turn:
    step = state.step if state.steps else None
    if state.stage in OUT and isinstance(step, GoalStep):
        goal = present_goal(order, state)
        asked: tuple[Effect, ...] = (Ask(goal, step),)
        return Turn(state, (*asked, Cancel(goal, step)) if state.ending else asked)
    if state.stage is Stage.called and isinstance(step, CallStep):
        if step.is_repeatable:
            return Turn(state, (Call(state.at, step, left_s(order, state, around.now)),))
        why = f"the gateway was restarted while {step.service} was being called; nobody knows whether it was done"
        return Turn(failed(state, why, around.now))
    if state.stage is Stage.sampling and isinstance(step, SampleStep):
        return Turn(state, (Take(state.at, step, left_s(order, state, around.now)),))
    if state.stage is Stage.ready:
        return _begin(order, state, around)
    return _tick(order, state, around)


# What is wished


def _wish(order: Order, state: OrderState, wish: Wish, around: Surroundings) -> Turn:
    if state.wish is Wish.cancel or state.wish is wish:
        return Turn(state)
    wished = state.model_copy(update={"wish": wish})
    if wish is Wish.run:
        ready = wished.model_copy(update={"stage": Stage.ready, "status": OrderStatus.running})
        return _begin(order, ready, around) if state.stage is Stage.held else Turn(wished)
    if state.stage in OUT:
        ending = Ending.cancel if wish is Wish.cancel else Ending.pause
        return _cancel(order, wished, ending if state.ending is not Ending.timeout else state.ending, around)
    if state.stage in {Stage.called, Stage.sampling} and wish is Wish.pause:
        return Turn(wished)  # it cannot be taken back; what comes after it waits
    if state.stage is Stage.called:
        return Turn(wished)
    if wish is Wish.cancel:
        return Turn(over(wished, OrderStatus.canceled, "canceled", around.now))
    return Turn(held(spent(wished, around.now)))


def _cancel(order: Order, state: OrderState, ending: Ending, around: Surroundings) -> Turn:
    asked = state.model_copy(update={"ending": ending, "cancelled_at": around.now})
    return Turn(asked, (Cancel(present_goal(order, state), _goal_step(state)),))


# What the action server says


def _hear(order: Order, state: OrderState, news: Answered | Resulted | Listed, around: Surroundings) -> Turn:
    goal = present_goal(order, state)
    if isinstance(news, Listed):
        return _listed(order, state, news, around)
    if news.goal != goal:
        return Turn(state)
    step = _goal_step(state)
    if isinstance(news, Resulted):
        if isinstance(news.result, Ended):
            return _ended(order, state, news.result, around)
        if isinstance(news.result, UnknownGoal):
            return _unknown(order, state, news.server, around)
        return Turn(state)
    match news.answer:
        case Taken():
            return Turn(_taken(state, news.known_as), (Ask(goal, step),))
        case Declined():
            return Turn(state.model_copy(update={"is_declined": True}), (Ask(goal, step),))
        case Refusal(reason=reason) if state.sends == 1:
            return _not_begun(order, state, reason, around)
        case Refusal(reason=why) | NoAnswer(why=why):  # of a goal sent again, a refusal says nothing of the first
            doubted = state if state.stage is Stage.going else state.model_copy(update={"doubt": why})
            return Turn(doubted, (Ask(goal, step),))


def _taken(state: OrderState, known_as: str) -> OrderState:
    update = {"known_as": known_as or state.known_as, "doubt": ""}
    return running(state.model_copy(update=update), Stage.going)


def _listed(order: Order, state: OrderState, news: Listed, around: Surroundings) -> Turn:
    if not news.statuses.is_heard:
        return Turn(state)
    if state.before is not None and not state.known_as:
        return _recognised(order, state, news, around)
    names = {str(goal): seen for goal, seen in news.statuses.goals.items()}
    seen = names.get(state.known_as or str(present_goal(order, state)))
    if seen is None or seen.status is GoalStatus.unknown:
        return Turn(state)
    return Turn(_taken(state, state.known_as)) if state.stage is Stage.sent else Turn(state)


def _recognised(order: Order, state: OrderState, news: Listed, around: Surroundings) -> Turn:
    """The id is the robot's: ours is the one goal that is listed now and was not before."""
    fresh = _fresh(state, news)
    if len(fresh) == 1:
        return Turn(_taken(state, next(iter(fresh))), (Ask(present_goal(order, state), _goal_step(state)),))
    if fresh:
        why = f"{len(fresh)} goals began at the robot since this one was sent; which is ours cannot be told"
        return Turn(state.model_copy(update={"doubt": why}))
    if state.stage is Stage.sent and since(state.sent_at, around.now) >= around.listed_within_s:
        return _not_begun(
            order, state, "the robot did not begin it; it lists no such goal (a rosbridge may not say why)", around
        )
    return Turn(state)


def _fresh(state: OrderState, news: Listed) -> dict[str, GoalSeen]:
    known = set(state.before or ())
    return {str(goal): seen for goal, seen in news.statuses.goals.items() if str(goal) not in known}


def _unknown(order: Order, state: OrderState, server: str, around: Surroundings) -> Turn:
    """The server answers, and knows no such goal: nothing is being executed under this id."""
    if state.is_declined:
        return _not_begun(order, state, "the robot did not accept the goal", around)
    if state.ending in {Ending.cancel, Ending.pause} or state.wish is not Wish.run:
        return _stopped(order, state, "the robot knows no such goal", around)
    if state.ending is Ending.timeout:
        return Turn(failed(state, overdue(order, state), around.now))
    is_same = bool(server) and server == state.server
    soon = since(state.sent_at, around.now) < around.remembers_s
    if state.stage is Stage.sent and is_same and soon and state.sends < SENDS_MAX:
        again = state.model_copy(update={"sends": state.sends + 1})
        return Turn(again, (Send(present_goal(order, state), _goal_step(state)),))
    if state.is_inherited or (is_same and not soon):  # it has ended, or never came, and which is forgotten
        why = "the robot knows nothing of the goal any more; whether it was done is not known"
        return Turn(state.model_copy(update={"doubt": why}))
    had = "took the goal and" if state.stage is Stage.going else "was sent the goal and"
    why = f"lost: the robot {had} knows nothing of it now, as after a restart; what it did of it is not known"
    return Turn(failed(state, why, around.now))


def _not_begun(order: Order, state: OrderState, reason: str, around: Surroundings) -> Turn:
    if state.wish is Wish.cancel:
        return Turn(over(state, OrderStatus.canceled, reason, around.now))
    is_first = state.at == 0 and state.run == 0
    if is_first:
        return Turn(over(state, OrderStatus.rejected, reason, around.now))
    return Turn(failed(state, f"rejected: {reason}", around.now))


def _ended(order: Order, state: OrderState, ended: Ended, around: Surroundings) -> Turn:
    now, step = around.now, _goal_step(state)
    if ended.status is GoalStatus.succeeded:
        return _did(order, state, came_of(step.yields, ended.result, step.positions), around)
    if ended.status is GoalStatus.canceled:
        return _goal_canceled(order, state, around)
    why = why_aborted(step.type, ended.result)
    if state.wish is Wish.cancel:
        return Turn(over(state, OrderStatus.canceled, f"canceled; the robot says {why}", now))
    if state.ending is Ending.timeout:
        return Turn(failed(state, f"{overdue(order, state)}; then the robot said {why}", now))
    return Turn(failed(state, why, now))


def _goal_canceled(order: Order, state: OrderState, around: Surroundings) -> Turn:
    if state.ending is Ending.timeout:
        return Turn(failed(state, overdue(order, state), around.now))
    if state.ending in {Ending.cancel, Ending.pause}:
        return _stopped(order, state, "", around)
    if state.is_declined or state.is_inherited:  # an earlier gateway had sent it and stopped it: a pause
        return _stopped(order, state.model_copy(update={"wish": Wish.pause}), "", around)
    why = "canceled at the robot, and not by us"
    return Turn(over(state, OrderStatus.canceled, why, around.now))


def _stopped(order: Order, state: OrderState, why: str, around: Surroundings) -> Turn:
    """The goal is no longer out, as we asked: end, hold, or go on with a new run when that is wished by now."""
    if state.wish is Wish.cancel:
        return Turn(over(state, OrderStatus.canceled, why or "canceled", around.now))
    again = spent(state, around.now).model_copy(update={"run": state.run + 1, "stage": Stage.ready})
    return _begin(order, again, around)


# Services, samples, time


def _called(order: Order, state: OrderState, news: Called, around: Surroundings) -> Turn:
    step = state.step
    match news.answer:
        case Refusal(reason=reason):
            return _not_begun(order, state, reason, around)
        case NoAnswer(why=why):
            return Turn(failed(state, f"unknown whether it was done: {why}", around.now))
        case answer if isinstance(step, CallStep):
            return _did(order, state, came_of(step.yields, answer, step.positions), around)
    return Turn(state)


def _sampled(order: Order, state: OrderState, news: Sampled, around: Surroundings) -> Turn:
    step = state.step
    if news.fields is None or not isinstance(step, SampleStep):
        return Turn(failed(state, news.why, around.now))
    return _did(order, state, came_of(step.yields, news.fields, step.positions), around)


def _did(order: Order, state: OrderState, came: Came, around: Surroundings) -> Turn:
    """The step was carried out; what came of it decides."""
    if came.failure:
        missed = dict.fromkeys(came.missed, "failed") if came.missed else None
        return Turn(failed(state, came.failure, around.now, by_position=missed))
    done = marked(state, "succeeded", around.now, came=came)
    after = {
        "at": state.at + 1,
        "run": 0,
        "spent_s": 0.0,
        "stage": Stage.ready,
        "begun_at": None,
        "ending": Ending.none,
    }
    return _begin(order, done.model_copy(update=after), around)


def _tick(order: Order, state: OrderState, around: Surroundings) -> Turn:
    if state.begun_at is None or not state.steps:
        return Turn(state)
    step, now = state.step, around.now
    if state.stage is Stage.resting and isinstance(step, RestStep) and now >= rests_until(state, step):
        return _did(order, state, Came(), around)
    is_late = now >= deadline(order, state)
    if state.stage in OUT:
        if is_late and not _wants_cancel(state):
            return _cancel(order, state, Ending.timeout, around)
        if _wants_cancel(state) and since(state.cancelled_at, now) >= CANCEL_AGAIN_S:
            return _cancel(order, state, state.ending, around)
    if is_late and state.stage in {Stage.called, Stage.sampling, Stage.resting}:
        return Turn(failed(state, overdue(order, state), now))
    return Turn(state)


def _wants_cancel(state: OrderState) -> bool:
    """Whether the goal should still be cancelled; a pause that was taken back need not be."""
    return bool(state.ending) and not (state.ending is Ending.pause and state.wish is Wish.run)


def _goal_step(state: OrderState) -> GoalStep:
    step = state.step
    assert isinstance(step, GoalStep)
    return step
