"""What is known of an order over ROS 2, what may be heard of it, and what may be done about it: the words of `runner`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID, uuid5

from pydantic import AwareDatetime, Field

from fleet.adapter import Frozen, Order, OrderReport, OrderStatus, TaskReport
from fleet.adapters.ros2.link import GoalAnswer, GoalResult, ServiceAnswer, Statuses

NAMESPACE = UUID("6f0a4c1e-5d0b-5a55-9d1c-0b8a5e0f7a21")  # of our goals' ids, for ever
OVER = frozenset({OrderStatus.succeeded, OrderStatus.failed, OrderStatus.canceled, OrderStatus.rejected})


class Yields(Frozen):
    """Which fields of an answer say what came of the task, as dotted paths; empty where none does."""

    value: str = ""
    unit: str = Field(default="", description="a path, or after '=' the unit itself")
    message: str = ""
    success: str = Field(default="", description="a field that must be true")


class GoalStep(Frozen):
    """One goal; it does the tasks of these positions, several when waypoints are followed."""

    kind: Literal["goal"] = "goal"
    positions: tuple[int, ...]
    action: str
    type: str
    goal: dict[str, object] = Field(default_factory=dict)
    yields: Yields = Yields()


class CallStep(Frozen):
    """One call of a service; it has no id and cannot be asked about."""

    kind: Literal["call"] = "call"
    positions: tuple[int, ...]
    service: str
    type: str
    request: dict[str, object] = Field(default_factory=dict)
    is_repeatable: bool = False
    yields: Yields = Yields()


class RestStep(Frozen):
    """Time that passes here, in the gateway."""

    kind: Literal["rest"] = "rest"
    positions: tuple[int, ...]
    seconds: float = Field(ge=0)


class SampleStep(Frozen):
    """A field of a message that the robot publishes by itself, not older than `fresh_s`."""

    kind: Literal["sample"] = "sample"
    positions: tuple[int, ...]
    topic: str
    type: str
    fresh_s: float = 5.0
    yields: Yields


Step = Annotated[GoalStep | CallStep | RestStep | SampleStep, Field(discriminator="kind")]


class Stage(StrEnum):
    """What is out for the present step."""

    ready = "ready"  # nothing was sent
    sent = "sent"  # a goal may be out there, nobody has said so
    going = "going"  # the server has the goal
    called = "called"  # a service call may be out there
    resting = "resting"
    sampling = "sampling"
    held = "held"  # paused: nothing is out
    over = "over"


class Wish(StrEnum):
    """What is wanted of the order."""

    run = "run"
    pause = "pause"
    cancel = "cancel"


class Ending(StrEnum):
    """Why the goal that is out is being cancelled."""

    none = ""
    pause = "pause"
    cancel = "cancel"
    timeout = "timeout"


class OrderState(Frozen):
    """How far an order is; kept in the journal before anything is sent."""

    steps: tuple[Step, ...]
    tasks: tuple[TaskReport, ...]
    status: OrderStatus = OrderStatus.accepted
    stage: Stage = Stage.ready
    wish: Wish = Wish.run
    ending: Ending = Ending.none
    at: int = Field(default=0, description="which step")
    run: int = Field(default=0, description="which try of it; a pause ends one")
    sends: int = 0
    sent_at: AwareDatetime | None = Field(default=None, description="when this run's goal was first sent")
    server: str = Field(default="", description="the server that it was sent to; empty when that is not known")
    before: tuple[str, ...] | None = Field(
        default=None, description="goals listed before it was sent, where the id is not ours to choose"
    )
    known_as: str = Field(default="", description="the goal's id at the robot, where it is not ours to choose")
    is_declined: bool = False
    is_inherited: bool = Field(default=False, description="the goal that is out was sent by an earlier gateway")
    begun_at: AwareDatetime | None = Field(default=None, description="when this run of the step began")
    spent_s: float = Field(default=0.0, description="time that earlier runs of the step took")
    cancelled_at: AwareDatetime | None = Field(default=None, description="when the cancel was last sent")
    sequence: int = 0
    changed_at: AwareDatetime | None = None
    reason: str = ""
    doubt: str = Field(default="", description="why it is not known how the present step stands; empty when it is")

    @property
    def step(self) -> Step:
        """The present step."""
        return self.steps[min(self.at, len(self.steps) - 1)]

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be done for it."""
        return self.stage is Stage.over


