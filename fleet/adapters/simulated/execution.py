"""One order as a robot carries it out: which task is at hand, what became of the others, and the report of it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from fleet.adapter import Order, OrderReport, OrderStatus, OrderTask, TaskKind, TaskReport
from fleet.adapters.simulated.readings import QUANTITIES, READING_S, quantity_of
from fleet.adapters.simulated.site_map import PLACES

LIVE = frozenset({OrderStatus.accepted, OrderStatus.running, OrderStatus.paused})
ACTION_S = 5.0
Point = tuple[float, float]


@dataclass
class Execution:
    """The order and its present report; every change makes a new report with the next sequence."""

    order: Order
    report: OrderReport
    current: int = 0
    work_s: float = 0.0
    task_s: float = 0.0
    changes: list[OrderReport] = field(default_factory=list)

    @property
    def is_live(self) -> bool:
        """Whether the robot still has something to do for it."""
        return self.report.status in LIVE

    @property
    def is_recorded(self) -> bool:
        """Whether the order asks for a bag of its run."""
        return any(task.kind is TaskKind.record_bag for task in self.order.tasks)

    @property
    def task(self) -> OrderTask:
        """The task at hand."""
        return self.order.tasks[self.current]

    def turn(self, status: OrderStatus, at: datetime, reason: str = "") -> None:
        """From now on the order stands so; tasks not begun are skipped when it ended."""
        tasks = self.report.tasks
        if status not in LIVE:
            tasks = tuple(_closed(task, status, at, reason) for task in tasks)
        self._say(at, status=status, reason=reason, tasks=tasks)

    def begin_task(self, at: datetime) -> None:
        """The task at hand is running, unless it was already."""
        if self.report.tasks[self.current].status == "pending":
            self._mark(at, status="running", started_at=at)

    def finish_task(self, at: datetime, *, value: float | None = None, unit: str | None = None) -> None:
        """The task at hand succeeded; the next is at hand, or the order succeeded."""
        self._mark(at, status="succeeded", finished_at=at, value=value, unit=unit)
        self.current, self.work_s, self.task_s = self.current + 1, 0.0, 0.0
        if self.current == len(self.order.tasks):
            self.turn(OrderStatus.succeeded, at)

    def _mark(self, at: datetime, **news: object) -> None:
        tasks = list(self.report.tasks)
        tasks[self.current] = tasks[self.current].model_copy(update=news)
        self._say(at, tasks=tuple(tasks))

    def _say(self, at: datetime, **news: object) -> None:
        self.report = self.report.model_copy(update={**news, "observed_at": at, "sequence": self.report.sequence + 1})
        self.changes.append(self.report)

    def told(self) -> list[OrderReport]:
        """The reports since this was last asked, oldest first."""
        changes, self.changes = self.changes, []
        return changes


def _closed(task: TaskReport, status: OrderStatus, at: datetime, reason: str) -> TaskReport:
    if task.status == "pending":
        return task.model_copy(update={"status": "skipped"})
    if task.status == "running":
        ended: Literal["failed", "skipped"] = "failed" if status is OrderStatus.failed else "skipped"
        return task.model_copy(update={"status": ended, "finished_at": at, "message": reason})
    return task


def begun(order: Order, at: datetime, *, status: OrderStatus = OrderStatus.accepted, reason: str = "") -> Execution:
    """A new execution that has already told of itself."""
    blank: Literal["pending", "skipped"] = "pending" if status in LIVE else "skipped"
    report = OrderReport(
        key=order.key,
        serial_number=order.serial_number,
        status=status,
        observed_at=at,
        sequence=1,
        fence=order.fence,
        reason=reason,
        tasks=tuple(TaskReport(position=task.position, status=blank) for task in order.tasks),
    )
    return Execution(order, report, changes=[report])


def resumed(order: Order, report: OrderReport) -> Execution:
    """An execution taken up where its last report left it (the task at hand is begun again)."""
    done = sum(task.status == "succeeded" for task in report.tasks)
    return Execution(order, report, current=done)


def unfit_reason(order: Order) -> str | None:
    """Why this robot cannot carry out the order, or None when it can."""
    if not order.tasks:
        return "the order has no tasks"
    for task in order.tasks:
        reason = _unfit_task(task)
        if reason:
            return f"task {task.position}: {reason}"
    return None


def _unfit_task(task: OrderTask) -> str | None:
    if task.kind is TaskKind.go_to and point_of(task) is None:
        return f"no place on the map is called {task.station!r} and no coordinates are given"
    if task.station and point_of(task) is None:
        return f"no place on the map is called {task.station!r}"
    if task.kind is TaskKind.reading and quantity_of(task) not in QUANTITIES:
        return f"this robot cannot read {quantity_of(task)!r}; it reads {', '.join(QUANTITIES)}"
    given = task.parameters.get("duration_s", 0.0)
    if isinstance(given, str) or not 0 <= given <= 86_400:
        return f"duration_s is {given!r}, it must be a number of seconds from 0 to 86400"
    return None


def point_of(task: OrderTask) -> Point | None:
    """Where the task takes place: its coordinates, else the robot's own map; None: wherever the robot is."""
    if task.x_m is not None and task.y_m is not None:
        return task.x_m, task.y_m
    place = PLACES.get(task.station or "")
    return None if place is None else (place.x_m, place.y_m)


def work_s(task: OrderTask) -> float:
    """How long the robot stands for the task, simulated seconds."""
    usual = {TaskKind.reading: READING_S, TaskKind.action: ACTION_S, TaskKind.wait: ACTION_S}
    return float(task.parameters.get("duration_s", usual.get(task.kind, 0.0)))
