"""What the orders of a ROS 2 robot need of the wire: the same over DDS and over a rosbridge.

Values are plain: a message is a dict of its fields, an array of numbers a NumPy array (or, when it is given, any sequence),
a string a str. Names are absolute ROS names, types are written `pkg/action/X`, `pkg/srv/X`, `pkg/msg/X`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, Protocol
from uuid import UUID

Kind = Literal["publisher", "subscriber", "service", "action"]
Fields = Mapping[str, object]


class GoalStatus(IntEnum):
    """The numbers of action_msgs/msg/GoalStatus."""

    unknown = 0
    accepted = 1
    executing = 2
    canceling = 3
    succeeded = 4
    canceled = 5
    aborted = 6

    @property
    def is_over(self) -> bool:
        """Whether the goal has ended."""
        return self >= GoalStatus.succeeded


@dataclass(frozen=True)
class Seen:
    """One topic, service or action of a robot, as it was seen without asking; one per name, kind and type."""

    name: str
    kind: Kind
    type: str
    namespace: str  # of the nodes that have it when they are known, else of the name: "/robot_01", "/" without one
    nodes: tuple[str, ...] = ()  # full names; empty when nobody told
    qos: Mapping[str, str] = field(default_factory=dict)
    type_hash: str = ""
    vendor: str = ""  # such as "Eclipse Cyclone DDS"; empty when the link does not tell
    complaint: str = ""  # why we cannot use it (sends, calls, listens), in a sentence


@dataclass(frozen=True)
class Taken:
    """The server accepted the goal."""

    stamp_ns: int  # the server's own time, since 1970


@dataclass(frozen=True)
class Declined:
    """The server answered that it does not take the goal: it will not, or it has a goal of this id already."""


@dataclass(frozen=True)
class Refusal:
    """Nothing was sent."""

    reason: str
    may_pass: bool = False  # it may be otherwise in a moment: the server is starting, or an old one has just died


@dataclass(frozen=True)
class NoAnswer:
    """It was sent, or may have been; nothing came back in time."""

    why: str


@dataclass(frozen=True)
class Ended:
    """The goal is over."""

    status: GoalStatus
    result: Fields


@dataclass(frozen=True)
class UnknownGoal:
    """The server answered that it knows no goal of this id."""


@dataclass(frozen=True)
class Canceling:
    """The server will try to stop the goal; whether it does is told by its result."""


@dataclass(frozen=True)
class CancelDeclined:
    """The server knows the goal and will not cancel it."""


@dataclass(frozen=True)
class AlreadyOver:
    """The goal had ended before the cancel came."""


GoalAnswer = Taken | Declined | Refusal | NoAnswer
GoalResult = Ended | UnknownGoal | Refusal | NoAnswer
CancelAnswer = Canceling | CancelDeclined | UnknownGoal | AlreadyOver | Refusal | NoAnswer
ServiceAnswer = Fields | Refusal | NoAnswer


@dataclass(frozen=True)
class GoalSeen:
    """A goal in an action server's status list, whoever sent it."""

    status: GoalStatus
    stamp_ns: int


@dataclass(frozen=True)
class Statuses:
    """The newest status list of an action server."""

    is_heard: bool = False  # a list was heard since the server that is there now was discovered
    goals: Mapping[UUID, GoalSeen] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """A message that came: the newest of its topic; those before it that nobody was given are counted in `missed`."""

    fields: Fields
    sent_ns: int  # by the writer's clock, since 1970
    received_ns: int  # by ours
    missed: int = 0


class Closable(Protocol):
    """Something that goes on until it is closed."""

    def close(self) -> None:
        """End it; may be called again."""
        ...


class RosLink(Protocol):
    """An open link to the robots of one ROS domain, or behind one rosbridge. All of it belongs to one event loop."""

    def endpoints(self) -> Sequence[Seen]:
        """What is there now, by discovery, without asking anybody."""
        ...

    async def changed(self) -> None:
        """Return when `endpoints` is different from when it was last called.

        Raises:
            Unavailable: the link has failed for good and must be opened anew.
        """
        ...

    def objection(self, name: str, type: str) -> str:
        """Why an action or service would be refused if it were used now, in a sentence; empty when it would be sent."""
        ...

    def is_crowded(self, name: str, type: str) -> bool:
        """Whether several servers are seen at this name: a while after one was killed and begun anew, it is one again."""
        ...

    def incarnation(self, action: str) -> str:
        """Names the server that is there now; another one after its restart, "" when none or several are seen."""
        ...

    async def send_goal(self, action: str, type: str, goal_id: UUID, goal: Fields) -> GoalAnswer:
        """Send a goal once; fields that are not given are their defaults.

        Raises:
            Invalid: the fields do not fit the type; nothing was sent.
        """
        ...

    async def result(self, action: str, type: str, goal_id: UUID, *, timeout_s: float) -> GoalResult:
        """The goal's result, waited for while it runs; may be asked again and again."""
        ...

    async def cancel_goal(self, action: str, type: str, goal_id: UUID) -> CancelAnswer:
        """Ask the server to cancel this one goal."""
        ...

    def statuses(self, action: str) -> Statuses:
        """The newest status list heard; the first call begins to listen."""
        ...

    def watch(self, action: str, heard: Callable[[Statuses], None]) -> Closable:
        """Be called, on the event loop, with each status list that comes, and with an unheard one when the server goes."""
        ...

    async def call(self, service: str, type: str, request: Fields, *, timeout_s: float) -> ServiceAnswer:
        """Call a service once and give its reply.

        Raises:
            Invalid: the fields do not fit the type; nothing was sent.
        """
        ...

    def listen(self, topic: str, type: str, heard: Callable[[Sample], None], *, max_rate_hz: float) -> Closable:
        """Be called, on the event loop, with the newest message of a topic, at most this often. The topic need not exist yet.

        The feedback of an action is the topic `<action>/_action/feedback` of type `pkg/action/X_FeedbackMessage`.

        Raises:
            Invalid: the type is not known.
        """
        ...