def goal_id(key: str, position: int, run: int) -> UUID:
    """The id of the goal that does this task of this order in this run."""
    return uuid5(NAMESPACE, f"{key}/{position}/{run}")


def present_goal(order: Order, state: OrderState) -> UUID:
    """The id of the present step's goal, as we chose it."""
    return goal_id(order.key, state.step.positions[0], state.run)


def reference_of(order: Order) -> str:
    """How the order is called at the robot: the id of its first goal."""
    return str(goal_id(order.key, order.tasks[0].position if order.tasks else 0, 0))


def report_of(order: Order, state: OrderState, at: AwareDatetime) -> OrderReport:
    """What is to be told of the order now."""
    return OrderReport(
        key=order.key,
        serial_number=order.serial_number,
        status=state.status,
        observed_at=state.changed_at or at,
        sequence=state.sequence,
        fence=order.fence,
        reason=state.reason,
        tasks=state.tasks,
    )


# What may be heard: every one may come twice, late or never.


@dataclass(frozen=True)
class Begun:
    """The order was admitted; it may begin."""


@dataclass(frozen=True)
class Woken:
    """The gateway was started anew and has the order from its journal."""


@dataclass(frozen=True)
class Ticked:
    """Time has passed."""


@dataclass(frozen=True)
class Wished:
    """The platform wants something of the order."""

    wish: Wish


@dataclass(frozen=True)
class GivenUp:
    """The robot was given to another order since, while it is not known how this one stands."""

    by: str


@dataclass(frozen=True)
class Answered:
    """The action server answered to this goal, or nobody did."""

    goal: UUID
    answer: GoalAnswer
    known_as: str = ""


@dataclass(frozen=True)
class Resulted:
    """What is known of this goal's end; `server` is who was asked."""

    goal: UUID
    result: GoalResult
    server: str = ""


@dataclass(frozen=True)
class Listed:
    """The status list of the present step's action server."""

    statuses: Statuses


@dataclass(frozen=True)
class Called:
    """The service answered, or nobody did; `step` is which one was called."""

    at: int
    answer: ServiceAnswer


@dataclass(frozen=True)
class Sampled:
    """The topic gave this message, or None with the reason."""

    at: int
    fields: dict[str, object] | None
    why: str = ""


News = Begun | Woken | Ticked | Wished | GivenUp | Answered | Resulted | Listed | Called | Sampled


# What may be done about it, after the state was kept.


@dataclass(frozen=True)
class Send:
    """Send the goal."""

    goal: UUID
    step: GoalStep


@dataclass(frozen=True)
class Ask:
    """Wait for the goal's result, and ask again until there is an end or nobody knows it."""

    goal: UUID
    step: GoalStep


@dataclass(frozen=True)
class Cancel:
    """Ask the server to cancel the goal."""

    goal: UUID
    step: GoalStep


@dataclass(frozen=True)
class Call:
    """Call the service, once."""

    at: int
    step: CallStep
    timeout_s: float


@dataclass(frozen=True)
class Take:
    """Take one message from the topic."""

    at: int
    step: SampleStep
    timeout_s: float


Effect = Send | Ask | Cancel | Call | Take


@dataclass(frozen=True)
class Surroundings:
    """What the pure step must be told: the time, and of each action the server there and, where ids are not ours, its list."""

    now: AwareDatetime
    servers: Mapping[str, str] = field(default_factory=dict)
    listed: Mapping[str, tuple[str, ...]] | None = None
    # Where the id is not ours to choose, a goal that is not listed by then was not taken: a rosbridge may not tell of it.
    listed_within_s: float = 15.0
    # A server forgets an ended goal after this at the earliest; within it, one that it does not know never came.
    remembers_s: float = 8.0
