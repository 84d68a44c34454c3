"""Whatever is lost, whenever the gateway dies or the robot forgets: no goal is begun twice, and no order ends in an untruth.

A small world: a robot's action server, a wire that loses and delays, a gateway that dies between any two of its acts. The
journal holds exactly what `turn` said to keep before it was acted upon.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.adapter import Order, OrderStatus, OrderTask, TaskKind
from fleet.adapters.ros2.link import Declined, Ended, GoalSeen, GoalStatus, NoAnswer, Statuses, Taken, UnknownGoal
from fleet.adapters.ros2.marks import opening
from fleet.adapters.ros2.runner import turn
from fleet.adapters.ros2.runs import (
    Answered,
    Ask,
    Begun,
    Cancel,
    GivenUp,
    GoalStep,
    Listed,
    OrderState,
    RestStep,
    Resulted,
    Send,
    Surroundings,
    Ticked,
    Wish,
    Wished,
    Woken,
    present_goal,
)

ACTION = "/robot_01/navigate_to_pose"
START = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
ALIVE = (GoalStatus.accepted, GoalStatus.executing, GoalStatus.canceling)


@dataclass
class Server:
    """An action server as rclpy has it; `began` outlives its restarts, for the judge."""

    incarnation: int = 1
    goals: dict[UUID, GoalStatus] = field(default_factory=dict)
    began: list[UUID] = field(default_factory=list)
    done: set[UUID] = field(default_factory=set)

    def take(self, goal, *, declines):
        if goal in self.goals or declines:
            return Declined()
        self.goals[goal] = GoalStatus.executing
        self.began.append(goal)
        return Taken(0)

    def cancel(self, goal):
        if self.goals.get(goal) in ALIVE:
            self.goals[goal] = GoalStatus.canceling

    def proceed(self, fate):
        for goal, status in self.goals.items():
            if status in ALIVE:
                stops = status is GoalStatus.canceling and fate != "succeed"
                self.goals[goal] = GoalStatus.canceled if stops else FATES[fate]
                if self.goals[goal] is GoalStatus.succeeded:
                    self.done.add(goal)

    def answer(self, goal):
        status = self.goals.get(goal)
        if status is None:
            return UnknownGoal()
        return Ended(status, {}) if status.is_over else NoAnswer("still under way")

    def restart(self):
        self.goals = {}
        self.incarnation += 1


FATES = {"succeed": GoalStatus.succeeded, "abort": GoalStatus.aborted, "obey": GoalStatus.succeeded}


class Gateway:
    """The rim, in memory: what is kept survives, what is to be done does not."""

    def __init__(self, order, server):
        self.order, self.server = order, server
        self.now = START
        self.kept: OrderState = opening(order, STEPS)
        self.pending = []
        self.told = []

    def around(self):
        return Surroundings(self.now, {ACTION: f"guid-{self.server.incarnation}"})

    def hear(self, news):
        was = self.kept
        made = turn(self.order, was, news, self.around())
        assert not (was.is_over and made.state != was), "over is over"
        if made.state.sequence != was.sequence:
            assert made.state.sequence > was.sequence
            self.told.append(made.state.status)
        self.kept = OrderState.model_validate_json(made.state.model_dump_json())  # as the journal has it
        self.pending.extend(made.effects)

    def die(self):
        self.pending = []
        self.hear(Woken())

    def live_through(self, act):
        match act:
            case "act" | "lost" | "answer_lost":
                self.act(act, declines=False)
            case "decline":
                self.act("act", declines=True)
            case "twice":
                self.hear(Begun())
            case "die":
                self.die()
            case "forget":
                self.server.restart()
            case "list":
                self.list()
            case (kind, how):
                self.suffer(kind, how)

    def suffer(self, kind, how):
        if kind == "wish":
            self.hear(Wished(how))
        elif kind == "pass":
            self.now += timedelta(seconds=how)
            self.hear(Ticked())
        else:
            self.server.proceed(how)

    def act(self, how, *, declines):
        """Do one of what is to be done; the request or the answer may be lost."""
        if not self.pending:
            return
        effect = self.pending.pop(0)
        is_lost, answer_is_lost = how == "lost", how == "answer_lost"
        match effect:
            case Send(goal=goal):
                answer = NoAnswer("lost") if is_lost else self.server.take(goal, declines=declines)
                self.hear(Answered(goal, NoAnswer("lost") if answer_is_lost else answer))
            case Cancel(goal=goal):
                if not is_lost:
                    self.server.cancel(goal)
            case Ask():
                self.ask(effect, is_lost=is_lost or answer_is_lost)

    def ask(self, effect, *, is_lost):
        server = f"guid-{self.server.incarnation}"
        result = NoAnswer("lost") if is_lost else self.server.answer(effect.goal)
        self.hear(Resulted(effect.goal, result, server))
        if (
            isinstance(result, NoAnswer)
            and effect.goal == present_goal(self.order, self.kept)
            and not self.kept.is_over
        ):
            self.pending.append(effect)  # whoever asks goes on asking

    def list(self):
        seen = {goal: GoalSeen(status, 0) for goal, status in self.server.goals.items()}
        self.hear(Listed(Statuses(is_heard=True, goals=seen)))


STEPS = (
    GoalStep(positions=(0,), action=ACTION, type="nav2_msgs/action/NavigateToPose"),
    RestStep(positions=(1,), seconds=3.0),
    GoalStep(positions=(2, 3), action=ACTION, type="nav2_msgs/action/FollowWaypoints"),
)
ORDER = Order(
    key="mission/1",
    fence=1,
    serial_number="/robot_01",
    mission_id="mission",
    tasks=tuple(OrderTask(position=number, kind=TaskKind.go_to, timeout_s=60.0) for number in range(4)),
)
WIRE = st.sampled_from(["act", "act", "lost", "answer_lost", "decline"])
FAULTS = st.sampled_from(["die", "forget", "list", "twice"])
ACTS = st.one_of(
    WIRE,
    WIRE,
    FAULTS,
    st.tuples(st.just("wish"), st.sampled_from(list(Wish))),
    st.tuples(st.just("pass"), st.sampled_from([0.5, 3.0, 9.0, 61.0])),
    st.tuples(st.just("proceed"), st.sampled_from(sorted(FATES))),
)


CRUEL = st.sampled_from(
    ["act", "act", "lost", "answer_lost", "die", "forget", "list", ("proceed", "obey"), ("pass", 3.0)]
)


def _lived(acts) -> Gateway:
    gateway = Gateway(ORDER, Server())
    gateway.hear(Begun())
    for act in acts:
        gateway.live_through(act)
    return gateway


def _settled(gateway) -> Gateway:
    """In the end everything is delivered, and robots do what they are asked to."""
    if gateway.kept.status is OrderStatus.paused or gateway.kept.wish is Wish.pause:
        gateway.hear(Wished(Wish.cancel))
    gateway.die()
    for _ in range(60):
        gateway.act("act", declines=False)
        gateway.list()
        gateway.server.proceed("obey")
        gateway.now += timedelta(seconds=1.0)
        gateway.hear(Ticked())
    return gateway


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.lists(CRUEL, max_size=12), st.lists(ACTS, max_size=30)))
def test_no_goal_is_begun_twice_whatever_is_lost_and_whoever_dies(acts):
    gateway = _settled(_lived(acts))
    assert len(gateway.server.began) == len(set(gateway.server.began))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTS, max_size=30))
def test_every_order_ends_once_all_is_delivered_or_is_said_to_be_in_doubt_until_it_is_given_up(acts):
    gateway = _settled(_lived(acts))
    assert gateway.kept.is_over or gateway.kept.doubt, gateway.kept
    gateway.hear(GivenUp("another"))
    assert gateway.kept.is_over, gateway.kept


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTS, max_size=30))
def test_an_order_that_is_told_as_done_was_done(acts):
    gateway = _settled(_lived(acts))
    if gateway.kept.status is OrderStatus.succeeded:
        assert len(gateway.server.done) >= 2
        assert {task.status for task in gateway.kept.tasks} == {"succeeded"}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTS, max_size=30))
def test_no_second_goal_of_a_task_is_begun_while_the_first_is_alive(acts):
    gateway = _lived(acts)
    alive = [goal for goal, status in gateway.server.goals.items() if status in ALIVE]
    assert len(alive) <= 1


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTS, max_size=30))
def test_paused_is_told_only_when_nothing_is_out(acts):
    gateway = _lived(acts)
    if gateway.kept.status is OrderStatus.paused:
        assert not [goal for goal, status in gateway.server.goals.items() if status in ALIVE]
