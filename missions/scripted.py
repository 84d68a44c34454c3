"""Robots that exist only in memory and on a clock that is stepped, behind a network that loses, delays and repeats.

A second real implementation of the adapter seam: the fault world (missions/simulation) and tests run on it. The robots
themselves are right: they execute one key at most once and refuse an order below the highest fence they have seen. They
are also the harshest judges: one that is given two orders works on both at once, so that an overlap is seen.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
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
    OrderTask,
    Page,
    Refused,
    SubmitOutcome,
    TaskKind,
    TaskReport,
    Unknown,
    Unsupported,
)
from fleet.clock import Clock
from fleet.errors import Unavailable

ENDED = frozenset({OrderStatus.succeeded, OrderStatus.failed, OrderStatus.canceled, OrderStatus.rejected})
UNDER_WAY = frozenset({OrderStatus.accepted, OrderStatus.running})
OBSERVATIONS: TypeAdapter[list[Observation]] = TypeAdapter(list[Observation])


class Faults(BaseModel):
    """How often what goes wrong (chances from 0 to 1; those of robots are per step), and how long what is late takes."""

    request_lost: float = 0.0
    request_late: float = 0.0
    request_repeated: float = 0.0
    late_s: float = 10.0
    answer_lost: float = 0.0
    answer_nonsense: float = 0.0
    report_lost: float = 0.0
    report_late: float = 0.0
    report_repeated: float = 0.0
    order_fails: float = 0.0
    order_refused: float = 0.0
    order_hangs: float = 0.0  # it goes on for ever, until it is cancelled
    robot_silent: float = 0.0
    silent_s: float = 40.0
    robot_forgets: float = 0.0  # everything but its fence, as after a repair
    robot_starts_own: float = 0.0
    remembers_cancels: bool = True  # of orders that it does not have yet
    remembers_orders: bool = True  # that ended; else it knows only the newest, and the fence alone keeps old ones away
    obeys_after_s: float = 0.0  # a command is acknowledged at once and followed so much later
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
    hangs: bool = False
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def positions_done(self) -> set[int]:
        """The positions of the tasks that are done."""
        return {task.position for task in self.order.tasks[: self.done]}

    def report(self, at: datetime) -> OrderReport:
        """What the robot says of it."""
        return OrderReport(
            key=self.order.key,
            serial_number=self.order.serial_number,
            status=self.status,
            observed_at=at,
            sequence=self.sequence,
            fence=self.order.fence,
            reason=self.reason,
            tasks=tuple(self._task(number, task) for number, task in enumerate(self.order.tasks)),
        )

    def _task(self, number: int, task: OrderTask) -> TaskReport:
        if number < self.done:
            return TaskReport(position=task.position, status="succeeded")
        is_current = number == self.done and self.status in {OrderStatus.running, OrderStatus.paused}
        return TaskReport(position=task.position, status="running" if is_current else "pending")


@dataclass
class ScriptedRobot:
    """One robot: what it was told, the highest fence it has seen, and until when nobody hears it."""

    serial_number: str
    fence: int = 0
    executions: dict[str, Execution] = field(default_factory=dict)
    silent_until: datetime | None = None

    @property
    def current(self) -> Execution | None:
        """What it works on."""
        return next(iter(self.live), None)

    @property
    def live(self) -> list[Execution]:
        """All that it works on; more than one is somebody's mistake."""
        return [execution for execution in self.executions.values() if execution.status not in ENDED]


