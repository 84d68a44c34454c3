"""The adapter seam: what every kind of robot link can be asked, with typed outcomes.

Three kinds fit it: request/response clouds (called from the dispatcher), push links through a gateway, and the simulated
manufacturer. "No answer" is `Unknown`, never a failure: the order may be running.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum
from typing import Literal, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    """A value that was said once and does not change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskKind(StrEnum):
    """What one task of a mission makes the robot do."""

    go_to = "go_to"
    action = "action"
    wait = "wait"
    dock = "dock"
    record_bag = "record_bag"
    reading = "reading"


class Activity(StrEnum):
    """What a robot says it is doing."""

    idle = "idle"
    executing = "executing"
    paused = "paused"
    charging = "charging"
    maintenance = "maintenance"
    error = "error"
    offline = "offline"


class OrderTask(Frozen):
    """One task as it is sent: the station is given by name and by its place on the map."""

    position: int = Field(ge=0)
    kind: TaskKind
    station: str | None = None
    x_m: float | None = None
    y_m: float | None = None
    parameters: dict[str, str | float | int | bool] = Field(default_factory=dict)
    timeout_s: float = Field(default=600.0, gt=0)


class Order(Frozen):
    """What is sent to a robot for one attempt; `tasks` are those still to do, in order."""

    key: str = Field(description="mission/attempt; the robot executes one key at most once")
    fence: int = Field(description="the hold under which it is sent; a robot refuses one below the highest it has seen")
    serial_number: str
    mission_id: str
    tasks: tuple[OrderTask, ...]


class Accepted(Frozen):
    """The robot has the order (also: it already had it)."""

    kind: Literal["accepted"] = "accepted"
    reference: str = Field(default="", description="the robot's or cloud's own id of the order")


class Refused(Frozen):
    """The robot understood and will not do it."""

    kind: Literal["rejected"] = "rejected"
    reason: str


class Unknown(Frozen):
    """No answer: it may or may not have arrived. Ask `query` before anything else."""

    kind: Literal["unknown"] = "unknown"
    why: str
    is_unsent: bool = Field(default=False, description="that nothing was sent for this asking is certain")


class Acknowledged(Frozen):
    """The robot heard the command; whether it obeys is told by its reports."""

    kind: Literal["acknowledged"] = "acknowledged"


class Unsupported(Frozen):
    """This robot cannot do that."""

    kind: Literal["unsupported"] = "unsupported"
    reason: str


SubmitOutcome = Accepted | Refused | Unknown
CommandOutcome = Acknowledged | Unsupported | Unknown


class OrderStatus(StrEnum):
    """What a robot says of an order."""

    accepted = "accepted"
    running = "running"
    paused = "paused"
    succeeded = "succeeded"
    failed = "failed"
    canceled = "canceled"
    rejected = "rejected"
    not_found = "not_found"


class TaskReport(Frozen):
    """What became of one task, with its typed reading where it took one."""

    position: int
    status: Literal["pending", "running", "succeeded", "failed", "skipped"]
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    value: float | None = None
    unit: str | None = None
    message: str = ""


class OrderReport(Frozen):
    """What the robot says of one order; `sequence` rises with every change of it."""

    kind: Literal["order"] = "order"
    key: str
    serial_number: str
    status: OrderStatus
    observed_at: AwareDatetime
    sequence: int = 0
    fence: int = 0
    reason: str = ""
    tasks: tuple[TaskReport, ...] = ()


class Observation(Frozen):
    """One report of a robot about itself; metres and radians in the map frame (REP-103)."""

    kind: Literal["observation"] = "observation"
    serial_number: str
    observed_at: AwareDatetime
    activity: Activity
    battery_fraction: float | None = Field(default=None, ge=0, le=1)
    x_m: float | None = None
    y_m: float | None = None
    yaw_rad: float | None = None
    order_key: str | None = None


class Happening(Frozen):
    """Something that happened to a robot, such as `component_failed`; `key` names it for ever, so that it is told once."""

    type: Literal["happening"] = "happening"
    key: str
    kind: str
    occurred_at: AwareDatetime
    serial_number: str | None = None
    severity: Literal["info", "warning", "error"] = "info"
    fields: Mapping[str, str | float | int | bool | None] = Field(default_factory=dict)


Reported = OrderReport | Observation | Happening


class DiscoveredRobot(Frozen):
    """A robot that the other side says it has."""

    serial_number: str
    name: str
    model: str
    capabilities: tuple[str, ...] = ()


class Page(Frozen):
    """One page of history: the raw bytes as they came, a key that names exactly this page, and where the next begins."""

    key: str
    body: bytes
    next_cursor: str
    is_last: bool


class Capabilities(Frozen):
    """What the link can do, which the core asks before it relies on it."""

    deduplicates: bool
    queryable: bool
    cancellable: bool
    pausable: bool
    tasks: frozenset[TaskKind]


class Adapter(Protocol):
    """A link to the robots of one account. Every method may be called again after a crash with the same arguments."""

    capabilities: Capabilities

    async def submit(self, order: Order) -> SubmitOutcome:
        """Send the order; sending one key again does not start it twice."""
        ...

    async def query(self, serial_number: str, key: str) -> OrderReport | Unknown:
        """What the robot itself says of the order; `OrderStatus.not_found` when it never had it."""
        ...

    async def cancel(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Ask the robot to end the order and stop."""
        ...

    async def pause(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Ask the robot to hold where it is."""
        ...

    async def resume(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Ask a paused robot to go on."""
        ...

    async def discover(self) -> Sequence[DiscoveredRobot]:
        """The robots the other side has.

        Raises:
            Unavailable: no answer.
        """
        ...

    async def observe_all(self) -> Page:
        """The present state of every robot in one answer, raw.

        Raises:
            Unavailable: no answer.
        """
        ...

    def pages(self, cursor: str) -> AsyncIterator[Page]:
        """The history of events after `cursor` ("" = all there is), page by page, raw.

        Raises:
            Unavailable: no answer; the pages given so far stand.
        """
        ...

    def events_from(self, body: bytes) -> Sequence[Reported]:
        """What a raw delivery or page says (pure).

        Raises:
            Invalid: the bytes are not of this manufacturer's form; says what is wrong where.
        """
        ...


class AdapterAccount(Frozen):
    """What an adapter needs of an account to open its link."""

    name: str
    base_url: str
    credential: str = Field(default="", repr=False)
