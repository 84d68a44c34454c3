"""What a simulated VDA 5050 vehicle drives on: a robot of the site's world, or one on a bench that only takes its time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fleet.adapter import Activity, Order, OrderReport, OrderStatus, OrderTask, Refused, TaskKind
from fleet.adapters.simulated.execution import Execution, begun
from fleet.adapters.simulated.journal import Keep
from fleet.adapters.simulated.world import World
from fleet.timepieces import Clock

FOREVER_M, NOWHERE_M = 50.0, 900.0
DRIVE_S = 0.3


@dataclass(frozen=True)
class Standing:
    """Where it is and how it fares."""

    x_m: float
    y_m: float
    yaw_rad: float
    battery_fraction: float
    is_driving: bool
    is_charging: bool


class Ground(Protocol):
    """One robot, as its vehicle sees it."""

    def give(self, word: str, tasks: Sequence[OrderTask], mission_id: str) -> str:
        """Begin these tasks under this word; "" or why not."""
        ...

    def given(self, word: str) -> OrderReport | None:
        """How they stand; None: never begun."""
        ...

    def turn(self, word: str, wanted: OrderStatus) -> None:
        """Cancel, pause or go on."""
        ...

    def standing(self) -> Standing:
        """How it is now."""
        ...

    def fact(self) -> str | None:
        """What `remember` kept."""
        ...

    def remember(self, text: str) -> None:
        """Keep this over a restart."""
        ...


class WorldGround:
    """A robot of the site's world."""

    def __init__(self, world: World, unit: str) -> None:
        """`unit` is its serial number."""
        self._world, self._unit, self._name = world, unit, f"vda5050/{unit}"

    def give(self, word: str, tasks: Sequence[OrderTask], mission_id: str) -> str:
        """Begin these tasks under this word; "" or why not."""
        taken = self._world.give(self._unit, word, tasks, mission_id=mission_id)
        said = self._world.given(self._unit, word)
        if said is None:
            return taken.reason if isinstance(taken, Refused) else ""
        return said.reason if said.status is OrderStatus.rejected else ""

    def given(self, word: str) -> OrderReport | None:
        """How they stand; None: never begun."""
        return self._world.given(self._unit, word)

    def turn(self, word: str, wanted: OrderStatus) -> None:
        """Cancel, pause or go on."""
        self._world.turn(self._unit, word, wanted)

    def standing(self) -> Standing:
        """How it is now."""
        look = self._world.look(self._unit)
        body = look.sample.body
        is_charging = look.seen.activity is Activity.charging
        return Standing(body.x_m, body.y_m, body.yaw_rad, body.battery_fraction, body.speed_m_s > 0, is_charging)

    def fact(self) -> str | None:
        """What `remember` kept; nothing when the robots of this site forget what they were told directly."""
        return self._world.journal.fact(self._name) if self._world.plan.remembers_local_orders else None

    def remember(self, text: str) -> None:
        """Keep this over a restart."""
        self._world.journal.keep(Keep(facts=[(self._name, text)]))


@dataclass
class _Work:
    execution: Execution
    until_s: float


@dataclass
class BenchGround:
    """A robot that only takes its time: a drive lasts 0.3 s, one to x = 50 m or more until it is ended, 900 m is nowhere."""

    clock: Clock
    begun: list[str] = field(default_factory=list)  # what it really began, with repeats
    place: tuple[float, float] = (0.0, 0.0)
    _works: dict[str, _Work] = field(default_factory=dict)
    _kept: str | None = None

    def give(self, word: str, tasks: Sequence[OrderTask], mission_id: str) -> str:
        """Begin these tasks under this word; "" or why not."""
        if any((task.x_m or 0.0) >= NOWHERE_M for task in tasks):
            return "there is no way to that place"
        self.begun.append(word)
        order = Order(key=word, fence=0, serial_number="bench", mission_id=mission_id, tasks=tuple(tasks))
        self._works[word] = _Work(begun(order, self.clock.now()), self.clock.monotonic())
        return ""

    def given(self, word: str) -> OrderReport | None:
        """How they stand; None: never begun."""
        work = self._works.get(word)
        if work is None:
            return None
        self._live(work)
        return work.execution.report

    def turn(self, word: str, wanted: OrderStatus) -> None:
        """Cancel, pause or go on."""
        work = self._works[word]
        self._live(work)
        if work.execution.is_live and work.execution.report.status is not wanted:
            work.execution.turn(wanted, self.clock.now())

    def standing(self) -> Standing:
        """How it is now."""
        for work in self._works.values():
            self._live(work)
        is_driving = any(_drives(work.execution) for work in self._works.values())
        return Standing(*self.place, 0.0, 0.8, is_driving, is_charging=False)

    def fact(self) -> str | None:
        """What `remember` kept."""
        return self._kept

    def remember(self, text: str) -> None:
        """Keep this over a restart."""
        self._kept = text

    def _live(self, work: _Work) -> None:
        now_s, execution = self.clock.monotonic(), work.execution
        passed_s, work.until_s = now_s - work.until_s, now_s
        while execution.is_live and execution.report.status is not OrderStatus.paused:
            if execution.report.status is OrderStatus.accepted:
                execution.turn(OrderStatus.running, self.clock.now())
            execution.begin_task(self.clock.now())
            task = execution.task
            left_s = _length_s(task) - execution.work_s
            if passed_s < left_s:
                execution.work_s += passed_s
                return
            passed_s -= left_s
            if task.x_m is not None and task.y_m is not None:
                self.place = (task.x_m, task.y_m)
            value, unit = (21.5, "degC") if task.kind is TaskKind.reading else (None, None)
            execution.finish_task(self.clock.now(), value=value, unit=unit)


def _drives(execution: Execution) -> bool:
    return execution.report.status is OrderStatus.running and execution.task.kind is TaskKind.go_to


def _length_s(task: OrderTask) -> float:
    if task.kind is TaskKind.go_to:
        return float("inf") if (task.x_m or 0.0) >= FOREVER_M else DRIVE_S
    return float(task.parameters.get("duration_s", 0.1))