class ScriptedRobots:
    """All robots of one account; `step` lets their time pass, `reports` is what they say by themselves meanwhile.

    `history` keeps every order that a robot ever took on, `forgotten` the keys that a robot lost with its memory:
    whoever sends such an order again cannot know that it is done already.
    """

    capabilities = Capabilities(
        deduplicates=True, queryable=True, cancellable=True, pausable=True, tasks=frozenset(TaskKind)
    )

    def __init__(self, serial_numbers: Sequence[str], *, clock: Clock, chance: Random, faults: Faults) -> None:
        """`chance` decides every fault, so that one seed is one world; `clock` is the robots' own."""
        self.robots = {serial: ScriptedRobot(serial) for serial in serial_numbers}
        self.history: list[Execution] = []
        self.forgotten: set[str] = set()
        self.faults = faults
        self._clock = clock
        self._chance = chance
        self._arriving: list[tuple[datetime, Callable[[], object]]] = []
        self._said: list[OrderReport] = []

    async def submit(self, order: Order) -> SubmitOutcome:
        """Hand the order over, if the network lets it through in time."""
        if self._strikes(self.faults.request_repeated):
            self._arrive_late(lambda: self.receive(order))
        trouble = self._trouble(order.serial_number, lambda: self.receive(order))
        if trouble is not None:
            return trouble
        outcome = self.receive(order)
        return self._lost_answer() or outcome

    def receive(self, order: Order) -> SubmitOutcome:
        """The order has come to the robot."""
        robot = self.robots[order.serial_number]
        known = robot.executions.get(order.key)
        if known is not None:
            is_refused = known.status is OrderStatus.rejected
            return Refused(reason=known.reason) if is_refused else Accepted(reference=order.key)
        if order.fence < robot.fence:
            return Refused(reason=f"fence {order.fence} is below {robot.fence}")
        if any(execution.order.mission_id == "" for execution in robot.live):
            return Refused(reason="it is on a mission of its own")
        robot.fence = order.fence
        execution = Execution(order, OrderStatus.accepted, hangs=self._strikes(self.faults.order_hangs))
        if not self.faults.remembers_orders:
            robot.executions = {live.order.key: live for live in robot.live}
        robot.executions[order.key] = execution
        if self._strikes(self.faults.order_refused):
            self._turn(execution, OrderStatus.rejected, "not now")
            return Refused(reason=execution.reason)
        self.history.append(execution)
        self._say(execution)
        return Accepted(reference=order.key)

    async def query(self, serial_number: str, key: str) -> OrderReport | Unknown:
        """What the robot says of the order, if question and answer come through."""
        robot = self.robots[serial_number]
        if self._is_silent(robot) or self._strikes(self.faults.request_lost) or self._strikes(self.faults.answer_lost):
            return Unknown(why="the question was lost")
        if self._strikes(self.faults.answer_nonsense):
            return self._nonsense(serial_number)
        execution = robot.executions.get(key)
        if execution is not None:
            return execution.report(self._clock.now())
        return self._not_found(serial_number, key)

    def _not_found(self, serial_number: str, key: str) -> OrderReport:
        return OrderReport(
            key=key, serial_number=serial_number, status=OrderStatus.not_found, observed_at=self._clock.now()
        )

    def _nonsense(self, serial_number: str) -> OrderReport:
        """An answer about another order, or none that can be read."""
        if self._strikes(0.5):
            raise Unavailable("The answer cannot be read.")
        status = self._chance.choice([OrderStatus.succeeded, OrderStatus.failed, OrderStatus.canceled])
        return OrderReport(
            key=f"nobody's/{serial_number}",
            serial_number=serial_number,
            status=status,
            observed_at=self._clock.now(),
            sequence=self._chance.choice([0, 10**9]),
        )

    async def cancel(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """End the order; one that has not come yet never starts, if this robot remembers that."""
        return self._command(serial_number, key, lambda: self._cancel(serial_number, key, fence))

    def _cancel(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        robot = self.robots[serial_number]
        execution = robot.executions.get(key)
        if execution is None:
            if not self.faults.remembers_cancels:
                return Unsupported(reason="no such order")
            gone = Order(key=key, fence=fence, serial_number=serial_number, mission_id=key.partition("/")[0], tasks=())
            robot.executions[key] = Execution(gone, OrderStatus.canceled, reason="cancelled before it came")
        elif execution.status not in ENDED:
            self._turn(execution, OrderStatus.canceled, "cancelled")
        return Acknowledged()

    async def pause(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Hold."""
        return self._command(serial_number, key, lambda: self._hold(serial_number, key))

    def _hold(self, serial_number: str, key: str) -> CommandOutcome:
        return self._switch(serial_number, key, UNDER_WAY, OrderStatus.paused)

    async def resume(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Go on."""
        return self._command(serial_number, key, lambda: self._go_on(serial_number, key))

    def _go_on(self, serial_number: str, key: str) -> CommandOutcome:
        return self._switch(serial_number, key, frozenset({OrderStatus.paused}), OrderStatus.running)

    def _switch(self, serial_number: str, key: str, before: frozenset[OrderStatus], to: OrderStatus) -> CommandOutcome:
        execution = self.robots[serial_number].executions.get(key)
        if execution is None:
            return Unsupported(reason="no such order")
        if execution.status in before:
            self._turn(execution, to)
        return Acknowledged()

    def _command(self, serial_number: str, key: str, obey: Callable[[], CommandOutcome]) -> CommandOutcome:
        trouble = self._trouble(serial_number, obey)
        if trouble is not None:
            return trouble
        if self.faults.obeys_after_s and key in self.robots[serial_number].executions:
            self._arrive(self.faults.obeys_after_s, obey)
            return self._lost_answer() or Acknowledged()
        outcome = obey()
        return self._lost_answer() or outcome

    def _trouble(self, serial_number: str, arrive: Callable[[], object]) -> Unknown | None:
        """What keeps a request from arriving now; a late one arrives later."""
        if self._is_silent(self.robots[serial_number]) or self._strikes(self.faults.request_lost):
            return Unknown(why="the request was lost")
        if self._strikes(self.faults.request_late):
            self._arrive_late(arrive)
            return Unknown(why="the request is late")
        return None

    def _lost_answer(self) -> Unknown | None:
        return Unknown(why="the answer was lost") if self._strikes(self.faults.answer_lost) else None

    def _arrive_late(self, arrive: Callable[[], object]) -> None:
        self._arrive(self.faults.late_s, arrive)

    def _arrive(self, after_s: float, arrive: Callable[[], object]) -> None:
        self._arriving.append((self._clock.now() + timedelta(seconds=after_s), arrive))

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

    @property
    def heard(self) -> list[str]:
        """The serial numbers of the robots that are not silent."""
        return [serial for serial, robot in self.robots.items() if not self._is_silent(robot)]

    def forget(self, serial_number: str) -> None:
        """The robot stands still and has lost its memory, all but the fence, as after a repair."""
        robot, now = self.robots[serial_number], self._clock.now()
        for execution in robot.live:
            execution.status, execution.reason, execution.ended_at = OrderStatus.canceled, "forgotten", now
        self.forgotten.update(robot.executions)
        robot.executions = {}

    def step(self, seconds: float) -> None:
        """`seconds` have passed: what was late comes in, work goes on."""
        now = self._clock.now()
        arrived = [arrive for at, arrive in self._arriving if at <= now]
        self._arriving = [(at, arrive) for at, arrive in self._arriving if at > now]
        self._chance.shuffle(arrived)
        for arrive in arrived:
            arrive()
        for robot in self.robots.values():
            self._befall(robot)
            for execution in robot.live:
                self._work(execution, seconds)

    def _befall(self, robot: ScriptedRobot) -> None:
        if self._strikes(self.faults.robot_silent):
            robot.silent_until = self._clock.now() + timedelta(seconds=self.faults.silent_s)
        if self._strikes(self.faults.robot_forgets):
            self.forget(robot.serial_number)
        if self._strikes(self.faults.robot_starts_own) and not robot.live:
            key = f"own/{robot.serial_number}/{self._clock.now():%H%M%S}"
            task = OrderTask(position=0, kind=TaskKind.wait)
            order = Order(key=key, fence=0, serial_number=robot.serial_number, mission_id="", tasks=(task,))
            robot.executions[key] = Execution(order, OrderStatus.accepted)

    def _is_silent(self, robot: ScriptedRobot) -> bool:
        return robot.silent_until is not None and self._clock.now() < robot.silent_until

    def _work(self, execution: Execution, seconds: float) -> None:
        if execution.status is OrderStatus.accepted:
            execution.started_at = self._clock.now()
            self._turn(execution, OrderStatus.running)
        elif execution.status is OrderStatus.running and not execution.hangs:
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
        if self._strikes(self.faults.report_lost) or self._is_silent(self.robots[execution.order.serial_number]):
            return
        said = execution.report(self._clock.now())
        if self._strikes(self.faults.report_late):
            self._arrive_late(lambda: self._said.append(said))
        else:
            self._said += [said] * (2 if self._strikes(self.faults.report_repeated) else 1)

    def reports(self) -> list[OrderReport]:
        """What came in since this was last asked, in any order."""
        said, self._said = self._said, []
        self._chance.shuffle(said)
        return said

    def _strikes(self, likelihood: float) -> bool:
        return self._chance.random() < likelihood
