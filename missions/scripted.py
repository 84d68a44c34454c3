"""Robots that exist only in memory and on a clock that is stepped, behind a network that loses, delays and repeats.

A second real implementation of the adapter seam: the fault world (missions/simulation) and tests run on it. The robots
themselves are right: they execute one key at most once and refuse an order below the highest fence they have seen.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random

from pydantic import BaseModel, TypeAdapter

from fleet.adapter import (
    Accepted,
    Acknowledged,
    Activity,
    Capabilities,
    CommandOutcome,
    DiscoveredRobot,
    Observation,
    Order,
    OrderReport,
    OrderStatus,
    Page,
    Refused,
    SubmitOutcome,
    TaskKind,
    TaskReport,
    Unknown,
    Unsupported,
)
from fleet.clock import Clock

ENDED = frozenset({OrderStatus.succeeded, OrderStatus.failed, OrderStatus.canceled, OrderStatus.rejected})
OBSERVATIONS: TypeAdapter[list[Observation]] = TypeAdapter(list[Observation])


class Faults(BaseModel):
    """How often what goes wrong (chances from 0 to 1), and how long what is late takes."""

    request_lost: float = 0.0
    request_late: float = 0.0
    late_s: float = 10.0
    answer_lost: float = 0.0
    report_lost: float = 0.0
    report_repeated: float = 0.0
    order_fails: float = 0.0
    order_refused: float = 0.0
    remembers_cancels: bool = True  # of orders that it does not have yet
    task_s: float = 4.0


@dataclass
class Execution:
    """One order in one robot."""

    order: Order
    status: OrderStatus
    sequence: int = 1
    reason: str = ""
    done: int = 0
    spent_s: float = 0.0
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass
class ScriptedRobot:
    """One robot: what it was told, and the highest fence it has seen."""

    serial_number: str
    fence: int = 0
    executions: dict[str, Execution] = field(default_factory=dict)

    @property
    def current(self) -> Execution | None:
        """What it works on."""
        return next((execution for execution in self.executions.values() if execution.status not in ENDED), None)


class ScriptedRobots:
    """All robots of one account; `step` lets their time pass, `reports` is what they say by themselves meanwhile."""

    capabilities = Capabilities(
        deduplicates=True, queryable=True, cancellable=True, pausable=True, tasks=frozenset(TaskKind)
    )

    def __init__(self, serial_numbers: Sequence[str], *, clock: Clock, chance: Random, faults: Faults) -> None:
        """`chance` decides every fault, so that one seed is one world."""
        self.robots = {serial: ScriptedRobot(serial) for serial in serial_numbers}
        self.history: list[Execution] = []
        self.faults = faults
        self._clock = clock
        self._chance = chance
        self._late: list[tuple[datetime, Order]] = []
        self._said: list[OrderReport] = []

    async def submit(self, order: Order) -> SubmitOutcome:
        """Hand the order over, if the network lets it through in time."""
        if self._strikes(self.faults.request_lost):
            return Unknown(why="the request was lost")
        if self._strikes(self.faults.request_late):
            self._late.append((self._clock.now(), order))
            return Unknown(why="the request is late")
        outcome = self._receive(order)
        return Unknown(why="the answer was lost") if self._strikes(self.faults.answer_lost) else outcome

    def _receive(self, order: Order) -> SubmitOutcome:
        robot = self.robots[order.serial_number]
        known = robot.executions.get(order.key)
        if known is not None:
            is_refused = known.status is OrderStatus.rejected
            return Refused(reason=known.reason) if is_refused else Accepted(reference=order.key)
        if order.fence < robot.fence:
            return Refused(reason=f"fence {order.fence} is below {robot.fence}")
        robot.fence = order.fence
        execution = Execution(order, OrderStatus.accepted)
        robot.executions[order.key] = execution
        if self._strikes(self.faults.order_refused):
            self._turn(execution, OrderStatus.rejected, "not now")
            return Refused(reason=execution.reason)
        self.history.append(execution)
        self._say(execution)
        return Accepted(reference=order.key)

    async def query(self, serial_number: str, key: str) -> OrderReport | Unknown:
        """What the robot says of the order, if question and answer come through."""
        if self._strikes(self.faults.request_lost) or self._strikes(self.faults.answer_lost):
            return Unknown(why="the question was lost")
        execution = self.robots[serial_number].executions.get(key)
        if execution is not None:
            return self._report(execution)
        return OrderReport(
            key=key, serial_number=serial_number, status=OrderStatus.not_found, observed_at=self._clock.now()
        )

    async def cancel(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """End the order; one that has not come yet never starts, if this robot remembers that."""
        if self._strikes(self.faults.request_lost):
            return Unknown(why="the request was lost")
        robot = self.robots[serial_number]
        execution = robot.executions.get(key)
        if execution is None:
            if not self.faults.remembers_cancels:
                return Unsupported(reason="no such order")
            gone = Order(key=key, fence=fence, serial_number=serial_number, mission_id=key.partition("/")[0], tasks=())
            robot.executions[key] = Execution(gone, OrderStatus.canceled, reason="cancelled before it came")
        elif execution.status not in ENDED:
            self._turn(execution, OrderStatus.canceled, "cancelled")
        return Unknown(why="the answer was lost") if self._strikes(self.faults.answer_lost) else Acknowledged()

    async def pause(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Hold."""
        return self._switch(serial_number, key, {OrderStatus.accepted, OrderStatus.running}, OrderStatus.paused)

    async def resume(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Go on."""
        return self._switch(serial_number, key, {OrderStatus.paused}, OrderStatus.running)

    def _switch(self, serial_number: str, key: str, before: set[OrderStatus], to: OrderStatus) -> CommandOutcome:
        if self._strikes(self.faults.request_lost):
            return Unknown(why="the request was lost")
        execution = self.robots[serial_number].executions.get(key)
        if execution is None:
            return Unsupported(reason="no such order")
        if execution.status in before:
            self._turn(execution, to)
        return Acknowledged()

    async def discover(self) -> Sequence[DiscoveredRobot]:
        """All of them."""
        return [DiscoveredRobot(serial_number=serial, name=serial, model="scripted") for serial in self.robots]

    async def observe_all(self) -> Page:
        """What every robot says of itself now."""
        body = OBSERVATIONS.dump_json([self.observation(serial) for serial in self.robots])
        return Page(key=f"observed/{self._clock.now().isoformat()}", body=body, next_cursor="", is_last=True)

    async def pages(self, cursor: str) -> AsyncIterator[Page]:
        """They keep no history."""
        nothing: tuple[Page, ...] = ()
        for page in nothing:
            yield page

    def events_from(self, body: bytes) -> Sequence[Observation]:
        """The observations of a page."""
        return OBSERVATIONS.validate_json(body)

    def observation(self, serial_number: str) -> Observation:
        """What the robot says of itself now."""
        execution = self.robots[serial_number].current
        return Observation(
            serial_number=serial_number,
            observed_at=self._clock.now(),
            activity=Activity.executing if execution else Activity.idle,
            battery_fraction=0.8,
            x_m=0.0,
            y_m=0.0,
            order_key=execution.order.key if execution else None,
        )

    def step(self, seconds: float) -> None:
        """`seconds` have passed: late orders come in, work goes on."""
        now = self._clock.now()
        arrived = [order for sent_at, order in self._late if (now - sent_at).total_seconds() >= self.faults.late_s]
        self._late = [late for late in self._late if late[1] not in arrived]
        for order in arrived:
            self._receive(order)
        for robot in self.robots.values():
            if robot.current is not None:
                self._work(robot.current, seconds)

    def _work(self, execution: Execution, seconds: float) -> None:
        if execution.status is OrderStatus.accepted:
            execution.started_at = self._clock.now()
            self._turn(execution, OrderStatus.running)
        elif execution.status is OrderStatus.running:
            execution.spent_s += seconds
            done = min(int(execution.spent_s / self.faults.task_s), len(execution.order.tasks))
            if done > execution.done:
                self._finish_tasks(execution, done)

    def _finish_tasks(self, execution: Execution, done: int) -> None:
        execution.done = done
        if self._strikes(self.faults.order_fails):
            self._turn(execution, OrderStatus.failed, "path blocked")
        elif done == len(execution.order.tasks):
            self._turn(execution, OrderStatus.succeeded)
        else:
            self._turn(execution, OrderStatus.running)

    def _turn(self, execution: Execution, to: OrderStatus, reason: str = "") -> None:
        execution.status, execution.reason = to, reason
        execution.sequence += 1
        execution.ended_at = self._clock.now() if to in ENDED else None
        self._say(execution)

    def _say(self, execution: Execution) -> None:
        if not self._strikes(self.faults.report_lost):
            self._said += [self._report(execution)] * (2 if self._strikes(self.faults.report_repeated) else 1)

    def _report(self, execution: Execution) -> OrderReport:
        return OrderReport(
            key=execution.order.key,
            serial_number=execution.order.serial_number,
            status=execution.status,
            observed_at=self._clock.now(),
            sequence=execution.sequence,
            fence=execution.order.fence,
            reason=execution.reason,
            tasks=tuple(
                TaskReport(position=task.position, status="succeeded" if number < execution.done else "pending")
                for number, task in enumerate(execution.order.tasks)
            ),
        )

    def reports(self) -> list[OrderReport]:
        """What came in since this was last asked, in any order."""
        said, self._said = self._said, []
        self._chance.shuffle(said)
        return said

    def _strikes(self, likelihood: float) -> bool:
        return self._chance.random() < likelihood
